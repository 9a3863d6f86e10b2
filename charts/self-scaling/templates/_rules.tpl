{{/* Which sets of rules each program has: in the namespaces that are watched, and in that of
     the release. */}}
{{- define "self-scaling.grants" -}}
{{- $watched := dict -}}
{{- $own := dict -}}
{{- /* Who has Prometheus reads no usage by itself. */}}
{{- $see := list "see" -}}
{{- if not .Values.prometheus.url }}{{ $see = list "see" "measure" }}{{ end -}}
{{- if eq .Values.mode "standalone" -}}
{{- $_ := set $watched "standalone" (concat $see (list "follow" "bind" "release" "tell" "retell" "policies" "manage")) -}}
{{- $_ := set $own "standalone" (list "settings" "tell" "retell") -}}
{{- else -}}
{{- $_ := set $watched "inference" (list "see" "bind" "release" "tell") -}}
{{- if .Values.controller.enabled }}{{ $_ := set $watched "controller" (concat $see (list "follow" "release" "tell" "retell" "policies")) }}{{ end -}}
{{- if .Values.api.enabled }}{{ $_ := set $watched "api" (list "see" "manage") }}{{ end -}}
{{- if eq .Values.engine "argo" -}}
{{- range list "collector" "dataset" "trainer" "inference" "workflows" }}{{ $_ := set $own . (list "executor") }}{{ end -}}
{{- end -}}
{{- if not .Values.prometheus.url }}{{ $_ := set $own "collector" (append (get $own "collector" | default list) "readers") }}{{ end -}}
{{- if .Values.controller.enabled }}{{ $_ := set $own "controller" (list "submit" "run" "lead" "tell" "retell") }}{{ end -}}
{{- if .Values.api.enabled }}{{ $_ := set $own "api" (list "submit" "steer" "settings") }}{{ end -}}
{{- end -}}
{{- dict "watched" $watched "own" $own | toYaml -}}
{{- end -}}

{{/* What the sets allow: in the namespaces that are watched ... */}}
{{- define "self-scaling.rules.see" }}
# Which components there are, and what scales them. Of what else owns a pod only the name
# matters.
- apiGroups: [""]
  resources: [pods]
  verbs: [list]
- apiGroups: [apps]
  resources: [deployments, statefulsets, replicasets]
  verbs: [get, list]
- apiGroups: [apps]
  resources: [deployments/scale, statefulsets/scale]
  verbs: [get]
- apiGroups: [autoscaling]
  resources: [horizontalpodautoscalers]
  verbs: [get, list]
- apiGroups: [keda.sh]
  resources: [scaledobjects]
  verbs: [get, list]
- apiGroups: [autoscaling.k8s.io]
  resources: [verticalpodautoscalers]
  verbs: [list]
- apiGroups: [argoproj.io]
  resources: [rollouts]
  verbs: [get]
{{- range .Values.discovery.scalables }}
- apiGroups: [{{ .group }}]
  resources: [{{ .resource }}, {{ .resource }}/scale]
  verbs: [get]
{{- end }}
- apiGroups: [self-scaling.github.io]
  resources: [scalingpolicies]
  verbs: [list]
{{- end }}

{{- define "self-scaling.rules.follow" }}
# What is looked at every minute is followed, and not listed again.
- apiGroups: [autoscaling]
  resources: [horizontalpodautoscalers]
  verbs: [watch]
- apiGroups: [keda.sh]
  resources: [scaledobjects]
  verbs: [watch]
- apiGroups: [autoscaling.k8s.io]
  resources: [verticalpodautoscalers]
  verbs: [watch]
- apiGroups: [self-scaling.github.io]
  resources: [scalingpolicies]
  verbs: [watch]
{{- end }}

{{- define "self-scaling.rules.measure" }}
# What pods use.
- apiGroups: [metrics.k8s.io]
  resources: [pods]
  verbs: [list]
{{- end }}

{{- define "self-scaling.rules.bind" }}
# HPAs of ours.
- apiGroups: [autoscaling]
  resources: [horizontalpodautoscalers]
  verbs: [create, update]
{{- end }}

{{- define "self-scaling.rules.release" }}
# The floors, and taking them away; and the number of replicas, which comes back when an HPA
# of ours goes. Of a workload nothing else can be written.
- apiGroups: [autoscaling]
  resources: [horizontalpodautoscalers]
  verbs: [patch, delete]
- apiGroups: [keda.sh]
  resources: [scaledobjects]
  verbs: [patch]
- apiGroups: [apps]
  resources: [deployments/scale, statefulsets/scale]
  verbs: [patch]
{{- range .Values.discovery.scalables }}
- apiGroups: [{{ .group }}]
  resources: [{{ .resource }}/scale]
  verbs: [patch]
{{- end }}
{{- end }}

{{- define "self-scaling.rules.tell" }}
# What people are told.
- apiGroups: [""]
  resources: [events]
  verbs: [create]
{{- end }}

{{- define "self-scaling.rules.retell" }}
# What people are told again is counted.
- apiGroups: [""]
  resources: [events]
  verbs: [patch]
{{- end }}

