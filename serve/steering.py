"""The traffic of one endpoint as its controller sees and sets it: an override in the registry."""

from datetime import datetime

from serve.heard import Heard
from serve.settings import EndpointSettings
from serve.traffic import LiveTable
from taxiway.errors import ConfigError
from taxiway.registry import LiveModel, Registry
from taxiway.traffic import Override, TrafficSettings, digest, effective, parse_override, tag_name


class Steering:
    """
    Args:
        model: the registered model of the endpoint's first variant.
        heard: knows what the deployed file declares.
    """

    def __init__(
        self, registry: Registry, application: str, settings: EndpointSettings, model: str, heard: Heard
    ) -> None:
        self._registry, self._application, self._model, self._heard = registry, application, model, heard
        self._endpoint = settings.name
        self._variants = tuple(variant.name for variant in settings.all_variants)

    def override(self, live: LiveModel) -> Override | None:
        """None also for one that can't be read: then what is asked for is written over it."""
        try:
            return parse_override(live.tags.get(tag_name(self._application, self._endpoint)))
        except ConfigError:
            return None

    def splits(self, live: LiveModel, traffic: TrafficSettings) -> bool:
        """Whether the registry asks for this traffic."""
        return digest(effective(self._heard.declared(), self.override(live))) == digest(traffic)

    def set(self, traffic: TrafficSettings, by: str, now: datetime) -> None:
        self._table().write(traffic, by, now)

    def reset(self) -> None:
        self._table().reset()

    def _table(self) -> LiveTable:
        declared = self._heard.declared()
        return LiveTable(self._registry, self._model, self._application, self._endpoint, self._variants, declared)
