{{/* A RayClusterSpec. .root, .groups: name -> group, .serving: whether it serves, .component, .head: cpu, memory,
     .purpose: of the head's priority. */}}

{{- define "taxiway.clusterSpec" -}}
{{- $root := .root -}}
rayVersion: {{ $root.Values.rayVersion | quote }}
{{- if eq $root.Values.auth.mode "token" }}
authOptions:
  mode: token
  secretName: {{ include "taxiway.authSecret" $root }}
{{- end }}
{{- if $root.Values.tls.betweenNodes }}
tlsOptions: { enabled: true }
{{- end }}
enableInTreeAutoscaling: {{ $root.Values.autoscaling.enabled }}
{{- if $root.Values.autoscaling.enabled }}
{{ include "taxiway.autoscaler" $root }}
{{- end }}
{{- if and .serving $root.Values.gcsFaultTolerance.enabled }}
{{ include "taxiway.gcs" $root }}
{{- end }}
headGroupSpec:
  serviceType: ClusterIP
  rayStartParams:
    dashboard-host: "0.0.0.0"
    num-cpus: "0" # neither replicas nor tasks on the head
  template: {{- include "taxiway.headPod" (dict "root" $root "serving" .serving "component" .headComponent "purpose" .purpose "cpu" .head.cpu "memory" .head.memory) | nindent 4 }}
workerGroupSpecs:
{{- $component := .component }}
{{- $serving := .serving }}
{{- range $name, $group := .groups }}
{{- if $group.enabled }}
  - groupName: {{ $name }}
    {{- include "taxiway.groupSize" (dict "root" $root "group" $group) | nindent 4 }}
    labels:
      ray.io/market-type: {{ $group.capacity }}
    rayStartParams: {}
    template: {{- include "taxiway.workerPod" (dict "root" $root "group" $group "serving" $serving "component" (default $group.purpose $component)) | nindent 6 }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "taxiway.groupSize" -}}
replicas: {{ .group.minReplicas | int }}
minReplicas: {{ .group.minReplicas | int }}
maxReplicas: {{ .group.maxReplicas | int }}
{{- if and .group.idleSeconds .root.Values.autoscaling.enabled }}
idleTimeoutSeconds: {{ .group.idleSeconds | int }}
{{- end }}
{{- end -}}

{{- define "taxiway.autoscaler" -}}
autoscalerOptions:
  version: v2
  idleTimeoutSeconds: {{ .Values.autoscaling.idleSeconds | int }}
  upscalingMode: {{ .Values.autoscaling.upscaling }}
  securityContext: {{- include "taxiway.containerSecurity" . | nindent 4 }}
  env:
    - { name: HOME, value: /tmp }
  volumeMounts:
    - { name: tmp, mountPath: /tmp }
  resources:
    requests: { cpu: 250m, memory: 512Mi }
    limits: { cpu: "1", memory: 1Gi }
{{- end -}}

{{- define "taxiway.gcs" -}}
gcsFaultToleranceOptions:
  {{- $redis := include "taxiway.gcsRedis" . }}
  redisAddress: {{ contains "://" $redis | ternary $redis (printf "redis://%s" $redis) | quote }}
  {{- with .Values.gcsFaultTolerance.passwordSecret }}
  {{- if .name }}
  redisPassword:
    valueFrom:
      secretKeyRef: { name: {{ .name | quote }}, key: {{ .key | quote }} }
  {{- end }}
  {{- end }}
{{- end -}}
