{{/* A Service, a volume and a StatefulSet of one pod, up to its container's name. .root, .part, .port, .storage */}}

{{- define "taxiway.trial" -}}
---
apiVersion: v1
kind: Service
metadata: {{- include "taxiway.metadata" (dict "root" .root "suffix" .part) | nindent 2 }}
spec:
  selector: {{- include "taxiway.selector" .root | nindent 4 }}
    app.kubernetes.io/component: {{ .part }}
  ports:
    - { name: main, port: {{ .port }}, targetPort: main }
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {{- include "taxiway.metadata" (dict "root" .root "suffix" .part) | nindent 2 }}
spec:
  serviceName: {{ include "taxiway.name" .root }}-{{ .part }}
  replicas: 1
  selector:
    matchLabels: {{- include "taxiway.selector" .root | nindent 6 }}
      app.kubernetes.io/component: {{ .part }}
  volumeClaimTemplates:
    - metadata: { name: data }
      spec:
        accessModes: [ReadWriteOnce]
        resources: { requests: { storage: {{ .storage }} } }
  template:
    metadata:
      labels: {{- include "taxiway.selector" .root | nindent 8 }}
        app.kubernetes.io/component: {{ .part }}
    spec:
      automountServiceAccountToken: false
      {{- include "taxiway.pullSecrets" .root | nindent 6 }}
      securityContext: {{- include "taxiway.podSecurity" .root | nindent 8 }}
      volumes:
        - { name: tmp, emptyDir: {} }
      containers:
        - name: {{ .part }}
          securityContext: {{- include "taxiway.containerSecurity" .root | nindent 12 }}
          ports:
            - { name: main, containerPort: {{ .port }} }
          volumeMounts:
            - { name: data, mountPath: /data }
            - { name: tmp, mountPath: /tmp }
{{- end -}}
