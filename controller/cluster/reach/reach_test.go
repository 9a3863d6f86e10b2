package reach_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/rest"
	ktesting "k8s.io/client-go/testing"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/self-scaling/self-scaling/controller/cluster/reach"
	"github.com/self-scaling/self-scaling/controller/cluster/reach/reachtest"
	"github.com/self-scaling/self-scaling/schemas"
)

// service is a Service as the chart makes it for a program.
func service(namespace, program string) *corev1.Service {
	labels := map[string]string{"app.kubernetes.io/part-of": "self-scaling", "app.kubernetes.io/component": program}
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "self-scaling-" + program, Labels: labels},
		Spec: corev1.ServiceSpec{Selector: labels, Ports: []corev1.ServicePort{
			{Name: "http", Port: 80, TargetPort: intstr.FromString("http")},
			{Name: "metrics", Port: 9090, TargetPort: intstr.FromString("metrics")},
		}},
	}
}

// pod is a pod of a program that listens on a port.
func pod(namespace, program, name string, port int, ready bool) *corev1.Pod {
	status := corev1.ConditionFalse
	if ready {
		status = corev1.ConditionTrue
	}
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: service(namespace, program).Labels},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: program, Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: int32(port)}}}}},
		Status:     corev1.PodStatus{Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: status}}},
	}
}

func TestFind(t *testing.T) {
	without := service("c", "api")
	without.Spec.Ports = without.Spec.Ports[1:]
	for _, tt := range []struct {
		name      string
		objects   []runtime.Object
		namespace string
		want      string // the Service, or the error
		code      schemas.Code
	}{
		{"the API of a cluster", []runtime.Object{service("a", "api"), service("a", "controller")}, "", "a/self-scaling-api", ""},
		{"one program for everything", []runtime.Object{service("a", "standalone")}, "", "a/self-scaling-standalone", ""},
		{"one of two", []runtime.Object{service("a", "api"), service("b", "api")}, "b", "b/self-scaling-api", ""},
		{"which of two", []runtime.Object{service("b", "api"), service("a", "api")}, "",
			"there are 2 APIs of self-scaling in the cluster: a/self-scaling-api, b/self-scaling-api; name the namespace of one", schemas.CodeInvalidConfig},
		{"none", []runtime.Object{service("a", "controller")}, "",
			"there is no API of self-scaling in the cluster; the chart brings it unless api.enabled is false", schemas.CodeNotFound},
		{"none in the namespace", []runtime.Object{service("a", "api")}, "b",
			"there is no API of self-scaling in namespace b; the chart brings it unless api.enabled is false", schemas.CodeNotFound},
		{"a Service without the port", []runtime.Object{without}, "",
			"there is no API of self-scaling in the cluster; the chart brings it unless api.enabled is false", schemas.CodeNotFound},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := reach.Find(t.Context(), fake.NewClientset(tt.objects...), tt.namespace)
			if err != nil {
				if err.Error() != tt.want || schemas.CodeOf(err) != tt.code {
					t.Errorf("error %q (%s), want %q (%s)", err, schemas.CodeOf(err), tt.want, tt.code)
				}
			} else if got.String() != tt.want {
				t.Errorf("found %s, want %s", got, tt.want)
			}
		})
	}
}

func TestFindWithoutTheRightToLook(t *testing.T) {
	client := fake.NewClientset()
	client.PrependReactor("list", "services", func(ktesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewForbidden(schema.GroupResource{Resource: "services"}, "", nil)
	})
	_, err := reach.Find(t.Context(), client, "")
	if err == nil || !strings.Contains(err.Error(), "name the one that it is in") {
		t.Errorf("error %v, want one that says what to do", err)
	}
}

func TestOnlyReadyPodsAreAsked(t *testing.T) {
	gone := pod("a", "api", "gone", 1, true)
	gone.DeletionTimestamp, gone.Finalizers = &metav1.Time{}, []string{"x"}
	client := fake.NewClientset(service("a", "api"), pod("a", "api", "starting", 1, false), pod("a", "controller", "other", 2, true), pod("a", "api", "up", 8080, true))
	target, err := reach.Find(t.Context(), client, "a")
	if err != nil {
		t.Fatal(err)
	}
	name, port, err := target.Pod(t.Context())
	if err != nil || name != "up" || port != 8080 {
		t.Errorf("pod %s, port %d (%v), want up and 8080", name, port, err)
	}
	if err := client.CoreV1().Pods("a").Delete(t.Context(), "up", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	_, _, err = target.Pod(t.Context())
	if want := "service a/self-scaling-api: none of its 1 pods is Ready"; err == nil || err.Error() != want || schemas.CodeOf(err) != schemas.CodeUnavailable {
		t.Errorf("error %v, want %s", err, want)
	}
}

// world is a server behind a forwarded port.
func world(t *testing.T, handler http.HandlerFunc) (*reachtest.Server, *reach.Forwarder, *httptest.Server) {
	t.Helper()
	behind := httptest.NewServer(handler)
	t.Cleanup(behind.Close)
	k := reachtest.New(t, behind)
	k.Token = "of-the-kubeconfig"
	return k, forwarder(t, k, "of-the-kubeconfig"), behind
}

func forwarder(t *testing.T, k *reachtest.Server, token string) *reach.Forwarder {
	t.Helper()
	target, err := reach.Find(t.Context(), fake.NewClientset(service(reachtest.Namespace, "api"), pod(reachtest.Namespace, "api", "up", k.Port, true)), "")
	if err != nil {
		t.Fatal(err)
	}
	f := target.Forward(&rest.Config{Host: k.URL, BearerToken: token, TLSClientConfig: rest.TLSClientConfig{Insecure: true}})
	t.Cleanup(func() { f.Close() })
	return f
}

func ask(ctx context.Context, f *reach.Forwarder, path string) (string, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://self-scaling"+path, strings.NewReader("body"))
	if err != nil {
		return "", err
	}
	r.Header.Set("Authorization", "Bearer mine")
	answer, err := (&http.Client{Transport: f}).Do(r)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	return string(text), err
}

func TestForward(t *testing.T) {
	large := strings.Repeat("0123456789", 100_000)
	k, f, _ := world(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Fprint(w, r.URL.Path, " ", string(body), " ", r.Header.Get("Authorization"), large)
	})
	var wait sync.WaitGroup
	for i := range 20 {
		wait.Go(func() {
			path := fmt.Sprintf("/v1/%d", i)
			got, err := ask(t.Context(), f, path)
			if want := path + " body Bearer mine" + large; err != nil || got != want {
				t.Errorf("answer of %d bytes (%v), want %d", len(got), err, len(want))
			}
		})
	}
	wait.Wait()
	// The web socket is tried first, and this server knows none.
	if n := k.Forwards(); n != 2 {
		t.Errorf("the API server was asked %d times, want once for each way", n)
	}
	k.Drop()
	// A request that is under way when the tunnel breaks, or just before that is known,
	// may fail; later ones do not.
	for again := true; again; {
		got, err := ask(t.Context(), f, "/again")
		again = err != nil && t.Context().Err() == nil
		if !again && !strings.HasPrefix(got, "/again body") {
			t.Errorf("after the tunnel broke: %q", got[:min(len(got), 40)])
		}
	}
}

