{{/* Jobs with a cluster of their own. .root, .name, .job */}}

{{- define "taxiway.jobCommand" -}}
python -m {{ .job.module }} /etc/taxiway/jobs/{{ .name }}.yaml{{ range .job.arguments }} {{ . | squote }}{{ end }}
{{- end -}}

{{/* workers.batch, and over it what the job says. */}}
{{- define "taxiway.jobWorkers" -}}
{{- $group := mergeOverwrite (deepCopy .root.Values.workers.batch) (default dict .job.workers) -}}
{{- if gt (int $group.minReplicas) (int $group.maxReplicas) -}}
{{- fail (printf "jobs.%s.workers.minReplicas: is more than maxReplicas" .name) -}}
{{- end -}}
{{- toYaml (set $group "enabled" true) -}}
{{- end -}}

{{- define "taxiway.rayJobSpec" -}}
{{- $group := include "taxiway.jobWorkers" . | fromYaml -}}
entrypoint: {{ include "taxiway.jobCommand" . | quote }}
shutdownAfterJobFinishes: true
ttlSecondsAfterFinished: {{ default 3600 .job.keepSeconds | int }}
activeDeadlineSeconds: {{ default 86400 .job.deadlineSeconds | int }}
backoffLimit: {{ hasKey .job "retries" | ternary .job.retries 2 | int }}
submissionMode: K8sJobMode
submitterPodTemplate:
  metadata: {{- include "taxiway.podMetadata" (dict "root" .root "component" "submitter") | nindent 4 }}
  spec: {{- include "taxiway.submitterSpec" (dict "root" .root "container" "ray-job-submitter") | nindent 4 }}
rayClusterSpec: {{- include "taxiway.clusterSpec" (dict "root" .root "groups" (dict "workers" $group) "serving" false "component" "job" "headComponent" "job-head" "purpose" "batch" "head" .root.Values.head) | nindent 2 }}
{{- end -}}

{{/* A small pod that talks to a cluster. The operator gives it its command. */}}
{{- define "taxiway.submitterSpec" -}}
restartPolicy: Never
automountServiceAccountToken: false
{{- include "taxiway.pullSecrets" .root }}
securityContext: {{- include "taxiway.podSecurity" .root | nindent 2 }}
containers:
  - name: {{ .container }}
    {{- include "taxiway.smallContainer" .root | nindent 4 }}
    env:
      - { name: HOME, value: /tmp }
volumes:
  - { name: tmp, emptyDir: {} }
{{- end -}}

{{- define "taxiway.smallContainer" -}}
image: {{ include "taxiway.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext: {{- include "taxiway.containerSecurity" . | nindent 2 }}
resources:
  requests: { cpu: 200m, memory: 512Mi }
  limits: { cpu: "1", memory: 1Gi }
volumeMounts:
  - { name: tmp, mountPath: /tmp }
{{- end -}}

{{/* The whole RayJob, as `kubectl create` takes it. */}}
{{- define "taxiway.rayJob" -}}
apiVersion: ray.io/v1
kind: RayJob
metadata:
  generateName: {{ printf "%s-%s" (include "taxiway.name" .root) .name | trunc 40 | trimSuffix "-" }}-
  namespace: {{ .root.Release.Namespace }}
  labels: {{- include "taxiway.labels" .root | nindent 4 }}
    taxiway.dev/job: {{ .name }}
spec: {{- include "taxiway.rayJobSpec" . | nindent 2 }}
{{- end -}}
