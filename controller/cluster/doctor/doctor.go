// Package doctor looks at a cluster as an installation needs it, and says what
// lacks and what to do about it. It only reads, and goes on after whatever it
// finds: one look tells all.
package doctor

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes"
	metricsv1beta1 "k8s.io/metrics/pkg/apis/metrics/v1beta1"

	"github.com/self-scaling/self-scaling/controller/cluster"
	"github.com/self-scaling/self-scaling/controller/cluster/clientset"
	"github.com/self-scaling/self-scaling/controller/cluster/reach"
	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/schemas/v1alpha1"
)

// Verdict says how serious a finding is.
type Verdict string

// The verdicts.
const (
	OK      Verdict = "ok"
	Warning Verdict = "warning" // it works, but not all of it
	Failure Verdict = "failure" // it cannot work before this is mended
	Unknown Verdict = "unknown" // the question could not be asked
)

// Finding is the answer to one question.
type Finding struct {
	Check   string  `json:"check"`
	Verdict Verdict `json:"verdict"`
	Message string  `json:"message"`
	// Remedy is what to do, empty where there is nothing to do.
	Remedy string `json:"remedy,omitempty"`
}

// Options say where the installation is, or will be.
type Options struct {
	// Namespace is the release's.
	Namespace string
	// Secret and Keys are where the store's URL and credentials lie; the chart's
	// defaults where empty.
	Secret string
	Keys   []string
	// Scope says which components are meant.
	Scope cluster.Scope
	// Now is the time against which schedules are held.
	Now time.Time
}

// DefaultSecret and DefaultKeys are those of the chart.
const DefaultSecret = "self-scaling-s3"

// DefaultKeys returns the entries of the Secret that the chart reads.
func DefaultKeys() []string {
	return []string{"STORE_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}
}

// leastMinor is the oldest Kubernetes that the chart installs on, 1.29: the first
// whose Jobs retry by index.
const leastMinor = 29

// partOf selects what a release consists of.
const partOf = "app.kubernetes.io/part-of=self-scaling"

// Argo's resources that a release uses, all of one group and version.
var argo = schema.GroupVersion{Group: "argoproj.io", Version: "v1alpha1"}

// Examine asks every question and hands each answer over as it comes. The error
// is ctx's.
func Examine(ctx context.Context, client *cluster.Client, o Options, found func(Finding)) error {
	if o.Secret == "" {
		o.Secret = DefaultSecret
	}
	if len(o.Keys) == 0 {
		o.Keys = DefaultKeys()
	}
	all, err := clientset.For(client)
	if err != nil {
		return err
	}
	e := &examination{client, all, o}
	reachable := e.server(ctx)
	found(reachable)
	if reachable.Verdict == Failure && ctx.Err() == nil {
		return nil // every further answer would be the same
	}
	for _, check := range []func(context.Context) Finding{
		e.autoscaling, e.metrics, e.policies, e.argo, e.secret, e.deployments, e.api, e.schedules, e.components,
	} {
		if err := ctx.Err(); err != nil {
			return err
		}
		found(check(ctx))
	}
	return ctx.Err()
}

type examination struct {
	client *cluster.Client
	all    kubernetes.Interface
	Options
}

// unasked is the finding where the API server did not let a question through.
func unasked(check string, err error) Finding {
	f := Finding{Check: check, Verdict: Unknown, Message: err.Error()}
	if apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err) {
		f.Remedy = "ask again as somebody who may read this"
	}
	return f
}

func (e *examination) server(context.Context) Finding {
	const check = "Kubernetes"
	v, err := e.all.Discovery().ServerVersion()
	if err != nil {
		return Finding{check, Failure, "the API server does not answer: " + err.Error(), "check the kubeconfig and its context with: kubectl version"}
	}
	minor, err := strconv.Atoi(strings.TrimRight(v.Minor, "+"))
	if err != nil {
		return Finding{check, Unknown, fmt.Sprintf("version %s is not understood", v.GitVersion), ""}
	}
	if v.Major == "1" && minor < leastMinor {
		return Finding{check, Failure, fmt.Sprintf("version must be at least 1.%d, but is %s", leastMinor, v.GitVersion), "upgrade the cluster"}
	}
	return Finding{check, OK, "version " + v.GitVersion, ""}
}

