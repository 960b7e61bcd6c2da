"""`python -m serve FILE`: says what is wrong with a serve file, in sentences, before anything starts."""

import argparse
import sys
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from ray.serve.schema import ServeApplicationSchema, ServeDeploySchema

from serve.loading import uris
from serve.settings import LiveSettings, ServeSettings
from taxiway.errors import ConfigError, TaxiwayError
from taxiway.registry import Registry
from taxiway.settings import parse, read_yaml

BUILDER = "serve.app:build"


def main(arguments: list[str] | None = None) -> int:
    """Exit status 2 when the file, or what it names, is not as `serve run FILE` needs it."""
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
    deployed = _deploy_schema(read_yaml(path), path)
    ours = [application for application in deployed.applications if application.import_path == BUILDER]
    if not ours:
        found = ", ".join(application.import_path for application in deployed.applications)
        raise ConfigError(f"{path}: no application has import_path {BUILDER}, found: {found}")
    ports: dict[int, str] = {}
    lines = []
    for application in ours:
        settings = parse(application.args, ServeSettings, f"{path}: application {application.name!r}")
        if deployed.proxy_location != "Disabled":
            raise ConfigError(f"{path}: key 'proxy_location': must be Disabled, the ingress replicas listen themselves")
        port = settings.listener.port
        if port in ports:
            both = f"{ports[port]!r} and {application.name!r}"
            raise ConfigError(f"{path}: applications {both} both have listener.port {port}")
        ports[port] = application.name
        for deployment in application.deployments:
            if deployment.name == "ingress" and deployment.user_config is not None:
                where = f"{path}: application {application.name!r}: user_config"
                parse(deployment.user_config, LiveSettings, where).check(settings)
        lines += _endpoints(settings)
    return lines


def _endpoints(settings: ServeSettings) -> list[str]:
    store = settings.feature_store
    if store is not None and not (Path(store.repository) / "feature_store.yaml").is_file():
        raise ConfigError(f"feature_store.repository: no feature_store.yaml in {store.repository}")
    registry = Registry(settings.registry)
    lines = []
    for endpoint in settings.endpoints:
        address = f"http://{settings.listener.host}:{settings.listener.port}/v2/models/{endpoint.name}"
        for variant in endpoint.all_variants:
            for uri in uris(variant):
                version = registry.resolve(uri)
                lines.append(f"{endpoint.name}/{variant.name}: {uri} is version {version.version}, at {address}")
    return lines


def _deploy_schema(data: Any, path: str) -> ServeDeploySchema:
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: expected keys and values, found {type(data).__name__}")
    _known_keys(data, ServeDeploySchema, path)
    for application in data.get("applications") or ():
        if isinstance(application, dict):
            _known_keys(application, ServeApplicationSchema, f"{path}: application {application.get('name')!r}")
    try:
        return ServeDeploySchema.model_validate(data)
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from error


def _known_keys(data: dict[Any, Any], schema: type[BaseModel], source: str) -> None:
    if unknown := [key for key in data if key not in schema.model_fields]:
        raise ConfigError(f"{source}: unknown key {unknown[0]!r}; known here: {', '.join(sorted(schema.model_fields))}")


if __name__ == "__main__":
    sys.exit(main())
