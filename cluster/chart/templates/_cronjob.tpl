{{/* The pods of a CronJob. .root, .name, .job */}}

{{/* Creates the RayJob, waits for it, and ends as it ended. */}}
{{- define "taxiway.createsRayJob" -}}
restartPolicy: Never
serviceAccountName: {{ include "taxiway.name" .root }}-jobs
{{- include "taxiway.pullSecrets" .root }}
securityContext: {{- include "taxiway.podSecurity" .root | nindent 2 }}
containers:
  - name: creates-ray-job
    {{- include "taxiway.smallContainer" .root | nindent 4 }}
      - { name: rayjobs, mountPath: /etc/taxiway/rayjobs, readOnly: true }
      - { name: scripts, mountPath: /opt/taxiway, readOnly: true }
    command: [python, /opt/taxiway/run_ray_job.py, {{ printf "/etc/taxiway/rayjobs/%s.yaml" .name }}]
    env:
      - name: JOB_NAME
        valueFrom: { fieldRef: { fieldPath: "metadata.labels['batch.kubernetes.io/job-name']" } }
      - name: JOB_UID
        valueFrom: { fieldRef: { fieldPath: "metadata.labels['batch.kubernetes.io/controller-uid']" } }
volumes:
  - { name: tmp, emptyDir: {} }
  - name: rayjobs
    configMap: { name: {{ include "taxiway.name" .root }}-rayjobs }
  - name: scripts
    configMap: { name: {{ include "taxiway.name" .root }}-scripts, defaultMode: 0555 }
{{- end -}}

{{/* Submits to the serving cluster: its head Service always leads to the active one. */}}
{{- define "taxiway.submitsJob" -}}
restartPolicy: Never
automountServiceAccountToken: false
{{- include "taxiway.pullSecrets" .root }}
securityContext: {{- include "taxiway.podSecurity" .root | nindent 2 }}
containers:
  - name: submits-job
    {{- include "taxiway.smallContainer" .root | nindent 4 }}
    command: [/bin/bash, -c]
    args:
      - {{ printf "exec ray job submit --address http://%s-head-svc:8265 -- %s" (include "taxiway.name" .root) (include "taxiway.jobCommand" .) | quote }}
    env:
      - { name: HOME, value: /tmp }
      {{- if eq .root.Values.auth.mode "token" }}
      - { name: RAY_AUTH_MODE, value: token }
      - name: RAY_AUTH_TOKEN
        valueFrom:
          secretKeyRef: { name: {{ include "taxiway.authSecret" .root }}, key: auth_token }
      {{- end }}
volumes:
  - { name: tmp, emptyDir: {} }
{{- end -}}