// serves says which of the resources a group version does not have.
func (e *examination) serves(gv schema.GroupVersion, resources ...string) (missing []string, err error) {
	list, err := e.all.Discovery().ServerResourcesForGroupVersion(gv.String())
	if apierrors.IsNotFound(err) {
		return resources, nil
	}
	if err != nil {
		return nil, err
	}
	for _, r := range resources {
		if !slices.ContainsFunc(list.APIResources, func(have metav1.APIResource) bool { return have.Name == r }) {
			missing = append(missing, r)
		}
	}
	return missing, nil
}

func (e *examination) autoscaling(context.Context) Finding {
	const check = "HorizontalPodAutoscaler"
	missing, err := e.serves(cluster.HPAResource.GroupVersion(), cluster.HPAResource.Resource)
	switch {
	case err != nil:
		return unasked(check, err)
	case len(missing) > 0:
		return Finding{check, Failure, "the API server does not serve autoscaling/v2", "upgrade the cluster"}
	}
	return Finding{check, OK, "autoscaling/v2 is served", ""}
}

func (e *examination) metrics(ctx context.Context) Finding {
	const check = "metrics API"
	const remedy = "install metrics-server, and see that `kubectl top pods` answers; without it the HPA does not scale either"
	var list metricsv1beta1.PodMetricsList
	err := e.client.List(ctx, cluster.PodMetrics, metav1.NamespaceAll, metav1.ListOptions{Limit: 1}, &list)
	switch {
	case apierrors.IsForbidden(err):
		return unasked(check, err)
	case err != nil:
		return Finding{check, Failure, "metrics.k8s.io does not answer: " + err.Error(), remedy}
	case len(list.Items) == 0:
		return Finding{check, Warning, "metrics.k8s.io answers, but has the metrics of no pod", remedy}
	}
	return Finding{check, OK, "metrics.k8s.io answers", ""}
}

func (e *examination) policies(ctx context.Context) Finding {
	const check = "ScalingPolicy"
	missing, err := e.serves(v1alpha1.GroupVersion, v1alpha1.Resource)
	if err != nil {
		return unasked(check, err)
	}
	if len(missing) > 0 {
		return Finding{check, Warning, "the resource is not there yet", "it comes with the chart, unless crds.enabled=false: helm install self-scaling charts/self-scaling"}
	}
	all, unreadable, err := e.client.Policies(ctx, e.Scope.Namespaces...)
	if err != nil {
		return unasked(check, err)
	}
	if len(unreadable) > 0 {
		names := make([]string, 0, len(unreadable))
		for name := range unreadable {
			names = append(names, name)
		}
		slices.Sort(names)
		return Finding{check, Failure, fmt.Sprintf("%d cannot be read, such as %s: %s", len(names), names[0], unreadable[names[0]]), "mend it: kubectl edit scalingpolicy"}
	}
	count := map[schemas.Mode]int{}
	for _, p := range all {
		count[schemas.Mode(p.Spec.Mode)]++
	}
	f := Finding{check, OK, fmt.Sprintf("%d services: %d in mode Auto, %d in Shadow, %d Off", len(all), count[schemas.Auto], count[schemas.Shadow]+count[""], count[schemas.Off]), ""}
	if len(all) > 0 && count[schemas.Auto] == 0 {
		f.Remedy = "nothing is scaled before a service is switched to Auto: selfscale manage SERVICE --mode Auto"
	}
	return f
}

func (e *examination) argo(ctx context.Context) Finding {
	const check = "Argo Workflows"
	const alternative = "; or install without it: --set engine=jobs, or --set mode=standalone"
	missing, err := e.serves(argo, "workflows", "workflowtemplates", "cronworkflows", "workflowtaskresults")
	if err != nil {
		return unasked(check, err)
	}
	if len(missing) > 0 {
		return Finding{check, Warning, "the API server does not serve " + strings.Join(missing, ", ") + " of argoproj.io", "install Argo Workflows 4.1 or 3.7" + alternative}
	}
	list, err := e.all.AppsV1().Deployments(metav1.NamespaceAll).List(ctx, metav1.ListOptions{})
	if err != nil {
		return unasked(check, err)
	}
	for i := range list.Items {
		d := &list.Items[i]
		if d.Labels["app"] != "workflow-controller" && d.Labels["app.kubernetes.io/name"] != "workflow-controller" && !strings.HasSuffix(d.Name, "workflow-controller") {
			continue
		}
		if d.Status.ReadyReplicas == 0 {
			return Finding{check, Failure, fmt.Sprintf("Deployment %s/%s has no Ready pod", d.Namespace, d.Name), "see why: kubectl --namespace=" + d.Namespace + " describe deployment " + d.Name}
		}
		return Finding{check, OK, fmt.Sprintf("its controller runs in namespace %s", d.Namespace), ""}
	}
	return Finding{check, Warning, "its resources are there, but no Deployment workflow-controller", "see that a controller of Argo watches namespace " + e.Namespace + alternative}
}

