package connect_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/self-scaling/self-scaling/cmd/selfscale/internal/cli"
	"github.com/self-scaling/self-scaling/cmd/selfscale/internal/connect"
	"github.com/self-scaling/self-scaling/controller/cluster/reach/reachtest"
	"github.com/self-scaling/self-scaling/schemas"
)

// An API that knows people by some tokens is reached through a cluster's API server.
func TestThroughACluster(t *testing.T) {
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
		if r.URL.Path != "/v1/status" || token == "" || token == "nobody" {
			w.WriteHeader(http.StatusUnauthorized)
			fmt.Fprint(w, `{"title": "Unauthorized", "status": 401, "detail": "a bearer token must be given"}`)
			return
		}
		fmt.Fprintf(w, `{"user": %q}`, token)
	}))
	defer api.Close()
	server := reachtest.New(t, api)
	for _, tt := range []struct {
		name      string
		own       string // the kubeconfig's token
		options   cli.ServerOptions
		want      string // who the API was asked by, or a part of the error
		forbidden bool
	}{
		{"with the kubeconfig's own token", "mine", cli.ServerOptions{}, "mine", false},
		{"with a token that is given", "mine", cli.ServerOptions{Token: "given"}, "given", false},
		{"with a token of a service account", "", cli.ServerOptions{Account: "release/people"}, "of-the-account", false},
		{"in its namespace", "mine", cli.ServerOptions{Cluster: cli.ClusterOptions{Namespace: "release"}}, "mine", false},
		{"with a certificate alone", "", cli.ServerOptions{}, "name a service account whose rights you may use with --account", true},
		{"with an account that is not there", "", cli.ServerOptions{Account: "release/nobody"}, "make a token for service account release/nobody", true},
		{"in another namespace", "mine", cli.ServerOptions{Cluster: cli.ClusterOptions{Namespace: "other"}}, "find the API", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := tt.options
			o.Cluster.Kubeconfig = filepath.Join(t.TempDir(), "config")
			if err := os.WriteFile(o.Cluster.Kubeconfig, []byte(server.Kubeconfig(tt.own)), 0o600); err != nil {
				t.Fatal(err)
			}
			c, err := connect.Open(t.Context(), o)
			if tt.forbidden {
				if err == nil || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("error %v, want %q", err, tt.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			status, err := c.Status(t.Context())
			if err != nil || status.User != tt.want {
				t.Errorf("asked by %v (%v), want %s", status, err, tt.want)
			}
		})
	}
}

func TestAKubeconfigThatIsNotThere(t *testing.T) {
	_, err := connect.Open(t.Context(), cli.ServerOptions{Cluster: cli.ClusterOptions{Kubeconfig: filepath.Join(t.TempDir(), "nosuch")}})
	if schemas.CodeOf(err) != schemas.CodeInvalidConfig {
		t.Errorf("error %v, want %s", err, schemas.CodeInvalidConfig)
	}
}
