{{/* Combinations that the schema can't see. Each sentence names the key and what to change. */}}

{{- define "taxiway.checks" -}}
{{- include "taxiway.checks.upgrade" . -}}
{{- include "taxiway.checks.serve" . -}}
{{- include "taxiway.checks.workers" . -}}
{{- include "taxiway.checks.jobs" . -}}
{{- include "taxiway.checks.services" . -}}
{{- end -}}

{{- define "taxiway.checks.upgrade" -}}
{{- $upgrade := .Values.serve.upgrade -}}
{{- if eq $upgrade.type "NewClusterWithIncrementalUpgrade" -}}
{{- if not .Values.autoscaling.enabled -}}
{{- fail "serve.upgrade.type: NewClusterWithIncrementalUpgrade moves capacity with the autoscaler; set autoscaling.enabled to true, or take NewCluster" -}}
{{- end -}}
{{- if not $upgrade.gatewayClassName -}}
{{- fail "serve.upgrade.gatewayClassName: the incremental upgrade splits traffic with a Gateway; name its class" -}}
{{- end -}}
{{- if gt (int $upgrade.stepPercent) (int $upgrade.maxSurgePercent) -}}
{{- fail "serve.upgrade.stepPercent: is more than serve.upgrade.maxSurgePercent" -}}
{{- end -}}
{{- if ne .Values.expose.type "none" -}}
{{- fail "expose.type: with the incremental upgrade the operator makes the Gateway and its route; set none" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "taxiway.checks.serve" -}}
{{- $config := include "taxiway.serveConfig" . | fromYaml -}}
{{- $own := 0 -}}
{{- range $config.applications -}}
{{- if not (kindIs "string" .args.listener) -}}{{- $own = add1 $own -}}{{- end -}}
{{- end -}}
{{- if and $own (gt (len $config.applications) 1) -}}
{{- fail "serve.config.applications: an application that listens itself is alone in its cluster; give every application `listener: serve`, or install the chart once for each" -}}
{{- end -}}
{{- $gpus := 0.0 -}}
{{- range (include "taxiway.gpus" . | fromJsonArray) -}}{{- $gpus = addf $gpus . -}}{{- end -}}
{{- $groups := 0 -}}
{{- range .Values.workers -}}{{- if and .enabled .gpus -}}{{- $groups = add1 $groups -}}{{- end -}}{{- end -}}
{{- if and (gt $gpus 0.0) (not $groups) -}}
{{- fail "serve.config: a replica asks for `gpus`, and no group has any; set workers.gpu.enabled to true" -}}
{{- end -}}
{{- end -}}

{{- define "taxiway.checks.workers" -}}
{{- $serving := 0 -}}
{{- range $name, $group := .Values.workers -}}
{{- if and $group.enabled (gt (int $group.minReplicas) (int $group.maxReplicas)) -}}
{{- fail (printf "workers.%s.minReplicas: is more than workers.%s.maxReplicas" $name $name) -}}
{{- end -}}
{{- if and $group.enabled (eq $group.purpose "serving") -}}{{- $serving = add $serving $group.maxReplicas -}}{{- end -}}
{{- end -}}
{{- if not $serving -}}
{{- fail "workers: no group with `purpose: serving` is enabled, so nothing would run replicas; set workers.ondemand.enabled to true" -}}
{{- end -}}
{{- end -}}

{{- define "taxiway.checks.jobs" -}}
{{- range $name, $job := .Values.jobs -}}
{{- $full := printf "%s-%s" (include "taxiway.name" $) $name -}}
{{- if gt (len $full) 41 -}}
{{- fail (printf "jobs.%s: %s is longer than 41 characters, what KubeRay takes; shorten it or nameOverride" $name $full) -}}
{{- end -}}
{{- if and (eq (default "own" $job.cluster) "shared") $job.workers -}}
{{- fail (printf "jobs.%s.workers: a job in the serving cluster has no workers of its own; set jobs.%s.cluster to own, or leave the key out" $name $name) -}}
{{- end -}}
{{- if and (eq (default "own" $job.cluster) "shared") (not $job.schedule) -}}
{{- fail (printf "jobs.%s.schedule: a job in the serving cluster without a schedule needs no entry; run `ray job submit`" $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "taxiway.checks.services" -}}
{{- if and .Values.mlflow.bundled.enabled .Values.mlflow.trackingUri -}}
{{- fail "mlflow.trackingUri: mlflow.bundled.enabled is set too; keep one of them" -}}
{{- end -}}
{{- if and .Values.priorityClasses.create (or .Values.priorityClasses.existing.serving .Values.priorityClasses.existing.batch) -}}
{{- fail "priorityClasses.existing: priorityClasses.create makes classes of its own; set it to false" -}}
{{- end -}}
{{- if and .Values.redis.bundled.enabled .Values.redis.address -}}
{{- fail "redis.address: redis.bundled.enabled is set too; keep one of them" -}}
{{- end -}}
{{- if and .Values.gcsFaultTolerance.enabled (not (include "taxiway.gcsRedis" .)) -}}
{{- fail "gcsFaultTolerance.redisAddress: fault tolerance keeps its state in Redis; give its host:port" -}}
{{- end -}}
{{- if and (ne .Values.expose.type "none") .Values.expose.tls.enabled (not .Values.expose.host) -}}
{{- fail "expose.host: TLS needs the name that the certificate is for" -}}
{{- end -}}
{{- if and .Values.secrets.external.enabled (not .Values.secrets.external.store.name) -}}
{{- fail "secrets.external.store.name: External Secrets needs a store to read from" -}}
{{- end -}}
{{- end -}}

{{- define "taxiway.gcsRedis" -}}
{{- default (include "taxiway.redis" .) .Values.gcsFaultTolerance.redisAddress -}}
{{- end -}}
