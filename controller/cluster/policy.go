package cluster

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strconv"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/schemas/v1alpha1"
)

// ServiceKey names a service. Policies and services are one to one.
type ServiceKey struct{ Namespace, Service string }

// Policies are the ScalingPolicies of a cluster, by service.
type Policies map[ServiceKey]*v1alpha1.ScalingPolicy

// UnreadablePolicy is why a policy cannot be understood.
type UnreadablePolicy struct {
	// Key is the service that it is for, as far as that can be told.
	Key ServiceKey
	Err error
}

// Error returns the reason.
func (e *UnreadablePolicy) Error() string { return e.Err.Error() }

// Unwrap returns the reason, with its code.
func (e *UnreadablePolicy) Unwrap() error { return e.Err }

// Policies reads the policies of the namespaces; of all where none is named.
// Unreadable says which ones cannot be understood and why (an
// [UnreadablePolicy] by namespace and name); they do not keep the others from
// being read. Of two for one service the older counts.
func (c *Client) Policies(ctx context.Context, namespaces ...string) (p Policies, unreadable map[string]error, err error) {
	p, unreadable = Policies{}, map[string]error{}
	scope := Scope{Namespaces: namespaces}
	for _, ns := range scope.namespaces() {
		// Unstructured first: one object of a later version must not break the list.
		err := pages(ctx, v1alpha1.Resource, func() {}, func(ctx context.Context, opts metav1.ListOptions) (string, error) {
			list, err := c.Dynamic.Resource(v1alpha1.GroupVersionResource).Namespace(ns).List(ctx, opts)
			if err != nil {
				return "", err
			}
			for i := range list.Items {
				o := &list.Items[i]
				if policy, err := DecodePolicy(o); err != nil {
					unreadable[o.GetNamespace()+"/"+o.GetName()] = err
				} else {
					p.Add(policy)
				}
			}
			return list.GetContinue(), nil
		})
		if err != nil {
			return nil, nil, err
		}
	}
	return p, unreadable, nil
}

// Add takes a policy in. Of two for one service the older counts.
func (p Policies) Add(policy *v1alpha1.ScalingPolicy) {
	key := ServiceKey{policy.Namespace, policy.Spec.Service}
	if old := p[key]; old == nil || older(policy, old) {
		p[key] = policy
	}
}

func older(a, b *v1alpha1.ScalingPolicy) bool {
	if !a.CreationTimestamp.Equal(&b.CreationTimestamp) {
		return a.CreationTimestamp.Before(&b.CreationTimestamp)
	}
	return a.Name < b.Name
}

// DecodePolicy returns what an object says. The error is an [UnreadablePolicy].
func DecodePolicy(o *unstructured.Unstructured) (*v1alpha1.ScalingPolicy, error) {
	policy, err := decodePolicy(o)
	if err != nil {
		service, _, _ := unstructured.NestedString(o.Object, "spec", "service") // not a text: not to be told
		return nil, &UnreadablePolicy{ServiceKey{o.GetNamespace(), service}, err}
	}
	return policy, nil
}

func decodePolicy(o *unstructured.Unstructured) (*v1alpha1.ScalingPolicy, error) {
	data, err := o.MarshalJSON()
	if err != nil {
		return nil, err
	}
	var out v1alpha1.ScalingPolicy
	if err := json.Unmarshal(data, &out); err != nil {
		return nil, schemas.Errorf(schemas.CodeInvalidConfig, "%s %s/%s: %w", v1alpha1.Kind, o.GetNamespace(), o.GetName(), err)
	}
	return &out, nil
}

