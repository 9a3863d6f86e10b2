package lead_test

import (
	"context"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/self-scaling/self-scaling/controller/cluster/clustertest"
	"github.com/self-scaling/self-scaling/controller/cluster/lead"
	"github.com/self-scaling/self-scaling/schemas"
)

// contender is a process that contends, and says when it begins and ends to work.
type contender struct {
	*lead.Elector
	begun, ended chan string
	cancel       context.CancelFunc
	done         chan error
	clings       chan struct{} // if not nil, work goes on until it is closed
}

// contend starts a process. The times are short, so that the test is; what is tested is
// the order of things.
func contend(t *testing.T, server *clustertest.Server, identity string, clings chan struct{}) *contender {
	t.Helper()
	e, err := lead.New(server.Config(), lead.Options{
		Namespace: "self-scaling", Name: "controller", Identity: identity,
		Duration: 3 * time.Second, Renew: time.Second, Retry: 50 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	c := &contender{Elector: e, begun: make(chan string, 10), ended: make(chan string, 10), done: make(chan error, 1), clings: clings}
	ctx, cancel := context.WithCancel(context.Background())
	c.cancel = cancel
	t.Cleanup(cancel)
	go func() {
		c.done <- c.Run(ctx, func(ctx context.Context) {
			c.begun <- identity
			<-ctx.Done()
			if c.clings != nil {
				<-c.clings
			}
			c.ended <- identity
		})
	}()
	return c
}

func await(t *testing.T, what string, ch <-chan string) {
	t.Helper()
	select {
	case <-ch:
	case <-time.After(time.Minute):
		t.Fatalf("waited in vain for %s", what)
	}
}

func holder(server *clustertest.Server) string {
	o := server.Get("leases", "self-scaling", "controller")
	if o == nil {
		return ""
	}
	name, _, _ := unstructured.NestedString(o.Object, "spec", "holderIdentity")
	return name
}

func TestOneWorksAndAnotherGoesOnWhereItEnds(t *testing.T) {
	server := clustertest.New(t, clustertest.Kinds()...)
	a := contend(t, server, "a", nil)
	await(t, "a to lead", a.begun)
	b := contend(t, server, "b", nil)
	if !a.Leading() || holder(server) != "a" {
		t.Errorf("a leads: %t, the lease is %s's", a.Leading(), holder(server))
	}
	a.cancel()
	await(t, "a to let go", a.ended)
	if err := <-a.done; err != nil {
		t.Errorf("a ended with %v", err)
	}
	if a.Leading() || len(b.begun) > 1 {
		t.Error("a still leads")
	}
	await(t, "b to lead", b.begun)
	if holder(server) != "b" {
		t.Errorf("the lease is %s's, want b's", holder(server))
	}
	b.cancel()
	if err := <-b.done; err != nil {
		t.Errorf("b ended with %v", err)
	}
	if got := holder(server); got != "" {
		t.Errorf("the lease is still %s's", got)
	}
}

func TestWorkEndsBeforeTheLeaseIsGivenBack(t *testing.T) {
	server := clustertest.New(t, clustertest.Kinds()...)
	clings := make(chan struct{})
	a := contend(t, server, "a", clings)
	await(t, "a to lead", a.begun)
	a.cancel()
	if got := holder(server); got != "a" {
		t.Errorf("the lease is %q's while a still works", got)
	}
	close(clings)
	await(t, "a to let go", a.ended)
	if err := <-a.done; err != nil || holder(server) != "" {
		t.Errorf("a ended with %v, and the lease is %q's", err, holder(server))
	}
}

func TestALeaseThatIsLostEndsTheWorkAndIsContendedForAgain(t *testing.T) {
	server := clustertest.New(t, clustertest.Kinds()...)
	var down atomic.Bool
	server.Fail = func(method, _ string) *apierrors.StatusError {
		if down.Load() {
			return apierrors.NewInternalError(context.DeadlineExceeded)
		}
		return nil
	}
	a := contend(t, server, "a", nil)
	await(t, "a to lead", a.begun)
	down.Store(true)
	await(t, "a to let go", a.ended)
	down.Store(false)
	await(t, "a to lead again", a.begun)
	a.cancel()
	if err := <-a.done; err != nil {
		t.Errorf("a ended with %v", err)
	}
}

func TestWorkThatGoesOnWithoutALeaseEndsTheProcess(t *testing.T) {
	server := clustertest.New(t, clustertest.Kinds()...)
	var down atomic.Bool
	server.Fail = func(method, _ string) *apierrors.StatusError {
		if down.Load() && method != http.MethodGet {
			return apierrors.NewInternalError(context.DeadlineExceeded)
		}
		return nil
	}
	clings := make(chan struct{})
	a := contend(t, server, "a", clings)
	defer close(clings)
	await(t, "a to lead", a.begun)
	down.Store(true)
	select {
	case err := <-a.done:
		if schemas.CodeOf(err) != schemas.CodeInternal || !strings.Contains(err.Error(), "lease controller: work must end within 2s after the lease does, but goes on") {
			t.Errorf("a ended with %v", err)
		}
	case <-time.After(time.Minute):
		t.Error("a goes on")
	}
}

func TestOptionsThatCannotWorkAreRefused(t *testing.T) {
	server := clustertest.New(t)
	for _, o := range []lead.Options{
		{Namespace: "a", Name: "b"},
		{Namespace: "a", Name: "b", Identity: "c", Duration: 10 * time.Second},
		{Namespace: "a", Name: "b", Identity: "c", Retry: 6 * time.Second},
	} {
		if _, err := lead.New(server.Config(), o); schemas.CodeOf(err) != schemas.CodeInvalidConfig {
			t.Errorf("%+v: error %v", o, err)
		}
	}
}
