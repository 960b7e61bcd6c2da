"""A public route: which variant answers a request, and which ones get a copy."""

import os
from collections.abc import Mapping
from typing import Any

from serve.settings import EndpointSettings
from serve.variant import Slot, Variant
from taxiway.errors import NotFound, Unavailable
from taxiway.inference import InferRequest, JsonColumn
from taxiway.routing import point
from taxiway.traffic import TrafficSettings, only, route_table

VERSION_HEADER = b"taxiway-model-version"


class Endpoint:
    """The variants of one route and the table that splits its traffic. Changed and read on the event loop only.

    Args:
        label: what metrics call it, where that is not its name.
    """

    def __init__(self, settings: EndpointSettings, timeout_s: float, label: str | None = None) -> None:
        self.settings = settings
        self.name = settings.name
        self.label = label or settings.name
        self.timeout_s = settings.timeout_s or timeout_s
        self.variants = {variant.name: Variant(variant.name) for variant in settings.all_variants}
        self.baseline_variant = next(iter(self.variants.values()))
        self._salt = settings.name.encode()
        self._split_header = None
        self._split_column = None
        if settings.split_by is not None:
            self._split_column = settings.split_by.column
            self._split_header = (settings.split_by.header or "").lower().encode() or None
        self.apply(only(self.baseline_variant.name))

    def apply(self, traffic: TrafficSettings) -> None:
        """From now on requests are split like this."""
        self.traffic = traffic
        self._table = route_table(traffic, list(self.variants))
        alone = [name for name, weight in traffic.weights.items() if weight == 100]
        self._everything = self.variants[alone[0]] if alone else None

    @property
    def baseline(self) -> Slot:
        """
        Raises:
            Unavailable: nothing has been loaded yet.
        """
        if self.baseline_variant.slot is None:
            raise Unavailable(f"{self.name}: no model is loaded yet")
        return self.baseline_variant.slot

    @property
    def slots(self) -> list[Slot]:
        return [variant.slot for variant in self.variants.values() if variant.slot is not None]

    @property
    def needs_columns(self) -> bool:
        """Whether the choice has to wait for the request's columns."""
        return self._split_column is not None and self._everything is None

    def of_version(self, version: str) -> Slot:
        """The variant that answers with this version now.

        Raises:
            NotFound: none does.
        """
        for slot in self.slots:
            if slot.version == version:
                return slot
        served = ", ".join(slot.version for slot in self.slots)
        raise NotFound(f"{self.name} has no version {version[:40]!r}; served now: {served}")

    def choose(self, headers: Mapping[bytes, bytes], client: str) -> Slot:
        """The variant of a request, by what is known before its body is read."""
        if self._everything is not None:
            return self._slot(self._everything)
        if self._split_header is not None:
            key = headers.get(self._split_header)
        elif self.settings.split_by is not None and self.settings.split_by.caller:
            key = headers.get(b"authorization") or client.encode()
        else:
            key = None
        return self._slot_at(key)

    def choose_by(self, request: InferRequest) -> Slot:
        """The variant of a request, by a column's value in its first row."""
        values: Any = request.columns.get(self._split_column or "")
        if isinstance(values, JsonColumn):
            values = values.values
        value = None if values is None else values[0]
        return self._slot_at(None if value is None else str(value).encode())

    def shadows(self, answered_by: str) -> list[Slot]:
        """The variants that get a copy of a request."""
        if not self.traffic.shadows:
            return []
        names = self._table.shadows_of(point(os.urandom(8), b"shadow"), answered_by)
        return [slot for name in names if (slot := self.variants[name].slot) is not None]

    def status(self) -> dict[str, Any]:
        """What answers now, and what could not be loaded."""
        return {
            "traffic": self.traffic.model_dump(),
            "variants": {
                variant.name: {
                    "version": variant.slot.version if variant.slot else None,
                    "models": {node or "model": found.uri for node, found in variant.slot.versions.items()}
                    if variant.slot
                    else {},
                    "error": variant.error,
                }
                for variant in self.variants.values()
            },
        }

    def _slot_at(self, key: bytes | None) -> Slot:
        """A request without the key is drawn anew each time."""
        chosen = self._table.choose(point(os.urandom(8) if key is None else key, self._salt))
        return self._slot(self.variants[chosen])

    def _slot(self, variant: Variant) -> Slot:
        """A variant that could not be loaded leaves its share to the baseline."""
        return variant.slot or self.baseline