// Policy returns what holds for a component: its operator's settings over
// [Component.BasePolicy], and never outside the bounds of the user's own
// autoscaler. Where the service has no policy yet, the mode is Shadow.
func (p Policies) Policy(c *Component) (schemas.Policy, error) {
	base := c.BasePolicy()
	policy := p[ServiceKey{c.ID.Namespace, c.ID.Service}]
	if policy == nil {
		return base, nil
	}
	out, err := policy.Policy(c.ID.Component, base)
	if user := c.Owner.User; err == nil && user != nil {
		b := user.Bounds()
		out.MaxReplicas = max(1, min(out.MaxReplicas, b.Max))
		out.MinReplicas = min(max(out.MinReplicas, b.Min), out.MaxReplicas)
	}
	return out, err
}

// PolicyName derives the name of a service's policy: the service's, where that
// is one that an object can have, else something like it with a hash.
func PolicyName(service string) string {
	lower := strings.ToLower(strings.Map(func(r rune) rune {
		if r == '_' || r == '.' {
			return '-'
		}
		return r
	}, service))
	if lower == service {
		return service
	}
	sum := sha256.Sum256([]byte(service))
	return strings.TrimRight(lower[:min(len(lower), 54)], "-") + "-" + hex.EncodeToString(sum[:4])
}

// EnsurePolicies makes a policy in mode Shadow for every service of the
// components that has none, adds it to p and returns how many it made.
func (c *Client) EnsurePolicies(ctx context.Context, p Policies, components []*Component) (int, error) {
	made := 0
	for _, component := range components {
		key := ServiceKey{component.ID.Namespace, component.ID.Service}
		if p[key] != nil {
			continue
		}
		policy := &v1alpha1.ScalingPolicy{
			TypeMeta:   metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: v1alpha1.Kind},
			ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: PolicyName(key.Service)},
			Spec:       v1alpha1.ScalingPolicySpec{Service: key.Service, Settings: v1alpha1.Settings{Mode: v1alpha1.Mode(schemas.Shadow)}},
		}
		object, err := runtime.DefaultUnstructuredConverter.ToUnstructured(policy)
		if err != nil {
			return made, schemas.WithCode(schemas.CodeInternal, err)
		}
		delete(object, "status")
		o, err := c.Dynamic.Resource(v1alpha1.GroupVersionResource).Namespace(key.Namespace).
			Create(ctx, &unstructured.Unstructured{Object: object}, metav1.CreateOptions{FieldManager: FieldManager})
		switch {
		case apierrors.IsAlreadyExists(err):
			// By another of us, or for another service: either way the next run sees it.
			p[key] = policy
			continue
		case err != nil:
			return made, Error("create "+v1alpha1.Kind+" "+key.Namespace+"/"+policy.Name, err)
		}
		if p[key], err = decodePolicy(o); err != nil {
			return made, err
		}
		made++
	}
	return made, nil
}

// Policy reads one policy by its name.
func (c *Client) Policy(ctx context.Context, namespace, name string) (*v1alpha1.ScalingPolicy, error) {
	o, err := c.Dynamic.Resource(v1alpha1.GroupVersionResource).Namespace(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, Error("get "+v1alpha1.Kind+" "+namespace+"/"+name, err)
	}
	return decodePolicy(o)
}

