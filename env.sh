# . ./env.sh - puts the environment of `make run` into this shell, for the plain commands of the README.
_root="$(cd "$(dirname "${BASH_SOURCE[0]:-$0}")" && pwd)"
export PATH="$_root/.venv/bin:$PATH"
export TAXIWAY_HOME="${TAXIWAY_HOME:-$_root/var}"
# A local Ray cluster asks for its token; without this the command line tools don't send it.
export RAY_AUTH_MODE="${RAY_AUTH_MODE:-token}"
# Ray 2.60's usage report leaves the machine; this is the quickstart's choice, not the library's.
export RAY_USAGE_STATS_ENABLED="${RAY_USAGE_STATS_ENABLED:-0}"
unset _root
