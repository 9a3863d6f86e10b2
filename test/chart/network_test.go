package chart_test

import (
	"slices"
	"testing"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// A network is what NetworkPolicies let through, as their definition says: a pod that
// is selected may do what one of the rules says, any other pod may do everything.
type network []*networkingv1.NetworkPolicy

// ports are the names of the ports that our pods listen on.
var ports = map[string]int{"http": 8080, "metrics": 9090}

func selects(t *testing.T, s *metav1.LabelSelector, l map[string]string) bool {
	t.Helper()
	selector, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		t.Fatal(err)
	}
	return selector.Matches(labels.Set(l))
}

// meets reports whether a rule's ports and peers let a pod of the release's namespace,
// or, where it is nil, anybody else, be met at a port.
func meets(t *testing.T, rulePorts []networkingv1.NetworkPolicyPort, peers []networkingv1.NetworkPolicyPeer, peer map[string]string, port int) bool {
	t.Helper()
	if len(rulePorts) > 0 && !slices.ContainsFunc(rulePorts, func(p networkingv1.NetworkPolicyPort) bool {
		return p.Port == nil || p.Port.Type == intstr.Int && p.Port.IntValue() == port || p.Port.Type == intstr.String && ports[p.Port.StrVal] == port
	}) {
		return false
	}
	return len(peers) == 0 || slices.ContainsFunc(peers, func(p networkingv1.NetworkPolicyPeer) bool {
		return peer != nil && p.PodSelector != nil && p.NamespaceSelector == nil && selects(t, p.PodSelector, peer)
	})
}

// leaves reports whether a pod may send to a port of a peer.
func (n network) leaves(t *testing.T, pod, peer map[string]string, port int) bool {
	t.Helper()
	selected, allowed := false, false
	for _, p := range n {
		if selects(t, &p.Spec.PodSelector, pod) && slices.Contains(p.Spec.PolicyTypes, networkingv1.PolicyTypeEgress) {
			selected = true
			for _, r := range p.Spec.Egress {
				allowed = allowed || meets(t, r.Ports, r.To, peer, port)
			}
		}
	}
	return !selected || allowed
}

// enters reports whether a pod may be sent to at a port by a peer.
func (n network) enters(t *testing.T, pod, peer map[string]string, port int) bool {
	t.Helper()
	selected, allowed := false, false
	for _, p := range n {
		if selects(t, &p.Spec.PodSelector, pod) && slices.Contains(p.Spec.PolicyTypes, networkingv1.PolicyTypeIngress) {
			selected = true
			for _, r := range p.Spec.Ingress {
				allowed = allowed || meets(t, r.Ports, r.From, peer, port)
			}
		}
	}
	return !selected || allowed
}

func policies(t *testing.T, objects []*unstructured.Unstructured) network {
	t.Helper()
	var n network
	for _, o := range objects {
		if o.GetKind() == "NetworkPolicy" {
			n = append(n, decode[networkingv1.NetworkPolicy](t, o))
		}
	}
	return n
}

func TestNetworkPoliciesLetThroughWhatIsNeeded(t *testing.T) {
	ours := func(component, step string) map[string]string {
		l := map[string]string{"app.kubernetes.io/part-of": "self-scaling", "app.kubernetes.io/instance": "self-scaling", "app.kubernetes.io/component": component}
		if step != "" {
			l["self-scaling.github.io/step"] = step
		}
		return l
	}
	collector, trainer, controller, api, standalone := ours("workflows", "collector"), ours("workflows", "trainer"), ours("controller", ""), ours("api", ""), ours("standalone", "")
	stranger := map[string]string{"app": "theirs"}
	const closed = `ingressFrom: [{podSelector: {matchLabels: {app: gateway}}}]`
	for _, tt := range []struct {
		name, values string
		from, to     map[string]string // nil is somebody outside
		port         int
		want         bool
	}{
		{"the collector asks the controller", ``, collector, controller, 9090, true},
		{"also where strangers may not", closed, collector, controller, 9090, true},
		{"no other step does", closed, trainer, controller, 9090, false},
		{"a stranger does not", closed, stranger, controller, 9090, false},
		{"a stranger scrapes where nobody is kept out", ``, stranger, controller, 9090, true},
		{"whom the values name reaches the API", closed, map[string]string{"app": "gateway"}, api, 8080, true},
		{"a stranger does not reach it", closed, stranger, api, 8080, false},
		{"nobody reaches a step", ``, stranger, collector, 8080, false},
		{"a step reaches the store", ``, trainer, nil, 9000, true},
		{"a step reaches the API server", ``, collector, nil, 6443, true},
		{"a step asks for names", ``, trainer, nil, 53, true},
		{"or not", `dns: false`, trainer, nil, 53, false},
		{"a step reaches nothing else", ``, trainer, nil, 25, false},
		{"the controller asks no other pod for readings", ``, controller, controller, 9090, false},
		{"the Ingress controller reaches the API, whoever else may", closed + `}, ingress: {enabled: true, hosts: [a.example], from: [{podSelector: {matchLabels: {app: nginx}}}]`, map[string]string{"app": "nginx"}, api, 8080, true},
		{"but no metrics", closed + `}, ingress: {enabled: true, hosts: [a.example], from: [{podSelector: {matchLabels: {app: nginx}}}]`, map[string]string{"app": "nginx"}, api, 9090, false},
		{"and no controller", closed + `}, ingress: {enabled: true, hosts: [a.example], from: [{podSelector: {matchLabels: {app: nginx}}}]`, map[string]string{"app": "nginx"}, controller, 8080, false},
		{"no traces are sent", ``, trainer, nil, 4318, false},
		{"unless somebody takes them", `tracingPorts: [4318]}, tracing: {endpoint: "http://otel:4318"`, trainer, nil, 4318, true},
		{"the store may be elsewhere", `storePorts: [8333]`, trainer, nil, 8333, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n := policies(t, mustRender(t, `{api: {enabled: true}, networkPolicy: {enabled: true, `+tt.values+`}}`))
			got := (tt.from == nil || n.leaves(t, tt.from, tt.to, tt.port)) && (tt.to == nil || n.enters(t, tt.to, tt.from, tt.port))
			if got != tt.want {
				t.Errorf("let through: %v, want %v", got, tt.want)
			}
		})
	}
	t.Run("standalone reaches no store, but Prometheus", func(t *testing.T) {
		n := policies(t, mustRender(t, `{mode: standalone, prometheus: {url: "http://p:9091"}, networkPolicy: {enabled: true, prometheusPorts: [9091]}}`))
		if n.leaves(t, standalone, nil, 9000) || !n.leaves(t, standalone, nil, 9091) || !n.enters(t, standalone, stranger, 8080) {
			t.Error("it reaches the store, or not Prometheus, or is not reached itself")
		}
	})
}