// SetSpec replaces the spec of a policy as it was read, and returns it as it is then;
// a policy without a resourceVersion is made. Parts of the spec that this version does
// not know stay as they are, except within components. It returns an error with
// [schemas.CodeConflict] where the policy has changed since it was read, or has been
// made by somebody else. A dry run has the API server look whether it would take the
// change, and changes nothing.
func (c *Client) SetSpec(ctx context.Context, p *v1alpha1.ScalingPolicy, spec v1alpha1.ScalingPolicySpec, dryRun bool) (*v1alpha1.ScalingPolicy, error) {
	var dry []string
	if dryRun {
		dry = []string{metav1.DryRunAll}
	}
	resource := c.Dynamic.Resource(v1alpha1.GroupVersionResource).Namespace(p.Namespace)
	name := v1alpha1.Kind + " " + p.Namespace + "/" + p.Name
	if p.ResourceVersion == "" {
		made := &v1alpha1.ScalingPolicy{
			TypeMeta:   metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: v1alpha1.Kind},
			ObjectMeta: metav1.ObjectMeta{Namespace: p.Namespace, Name: p.Name}, Spec: spec,
		}
		object, err := runtime.DefaultUnstructuredConverter.ToUnstructured(made)
		if err != nil {
			return nil, schemas.WithCode(schemas.CodeInternal, err)
		}
		delete(object, "status")
		o, err := resource.Create(ctx, &unstructured.Unstructured{Object: object}, metav1.CreateOptions{FieldManager: FieldManager, DryRun: dry})
		if err != nil {
			return nil, Error("create "+name, err)
		}
		return decodePolicy(o)
	}
	change, err := mergePatch(p.Spec, spec)
	if err != nil {
		return nil, err
	}
	data, err := json.Marshal(map[string]any{
		// With it the API server refuses what was thought out for another state.
		"metadata": map[string]any{"resourceVersion": p.ResourceVersion},
		"spec":     change,
	})
	if err != nil {
		return nil, schemas.WithCode(schemas.CodeInternal, err)
	}
	o, err := resource.Patch(ctx, p.Name, types.MergePatchType, data, metav1.PatchOptions{FieldManager: FieldManager, DryRun: dry})
	if err != nil {
		return nil, Error("change "+name, err)
	}
	return decodePolicy(o)
}

// mergePatch returns what turns one spec into another: each member that differs, and
// null for each that is no longer there.
func mergePatch(from, to v1alpha1.ScalingPolicySpec) (map[string]json.RawMessage, error) {
	var before, after map[string]json.RawMessage
	for _, x := range []struct {
		spec v1alpha1.ScalingPolicySpec
		to   *map[string]json.RawMessage
	}{{from, &before}, {to, &after}} {
		data, err := json.Marshal(x.spec)
		if err == nil {
			err = json.Unmarshal(data, x.to)
		}
		if err != nil {
			return nil, schemas.WithCode(schemas.CodeInternal, err)
		}
	}
	change := map[string]json.RawMessage{}
	for name, value := range after {
		if string(before[name]) != string(value) {
			change[name] = value
		}
	}
	for name := range before {
		if _, ok := after[name]; !ok {
			change[name] = json.RawMessage("null")
		}
	}
	return change, nil
}

// UpdateStatus replaces the status of a policy, and reports whether it did:
// nothing is written where it is the same already. A policy that is gone needs
// none.
func (c *Client) UpdateStatus(ctx context.Context, p *v1alpha1.ScalingPolicy, status v1alpha1.ScalingPolicyStatus) (written bool, err error) {
	was, err := json.Marshal(p.Status)
	if err != nil {
		return false, schemas.WithCode(schemas.CodeInternal, err)
	}
	is, err := json.Marshal(status)
	if err != nil {
		return false, schemas.WithCode(schemas.CodeInternal, err)
	}
	if string(was) == string(is) {
		return false, nil
	}
	data, err := json.Marshal(map[string]any{
		"apiVersion": v1alpha1.GroupVersion.String(), "kind": v1alpha1.Kind,
		"metadata": map[string]any{"name": p.Name, "namespace": p.Namespace},
		"status":   json.RawMessage(is),
	})
	if err != nil {
		return false, schemas.WithCode(schemas.CodeInternal, err)
	}
	force := true
	_, err = c.Dynamic.Resource(v1alpha1.GroupVersionResource).Namespace(p.Namespace).
		Patch(ctx, p.Name, types.ApplyPatchType, data, metav1.PatchOptions{FieldManager: FieldManager + "-status", Force: &force}, "status")
	if err != nil && !apierrors.IsNotFound(err) {
		return false, Error("update status of "+v1alpha1.Kind+" "+p.Namespace+"/"+p.Name, err)
	}
	p.Status = status
	return true, nil
}

