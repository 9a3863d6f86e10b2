package scripttest

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/self-scaling/self-scaling/controller/cluster/clustertest"
)

// RunWithCluster runs all scripts, each with an API server in memory of its own
// that KUBECONFIG names. Scripts have these commands besides:
//
//	load MANAGER FILE     stores the objects of a file, as that manager of fields
//	object RESOURCE NAMESPACE/NAME   prints an object in YAML, nothing where there is none
//	writes                prints what has been written since it was last asked
//	refuse CODE           answers every request with an HTTP status; 0 ends that
//	controller NAME FILE  has a pod of the controller serve a file as its readings
func RunWithCluster(t *testing.T) {
	p := params()
	p.Setup = func(env *testscript.Env) error {
		server := clustertest.New(env.T().(testing.TB), clustertest.Kinds()...)
		env.Values[serverKey{}] = server
		file := env.WorkDir + "/kubeconfig"
		env.Setenv("KUBECONFIG", file)
		return os.WriteFile(file, []byte(server.Kubeconfig()), 0o600)
	}
	for name, c := range map[string]struct {
		args int
		run  func(*testscript.TestScript, *clustertest.Server, []string)
	}{
		"load": {2, func(ts *testscript.TestScript, s *clustertest.Server, args []string) {
			s.Load(args[0], ts.ReadFile(args[1]))
		}},
		"object": {2, func(ts *testscript.TestScript, s *clustertest.Server, args []string) {
			namespace, name, _ := strings.Cut(args[1], "/")
			fmt.Fprint(ts.Stdout(), s.YAML(args[0], namespace, name))
		}},
		"writes": {0, func(ts *testscript.TestScript, s *clustertest.Server, _ []string) {
			writes := s.Writes()
			slices.Sort(writes)
			for _, w := range writes {
				fmt.Fprintln(ts.Stdout(), w)
			}
		}},
		"refuse": {1, func(ts *testscript.TestScript, s *clustertest.Server, args []string) {
			code, err := strconv.Atoi(args[0])
			ts.Check(err)
			s.Refuse(code)
		}},
		"controller": {2, controller},
	} {
		p.Cmds[name] = func(ts *testscript.TestScript, neg bool, args []string) {
			if neg || len(args) != c.args {
				ts.Fatalf("%s takes %d arguments", name, c.args)
			}
			c.run(ts, ts.Value(serverKey{}).(*clustertest.Server), args)
		}
	}
	testscript.Run(t, p)
}

type serverKey struct{}

func controller(ts *testscript.TestScript, s *clustertest.Server, args []string) {
	readings := ts.ReadFile(args[1])
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, readings) }))
	ts.Defer(web.Close)
	ip, port, err := net.SplitHostPort(web.Listener.Addr().String())
	ts.Check(err)
	s.Load("kubectl", fmt.Sprintf(`apiVersion: v1
kind: Pod
metadata:
  name: %s
  namespace: self-scaling
  labels: {app.kubernetes.io/part-of: self-scaling, app.kubernetes.io/component: controller}
spec: {containers: [{name: controller, ports: [{name: metrics, containerPort: %s}]}]}
status: {phase: Running, podIP: %s, conditions: [{type: Ready, status: "True"}]}
`, args[0], port, ip))
}