{{- define "self-scaling.rules.policies" }}
- apiGroups: [self-scaling.github.io]
  resources: [scalingpolicies]
  verbs: [create]
- apiGroups: [self-scaling.github.io]
  resources: [scalingpolicies/status]
  verbs: [patch]
{{- end }}

{{- define "self-scaling.rules.manage" }}
- apiGroups: [self-scaling.github.io]
  resources: [scalingpolicies]
  verbs: [create, patch]
{{- end }}

{{- define "self-scaling.rules.restore" }}
# Every autoscaler that may bear a floor.
- apiGroups: [autoscaling]
  resources: [horizontalpodautoscalers]
  verbs: [get, list]
- apiGroups: [keda.sh]
  resources: [scaledobjects]
  verbs: [get, list]
- apiGroups: [autoscaling.k8s.io]
  resources: [verticalpodautoscalers]
  verbs: [list]
{{- include "self-scaling.rules.release" . }}
{{- end }}

{{/* ... and in the namespace of the release. */}}
{{- define "self-scaling.own.executor" }}
# What Argo's executor reports from every pod of a Workflow.
- apiGroups: [argoproj.io]
  resources: [workflowtaskresults]
  verbs: [create, patch]
{{- end }}

{{- define "self-scaling.own.readers" }}
# Where the controller's pods are, which are asked for their readings.
- apiGroups: [""]
  resources: [pods]
  verbs: [list]
{{- end }}

{{- define "self-scaling.own.submit" }}
# Runs: Workflows, or the ConfigMaps that stand for them.
{{- if eq .Values.engine "argo" }}
- apiGroups: [argoproj.io]
  resources: [workflows]
  verbs: [get, list, create]
{{- else }}
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get, list, create]
{{- end }}
{{- end }}

{{- define "self-scaling.own.steer" }}
# Waiting for a run, and stopping it.
{{- if eq .Values.engine "argo" }}
- apiGroups: [argoproj.io]
  resources: [workflows]
  verbs: [watch, patch]
{{- else }}
- apiGroups: [""]
  resources: [configmaps]
  verbs: [watch, patch]
{{- end }}
{{- end }}

{{- define "self-scaling.own.run" }}
{{- if eq .Values.engine "argo" }}
# Which pipelines somebody has suspended.
- apiGroups: [argoproj.io]
  resources: [cronworkflows]
  verbs: [list]
{{- else }}
# The steps of runs, what becomes of them, and runs that have ended long ago.
- apiGroups: [batch]
  resources: [jobs]
  verbs: [list, watch, create, patch]
- apiGroups: [""]
  resources: [configmaps]
  verbs: [watch, patch, delete]
- apiGroups: [""]
  resources: [pods]
  verbs: [list]
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

{{- define "self-scaling.own.tell" }}{{ include "self-scaling.rules.tell" . }}{{ end }}
{{- define "self-scaling.own.retell" }}{{ include "self-scaling.rules.retell" . }}{{ end }}

{{- define "self-scaling.own.lead" }}
# Which of the replicas leads.
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [create]
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  resourceNames: [{{ include "self-scaling.fullname" . }}-controller]
  verbs: [get, update]
{{- end }}

{{/* What people may do. The resources of the REST interface are in no cluster: rights on them
     are what its routes ask for. */}}
{{- define "self-scaling.users.view" }}
- apiGroups: [self-scaling.github.io]
  resources: [components, decisions, forecasts, history, models, policies, runs, services, status, trainvalues]
  verbs: [get]
- apiGroups: [self-scaling.github.io]
  resources: [scalingpolicies]
  verbs: [get, list, watch]
- apiGroups: [self-scaling.github.io]
  resources: [scalingpolicies/status]
  verbs: [get]
{{- end }}

{{- define "self-scaling.users.edit" }}
{{- include "self-scaling.users.view" . }}
- apiGroups: [self-scaling.github.io]
  resources: [models, policies, services, trainvalues]
  verbs: [update]
- apiGroups: [self-scaling.github.io]
  resources: [runs]
  verbs: [create, delete]
- apiGroups: [self-scaling.github.io]
  resources: [data]
  verbs: [delete]
- apiGroups: [self-scaling.github.io]
  resources: [scalingpolicies]
  verbs: [create, update, patch, delete]
{{- end }}

{{- define "self-scaling.own.remove" }}
# What is deleted when the release is: runs, whichever engine they ran on, and what else no
# chart knows of.
- apiGroups: [argoproj.io]
  resources: [workflows]
  verbs: [list, delete]
- apiGroups: [""]
  resources: [configmaps]
  verbs: [list, delete]
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  resourceNames: [{{ include "self-scaling.fullname" . }}-controller]
  verbs: [delete]
- apiGroups: [""]
  resources: [pods]
  verbs: [list]
- apiGroups: [""]
  resources: [pods]
  resourceNames:
  {{- range list "store" "api" "collector" "controller" "inference" }}
    - {{ include "self-scaling.fullname" $ }}-test-{{ . }}
  {{- end }}
  verbs: [delete]
{{- end }}