// TrainValues say how much is learned from and how far is looked ahead.
type TrainValues struct {
	HistoryDays int // days of history that the trainer learns from
	FutureDays  int // days that it forecasts
}

// DefaultTrainValues hold until somebody sets others: they are what the steps do
// where they are told nothing.
func DefaultTrainValues() TrainValues {
	return TrainValues{HistoryDays: schemas.DefaultHistoryDays, FutureDays: schemas.DefaultFutureDays}
}

// The ConfigMap of the train values and its entries, which keep the names that
// the REST interface has for them.
const (
	TrainValuesName = "self-scaling-train-values"
	historyEntry    = "History_data"
	futureEntry     = "Future_data"
)

var configMaps = schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}

// TrainValues reads the train values from the ConfigMap [TrainValuesName] of a
// namespace. It is made by [Client.SetTrainValues] and no part of the chart, so
// that neither a restart nor an upgrade changes it. The steps get its entries as
// variables of their environment. Where there is none, the
// default ones hold; an entry that cannot be read is an error with
// [schemas.CodeInvalidConfig].
func (c *Client) TrainValues(ctx context.Context, namespace string) (TrainValues, error) {
	v := DefaultTrainValues()
	m, err := c.Dynamic.Resource(configMaps).Namespace(namespace).Get(ctx, TrainValuesName, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return v, nil
	}
	if err != nil {
		return v, Error("get ConfigMap "+namespace+"/"+TrainValuesName, err)
	}
	for _, e := range []struct {
		name string
		to   *int
	}{{historyEntry, &v.HistoryDays}, {futureEntry, &v.FutureDays}} {
		text, ok, _ := unstructured.NestedString(m.Object, "data", e.name) // the API server knows no other data
		if !ok {
			continue
		}
		if *e.to, err = strconv.Atoi(text); err != nil {
			return DefaultTrainValues(), schemas.Errorf(schemas.CodeInvalidConfig, "%s of ConfigMap %s/%s must be a whole number of days, but is %q", e.name, namespace, TrainValuesName, text)
		}
	}
	return v, v.Validate()
}

// Validate holds the rule: 1 to 365 days of history, 1 to 7 ahead.
func (v TrainValues) Validate() error {
	if v.HistoryDays < 1 || v.HistoryDays > schemas.MaxHistoryDays {
		return schemas.Errorf(schemas.CodeInvalidConfig, "%s must be from 1 to %d days, but is %d", historyEntry, schemas.MaxHistoryDays, v.HistoryDays)
	}
	if v.FutureDays < 1 || v.FutureDays > schemas.MaxFutureDays {
		return schemas.Errorf(schemas.CodeInvalidConfig, "%s must be from 1 to %d days, but is %d", futureEntry, schemas.MaxFutureDays, v.FutureDays)
	}
	return nil
}

// SetTrainValues keeps the train values.
func (c *Client) SetTrainValues(ctx context.Context, namespace string, v TrainValues) error {
	if err := v.Validate(); err != nil {
		return err
	}
	data, err := json.Marshal(map[string]any{
		"apiVersion": "v1", "kind": "ConfigMap",
		"metadata": map[string]any{
			"name": TrainValuesName, "namespace": namespace,
			"labels":      map[string]any{"app.kubernetes.io/managed-by": FieldManager},
			"annotations": map[string]any{"helm.sh/resource-policy": "keep"},
		},
		"data": map[string]any{historyEntry: strconv.Itoa(v.HistoryDays), futureEntry: strconv.Itoa(v.FutureDays)},
	})
	if err != nil {
		return schemas.WithCode(schemas.CodeInternal, err)
	}
	force := true
	_, err = c.Dynamic.Resource(configMaps).Namespace(namespace).Patch(ctx, TrainValuesName, types.ApplyPatchType, data, metav1.PatchOptions{FieldManager: FieldManager, Force: &force})
	return Error("set ConfigMap "+namespace+"/"+TrainValuesName, err)
}
