package watch

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	apiwatch "k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/clock"

	"github.com/self-scaling/self-scaling/controller/cluster"
)

// renewal is how long a watch lasts at least; at most it lasts twice as long.
const renewal = time.Minute

// table is the copy of one resource in one namespace or, where that is empty, in
// all. A reflector of client-go fills it.
type table[T any] struct {
	name     string
	objects  dynamic.ResourceInterface
	optional bool // a cluster may lack the resource
	keep     func(*unstructured.Unstructured) T
	clock    clock.PassiveClock
	log      *slog.Logger

	mu    sync.Mutex
	rows  map[string]T // by namespace/name
	alive time.Time    // of the last sign that the rows are kept; zero for never
}

var (
	_ cache.ReflectorStore         = (*table[int])(nil)
	_ cache.ResourceVersionUpdater = (*table[int])(nil)
)

func newTable[T any](client *cluster.Client, resource schema.GroupVersionResource, namespace string, opts Options, keep func(*unstructured.Unstructured) T) *table[T] {
	name := resource.Resource
	if namespace != "" {
		name += " in " + namespace
	}
	return &table[T]{name: name, objects: client.Dynamic.Resource(resource).Namespace(namespace), keep: keep, clock: opts.Clock, log: opts.Log}
}

// each calls visit for every row, and returns false, with nothing visited, where
// the rows may be old.
func (t *table[T]) each(visit func(name string, row T)) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.alive.IsZero() || t.clock.Since(t.alive) > Lag {
		return false
	}
	for name, row := range t.rows {
		visit(name, row)
	}
	return true
}

// run keeps the table until ctx ends or the right to watch proves to be lacking.
func (t *table[T]) run(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer t.forget()
	refused := func(err error) {
		t.log.Warn("no right to watch: it is listed every minute instead", "resource", t.name, "error", err)
		cancel()
	}
	reflector := cache.NewReflectorWithOptions(&cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, opts metav1.ListOptions) (runtime.Object, error) {
			if opts.ResourceVersion == "0" { // whatever a server happens to have in its own copy
				opts.ResourceVersion = ""
			}
			list, err := t.objects.List(ctx, opts)
			if t.optional && apierrors.IsNotFound(err) {
				// No resourceVersion: a watch from there begins with what there is by then.
				return &unstructured.UnstructuredList{}, nil
			}
			return list, err
		},
		WatchFuncWithContext: func(ctx context.Context, opts metav1.ListOptions) (apiwatch.Interface, error) {
			if opts.SendInitialEvents != nil { // which client-go can be told to ask for: it then lists
				return nil, apierrors.NewBadRequest("objects are listed, then watched")
			}
			seconds := int64(renewal.Seconds() * (1 + rand.Float64()))
			opts.TimeoutSeconds = &seconds
			w, err := t.objects.Watch(ctx, opts)
			switch {
			case err == nil:
				t.sign()
			case t.optional && apierrors.IsNotFound(err):
				t.sign()
				return pause(time.Duration(seconds) * time.Second), nil
			case cluster.IsForbidden(err):
				refused(err)
			}
			return w, err
		},
	}, nil, t, cache.ReflectorOptions{Name: t.name, TypeDescription: t.name})
	reflector.WatchListPageSize = cluster.PageSize
	reflector.RunWithContext(ctx)
}

// pause is a watch in which nothing happens, for a while.
func pause(d time.Duration) apiwatch.Interface {
	nothing := make(chan apiwatch.Event)
	time.AfterFunc(d, func() { close(nothing) })
	return apiwatch.NewProxyWatcher(nothing)
}

// sign notes a sign of life of what has been listed.
func (t *table[T]) sign() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.alive.IsZero() {
		t.alive = t.clock.Now()
	}
}

func (t *table[T]) forget() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.rows, t.alive = nil, time.Time{}
}

// Replace implements [cache.ReflectorStore]: what a list has shown.
func (t *table[T]) Replace(list []any, _ string) error {
	rows := make(map[string]T, len(list))
	for _, x := range list {
		o, err := object(x)
		if err != nil {
			return err
		}
		rows[key(o)] = t.keep(o)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.rows, t.alive = rows, t.clock.Now()
	return nil
}

// Add implements [cache.ReflectorStore].
func (t *table[T]) Add(x any) error {
	o, err := object(x)
	if err != nil {
		return err
	}
	row := t.keep(o)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.rows != nil {
		t.rows[key(o)] = row
	}
	return nil
}

// Update implements [cache.ReflectorStore].
func (t *table[T]) Update(x any) error { return t.Add(x) }

// Delete implements [cache.ReflectorStore].
func (t *table[T]) Delete(x any) error {
	o, err := object(x)
	if err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.rows, key(o))
	return nil
}

// UpdateResourceVersion implements [cache.ResourceVersionUpdater]: it is called
// for every change and every bookmark.
func (t *table[T]) UpdateResourceVersion(string) { t.sign() }

// Resync implements [cache.ReflectorStore]; it is never called for.
func (t *table[T]) Resync() error { return nil }

func object(x any) (*unstructured.Unstructured, error) {
	o, ok := x.(*unstructured.Unstructured)
	if !ok {
		return nil, fmt.Errorf("an object is a %T", x)
	}
	return o, nil
}

func key(o *unstructured.Unstructured) string { return o.GetNamespace() + "/" + o.GetName() }
