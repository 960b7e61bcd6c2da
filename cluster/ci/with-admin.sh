#!/usr/bin/env bash
# with-admin.sh NAMESPACE RELEASE COMMAND...: runs COMMAND while the admin API is at http://127.0.0.1:8000.
# It is reached through the API server of Kubernetes: nothing of it has to be open to the world. A forward ends with
# the pod that it leads to, so it is begun anew until the command has ended.
set -euo pipefail
namespace=$1 release=$2
shift 2

forward() {
  trap 'kill "$child" 2>/dev/null; exit' TERM
  while true; do
    kubectl --namespace "$namespace" port-forward "service/$release-serve-svc" 8000:8000 >/dev/null &
    child=$!
    wait "$child" || true
    sleep 1
  done
}

forward &
forwarding=$!
trap 'kill "$forwarding" 2>/dev/null || true' EXIT

for _ in $(seq 60); do
  if (exec 3<>/dev/tcp/127.0.0.1/8000) 2>/dev/null; then break; fi
  sleep 1
done
TAXIWAY_ADMIN_URL=http://127.0.0.1:8000 "$@"
