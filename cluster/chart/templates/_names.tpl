{{/* Names and labels. Derived names add up to 20 characters; KubeRay takes 41 for a RayService. */}}

{{- define "taxiway.name" -}}
{{- default .Release.Name .Values.nameOverride | trunc 30 | trimSuffix "-" -}}
{{- end -}}

{{- define "taxiway.labels" -}}
{{ include "taxiway.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{/* Of pods too: nothing here may change with the chart's version, for that would replace the cluster. */}}
{{- define "taxiway.selector" -}}
app.kubernetes.io/part-of: taxiway
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "taxiway.metadata" -}}
name: {{ include "taxiway.name" .root }}{{ with .suffix }}-{{ . }}{{ end }}
namespace: {{ .root.Release.Namespace }}
labels: {{- include "taxiway.labels" .root | nindent 2 }}
{{- end -}}

{{- define "taxiway.image" -}}
{{- $image := .Values.image -}}
{{- if $image.digest -}}
{{ $image.repository }}@{{ $image.digest }}
{{- else -}}
{{ $image.repository }}:{{ default .Chart.AppVersion $image.tag }}
{{- end -}}
{{- end -}}

{{- define "taxiway.pullSecrets" -}}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
{{- range . }}
  - name: {{ . }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "taxiway.authSecret" -}}
{{- default (printf "%s-ray-auth" (include "taxiway.name" .)) .Values.auth.existingSecret -}}
{{- end -}}

{{/* host:port of Redis, or nothing. */}}
{{- define "taxiway.redis" -}}
{{- if .Values.redis.bundled.enabled -}}
{{ include "taxiway.name" . }}-redis:6379
{{- else -}}
{{ .Values.redis.address }}
{{- end -}}
{{- end -}}

{{/* The tracking URI of MLflow, or nothing. */}}
{{- define "taxiway.mlflow" -}}
{{- if .Values.mlflow.bundled.enabled -}}
http://{{ include "taxiway.name" . }}-mlflow:5000
{{- else -}}
{{ .Values.mlflow.trackingUri }}
{{- end -}}
{{- end -}}
