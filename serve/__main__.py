"""`python -m serve FILE`: says what is wrong with a serve file, in sentences, before anything starts."""

import argparse
import sys
from typing import Any

from ray.serve.schema import ServeDeploySchema

from serve.settings import ServeSettings
from taxiway.errors import ConfigError, TaxiwayError
from taxiway.registry import Registry
from taxiway.settings import parse, read_yaml

BUILDER = "serve.app:build"


def main(arguments: list[str] | None = None) -> int:
    """Exit status 0 when `serve run FILE` would start what the file means, 2 otherwise."""
    parser = argparse.ArgumentParser(prog="python -m serve", description=__doc__)
    parser.add_argument("file", help="a config file for `serve run` or `serve deploy`")
    path = parser.parse_args(arguments).file
    try:
        for line in check(path):
            print(line)
    except TaxiwayError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def check(path: str) -> list[str]:
    """What the file would serve, a line for each endpoint.

    Raises:
        ConfigError: a key is unknown or wrong; Serve itself ignores what it does not know.
        RegistryError: a model is not in the registry.
    """
    data = read_yaml(path)
    deployed = _deploy_schema(data, path)
    lines = []
    for application in deployed.applications:
        if application.import_path != BUILDER:
            continue
        source = f"{path}: application {application.name!r}"
        settings = parse(application.args, ServeSettings, source)
        if deployed.proxy_location != "Disabled":
            raise ConfigError(f"{path}: key 'proxy_location': must be Disabled, the ingress replicas listen themselves")
        registry = Registry(settings.registry)
        for endpoint in settings.endpoints:
            version = registry.resolve(endpoint.model)
            address = f"http://{settings.listener.host}:{settings.listener.port}/v2/models/{endpoint.name}"
            lines.append(f"{endpoint.name}: {endpoint.model} is version {version.version}, at {address}")
    return lines


def _deploy_schema(data: Any, path: str) -> ServeDeploySchema:
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: expected keys and values, found {type(data).__name__}")
    known = ServeDeploySchema.model_fields
    if unknown := sorted(set(data) - set(known)):
        raise ConfigError(f"{path}: unknown key {unknown[0]!r}; known here: {', '.join(sorted(known))}")
    try:
        return ServeDeploySchema.model_validate(data)
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from error


if __name__ == "__main__":
    sys.exit(main())
