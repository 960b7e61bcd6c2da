#!/bin/bash
# slim.sh VENV: takes out what no process of ours reads. Metadata of packages stay true: what is taken out whole is
# uninstalled.
set -euo pipefail
site=$("$1/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')

# A plugin for editors, which SQLAlchemy's extra `mypy` brings; nothing imports it.
uv pip uninstall --quiet --python "$1/bin/python" mypy

# Tests of packages.
for package in dask ibis matplotlib mlflow numpy pandas pyarrow scipy sklearn; do
  [ -d "$site/$package" ] || continue
  find "$site/$package" -type d -name tests -prune -exec rm -rf {} +
done
