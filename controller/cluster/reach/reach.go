// Package reach finds the API of an installation in a cluster and leads requests to it
// through the API server, as kubectl port-forward does: whoever may forward ports in
// the installation's namespace needs neither an Ingress nor a port of their own.
//
// The API asks the cluster who a caller is. A request therefore carries what the
// cluster knows the user by: the token of the kubeconfig ([Bearer]), or one that is
// made for a service account ([AccountToken]). A service proxy would not do: the API
// server takes the header Authorization for itself.
package reach

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/kubernetes"

	"github.com/self-scaling/self-scaling/controller/cluster"
	"github.com/self-scaling/self-scaling/schemas"
)

// selector selects the Services in front of an API: that of a program of its own, or of
// the one program that does everything.
const selector = "app.kubernetes.io/part-of=self-scaling,app.kubernetes.io/component in (api,standalone)"

// portName is the name of the API's port in its Service.
const portName = "http"

// Target is one installation's API.
type Target struct {
	Namespace, Service string

	client   kubernetes.Interface
	selector labels.Selector
	port     corev1.ServicePort
}

// String returns the namespace and the name of the Service.
func (t *Target) String() string { return t.Namespace + "/" + t.Service }

// Find returns the one API in a namespace, or in the cluster where namespace is "". It
// returns schemas.CodeNotFound where there is none, and schemas.CodeInvalidConfig where
// there are several, or they may not be looked for.
func Find(ctx context.Context, client kubernetes.Interface, namespace string) (*Target, error) {
	list, err := client.CoreV1().Services(namespace).List(ctx, metav1.ListOptions{LabelSelector: selector})
	switch {
	case apierrors.IsForbidden(err) && namespace == "":
		return nil, schemas.Errorf(schemas.CodeInvalidConfig, "the installation cannot be looked for in all namespaces; name the one that it is in: %w", err)
	case err != nil:
		return nil, cluster.Error("find the API", err)
	}
	var found []*Target
	for i := range list.Items {
		s := &list.Items[i]
		for _, p := range s.Spec.Ports {
			if p.Name == portName && len(s.Spec.Selector) > 0 {
				found = append(found, &Target{s.Namespace, s.Name, client, labels.SelectorFromSet(s.Spec.Selector), p})
			}
		}
	}
	where := "in namespace " + namespace
	if namespace == "" {
		where = "in the cluster"
	}
	switch len(found) {
	case 0:
		return nil, schemas.Errorf(schemas.CodeNotFound, "there is no API of self-scaling %s; the chart brings it unless api.enabled is false", where)
	case 1:
		return found[0], nil
	}
	names := make([]string, len(found))
	for i, t := range found {
		names[i] = t.String()
	}
	slices.Sort(names)
	return nil, schemas.Errorf(schemas.CodeInvalidConfig, "there are %d APIs of self-scaling %s: %s; name the namespace of one", len(found), where, strings.Join(names, ", "))
}

// Pod returns a Ready pod behind the Service, and the port that it listens on. It
// returns schemas.CodeUnavailable where there is none.
func (t *Target) Pod(ctx context.Context) (name string, port int, err error) {
	list, err := t.client.CoreV1().Pods(t.Namespace).List(ctx, metav1.ListOptions{LabelSelector: t.selector.String()})
	if err != nil {
		return "", 0, cluster.Error("find a pod of "+t.String(), err)
	}
	for i := range list.Items {
		p := &list.Items[i]
		if p.DeletionTimestamp != nil || !ready(p) {
			continue
		}
		if port, err = targetPort(p, t.port); err == nil {
			return p.Name, port, nil
		}
	}
	if err == nil {
		err = fmt.Errorf("none of its %d pods is Ready", len(list.Items))
	}
	return "", 0, schemas.Errorf(schemas.CodeUnavailable, "service %s: %w", t, err)
}

func ready(p *corev1.Pod) bool {
	return slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

// targetPort returns the port of a pod that a Service's port leads to.
func targetPort(p *corev1.Pod, s corev1.ServicePort) (int, error) {
	if n := s.TargetPort.IntValue(); n > 0 {
		return n, nil
	}
	if s.TargetPort.StrVal == "" {
		return int(s.Port), nil
	}
	for _, c := range p.Spec.Containers {
		for _, port := range c.Ports {
			if port.Name == s.TargetPort.StrVal {
				return int(port.ContainerPort), nil
			}
		}
	}
	return 0, fmt.Errorf("pod %s has no port %s", p.Name, strconv.Quote(s.TargetPort.StrVal))
}