func TestForwardEndsWithItsContext(t *testing.T) {
	began := make(chan struct{}, 1)
	_, f, _ := world(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // a server looks whether the caller is there once it has all of it
		began <- struct{}{}
		<-r.Context().Done()
	})
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-began; cancel() }()
	if _, err := ask(ctx, f, "/"); err == nil || ctx.Err() == nil {
		t.Errorf("error %v, want that of the context", err)
	}
}

func TestForwardToAPodThatDoesNotListen(t *testing.T) {
	_, f, behind := world(t, func(http.ResponseWriter, *http.Request) {})
	behind.Close()
	if _, err := ask(t.Context(), f, "/"); err == nil {
		t.Error("no error, want one")
	}
}

func TestForwardWithoutTheRight(t *testing.T) {
	k, _, _ := world(t, func(http.ResponseWriter, *http.Request) {})
	_, err := ask(t.Context(), forwarder(t, k, "of-somebody-else"), "/")
	if err == nil || !strings.Contains(err.Error(), "forward to pod release/up") || !strings.Contains(err.Error(), "forbidden") {
		t.Errorf("error %v, want one that names the pod and the refusal", err)
	}
}

func TestBearer(t *testing.T) {
	for _, tt := range []struct {
		name   string
		config rest.Config
		want   string
	}{
		{"a token", rest.Config{BearerToken: "token"}, "token"},
		{"a client certificate", rest.Config{}, ""},
		{"a password", rest.Config{Username: "user", Password: "password"}, ""},
		{"a program of the provider's", rest.Config{ExecProvider: &clientcmdapi.ExecConfig{
			APIVersion: "client.authentication.k8s.io/v1", InteractiveMode: clientcmdapi.NeverExecInteractiveMode, Command: "sh",
			Args: []string{"-c", `echo '{"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": {"token": "made"}}'`},
		}}, "made"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := reach.Bearer(t.Context(), &tt.config)
			if err != nil || got != tt.want {
				t.Errorf("token %q (%v), want %q", got, err, tt.want)
			}
		})
	}
	if _, err := reach.Bearer(t.Context(), &rest.Config{ExecProvider: &clientcmdapi.ExecConfig{
		APIVersion: "client.authentication.k8s.io/v1", InteractiveMode: clientcmdapi.NeverExecInteractiveMode, Command: "false",
	}}); schemas.CodeOf(err) != schemas.CodeInvalidConfig {
		t.Errorf("error %v, want that of the program", err)
	}
}

func TestAccountToken(t *testing.T) {
	client := fake.NewClientset()
	var asked [][]string
	client.PrependReactor("create", "serviceaccounts", func(a ktesting.Action) (bool, runtime.Object, error) {
		r := a.(ktesting.CreateAction).GetObject().(*authenticationv1.TokenRequest)
		asked = append(asked, r.Spec.Audiences)
		audiences := r.Spec.Audiences
		if audiences == nil {
			audiences = []string{"https://kubernetes.default.svc"}
		}
		claims := fmt.Sprintf(`{"aud": ["%s"]}`, strings.Join(audiences, `", "`))
		r.Status.Token = "h." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".s"
		return true, r, nil
	})
	token, err := reach.AccountToken(t.Context(), client, "a", "people")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([][]string{nil, {"https://kubernetes.default.svc", "self-scaling"}}, asked); diff != "" {
		t.Errorf("audiences (-want +got):\n%s", diff)
	}
	claims, _ := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
	if !strings.Contains(string(claims), "self-scaling") {
		t.Errorf("the token is for %s, want self-scaling among them", claims)
	}
	client.PrependReactor("create", "serviceaccounts", func(ktesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewNotFound(schema.GroupResource{Resource: "serviceaccounts"}, "people")
	})
	if _, err := reach.AccountToken(t.Context(), client, "a", "people"); schemas.CodeOf(err) != schemas.CodeNotFound || !strings.Contains(err.Error(), "service account a/people") {
		t.Errorf("error %v, want one that names the account", err)
	}
}
