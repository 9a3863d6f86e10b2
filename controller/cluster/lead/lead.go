// Package lead elects one of several processes by a Lease of Kubernetes: the one that
// holds it works, the others wait. Nothing rests on there being only one for correctness;
// it keeps work from being done twice.
package lead

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/client-go/util/retry"
	"k8s.io/utils/ptr"

	"github.com/self-scaling/self-scaling/controller/cluster"
	"github.com/self-scaling/self-scaling/controller/cluster/clientset"
	"github.com/self-scaling/self-scaling/schemas"
)

// Options say who contends for which lease. Namespace, Name and Identity must be given.
type Options struct {
	Namespace, Name string
	// Identity names this process among those that contend, as a pod's name does.
	Identity string
	// Duration is how long a lease holds that is not renewed, Renew how long its holder
	// tries to renew it before it stops working, and Retry the time between two tries.
	// 0 means 15 s, 10 s and 2 s.
	Duration, Renew, Retry time.Duration
	Log                    *slog.Logger // none where nil
}

// Elector contends for a lease.
type Elector struct {
	client  kubernetes.Interface
	opts    Options
	leading atomic.Bool
}

// New returns an elector with a connection of its own: renewing a lease must not wait
// behind other requests.
func New(config *rest.Config, o Options) (*Elector, error) {
	if o.Namespace == "" || o.Name == "" || o.Identity == "" {
		return nil, schemas.Errorf(schemas.CodeInvalidConfig, "lease: a namespace, a name and an identity must be given")
	}
	setDefault(&o.Duration, 15*time.Second)
	setDefault(&o.Renew, 10*time.Second)
	setDefault(&o.Retry, 2*time.Second)
	if o.Renew >= o.Duration || o.Retry*2 > o.Renew {
		return nil, schemas.Errorf(schemas.CodeInvalidConfig, "lease: renewing must be tried for less than the %s that it holds and at least twice, but is for %s, each %s", o.Duration, o.Renew, o.Retry)
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	config = rest.CopyConfig(config)
	config.Timeout = o.Renew
	client, err := cluster.NewClient(config)
	if err != nil {
		return nil, err
	}
	all, err := clientset.For(client)
	if err != nil {
		return nil, err
	}
	return &Elector{client: all, opts: o}, nil
}

func setDefault(field *time.Duration, value time.Duration) {
	if *field == 0 {
		*field = value
	}
}

// Leading reports whether this process holds the lease.
func (e *Elector) Leading() bool { return e.leading.Load() }

// Run calls work whenever this process holds the lease, until ctx ends. Work has to
// return soon after its context ends, which is when ctx ends or the lease is lost. In the
// first case the lease is given back after that, so that another process goes on at
// once. In the second, Run contends again; but where work does not return before others
// may take the lease, it returns an error, and the process should end.
func (e *Elector) Run(ctx context.Context, work func(context.Context)) error {
	for ctx.Err() == nil {
		if err := e.term(ctx, work); err != nil {
			return err
		}
	}
	return nil
}

// term contends for the lease and holds it until ctx ends or it is lost.
func (e *Elector) term(ctx context.Context, work func(context.Context)) error {
	o := e.opts
	// The election outlives ctx for as long as work takes to let go.
	electing, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	begun, ended := make(chan struct{}), make(chan struct{})
	elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock: &resourcelock.LeaseLock{
			LeaseMeta:  metav1.ObjectMeta{Namespace: o.Namespace, Name: o.Name},
			Client:     e.client.CoordinationV1(),
			LockConfig: resourcelock.ResourceLockConfig{Identity: o.Identity},
		},
		LeaseDuration: o.Duration, RenewDeadline: o.Renew, RetryPeriod: o.Retry, Name: o.Name,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(held context.Context) {
				close(begun)
				defer close(ended)
				e.leading.Store(true)
				o.Log.Info("leading", "lease", o.Name, "identity", o.Identity)
				working, cancel := context.WithCancel(held)
				defer cancel()
				defer context.AfterFunc(ctx, cancel)()
				work(working)
			},
			OnStoppedLeading: func() {},
			OnNewLeader: func(identity string) {
				if identity != o.Identity {
					o.Log.Info("another leads", "lease", o.Name, "leader", identity)
				}
			},
		},
	})
	if err != nil {
		return schemas.WithCode(schemas.CodeInvalidConfig, err)
	}
	over := make(chan struct{})
	go func() {
		defer close(over)
		elector.Run(electing)
	}()
	defer e.leading.Store(false)
	select {
	case <-ctx.Done():
	case <-over: // the lease is lost
		o.Log.Warn("lease lost", "lease", o.Name)
		return e.await(begun, ended, o.Duration-o.Renew)
	}
	err = e.await(begun, ended, o.Duration)
	stop()
	<-over
	if err == nil {
		e.giveBack(context.WithoutCancel(ctx))
	}
	return err
}

// giveBack ends the lease, so that others need not wait for it to run out. The library
// could do so too, but gives up where a renewal that it has cut short was done after all.
func (e *Elector) giveBack(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, e.opts.Renew)
	defer cancel()
	leases := e.client.CoordinationV1().Leases(e.opts.Namespace)
	err := retry.RetryOnConflict(retry.DefaultRetry, func() error {
		lease, err := leases.Get(ctx, e.opts.Name, metav1.GetOptions{})
		if err != nil || ptr.Deref(lease.Spec.HolderIdentity, "") != e.opts.Identity {
			return err
		}
		lease.Spec.HolderIdentity, lease.Spec.LeaseDurationSeconds = ptr.To(""), ptr.To[int32](1)
		_, err = leases.Update(ctx, lease, metav1.UpdateOptions{})
		return err
	})
	if err != nil && !apierrors.IsNotFound(err) {
		e.opts.Log.Warn("lease was not given back; it runs out", "lease", e.opts.Name, "error", err)
	}
}

// await waits until work has returned, where it was begun.
func (e *Elector) await(begun, ended <-chan struct{}, patience time.Duration) error {
	select {
	case <-begun:
	default:
		return nil
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-ended:
		return nil
	case <-timer.C:
		return schemas.Errorf(schemas.CodeInternal, "lease %s: work must end within %s after the lease does, but goes on", e.opts.Name, patience)
	}
}
