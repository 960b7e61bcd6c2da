"""Kubernetes' own judgement of objects, by the schemas of `kubernetes-validate --strict`; read once, not for each."""

import json
import re
from functools import cache
from importlib.resources import files
from typing import Any

from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
from referencing import Registry, Resource

_SCHEMAS = files("kubernetes_validate") / "kubernetes-json-schema"


@cache
def _read(version: str, name: str) -> Resource[Any]:
    text = (_SCHEMAS / f"v{version}.0-local-strict" / f"{name}.json").read_text()
    return Resource.from_contents(json.loads(text))


@cache
def _definitions(version: str) -> Registry[Any]:
    return (_read(version, "_definitions") @ Registry()).crawl()


def schema_errors(manifest: dict[str, Any], version: str) -> list[str]:
    """Where it breaks the schema of its kind; a key that the kind does not have is an error.

    Args:
        version: of Kubernetes, such as 1.34.
    """
    group = re.sub(r"^([^./]*)(?:\.[^/]*)?/", r"\1-", manifest["apiVersion"])  # rbac.authorization.k8s.io/v1: rbac-v1
    schema = _read(version, f"{manifest['kind'].lower()}-{group}")
    validator = Draft202012Validator(schema.contents, registry=schema @ _definitions(version))
    name = f"{manifest['kind']} {manifest['metadata'].get('name', '')}"
    return [f"{name}: {error.json_path}: {error.message}" for error in validator.iter_errors(manifest)]
