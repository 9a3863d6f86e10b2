// Package cluster shows a Kubernetes cluster as self-scaling sees it: which
// components there are ([Client.Components]), who scales them
// ([Client.Autoscalers]) and what their operators want ([Policies],
// [TrainValues]). Package bind below it writes floors, and packages usage and
// prometheus measure.
//
// Nothing here keeps state or a watch open: every call reads the API server
// page by page ([PageSize] objects at a time, from its watch cache), so that a
// step of a workflow and a long-running controller can use it alike. Package
// watch keeps a copy of what a controller looks at again and again.
// Requests are limited to [QPS] a second in all, with bursts of [Burst].
package cluster

import (
	"context"
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/util/flowcontrol"

	"github.com/self-scaling/self-scaling/schemas"
)

// The load that a client puts on an API server.
const (
	QPS      = 50
	Burst    = 100
	PageSize = 500
)

// FieldManager is the name under which everything is written.
const FieldManager = "self-scaling"

// Client speaks to one cluster. Its parts share one connection pool and one
// limit. It knows the types of what is listed by the thousand ([Client.List])
// and takes all else as it comes; package clientset has the types of everything,
// which make a program larger by a multiple.
type Client struct {
	Metadata metadata.Interface
	Dynamic  dynamic.Interface

	config *rest.Config
	web    *http.Client
	typed  rest.Interface
}

// Config returns the configuration and the client that carries requests, for
// clients of other kinds.
func (c *Client) Config() (*rest.Config, *http.Client) { return rest.CopyConfig(c.config), c.web }

// LoadConfig returns the configuration of the cluster that $KUBECONFIG or
// ~/.kube/config names or, where there is neither, of the cluster that this
// process runs in. It makes no request.
func LoadConfig() (*rest.Config, error) {
	config, _, err := Config("", "")
	return config, err
}

// Config returns the configuration of a cluster as kubectl finds it, and the
// namespace that goes with it: that of a kubeconfig file and of one of its contexts,
// or what [LoadConfig] says where they are empty. It makes no request.
func Config(kubeconfig, context string) (config *rest.Config, namespace string, err error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = kubeconfig
	loader := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{CurrentContext: context})
	config, err = loader.ClientConfig()
	switch {
	case clientcmd.IsEmptyConfig(err):
		return nil, "", schemas.Errorf(schemas.CodeInvalidConfig, "no cluster: this process runs in none, and neither $KUBECONFIG nor ~/.kube/config names one")
	case err != nil:
		return nil, "", schemas.Errorf(schemas.CodeInvalidConfig, "no cluster: %w", err)
	}
	namespace, _, err = loader.Namespace()
	if err != nil {
		return nil, "", schemas.Errorf(schemas.CodeInvalidConfig, "no cluster: %w", err)
	}
	return config, namespace, nil
}

// NewClient returns a client for the cluster of a configuration, whose QPS and
// Burst are used where they are set. It makes no request.
func NewClient(config *rest.Config) (*Client, error) {
	config = rest.CopyConfig(config)
	if config.RateLimiter == nil {
		if config.QPS == 0 {
			config.QPS, config.Burst = QPS, Burst
		}
		if config.QPS > 0 {
			config.RateLimiter = flowcontrol.NewTokenBucketRateLimiter(config.QPS, max(1, config.Burst))
		}
	}
	if config.UserAgent == "" {
		config.UserAgent = FieldManager
	}
	web, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, schemas.Errorf(schemas.CodeInvalidConfig, "cluster %s: %w", config.Host, err)
	}
	return newClient(config, web)
}

func newClient(config *rest.Config, web *http.Client) (c *Client, err error) {
	c = &Client{config: config, web: web}
	if c.typed, err = newTyped(config, web); err == nil {
		if c.Metadata, err = metadata.NewForConfigAndClient(config, web); err == nil {
			c.Dynamic, err = dynamic.NewForConfigAndClient(config, web)
		}
	}
	if err != nil {
		return nil, schemas.Errorf(schemas.CodeInvalidConfig, "cluster %s: %w", config.Host, err)
	}
	return c, nil
}

// Error gives an API server's answer the code that says what to do about it,
// and names what was being done.
func Error(doing string, err error) error {
	code := schemas.CodeUnavailable
	switch {
	case err == nil:
		return nil
	case apierrors.IsNotFound(err):
		code = schemas.CodeNotFound
	case apierrors.IsConflict(err), apierrors.IsAlreadyExists(err):
		code = schemas.CodeConflict
	case apierrors.IsForbidden(err), apierrors.IsUnauthorized(err), apierrors.IsInvalid(err), apierrors.IsBadRequest(err):
		code = schemas.CodeInvalidConfig
	}
	return schemas.Errorf(code, "%s: %w", doing, err)
}

// IsForbidden reports whether an API server refused to do what was asked: a right
// lacks, or a rule of the cluster is against it.
func IsForbidden(err error) bool { return apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err) }

// pages calls list with the options of each page, in order, until it returns an
// empty continuation. A list that took so long that its continuation expired is
// read again from the start once, after restart was called.
func pages(ctx context.Context, what string, restart func(), list func(context.Context, metav1.ListOptions) (string, error)) error {
	// ResourceVersion 0 would be served from the watch cache, but some servers
	// then ignore the limit and answer in one piece; paged lists are consistent
	// reads, which servers from 1.34 on serve from the cache too.
	opts := metav1.ListOptions{Limit: PageSize}
	for expired := false; ; {
		token, err := list(ctx, opts)
		switch {
		case apierrors.IsResourceExpired(err) && !expired && opts.Continue != "":
			expired, opts.Continue = true, ""
			restart()
			continue
		case err != nil:
			return Error("list "+what, err)
		case token == "":
			return nil
		}
		opts.Continue = token
	}
}
