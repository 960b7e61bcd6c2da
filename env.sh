# In the project's folder: `. ./env.sh` puts the environment of `make run` into this shell.
if [ -f env.sh ] && [ -d taxiway ]; then
  export PATH="$PWD/.venv/bin:$PATH"
  export TAXIWAY_HOME="${TAXIWAY_HOME:-$PWD/var}"
  # A local Ray cluster asks for its token; without this Ray's command line tools don't send it.
  export RAY_AUTH_MODE="${RAY_AUTH_MODE:-token}"
  export RAY_USAGE_STATS_ENABLED="${RAY_USAGE_STATS_ENABLED:-0}"
else
  echo "env.sh: change to the project's folder first" >&2
fi
