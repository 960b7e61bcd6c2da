"""`python -m serve FILE`: says what is wrong with a serve file, in sentences, before anything starts."""

import argparse
import sys
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel
from ray.serve.schema import HTTPOptionsSchema, ServeApplicationSchema, ServeDeploySchema, gRPCOptionsSchema

from serve.grpc_serve import SERVICER_FUNCTION
from serve.loading import uris
from serve.settings import ListenerSettings, LiveSettings, ServeSettings
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
        if isinstance(settings.listener, ListenerSettings):
            _check_own(deployed, settings.listener.port, application.name, ports, path)
        else:
            _check_behind_serve(deployed, application.name, path)
        for deployment in application.deployments:
            if deployment.name == "ingress" and deployment.user_config is not None:
                where = f"{path}: application {application.name!r}: user_config"
                parse(deployment.user_config, LiveSettings, where).check(settings)
        lines += _endpoints(settings, _address(deployed, application, settings.listener))
    return lines


def _check_own(deployed: ServeDeploySchema, port: int, name: str, ports: dict[int, str], path: str) -> None:
    if deployed.proxy_location != "Disabled":
        raise ConfigError(f"{path}: key 'proxy_location': must be Disabled, the ingress replicas listen themselves")
    if port in ports:
        raise ConfigError(f"{path}: applications {ports[port]!r} and {name!r} both have listener.port {port}")
    ports[port] = name


def _check_behind_serve(deployed: ServeDeploySchema, name: str, path: str) -> None:
    if deployed.proxy_location == "Disabled":
        raise ConfigError(
            f"{path}: key 'proxy_location': must be HeadOnly or EveryNode, application {name!r} has listener: serve"
        )
    functions = [function.replace(":", ".") for function in deployed.grpc_options.grpc_servicer_functions]
    if "grpc_options" in deployed.model_fields_set and SERVICER_FUNCTION not in functions:
        raise ConfigError(
            f"{path}: key 'grpc_options.grpc_servicer_functions': must name {SERVICER_FUNCTION}, "
            f"or no RPC reaches application {name!r}"
        )


def _address(
    deployed: ServeDeploySchema, application: ServeApplicationSchema, listener: ListenerSettings | Literal["serve"]
) -> str:
    if isinstance(listener, ListenerSettings):
        return f"http://{listener.host}:{listener.port}"
    http = deployed.http_options
    return f"http://{http.host}:{http.port}{(application.route_prefix or '').rstrip('/')}"


def _endpoints(settings: ServeSettings, server: str) -> list[str]:
    store = settings.feature_store
    if store is not None and not (Path(store.repository) / "feature_store.yaml").is_file():
        raise ConfigError(f"feature_store.repository: no feature_store.yaml in {store.repository}")
    registry = Registry(settings.registry)
    lines = []
    for endpoint in settings.endpoints:
        address = f"{server}/v2/models/{endpoint.name}"
        for variant in endpoint.all_variants:
            for uri in uris(variant):
                version = registry.resolve(uri)
                lines.append(f"{endpoint.name}/{variant.name}: {uri} is version {version.version}, at {address}")
    for many in settings.multiplexed:
        names = ", ".join(many.models)
        lines.append(f"{many.name}: {names}@{many.alias} when they are asked for, at {server}/v2/models/MODEL")
    return lines


def _deploy_schema(data: Any, path: str) -> ServeDeploySchema:
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: expected keys and values, found {type(data).__name__}")
    _known_keys(data, ServeDeploySchema, path)
    for key, schema in (("http_options", HTTPOptionsSchema), ("grpc_options", gRPCOptionsSchema)):
        if isinstance(data.get(key), dict):
            _known_keys(data[key], schema, f"{path}: {key}")
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
