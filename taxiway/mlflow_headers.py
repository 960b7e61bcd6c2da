"""Keeps MLflow's HTTP client from importing Feast: seconds, in every process, for a header that only Feast asks for."""

import importlib
import sys
from importlib.metadata import EntryPoint

from mlflow.tracking.request_header.abstract_request_header_provider import RequestHeaderProvider
from mlflow.utils import plugins

_REGISTRY = "mlflow.tracking.request_header.registry"
_FEAST = "feast.infra.data_sources.mlflow.auth"


class FeastHeaders(RequestHeaderProvider):
    """What Feast's own provider says, once Feast is there to say it: its token is set by Feast's code alone."""

    def in_context(self) -> bool:
        feast = sys.modules.get(_FEAST)
        return feast is not None and bool(feast.FeastMLflowHeaderProvider().in_context())

    def request_headers(self) -> dict[str, str]:
        headers: dict[str, str] = sys.modules[_FEAST].FeastMLflowHeaderProvider().request_headers()
        return headers


def leave_feast_alone() -> None:
    """Call before MLflow's first request; later it changes nothing.

    MLflow loads every provider of headers that an installed package offers, and Feast offers one.
    """
    if _REGISTRY in sys.modules:
        return
    original = plugins.get_entry_points
    plugins.get_entry_points = lambda group: [it for it in original(group) if not _is_feasts(it)]
    try:
        registry = importlib.import_module(_REGISTRY)
    finally:
        plugins.get_entry_points = original
    registry._request_header_provider_registry.register(FeastHeaders)


def _is_feasts(entry: EntryPoint) -> bool:
    return entry.value.startswith(f"{_FEAST}:")