func (e *examination) secret(ctx context.Context) Finding {
	const check = "store credentials"
	name := e.Namespace + "/" + e.Secret
	s, err := e.all.CoreV1().Secrets(e.Namespace).Get(ctx, e.Secret, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return Finding{check, Failure, "there is no Secret " + name,
			fmt.Sprintf("kubectl --namespace=%s create secret generic %s --from-literal=STORE_URL='s3://BUCKET?endpoint=HOST:PORT' --from-literal=AWS_ACCESS_KEY_ID=... --from-literal=AWS_SECRET_ACCESS_KEY=... (not needed where mode=standalone)", e.Namespace, e.Secret)}
	case err != nil:
		return unasked(check, err)
	}
	var missing []string
	for _, k := range e.Keys {
		if len(s.Data[k]) == 0 {
			missing = append(missing, k)
		}
	}
	if len(missing) > 0 {
		return Finding{check, Failure, fmt.Sprintf("Secret %s must have the entries %s, but lacks %s", name, strings.Join(e.Keys, ", "), strings.Join(missing, ", ")),
			"add them: kubectl --namespace=" + e.Namespace + " edit secret " + e.Secret}
	}
	return Finding{check, OK, "Secret " + name + " has all entries", ""}
}

func (e *examination) deployments(ctx context.Context) Finding {
	const check = "installation"
	list, err := e.all.AppsV1().Deployments(e.Namespace).List(ctx, metav1.ListOptions{LabelSelector: partOf})
	if err != nil {
		return unasked(check, err)
	}
	sets, err := e.all.AppsV1().StatefulSets(e.Namespace).List(ctx, metav1.ListOptions{LabelSelector: partOf})
	if err != nil {
		return unasked(check, err)
	}
	var ready []string
	for i := range list.Items {
		d := &list.Items[i]
		if d.Status.ReadyReplicas == 0 {
			return notReady(check, "deployment", &d.ObjectMeta)
		}
		ready = append(ready, d.Name)
	}
	for i := range sets.Items {
		s := &sets.Items[i]
		if s.Status.ReadyReplicas == 0 {
			return notReady(check, "statefulset", &s.ObjectMeta)
		}
		ready = append(ready, s.Name)
	}
	if len(ready) == 0 {
		return Finding{check, Warning, "self-scaling is not installed in namespace " + e.Namespace, "helm install self-scaling charts/self-scaling --namespace " + e.Namespace}
	}
	slices.Sort(ready)
	return Finding{check, OK, strings.Join(ready, ", ") + " run in namespace " + e.Namespace, ""}
}

func notReady(check, kind string, o *metav1.ObjectMeta) Finding {
	return Finding{check, Failure, fmt.Sprintf("%s %s/%s has no Ready pod", kind, o.Namespace, o.Name),
		fmt.Sprintf("see why: kubectl --namespace=%s describe %s %s; kubectl --namespace=%s logs %s/%s", o.Namespace, kind, o.Name, o.Namespace, kind, o.Name)}
}

