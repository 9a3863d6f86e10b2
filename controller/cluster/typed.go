package cluster

import (
	"context"
	"encoding/json"
	"net/http"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/rest"
	metricsv1beta1 "k8s.io/metrics/pkg/apis/metrics/v1beta1"

	"github.com/self-scaling/self-scaling/schemas"
)

// The resources that [Client.List] knows the types of.
var (
	Pods         = corev1.SchemeGroupVersion.WithResource("pods")
	Deployments  = appsv1.SchemeGroupVersion.WithResource("deployments")
	StatefulSets = appsv1.SchemeGroupVersion.WithResource("statefulsets")
	PodMetrics   = metricsv1beta1.SchemeGroupVersion.WithResource("pods")
)

// newTyped returns a client for those types. They are many, and in protobuf a
// third of what they are in JSON.
func newTyped(config *rest.Config, web *http.Client) (rest.Interface, error) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, appsv1.AddToScheme, metricsv1beta1.AddToScheme} {
		if err := add(scheme); err != nil {
			return nil, err
		}
	}
	config = rest.CopyConfig(config)
	config.AcceptContentTypes = "application/vnd.kubernetes.protobuf,application/json"
	config.ContentType = "application/vnd.kubernetes.protobuf"
	config.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	config.GroupVersion = &schema.GroupVersion{}
	return rest.UnversionedRESTClientForConfigAndClient(config, web)
}

// List fills in a list of one of the types, of one namespace or, where that is
// empty, of all. The error is the API server's.
func (c *Client) List(ctx context.Context, resource schema.GroupVersionResource, namespace string, opts metav1.ListOptions, into runtime.Object) error {
	path := []string{"/api", resource.Version}
	if resource.Group != "" {
		path = []string{"/apis", resource.Group, resource.Version}
	}
	if namespace != "" {
		path = append(path, "namespaces", namespace)
	}
	return c.typed.Get().AbsPath(append(path, resource.Resource)...).
		SpecificallyVersionedParams(&opts, metav1.ParameterCodec, schema.GroupVersion{Version: "v1"}).Do(ctx).Into(into)
}

// Resources returns what the API server has of a group version, as it is written
// in a manifest. The error is the API server's.
func (c *Client) Resources(ctx context.Context, apiVersion string) ([]metav1.APIResource, error) {
	gv, err := schema.ParseGroupVersion(apiVersion)
	if err != nil {
		return nil, schemas.Errorf(schemas.CodeInvalidConfig, "API version %q: %w", apiVersion, err)
	}
	path := []string{"/apis", gv.Group, gv.Version}
	if gv.Group == "" {
		path = []string{"/api", gv.Version}
	}
	data, err := c.typed.Get().AbsPath(path...).SetHeader("Accept", "application/json").DoRaw(ctx)
	if err != nil {
		return nil, err
	}
	var list metav1.APIResourceList
	if err := json.Unmarshal(data, &list); err != nil {
		return nil, schemas.Errorf(schemas.CodeUnavailable, "resources of %s: %w", apiVersion, err)
	}
	return list.APIResources, nil
}
