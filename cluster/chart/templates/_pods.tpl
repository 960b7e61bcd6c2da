{{/* The pods of Ray nodes, for the serving cluster and for those of jobs. */}}

{{- define "taxiway.env" -}}
- name: HOME
  value: /tmp
- name: TAXIWAY_HOME
  value: /var/lib/taxiway
- name: TAXIWAY_IMAGE
  value: {{ include "taxiway.image" . | quote }}
- name: RAY_USAGE_STATS_ENABLED
  value: "0"
{{- with include "taxiway.mlflow" . }}
- name: MLFLOW_TRACKING_URI
  value: {{ . | quote }}
{{- end }}
{{- with include "taxiway.redis" . }}
- name: FEAST_REDIS_ADDRESS
  value: {{ . | quote }}
{{- end }}
{{- range $name, $value := .Values.env }}
- name: {{ $name }}
  value: {{ $value | quote }}
{{- end }}
{{- range $name, $from := .Values.secrets.env }}
- name: {{ $name }}
  valueFrom:
    secretKeyRef: { name: {{ $from.secret | quote }}, key: {{ $from.key | quote }} }
{{- end }}
{{- end -}}

{{- define "taxiway.podSecurity" -}}
runAsNonRoot: true
runAsUser: {{ .Values.securityContext.runAsUser | int }}
runAsGroup: {{ .Values.securityContext.runAsGroup | int }}
fsGroup: {{ .Values.securityContext.fsGroup | int }}
fsGroupChangePolicy: OnRootMismatch
seccompProfile: { type: RuntimeDefault }
{{- end -}}

{{- define "taxiway.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: {{ .Values.securityContext.readOnlyRootFilesystem }}
capabilities: { drop: [ALL] }
{{- end -}}

{{/* .root, .cpu, .memory, .gpus, .gpuResource. Ray reads what a node has from the limits. */}}
{{- define "taxiway.resources" -}}
{{- range (list "requests" "limits") }}
{{ . }}:
  cpu: {{ $.cpu | quote }}
  memory: {{ $.memory | quote }}
{{- if $.gpus }}
  {{ $.gpuResource }}: {{ $.gpus | int | quote }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "taxiway.volumes" -}}
- name: tmp
  emptyDir: {}
- name: home
{{- if .Values.home.existingClaim }}
  persistentVolumeClaim: { claimName: {{ .Values.home.existingClaim }} }
{{- else }}
  emptyDir: {}
{{- end }}
- name: jobs
  configMap: { name: {{ include "taxiway.name" . }}-jobs }
- name: scripts
  configMap: { name: {{ include "taxiway.name" . }}-scripts, defaultMode: 0555 }
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "taxiway.volumeMounts" -}}
- { name: tmp, mountPath: /tmp }
- { name: home, mountPath: /var/lib/taxiway }
- { name: jobs, mountPath: /etc/taxiway/jobs, readOnly: true }
- { name: scripts, mountPath: /opt/taxiway, readOnly: true }
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Ports of every Ray node; .root, .serving: whether requests arrive here. The names `serve` and `serve-grpc` are
     how KubeRay finds the ports of its serve Service. */}}
{{- define "taxiway.ports" -}}
- { name: metrics, containerPort: 8080 }
{{- if .serving }}
{{- $listening := include "taxiway.listening" .root | fromYaml }}
- { name: serve, containerPort: {{ $listening.port | int }} }
{{- if $listening.grpcPort }}
- { name: serve-grpc, containerPort: {{ $listening.grpcPort | int }} }
{{- end }}
{{- end }}
{{- end -}}

{{/* .root, .serving, .component: what is the same in head and worker. */}}
{{- define "taxiway.container" -}}
image: {{ include "taxiway.image" .root | quote }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
env: {{- include "taxiway.env" .root | nindent 2 }}
securityContext: {{- include "taxiway.containerSecurity" .root | nindent 2 }}
resources: {{- include "taxiway.resources" . | nindent 2 }}
volumeMounts: {{- include "taxiway.volumeMounts" .root | nindent 2 }}
{{- end -}}

{{- define "taxiway.podMetadata" -}}
labels: {{- include "taxiway.selector" .root | nindent 2 }}
  app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "taxiway.priority" -}}
{{- $classes := .root.Values.priorityClasses -}}
{{- $class := ternary (printf "%s-%s" (include "taxiway.name" .root) .purpose) (index $classes.existing .purpose) $classes.create -}}
{{- with $class }}priorityClassName: {{ . }}{{ end -}}
{{- end -}}