// api says whether `kubectl selfscale` can reach the API from here.
func (e *examination) api(ctx context.Context) Finding {
	const check = "API"
	target, err := reach.Find(ctx, e.all, e.Namespace)
	switch {
	case schemas.CodeOf(err) == schemas.CodeNotFound:
		return Finding{check, OK, "none is installed in namespace " + e.Namespace + ": there is nothing for kubectl selfscale to ask", "to have one: helm upgrade with --set api.enabled=true"}
	case err != nil:
		return unasked(check, err)
	}
	if _, _, err := target.Pod(ctx); schemas.CodeOf(err) == schemas.CodeUnavailable {
		return Finding{check, Failure, err.Error(), "see why: kubectl --namespace=" + e.Namespace + " get endpointslices,pods"}
	} else if err != nil {
		return unasked(check, err)
	}
	review, err := e.all.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, &authorizationv1.SelfSubjectAccessReview{
		Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &authorizationv1.ResourceAttributes{
			Namespace: e.Namespace, Verb: "create", Resource: "pods", Subresource: "portforward",
		}},
	}, metav1.CreateOptions{})
	if err != nil {
		return unasked(check, err)
	}
	if !review.Status.Allowed {
		return Finding{check, Warning, "service " + target.String() + " is there, but you may not forward ports to its pods, as kubectl selfscale does",
			"ask for the right to create pods/portforward in namespace " + e.Namespace + ", or reach it by an Ingress and --server"}
	}
	config, _ := e.client.Config()
	token, err := reach.Bearer(ctx, config)
	if err != nil {
		return unasked(check, err)
	}
	f := Finding{check, OK, "service " + target.String() + " can be reached", ""}
	if token == "" {
		f.Remedy = "your kubeconfig has no token of its own, so that kubectl selfscale needs --account namespace/name, a service account whose rights you may use"
	}
	return f
}

// late is how long after its last run a schedule is taken to stand still: two
// runs of the rarest one, the nightly training.
const late = 50 * time.Hour

func (e *examination) schedules(ctx context.Context) Finding {
	const check = "schedules"
	list, err := e.client.Dynamic.Resource(argo.WithResource("cronworkflows")).Namespace(e.Namespace).List(ctx, metav1.ListOptions{LabelSelector: partOf})
	if apierrors.IsNotFound(err) {
		return Finding{check, OK, "no CronWorkflows: the controller keeps the schedules", ""}
	}
	if err != nil {
		return unasked(check, err)
	}
	if len(list.Items) == 0 {
		return Finding{check, OK, "no CronWorkflows: the controller keeps the schedules, where it is installed", ""}
	}
	for i := range list.Items {
		c := &list.Items[i]
		if suspended, _, _ := unstructured.NestedBool(c.Object, "spec", "suspend"); suspended {
			return Finding{check, Warning, "CronWorkflow " + c.GetName() + " is suspended", "argo cron resume " + c.GetName() + " --namespace " + e.Namespace}
		}
		text, _, _ := unstructured.NestedString(c.Object, "status", "lastScheduledTime")
		last, err := time.Parse(time.RFC3339, text)
		if created := c.GetCreationTimestamp().Time; err != nil {
			last = created
		}
		if e.Now.Sub(last) > late {
			return Finding{check, Failure, fmt.Sprintf("CronWorkflow %s has not run since %s", c.GetName(), last.UTC().Format(time.RFC3339)), "see whether Argo's controller watches namespace " + e.Namespace}
		}
	}
	return Finding{check, OK, fmt.Sprintf("%d CronWorkflows run", len(list.Items)), ""}
}

func (e *examination) components(ctx context.Context) Finding {
	const check = "components"
	all, err := e.client.Components(ctx, e.Scope)
	if err != nil {
		return unasked(check, err)
	}
	if len(all) == 0 {
		return Finding{check, Warning, "no pod carries the labels of a service component", "label the pods, as with app.kubernetes.io/part-of and app.kubernetes.io/name, or name your own labels: --set discovery.labels=SERVICE-KEY=COMPONENT-KEY"}
	}
	var troubles []string
	for _, c := range all {
		switch {
		case c.Owner.Conflict != "":
			troubles = append(troubles, fmt.Sprintf("%s: %s", c.ID, c.Owner.Conflict))
		case !c.Target.Scalable:
			troubles = append(troubles, fmt.Sprintf("%s: %s", c.ID, c.Target.Message))
		case len(c.Requests) == 0:
			troubles = append(troubles, fmt.Sprintf("%s: its pods request neither %s nor %s", c.ID, corev1.ResourceCPU, corev1.ResourceMemory))
		}
	}
	message := fmt.Sprintf("%d found, %d of them can be scaled", len(all), len(all)-len(troubles))
	if len(troubles) == 0 {
		return Finding{check, OK, message, ""}
	}
	const shown = 3
	more := ""
	if len(troubles) > shown {
		more = fmt.Sprintf("; and %d more", len(troubles)-shown)
	}
	return Finding{check, Warning, message, "not scaled: " + strings.Join(troubles[:min(shown, len(troubles))], "; ") + more}
}
