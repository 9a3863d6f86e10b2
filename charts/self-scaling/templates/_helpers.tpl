{{/* The name that all objects begin with. CronWorkflows may have 52 characters, and the
     longest ending is -inference. */}}
{{- define "self-scaling.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride -}}
{{- else if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 36 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" (.Release.Name | trunc 23 | trimSuffix "-") .Chart.Name -}}
{{- end -}}
{{- end -}}

{{/* Labels of every object, but for those that say which one it is. */}}
{{- define "self-scaling.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Labels by which an object is selected; they never change. Takes (list . component). */}}
{{- define "self-scaling.selectorLabels" -}}
app.kubernetes.io/part-of: self-scaling
app.kubernetes.io/instance: {{ include "self-scaling.fullname" (index . 0) }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{/* Metadata of an object. Takes (list . component), with a name other than the component's
     as a third and further labels as a fourth. */}}
{{- define "self-scaling.metadata" -}}
{{- $root := index . 0 -}}
{{- $labels := merge (include "self-scaling.selectorLabels" (list $root (index . 1)) | fromYaml) (include "self-scaling.labels" $root | fromYaml) -}}
{{- if gt (len .) 3 }}{{ $labels = merge $labels (index . 3) }}{{ end -}}
name: {{ if gt (len .) 2 }}{{ index . 2 }}{{ else }}{{ include "self-scaling.fullname" $root }}-{{ index . 1 }}{{ end }}
namespace: {{ $root.Release.Namespace }}
labels:
  {{- toYaml $labels | nindent 2 }}
{{- end -}}

{{/* An image by the values of its program. Takes (list . program). */}}
{{- define "self-scaling.image" -}}
{{- $root := index . 0 -}}
{{- $image := (index $root.Values (index . 1)).image -}}
{{- $registry := $root.Values.global.imageRegistry | default $root.Values.image.registry -}}
{{- $tag := $image.tag | default $root.Values.image.tag | default $root.Chart.AppVersion -}}
{{- $registry }}/{{ $image.repository }}{{ if $image.digest }}@{{ $image.digest }}{{ else }}:{{ $tag }}{{ end }}
{{- end -}}

{{- define "self-scaling.serviceAccountName" -}}
{{- $root := index . 0 -}}
{{- (index $root.Values (index . 1)).serviceAccount.name | default (printf "%s-%s" (include "self-scaling.fullname" $root) (index . 1)) -}}
{{- end -}}

{{/* The pods of a program, as a label selector. Takes (list . component). */}}
{{- define "self-scaling.selector" -}}
app.kubernetes.io/part-of=self-scaling,app.kubernetes.io/instance={{ include "self-scaling.fullname" (index . 0) }},app.kubernetes.io/component={{ index . 1 }}
{{- end -}}

{{/* Flags that say which part of the cluster a program is concerned with. */}}
{{- define "self-scaling.scopeArgs" -}}
- -namespace={{ .Release.Namespace }}
- -labels={{ join "," .Values.discovery.labels }}
{{- if .Values.watchNamespaces }}
- -watch-namespaces={{ join "," .Values.watchNamespaces }}
{{- end }}
{{- end -}}

{{/* Flags of what is special about a day: the same for who learns and who forecasts. Each
     calendar has a folder. */}}
{{- define "self-scaling.calendarArgs" -}}
{{- range $i, $c := .Values.calendars }}
- -calendar={{ with get $c "service" }}{{ . }}={{ end }}{{ with get $c "kind" }}{{ . }}:{{ end }}/etc/self-scaling/calendars/{{ $i }}
{{- end }}
{{- range .Values.timeZones }}
- -timezone={{ with get . "service" }}{{ . }}={{ end }}{{ .zone }}
{{- end }}
{{- end -}}

{{/* Flags of the installation for a program, those of the values last, so that they win.
     Takes (list . program). This is the only place that knows them. */}}
{{- define "self-scaling.args" -}}
{{- $root := index . 0 -}}
{{- $program := index . 1 -}}
{{- $v := index $root.Values $program -}}
{{- if eq $program "collector" }}
{{- if $root.Values.prometheus.url }}
- {{ printf "-prometheus=%s" $root.Values.prometheus.url | quote }}
{{- else }}
- -cluster
- -controller={{ include "self-scaling.selector" (list $root "controller") }}
{{- end }}
{{ include "self-scaling.scopeArgs" $root }}
{{- end }}
{{- if eq $program "inference" }}
- -cluster
{{ include "self-scaling.scopeArgs" $root }}
{{- end }}
{{- if has $program (list "trainer" "inference") }}
{{- include "self-scaling.calendarArgs" $root }}
{{- end }}
{{- if has $program (list "controller" "api") }}
- -store=$(STORE_URL)
- -config=/etc/self-scaling/config/installation.yaml
{{ include "self-scaling.scopeArgs" $root }}
{{- if and (eq $program "api") $root.Values.access.audience }}
- {{ printf "-audience=%s" $root.Values.access.audience | quote }}
{{- end }}
{{- if and (eq $program "api") $root.Values.api.argoUI }}
- {{ printf "-argo-ui=%s" $root.Values.api.argoUI | quote }}
{{- end }}
- -log-format=json
{{- end }}
{{- if eq $program "standalone" }}
- --data=/var/lib/self-scaling
- --listen=:8080
- --metrics-listen=:9090
{{- /* Its flags have two hyphens. */}}
{{ include "self-scaling.scopeArgs" $root | replace "- -" "- --" }}
{{- with $root.Values.prometheus.url }}
- {{ printf "--prometheus=%s" . | quote }}
- --backfill={{ $root.Values.backfill }}
{{- end }}
{{- include "self-scaling.calendarArgs" $root | replace "- -" "- --" }}
{{- with $root.Values.access.audience }}
- {{ printf "--audience=%s" . | quote }}
{{- end }}
- --log-format=json
{{- end }}
{{- range $v.args }}
- {{ . | quote }}
{{- end }}
{{- end -}}

{{/* The name of a Role outside of the release's namespace, or of no namespace at all, where
     it must not meet that of another release. Takes (list . program). */}}
{{- define "self-scaling.grant" -}}
{{- $root := index . 0 -}}
{{ $root.Release.Namespace }}-{{ include "self-scaling.fullname" $root }}-{{ index . 1 }}
{{- end -}}

{{- define "self-scaling.imagePullSecrets" -}}
{{- with .Values.global.imagePullSecrets -}}
imagePullSecrets:
{{- range . }}
  - name: {{ . }}
{{- end }}
{{- end -}}
{{- end -}}

{{/* Where programs find the store and the credentials for it. */}}
{{- define "self-scaling.storeEnv" -}}
- name: STORE_URL
{{- if .Values.store.url }}
  value: {{ .Values.store.url | quote }}
{{- else }}
  valueFrom:
    secretKeyRef:
      name: {{ .Values.store.existingSecret }}
      key: {{ .Values.store.keys.storeURL }}
{{- end }}
{{- if .Values.store.credentials }}
- name: AWS_ACCESS_KEY_ID
  valueFrom:
    secretKeyRef:
      name: {{ .Values.store.existingSecret }}
      key: {{ .Values.store.keys.accessKeyID }}
- name: AWS_SECRET_ACCESS_KEY
  valueFrom:
    secretKeyRef:
      name: {{ .Values.store.existingSecret }}
      key: {{ .Values.store.keys.secretAccessKey }}
{{- end }}
{{- end -}}

{{/* Where traces are sent, by OpenTelemetry's own variable; nothing where they are not. */}}
{{- define "self-scaling.tracingEnv" -}}
{{- with .Values.tracing.endpoint -}}
- name: OTEL_EXPORTER_OTLP_ENDPOINT
  value: {{ . | quote }}
{{- end -}}
{{- end -}}

{{/* What every step has in its environment: the store, and the train values where somebody
     has set them. */}}
{{- define "self-scaling.stepEnv" -}}
{{ include "self-scaling.storeEnv" . }}
{{- with include "self-scaling.tracingEnv" . }}
{{ . }}
{{- end }}
- name: TRAIN_HISTORY_DAYS
  valueFrom:
    configMapKeyRef:
      name: self-scaling-train-values
      key: History_data
      optional: true
- name: TRAIN_FUTURE_DAYS
  valueFrom:
    configMapKeyRef:
      name: self-scaling-train-values
      key: Future_data
      optional: true
{{- end -}}

{{- define "self-scaling.storeVolumes" -}}
{{- with .Values.store.existingCASecret }}
- name: ca
  secret:
    secretName: {{ . }}
    items:
      - key: ca.crt
        path: ca.crt
{{- end }}
{{- end -}}

{{- define "self-scaling.storeVolumeMounts" -}}
{{- if .Values.store.existingCASecret }}
- name: ca
  mountPath: /etc/self-scaling/ca
  readOnly: true
{{- end }}
{{- end -}}

{{/* A calendar that is not there keeps no pod from starting: who reads it says so, and usage is
     measured all the same. */}}
{{- define "self-scaling.calendarVolumes" -}}
{{- range $i, $c := .Values.calendars }}
- name: calendar-{{ $i }}
  configMap:
    name: {{ get $c "configMap" | default (printf "%s-calendars" (include "self-scaling.fullname" $)) }}
    optional: true
    {{- if or (get $c "ics") (get $c "key") }}
    items:
      - key: {{ get $c "key" | default (printf "%d.ics" $i) }}
        path: calendar.ics
    {{- end }}
{{- end }}
{{- end -}}

{{- define "self-scaling.calendarVolumeMounts" -}}
{{- range $i, $c := .Values.calendars }}
- name: calendar-{{ $i }}
  mountPath: /etc/self-scaling/calendars/{{ $i }}
  readOnly: true
{{- end }}
{{- end -}}

{{/* What every step has mounted. */}}
{{- define "self-scaling.stepVolumes" -}}
{{ include "self-scaling.storeVolumes" . }}
{{- include "self-scaling.calendarVolumes" . }}
{{- end -}}

{{- define "self-scaling.stepVolumeMounts" -}}
{{ include "self-scaling.storeVolumeMounts" . }}
{{- include "self-scaling.calendarVolumeMounts" . }}
{{- end -}}

{{/* How far back a run reads that makes up for history: only Prometheus knows the past. */}}
{{- define "self-scaling.backfill" -}}
{{- if .Values.prometheus.url }}{{ .Values.backfill }}{{ end -}}
{{- end -}}

{{/* What the Pod Security Standard restricted asks for. */}}
{{- define "self-scaling.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "self-scaling.securityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/* Rules that values.schema.json cannot hold. */}}
{{- define "self-scaling.validate" -}}
{{- if gt (len (include "self-scaling.fullname" .)) 36 -}}
{{- fail (printf "fullnameOverride must have at most 36 characters, but is %q" .Values.fullnameOverride) -}}
{{- end -}}
{{- $zones := dict -}}
{{- range .Values.timeZones -}}
{{- $whose := get . "service" | default "all other services" -}}
{{- with get $zones $whose }}{{ fail (printf "timeZones must give one zone for %s, but gives %s and another" $whose .) }}{{ end -}}
{{- $_ := set $zones $whose .zone -}}
{{- end -}}
{{- if .Values.ingress.enabled -}}
{{- if not .Values.ingress.hosts -}}
{{- fail "ingress.hosts must name at least one host where ingress.enabled is true" -}}
{{- end -}}
{{- if and (eq .Values.mode "cluster") (not .Values.api.enabled) -}}
{{- fail "ingress.enabled needs api.enabled=true: there is nothing else to reach" -}}
{{- end -}}
{{- end -}}
{{- if eq .Values.mode "cluster" -}}
{{- if and (eq .Values.engine "jobs") (not .Values.controller.enabled) -}}
{{- fail "engine jobs needs controller.enabled=true: without Argo it is the controller that starts the Jobs" -}}
{{- end -}}
{{- if not (or .Values.prometheus.url .Values.controller.enabled) -}}
{{- fail "usage is read once a minute by the controller, or from Prometheus: controller.enabled=false needs prometheus.url" -}}
{{- end -}}
{{- if and (not .Values.store.credentials) (not .Values.store.url) -}}
{{- fail "store.url must be given where store.credentials is false" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "self-scaling.cluster" -}}{{ if eq .Values.mode "cluster" }}true{{ end }}{{- end -}}
{{- define "self-scaling.argo" -}}{{ if and (eq .Values.mode "cluster") (eq .Values.engine "argo") }}true{{ end }}{{- end -}}

{{/* The programs that listen, as a YAML list. */}}
{{- define "self-scaling.servers" -}}
{{- if eq .Values.mode "standalone" }}
- standalone
{{- else }}
{{- if .Values.controller.enabled }}
- controller
{{- end }}
{{- if .Values.api.enabled }}
- api
{{- end }}
{{- end }}
{{- end -}}

{{/* Whether the definition of policies is this release's. One that is there already and
     belongs to another release, or to nobody, is used as it is: Helm would refuse to take
     it over. */}}
{{- define "self-scaling.ownsDefinition" -}}
{{- if .Values.crds.enabled -}}
{{- $there := lookup "apiextensions.k8s.io/v1" "CustomResourceDefinition" "" "scalingpolicies.self-scaling.github.io" -}}
{{- $annotations := dig "metadata" "annotations" dict $there -}}
{{- if or (not $there) (and (eq (get $annotations "meta.helm.sh/release-name") .Release.Name) (eq (get $annotations "meta.helm.sh/release-namespace") .Release.Namespace)) -}}
true
{{- end -}}
{{- end -}}
{{- end -}}
