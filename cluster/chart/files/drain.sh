#!/bin/bash
# drain.sh SECONDS: before a Ray pod stops, Serve starts its replicas elsewhere and ends them here.
# Never fails: the pod stops anyway.
ray drain-node --reason DRAIN_NODE_REASON_PREEMPTION --reason-message "the pod stops" \
  --deadline-remaining-seconds "$1" || exit 0
end=$((SECONDS + $1))
while ((SECONDS < end)) && grep -qsa "^ray::ServeReplica" "${PROC:-/proc}"/[0-9]*/cmdline; do
  sleep 1
done
exit 0
