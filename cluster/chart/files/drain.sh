#!/bin/bash
# drain.sh SECONDS: before a Ray pod stops, Serve starts its replicas elsewhere and ends them here.
# Ray first hears of no deadline: before one, Serve stops replicas without a successor, and does so as early as they
# may take to stop, long requests included. Those that have none when 30 seconds are left go then.
# Never fails: the pod stops anyway.
end=$((SECONDS + $1))
last=$((end - 30))

tell() {
  ray drain-node --reason DRAIN_NODE_REASON_PREEMPTION --reason-message "the pod stops" "$@" || exit 0
}

gone_by() {
  while grep -qsa "^ray::ServeReplica" "${PROC:-/proc}"/[0-9]*/cmdline; do
    ((SECONDS < $1)) || return 1
    sleep 1
  done
}

if ((SECONDS < last)); then
  tell
  gone_by "$last" && exit 0
fi
left=$((end - SECONDS))
tell --deadline-remaining-seconds $((left > 0 ? left : 0))
gone_by "$end"
exit 0
