// Package engine makes what runs the pipelines of an installation: Argo Workflows, or
// plain Jobs.
package engine

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/self-scaling/self-scaling/controller/cluster"
	"github.com/self-scaling/self-scaling/controller/cluster/clientset"
	"github.com/self-scaling/self-scaling/controller/installation"
	"github.com/self-scaling/self-scaling/jobs/datasets"
	"github.com/self-scaling/self-scaling/workflows"
	"github.com/self-scaling/self-scaling/workflows/argo"
	"github.com/self-scaling/self-scaling/workflows/artifact"
	"github.com/self-scaling/self-scaling/workflows/batch"
	"github.com/self-scaling/self-scaling/workflows/record"
)

// Options say which installation is meant.
type Options struct {
	Client       *cluster.Client
	Namespace    string
	Installation *installation.Installation
	StoreURL     string
	Store        func(context.Context) (*artifact.Store, error)
	Version      string
	Log          *slog.Logger
}

// Engine runs pipelines.
type Engine struct {
	Submitter workflows.Submitter
	batch     *batch.Submitter
	opts      Options
}

// New returns the engine that the installation names.
func New(o Options) (*Engine, error) {
	e := &Engine{opts: o}
	i := o.Installation
	if i.Engine == installation.Argo {
		s, err := argo.New(argo.Config{Client: o.Client.Dynamic, Namespace: o.Namespace, Name: i.Name, Pipelines: workflows.Pipelines(), Logger: o.Log})
		e.Submitter = s
		return e, err
	}
	all, err := clientset.For(o.Client)
	if err != nil {
		return nil, err
	}
	jobs := map[string]batch.Job{}
	for name, j := range i.Jobs {
		jobs[name] = batch.Job{
			Image: j.Image, ImagePullPolicy: j.ImagePullPolicy, ServiceAccount: j.ServiceAccount,
			Resources: j.Resources, Args: j.Args, Timeout: time.Duration(j.Timeout),
		}
	}
	s, err := batch.New(batch.Config{
		Client: all, Namespace: o.Namespace, Name: i.Name, Labels: i.Labels, Pipelines: workflows.Pipelines(), Jobs: jobs,
		Store: storeOfSteps(i, o.StoreURL), Env: i.Env, EnvFrom: i.EnvFrom,
		Shards: func(ctx context.Context, runID, _ string) ([]string, error) {
			store, err := o.Store(ctx)
			if err != nil {
				return nil, err
			}
			return datasets.Shards(ctx, store, runID)
		},
		Record: func(ctx context.Context, r workflows.Run) error {
			store, err := o.Store(ctx)
			if err != nil {
				return err
			}
			return record.Write(ctx, store, o.Version, r)
		},
		Volumes: i.Volumes, VolumeMounts: i.VolumeMounts, ImagePullSecrets: i.ImagePullSecrets,
		NodeSelector: i.NodeSelector, Tolerations: i.Tolerations, Parallelism: i.Parallelism, Logger: o.Log,
	})
	e.Submitter, e.batch = s, s
	return e, err
}

// storeVariable is where steps find the store's URL, which may be kept in a Secret.
const storeVariable = "STORE_URL"

// storeOfSteps returns the URL of the store as steps are told it: by the variable that
// Kubernetes puts into arguments, where they have one, so that no Job repeats a Secret.
func storeOfSteps(i *installation.Installation, url string) string {
	if slices.ContainsFunc(i.Env, func(v corev1.EnvVar) bool { return v.Name == storeVariable }) {
		return "$(" + storeVariable + ")"
	}
	return url
}

// Run keeps runs going until ctx ends: those of plain Jobs, which nobody else does.
func (e *Engine) Run(ctx context.Context) {
	for e.batch != nil && ctx.Err() == nil {
		if err := e.batch.Run(ctx); err != nil && ctx.Err() == nil {
			e.opts.Log.Error("runs stand still", "error", err)
			select {
			case <-ctx.Done():
			case <-time.After(10 * time.Second):
			}
		}
	}
	<-ctx.Done()
}

var cronWorkflows = schema.GroupVersionResource{Group: "argoproj.io", Version: "v1alpha1", Resource: "cronworkflows"}

// Suspended names the pipelines whose CronWorkflow somebody has suspended.
func (e *Engine) Suspended(ctx context.Context) (map[string]bool, error) {
	out := map[string]bool{}
	if e.batch != nil {
		return out, nil
	}
	list, err := e.opts.Client.Dynamic.Resource(cronWorkflows).Namespace(e.opts.Namespace).List(ctx, metav1.ListOptions{
		LabelSelector: "app.kubernetes.io/instance=" + e.opts.Installation.Name,
	})
	if apierrors.IsNotFound(err) {
		return out, nil
	}
	if err != nil {
		return nil, cluster.Error("list CronWorkflows", err)
	}
	for i := range list.Items {
		c := &list.Items[i]
		suspended, _, _ := unstructured.NestedBool(c.Object, "spec", "suspend")
		out[strings.TrimPrefix(c.GetName(), e.opts.Installation.Name+"-")] = suspended
	}
	return out, nil
}
