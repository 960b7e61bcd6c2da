{{/* The config files of serving and of jobs: a map or text in, a map as YAML out. */}}

{{- define "taxiway.read" -}}
{{- $config := .config -}}
{{- if kindIs "string" $config -}}
{{- $config = fromYaml $config -}}
{{- if hasKey $config "Error" -}}{{- fail (printf "%s: is not YAML with keys and values: %s" .key (index $config "Error")) -}}{{- end -}}
{{- end -}}
{{- if not $config -}}
{{- fail (printf "%s: is empty; give it the file: --set-file %s=FILE" .key .key) -}}
{{- end -}}
{{- toYaml $config -}}
{{- end -}}

{{/* `config` with the cluster's registry where it names none. */}}
{{- define "taxiway.withRegistry" -}}
{{- $config := .config -}}
{{- if not (dig "registry" "tracking_uri" "" $config) -}}
{{- $uri := include "taxiway.mlflow" .root -}}
{{- if not $uri -}}
{{- fail (printf "mlflow.trackingUri: %s names no registry, and a file in a pod is gone with it; give the URI of a tracking server, or set mlflow.bundled.enabled for a trial" .key) -}}
{{- end -}}
{{- $here := dict "tracking_uri" $uri "artifact_location" nil -}}
{{- $config = set (deepCopy $config) "registry" (mergeOverwrite $here (default dict $config.registry)) -}}
{{- end -}}
{{- toYaml $config -}}
{{- end -}}

{{/* The file of `serve run`, for pods: all interfaces, and the cluster's registry. */}}
{{- define "taxiway.serveConfig" -}}
{{- $config := include "taxiway.read" (dict "config" .Values.serve.config "key" "serve.config") | fromYaml -}}
{{- $applications := list -}}
{{- range $i, $application := required "serve.config.applications: a serve file names at least one application" $config.applications | default list -}}
{{- $key := printf "serve.config.applications[%d].args" $i -}}
{{- $args := required (printf "%s: what is served stands there" $key) $application.args -}}
{{- $args = include "taxiway.withRegistry" (dict "root" $ "config" $args "key" $key) | fromYaml -}}
{{- if not (kindIs "string" $args.listener) -}}
{{- $args = set $args "listener" (mergeOverwrite (default dict $args.listener) (dict "host" "0.0.0.0")) -}}
{{- end -}}
{{- $applications = append $applications (set $application "args" $args) -}}
{{- end -}}
{{- $config = set $config "applications" $applications -}}
{{- if eq (include "taxiway.ownListener" (dict "config" $config)) "true" -}}
{{- $config = set $config "proxy_location" "Disabled" -}}
{{- else -}}
{{- $config = set $config "http_options" (mergeOverwrite (default dict $config.http_options) (dict "host" "0.0.0.0")) -}}
{{- end -}}
{{- toYaml $config -}}
{{- end -}}

{{- define "taxiway.ownListener" -}}
{{- $args := (first .config.applications | default dict).args | default dict -}}
{{- not (kindIs "string" $args.listener) -}}
{{- end -}}

{{/* port, grpcPort (0: none) and ready, the path that a replica answers. */}}
{{- define "taxiway.listening" -}}
{{- $config := include "taxiway.serveConfig" . | fromYaml -}}
{{- if eq (include "taxiway.ownListener" (dict "config" $config)) "true" -}}
{{- $listener := ((first $config.applications | default dict).args | default dict).listener | default dict -}}
port: {{ default 8000 $listener.port | int }}
grpcPort: {{ default 0 $listener.grpc_port | int }}
ready: /v2/health/ready
{{- else -}}
port: {{ dig "http_options" "port" 8000 $config | int }}
grpcPort: {{ dig "grpc_options" "port" 0 $config | int }}
ready: /-/healthz
{{- end -}}
{{- end -}}

{{/* Everything below `gpus` in the serve file, as a list of numbers in JSON. */}}
{{- define "taxiway.gpus" -}}
{{- $found := list -}}
{{- $config := include "taxiway.serveConfig" . | fromYaml -}}
{{- range $config.applications -}}
{{- $found = append $found (dig "ingress" "gpus" 0 .args) -}}
{{- range .args.endpoints -}}
{{- range .variants -}}
{{- $found = append $found (dig "dedicated" "gpus" 0 .) -}}
{{- range .nodes -}}{{- $found = append $found (dig "gpus" 0 .) -}}{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toJson $found -}}
{{- end -}}

{{/* The file of one job. */}}
{{- define "taxiway.jobConfig" -}}
{{- $key := printf "jobs.%s.config" .name -}}
{{- $config := include "taxiway.read" (dict "config" .job.config "key" $key) | fromYaml -}}
{{- include "taxiway.withRegistry" (dict "root" .root "config" $config "key" $key) -}}
{{- end -}}
