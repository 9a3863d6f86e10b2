{{/* What each program may do: rights in the namespaces that are watched ... */}}
{{- define "self-scaling.rules.read" }}
# Which components there are, what they use and what scales them.
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch]
- apiGroups: [apps]
  resources: [deployments, statefulsets, replicasets]
  verbs: [get, list, watch]
- apiGroups: [apps]
  resources: [deployments/scale, statefulsets/scale]
  verbs: [get]
- apiGroups: [autoscaling]
  resources: [horizontalpodautoscalers]
  verbs: [get, list, watch]
- apiGroups: [metrics.k8s.io]
  resources: [pods]
  verbs: [get, list]
- apiGroups: [self-scaling.github.io]
  resources: [scalingpolicies]
  verbs: [get, list, watch]
{{- end }}

{{- define "self-scaling.rules.bind" }}
# What else may own a target: it is left alone, or written instead.
- apiGroups: [autoscaling.k8s.io]
  resources: [verticalpodautoscalers]
  verbs: [get, list, watch]
- apiGroups: [argoproj.io]
  resources: [rollouts]
  verbs: [get, list, watch]
- apiGroups: [keda.sh]
  resources: [scaledobjects]
  verbs: [get, list, watch, patch]
# The floors; and the number of replicas, which comes back when an HPA of ours goes. Of a
# workload nothing else can be written.
- apiGroups: [autoscaling]
  resources: [horizontalpodautoscalers]
  verbs: [create, patch, update, delete]
- apiGroups: [apps]
  resources: [deployments/scale, statefulsets/scale]
  verbs: [patch]
- apiGroups: [self-scaling.github.io]
  resources: [scalingpolicies/status]
  verbs: [patch, update]
- apiGroups: ["", events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end }}

{{- define "self-scaling.rules.policies" }}
- apiGroups: [self-scaling.github.io]
  resources: [scalingpolicies]
  verbs: [create, patch]
{{- end }}

{{/* ... and in the namespace of the release. */}}
{{- define "self-scaling.own.executor" }}
# What Argo's executor reports from every pod of a Workflow.
- apiGroups: [argoproj.io]
  resources: [workflowtaskresults]
  verbs: [create, patch]
{{- end }}

{{- define "self-scaling.own.submit" }}
{{- if eq .Values.engine "argo" }}
- apiGroups: [argoproj.io]
  resources: [workflows]
  verbs: [get, list, watch, create, patch]
- apiGroups: [argoproj.io]
  resources: [workflowtemplates, cronworkflows]
  verbs: [get, list, watch]
{{- else }}
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list]
{{- end }}
{{- end }}

{{- define "self-scaling.own.settings" }}
# The train values.
- apiGroups: [""]
  resources: [configmaps]
  verbs: [create]
- apiGroups: [""]
  resources: [configmaps]
  resourceNames: [self-scaling-train-values]
  verbs: [get, patch]
{{- end }}

{{- define "self-scaling.own.lead" }}
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [get, create, update, patch]
{{- end }}
