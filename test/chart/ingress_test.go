package chart_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/utils/ptr"
)

// The way in from outside leads to a port that the Service has.
func TestTheIngressLeadsToTheInterface(t *testing.T) {
	for _, tt := range []struct {
		name, values, server string
		want                 networkingv1.IngressSpec // without its backends
		annotations          map[string]string
	}{
		{"as little as there must be", `{ingress: {enabled: true, hosts: [a.example]}}`, "self-scaling-api",
			networkingv1.IngressSpec{Rules: []networkingv1.IngressRule{{Host: "a.example"}}}, nil},
		{"all that can be said", `{ingress: {enabled: true, className: nginx, annotations: {a.example/b: c}, hosts: [a.example, "*.b.example"], tls: [{secretName: s, hosts: [a.example]}]}}`, "self-scaling-api",
			networkingv1.IngressSpec{
				IngressClassName: ptr.To("nginx"), TLS: []networkingv1.IngressTLS{{SecretName: "s", Hosts: []string{"a.example"}}},
				Rules: []networkingv1.IngressRule{{Host: "a.example"}, {Host: "*.b.example"}},
			}, map[string]string{"a.example/b": "c"}},
		{"a standalone pod's", `{mode: standalone, ingress: {enabled: true, hosts: [a.example]}}`, "self-scaling-standalone",
			networkingv1.IngressSpec{Rules: []networkingv1.IngressRule{{Host: "a.example"}}}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			objects := mustRender(t, tt.values)
			ingress := decode[networkingv1.Ingress](t, find(t, objects, "Ingress", tt.server))
			service := decode[corev1.Service](t, find(t, objects, "Service", tt.server))
			for i := range ingress.Spec.Rules {
				r := &ingress.Spec.Rules[i]
				if r.HTTP == nil || len(r.HTTP.Paths) != 1 {
					t.Fatalf("host %s has no path, or many", r.Host)
				}
				p := r.HTTP.Paths[0]
				if p.Path != "/" || *p.PathType != networkingv1.PathTypePrefix || p.Backend.Service.Name != service.Name {
					t.Errorf("host %s leads from %s to %+v, want all of it to go to %s", r.Host, p.Path, p.Backend.Service, service.Name)
				}
				if name := p.Backend.Service.Port.Name; name != "http" || !slices.ContainsFunc(service.Spec.Ports, func(p corev1.ServicePort) bool { return p.Name == name }) {
					t.Errorf("host %s leads to port %q, which the Service does not have", r.Host, name)
				}
				r.HTTP = nil
			}
			for i := range ingress.Spec.Rules {
				ingress.Spec.Rules[i].IngressRuleValue = networkingv1.IngressRuleValue{}
			}
			if diff := cmp.Diff(tt.want, ingress.Spec); diff != "" {
				t.Errorf("Ingress (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.annotations, ingress.Annotations); diff != "" {
				t.Errorf("annotations (-want +got):\n%s", diff)
			}
		})
	}
	for _, o := range mustRender(t, ``) {
		if o.GetKind() == "Ingress" {
			t.Errorf("%s is there though nobody has asked for it", id(o))
		}
	}
}

// Whoever starts runs, and their steps, send their traces to one place.
func TestEveryProgramSendsItsTraces(t *testing.T) {
	const endpoint = "http://otel.observability:4318"
	variable := func(env []corev1.EnvVar) string {
		for _, v := range env {
			if v.Name == "OTEL_EXPORTER_OTLP_ENDPOINT" {
				return v.Value
			}
		}
		return ""
	}
	for _, mode := range []string{`mode: cluster`, `mode: cluster, engine: jobs`, `mode: standalone`} {
		for _, want := range []string{"", endpoint} {
			n := 0
			for _, o := range mustRender(t, `{`+mode+`, tracing: {endpoint: "`+want+`"}}`) {
				if o.GetKind() == "ConfigMap" {
					if i := installed(t, o); i != nil && i.Engine == "jobs" {
						n++
						if got := variable(i.Env); got != want {
							t.Errorf("%s: steps of Jobs send traces to %q, want %q", mode, got, want)
						}
					}
				}
				if k := o.GetKind(); k != "Deployment" && k != "StatefulSet" && k != "WorkflowTemplate" {
					continue
				}
				for name, pod := range pods(t, o) {
					for _, c := range pod.Spec.Containers {
						if len(c.Command) == 0 {
							continue // Argo's own
						}
						n++
						if got := variable(c.Env); got != want {
							t.Errorf("%s: %s of %s sends traces to %q, want %q", mode, name, id(o), got, want)
						}
					}
				}
			}
			if n == 0 {
				t.Errorf("%s: nothing was looked at", mode)
			}
		}
	}
}