{{- define "taxiway.headPod" -}}
metadata: {{- include "taxiway.podMetadata" . | nindent 2 }}
spec:
  serviceAccountName: {{ include "taxiway.name" .root }}-head
  restartPolicy: Never
  {{- include "taxiway.priority" (dict "root" .root "purpose" .purpose) | nindent 2 }}
  {{- include "taxiway.pullSecrets" .root | nindent 2 }}
  securityContext: {{- include "taxiway.podSecurity" .root | nindent 4 }}
  containers:
    - name: ray-head
      {{- include "taxiway.container" . | nindent 6 }}
      ports:
        - { name: gcs-server, containerPort: 6379 }
        - { name: dashboard, containerPort: 8265 }
        - { name: client, containerPort: 10001 }
        - { name: as-metrics, containerPort: 44217 }
        - { name: dash-metrics, containerPort: 44227 }
        {{- include "taxiway.ports" . | nindent 8 }}
  volumes: {{- include "taxiway.volumes" .root | nindent 4 }}
  {{- include "taxiway.placement" (dict "root" .root "group" .root.Values.head "component" .component "spread" false) | nindent 2 }}
{{- end -}}

{{/* .root, .group, .serving, .component */}}
{{- define "taxiway.workerPod" -}}
metadata: {{- include "taxiway.podMetadata" . | nindent 2 }}
    {{- if .serving }}
    taxiway.dev/serves: "true"
    {{- end }}
spec:
  serviceAccountName: {{ include "taxiway.name" .root }}-workers
  automountServiceAccountToken: false
  restartPolicy: Never
  {{- include "taxiway.priority" (dict "root" .root "purpose" .group.purpose) | nindent 2 }}
  {{- include "taxiway.pullSecrets" .root | nindent 2 }}
  # A spot node gives notice and sends SIGTERM: first the hook moves the replicas, then Ray stops.
  terminationGracePeriodSeconds: {{ add .group.drainSeconds 10 }}
  securityContext: {{- include "taxiway.podSecurity" .root | nindent 4 }}
  containers:
    - name: ray-worker
      {{- include "taxiway.container" (dict "root" .root "cpu" .group.cpu "memory" .group.memory "gpus" .group.gpus "gpuResource" .group.gpuResource) | nindent 6 }}
      ports: {{- include "taxiway.ports" . | nindent 8 }}
      {{- if .serving }}
      {{- include "taxiway.workerProbe" .root | nindent 6 }}
      {{- end }}
      lifecycle:
        preStop:
          exec:
            command: [/bin/bash, /opt/taxiway/drain.sh, {{ .group.drainSeconds | int | quote }}]
  volumes: {{- include "taxiway.volumes" .root | nindent 4 }}
  {{- include "taxiway.placement" (dict "root" .root "group" .group "component" .component "spread" .serving) | nindent 2 }}
{{- end -}}


{{/* Ready is who answers requests: the serve Service sends to ready pods. docs/adr/0014 */}}
{{- define "taxiway.workerProbe" -}}
readinessProbe:
  httpGet: { path: {{ (include "taxiway.listening" . | fromYaml).ready }}, port: serve }
  initialDelaySeconds: 10
  periodSeconds: 5
  timeoutSeconds: 2
  failureThreshold: 1
{{- end -}}

{{/* .root, .group, .component, .spread */}}
{{- define "taxiway.placement" -}}
{{- with .group.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .group.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- if and .spread .root.Values.topologySpread.enabled }}
topologySpreadConstraints:
{{- range .root.Values.topologySpread.keys }}
  - maxSkew: 1
    topologyKey: {{ . }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels: {{- include "taxiway.selector" $.root | nindent 8 }}
        app.kubernetes.io/component: {{ $.component }}
{{- end }}
{{- end }}
{{- end -}}
