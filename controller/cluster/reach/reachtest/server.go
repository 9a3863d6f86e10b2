// Package reachtest is the part of an API server that leads to an installation: it
// lists one API's Service and pod, and forwards the pod's port to a server of this
// process, as a kubelet does.
package reachtest

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/httpstream"
	"k8s.io/apimachinery/pkg/util/httpstream/spdy"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// Namespace is where the installation is.
const Namespace = "release"

// Server is the API server.
type Server struct {
	// Token is what callers must have, where it is set.
	Token string
	URL   string
	Port  int // of the pod

	forwards atomic.Int32
	mu       sync.Mutex
	tunnels  []httpstream.Connection
}

// New starts an API server, which ends with the test, in front of an API.
func New(t testing.TB, behind *httptest.Server) *Server {
	k := &Server{Port: behind.Listener.Addr().(*net.TCPAddr).Port}
	web := httptest.NewTLSServer(k) // without TLS a kubeconfig gives no token away
	t.Cleanup(func() { k.Drop(); web.Close() })
	k.URL = web.URL
	return k
}

// Kubeconfig returns a file that leads to the server, for a user with a token or, where
// it is "", without.
func (k *Server) Kubeconfig(token string) string {
	return fmt.Sprintf(`apiVersion: v1
kind: Config
current-context: test
contexts: [{name: test, context: {cluster: test, user: test}}]
clusters: [{name: test, cluster: {server: %q, insecure-skip-tls-verify: true}}]
users: [{name: test, user: {token: %q}}]
`, k.URL, token)
}

// Forwards returns how often a port was asked for.
func (k *Server) Forwards() int { return int(k.forwards.Load()) }

func (k *Server) labels() map[string]string {
	return map[string]string{"app.kubernetes.io/part-of": "self-scaling", "app.kubernetes.io/component": "api"}
}

func (k *Server) service() *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: Namespace, Name: "self-scaling-api", Labels: k.labels()},
		Spec:       corev1.ServiceSpec{Selector: k.labels(), Ports: []corev1.ServicePort{{Name: "http", Port: 80, TargetPort: intstr.FromString("http")}}},
	}
}

func (k *Server) pod() *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: Namespace, Name: "up", Labels: k.labels()},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "api", Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: int32(k.Port)}}}}},
		Status:     corev1.PodStatus{Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}},
	}
}

func (k *Server) list(w http.ResponseWriter, kind string, list runtime.Object) {
	list.GetObjectKind().SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind(kind + "List"))
	_ = json.NewEncoder(w).Encode(list)
}

// ServeHTTP implements [http.Handler].
func (k *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	switch path := r.URL.Path; {
	case k.Token != "" && r.Header.Get("Authorization") != "Bearer "+k.Token:
		k.refuse(w)
	case path == "/api/v1/services" || path == "/api/v1/namespaces/"+Namespace+"/services":
		k.list(w, "Service", &corev1.ServiceList{Items: []corev1.Service{*k.service()}})
	case path == "/api/v1/namespaces/"+Namespace+"/pods":
		k.list(w, "Pod", &corev1.PodList{Items: []corev1.Pod{*k.pod()}})
	case path == "/api/v1/namespaces/"+Namespace+"/serviceaccounts/people/token":
		fmt.Fprint(w, `{"kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1", "status": {"token": "of-the-account"}}`)
	case path == "/api/v1/namespaces/"+Namespace+"/pods/up/portforward":
		w.Header().Del("Content-Type")
		k.forward(w, r)
	default:
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprint(w, `{"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404}`)
	}
}

func (k *Server) refuse(w http.ResponseWriter) {
	w.WriteHeader(http.StatusForbidden)
	fmt.Fprint(w, `{"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Forbidden", "code": 403, "message": "pods is forbidden: cannot create resource pods/portforward"}`)
}

func (k *Server) forward(w http.ResponseWriter, r *http.Request) {
	k.forwards.Add(1)
	if _, err := httpstream.Handshake(r, w, []string{"portforward.k8s.io"}); err != nil {
		return
	}
	streams := make(chan httpstream.Stream, 16)
	tunnel := spdy.NewResponseUpgrader().UpgradeResponse(w, r, func(s httpstream.Stream, reply <-chan struct{}) error {
		streams <- s
		return nil
	})
	if tunnel == nil {
		return
	}
	defer tunnel.Close()
	k.mu.Lock()
	k.tunnels = append(k.tunnels, tunnel)
	k.mu.Unlock()
	failures := map[string]httpstream.Stream{}
	for {
		select {
		case <-tunnel.CloseChan():
			return
		case s := <-streams:
			id := s.Headers().Get(corev1.PortForwardRequestIDHeader)
			if s.Headers().Get(corev1.StreamType) == corev1.StreamTypeError {
				failures[id] = s
				continue
			}
			go join(s, failures[id])
		}
	}
}

func join(data, failures httpstream.Stream) {
	defer data.Close()
	defer failures.Close()
	conn, err := net.Dial("tcp", "127.0.0.1:"+data.Headers().Get(corev1.PortHeader))
	if err != nil {
		fmt.Fprint(failures, "nothing listens in the pod")
		return
	}
	defer conn.Close()
	go func() { _, _ = io.Copy(conn, data); conn.Close() }()
	_, _ = io.Copy(data, conn)
}

// Drop breaks all tunnels, as where the pod has gone.
func (k *Server) Drop() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, c := range k.tunnels {
		c.Close()
	}
	k.tunnels = nil
}
