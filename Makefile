# The two commands: `make run` and `make test`. `make help` lists the rest.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help install run test test-image test-gpu check fmt bench clean lock schemas

PYTHON ?= python3.11
BIN := .venv/bin
INSTALLED := .venv/.installed
export TAXIWAY_HOME ?= $(CURDIR)/var
export RAY_AUTH_MODE ?= token
export RAY_USAGE_STATS_ENABLED ?= 0
export PATH := $(CURDIR)/$(BIN):$(PATH)

help: ## lists the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 18

run: install ## prepares, trains the first champion, serves and asks; Ctrl-C stops everything
	@exec python -m examples.flights.quickstart

test: install ## every test
	@python -m pytest -n 2 tests/unit
	@python -m pytest -n 2 --dist loadfile tests/integration
	@python -m pytest tests/e2e

test-image: install ## builds the container image and runs it, alone and as a small cluster (needs podman)
	@python -m pytest -rsP tests/image

test-gpu: install ## what a GPU does: answers, shares, a job, training (skipped where there is none)
	@python -m pytest -rs tests/gpu

check: install ## format, lint, types, import layers, generated files
	ruff format --check .
	ruff check .
	mypy
	lint-imports --no-logo
	python configs/schemas.py --check
	python configs/protos.py --check
	python -m cluster.observability --check
	python -m cluster.chart_files --check

fmt: install ## formats and mends what can be mended
	ruff format .
	ruff check --fix .

bench: install ## requests/s beside FastAPI, rows/s beside a plain pyarrow loop
	@python -m benchmarks

schemas: install ## writes what is generated: schemas, gRPC messages, dashboards, rules
	python configs/schemas.py
	python configs/protos.py
	python -m cluster.observability
	python -m cluster.chart_files
	python -m taxiway.telemetry.table docs/metrics.md

install: $(INSTALLED) ## creates .venv from the lock

# uv when it is there (seconds), pip otherwise (minutes): both check the hashes of the lock.
$(INSTALLED): requirements-dev.lock pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "install: $(PYTHON) is not on the PATH; install Python 3.11 or set PYTHON=" >&2; exit 1; }
	@test -x $(BIN)/pip || $(PYTHON) -m venv .venv || { rm -rf .venv; echo "install: $(PYTHON) can't make a virtual environment; on Debian: apt install python3.11-venv" >&2; exit 1; }
	@if command -v uv >/dev/null; then \
	  uv pip sync --python $(BIN)/python --require-hashes --compile-bytecode requirements-dev.lock && \
	  uv pip install --python $(BIN)/python --no-deps --no-build-isolation --editable . ; \
	else \
	  echo "install: 180 packages with pip, about two minutes" && \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock && \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable . ; \
	fi || { echo "install: failed; the message is above. Is a package index reachable?" >&2; exit 1; }
	@touch $@

lock: ## resolves the dependencies anew (needs uv)
	uv pip compile --quiet --no-header --generate-hashes --python-version 3.11 --python-platform x86_64-manylinux_2_28 \
	  pyproject.toml --extra examples --extra redis --extra s3 --extra postgres -o requirements.lock
	uv pip compile --quiet --no-header --generate-hashes --python-version 3.11 --python-platform x86_64-manylinux_2_28 \
	  pyproject.toml --extra examples --extra redis --extra s3 --extra postgres --extra monitoring --group dev -c requirements.lock -o requirements-dev.lock

clean: ## removes the environment, the data, the registry and all caches
	rm -rf .venv var .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
