//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
)

// A workload is a component of the service shop that runs the test's load.
type workload struct {
	name   string
	kind   string // "": Deployment
	load   string // flags of the program
	policy string // settings of the component in YAML flow style, "": none
	cpu    string // request of a pod, "": none
	memory string // request of a pod, "": none
	hpas   int    // HorizontalPodAutoscalers of the user
}

// A pod of a workload asks for this much of the processor, and its autoscaler wants
// this share of it used. It is little, so that the pods of all tests that run at once
// fit on a node of two processors.
const (
	requestCores = .025
	utilization  = 60
)

// manifest is what a user has in a repository: the workload, a name for its Ready
// pods, and the autoscalers.
func (w workload) manifest() string {
	kind := w.kind
	extra := ""
	if kind == "" {
		kind = "Deployment"
	}
	if kind == "StatefulSet" {
		extra = "serviceName: " + w.name
	}
	var requests []string
	if w.cpu != "" {
		requests = append(requests, "cpu: "+w.cpu)
	}
	if w.memory != "" {
		requests = append(requests, "memory: "+w.memory)
	}
	text := strings.NewReplacer("NAME", w.name, "KIND", kind, "EXTRA", extra, "IMAGE", image("load"),
		"LOAD", strings.Join(strings.Fields(w.load), ", "), "REQUESTS", strings.Join(requests, ", ")).Replace(`apiVersion: v1
kind: Service
metadata: {name: NAME}
spec: {clusterIP: None, selector: {app.kubernetes.io/servicecomponent: NAME}}
---
apiVersion: apps/v1
kind: KIND
metadata: {name: NAME}
spec:
  replicas: 1
  EXTRA
  selector: {matchLabels: {app.kubernetes.io/servicecomponent: NAME}}
  template:
    metadata: {labels: {service: shop, app.kubernetes.io/servicecomponent: NAME}}
    spec:
      automountServiceAccountToken: false
      terminationGracePeriodSeconds: 1
      securityContext: {runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}}
      containers:
      - name: load
        image: IMAGE
        args: [LOAD]
        readinessProbe: {httpGet: {path: /ready, port: 8080}, periodSeconds: 2}
        resources: {requests: {REQUESTS}}
        securityContext: {allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}
`)
	for i := range w.hpas {
		text += fmt.Sprintf(`---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: %[1]s-%[2]d}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: %[3]s, name: %[1]s}
  minReplicas: 1
  maxReplicas: 8
  metrics: [{type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: %[4]d}}}]
`, w.name, i, kind, utilization)
	}
	return text
}

// deploy applies workloads and the policy of their service: Auto, but for what a
// component says of itself.
func (r *release) deploy(t *testing.T, all ...workload) {
	t.Helper()
	policy := `apiVersion: self-scaling.github.io/v1alpha1
kind: ScalingPolicy
metadata: {name: shop}
spec:
  service: shop
  mode: Auto
`
	components := ""
	for _, w := range all {
		r.kubectl(t, w.manifest(), "apply", "--namespace="+r.namespace, "--filename=-")
		if w.policy != "" {
			components += fmt.Sprintf("  - {name: %s, %s}\n", w.name, w.policy)
		}
	}
	if components != "" {
		policy += "  components:\n" + components
	}
	r.kubectl(t, policy, "apply", "--namespace="+r.namespace, "--filename=-")
}

// replicas returns how many pods of a Deployment are Ready.
func (r *release) replicas(t *testing.T, name string) int {
	t.Helper()
	var d struct{ Status struct{ ReadyReplicas int } }
	if err := json.Unmarshal([]byte(r.kubectl(t, "", "get", "deployment", name, "--namespace="+r.namespace, "--output=json")), &d); err != nil {
		t.Fatal(err)
	}
	return d.Status.ReadyReplicas
}

// component is what the policy's status says of one component.
type component struct {
	Name, Mode, Target, Reason, Message string
	Floor                               *int
	Applied                             bool
	Expires                             *time.Time
}

// status returns the status of a component, the zero value while there is none.
func (r *release) status(t *testing.T, name string) component {
	t.Helper()
	var p struct {
		Status struct{ Components []component }
	}
	if err := json.Unmarshal([]byte(r.kubectl(t, "", "get", "scalingpolicy", "shop", "--namespace="+r.namespace, "--output=json")), &p); err != nil {
		t.Fatal(err)
	}
	for _, c := range p.Status.Components {
		if c.Name == name {
			return c
		}
	}
	return component{}
}
