package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/self-scaling/self-scaling/test/programlog"
	"github.com/self-scaling/self-scaling/workflows"
)

// authorizer is an API server that has pods and nothing else, and lets everybody do what
// is not to be denied.
func authorizer(t *testing.T, denied string) {
	t.Helper()
	answer := func(w http.ResponseWriter, v any) {
		w.Header().Set("Content-Type", "application/json")
		if err := json.NewEncoder(w).Encode(v); err != nil {
			t.Error(err)
		}
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, metav1.APIVersions{TypeMeta: metav1.TypeMeta{Kind: "APIVersions"}, Versions: []string{"v1"}})
	})
	mux.HandleFunc("GET /apis", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, metav1.APIGroupList{TypeMeta: metav1.TypeMeta{Kind: "APIGroupList", APIVersion: "v1"}})
	})
	mux.HandleFunc("GET /api/v1", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, metav1.APIResourceList{TypeMeta: metav1.TypeMeta{Kind: "APIResourceList", APIVersion: "v1"}, GroupVersion: "v1", APIResources: []metav1.APIResource{{Name: "pods"}}})
	})
	mux.HandleFunc("POST /apis/authorization.k8s.io/v1/selfsubjectaccessreviews", func(w http.ResponseWriter, r *http.Request) {
		var review authorizationv1.SelfSubjectAccessReview
		body, err := io.ReadAll(r.Body)
		if err == nil { // in protobuf
			_, _, err = scheme.Codecs.UniversalDeserializer().Decode(body, nil, &review)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		review.TypeMeta = metav1.TypeMeta{Kind: "SelfSubjectAccessReview", APIVersion: "authorization.k8s.io/v1"}
		review.Status.Allowed = review.Spec.ResourceAttributes.Verb != denied
		answer(w, review)
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	config := filepath.Join(t.TempDir(), "kubeconfig")
	text := "apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts: [{name: c, context: {cluster: c}}]\nclusters: [{name: c, cluster: {server: \"" + server.URL + "\"}}]\n"
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("KUBECONFIG", config)
}

func TestCheckSaysWhatLacks(t *testing.T) {
	const pods = `=[{"apiGroups":[""],"resources":["pods"],"verbs":["get","list"]}]`
	for _, tt := range []struct {
		name   string
		denied string
		args   []string
		code   int
		want   string
	}{
		{"nothing", "", []string{"-grant", pods}, workflows.ExitOK, "controller check: all 2 rights are there\n"},
		{"a right", "list", []string{"-grant", pods}, workflows.ExitConfig, "controller check: the account may not list pods in all namespaces\n"},
		{"a right and a resource", "create", []string{"-grant", pods, "-grant", `scaling=[{"apiGroups":["argoproj.io"],"resources":["workflows"],"verbs":["create"]}]`}, workflows.ExitConfig,
			"controller check: the account may not create workflows.argoproj.io in namespace scaling; the API server has no argoproj.io/workflows\n"},
		{"what to ask", "", nil, workflows.ExitConfig, "controller check: flag -grant must be given\n"},
		{"rules", "", []string{"-grant", "scaling"}, workflows.ExitConfig, "controller check: invalid value \"scaling\" for flag -grant: grant must be a namespace"},
		{"help", "", []string{"-help"}, workflows.ExitOK, "controller check: compare rights"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			authorizer(t, tt.denied)
			var out programlog.Buffer
			if code := Main(t.Context(), append([]string{"check"}, tt.args...), &out, &out); code != tt.code || !strings.HasPrefix(out.String(), tt.want) {
				t.Errorf("exit code %d with %q, want %d with %q", code, out.String(), tt.code, tt.want)
			}
		})
	}
}
