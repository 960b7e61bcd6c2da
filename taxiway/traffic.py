"""The traffic of an endpoint: what is declared, what an override says, and which of them holds."""

import hashlib
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Self

from pydantic import Field, ValidationError, model_validator

from taxiway.errors import ConfigError
from taxiway.routing import RouteTable, Shadow
from taxiway.settings import Settings

_TOLERANCE = 1e-6
Percent = Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)]


class TrafficSettings(Settings):
    """A traffic split and the shadows beside it."""

    weights: dict[str, Percent] = Field(
        min_length=1, description="variant -> percent of the requests; they sum to 100, what is not named gets none"
    )
    shadows: dict[str, Percent] = Field(
        default={}, description="variant -> percent of the requests of which it gets a copy"
    )

    @model_validator(mode="after")
    def _sum(self) -> Self:
        total = sum(self.weights.values())
        if abs(total - 100) > _TOLERANCE:
            raise ValueError(f"the weights sum to {total:g} ({_listed(self.weights)}); they must sum to 100")
        return self


class Override(Settings):
    """What an operator put in place of the declared traffic."""

    traffic: TrafficSettings
    over: str = Field(description="digest of the declared traffic that it stands in for")
    set_at: str = Field(description="ISO 8601")
    by: str

    def is_older_than(self, moment: datetime) -> bool:
        """By whole seconds; what was not set by us may have no readable moment, and counts as old."""
        try:
            set_at = datetime.fromisoformat(self.set_at)
        except ValueError:
            return True
        return set_at.astimezone(UTC) < moment.astimezone(UTC).replace(microsecond=0)


class TrafficState(Settings):
    """What is known of an endpoint's traffic; `effective` is what holds."""

    declared: TrafficSettings
    override: Override | None
    effective: TrafficSettings


def only(variant: str) -> TrafficSettings:
    """Everything to one variant, and no copies."""
    return TrafficSettings(weights={variant: 100.0})


def check(traffic: TrafficSettings, variants: Sequence[str]) -> None:
    """
    Raises:
        ConfigError: a name is no variant of the endpoint.
    """
    if unknown := [name for name in (*traffic.weights, *traffic.shadows) if name not in variants]:
        raise ConfigError(f"{unknown[0]!r} is no variant of this endpoint; its variants are {', '.join(variants)}")


def effective(declared: TrafficSettings, override: Override | None) -> TrafficSettings:
    """The override, until the declared traffic is another than the one it was written over."""
    return override.traffic if override is not None and override.over == digest(declared) else declared


def state(declared: TrafficSettings, override: Override | None) -> TrafficState:
    return TrafficState(declared=declared, override=override, effective=effective(declared, override))


def digest(traffic: TrafficSettings) -> str:
    """Equal for tables that route alike: neither the order nor a share of 0 matters."""
    routed = {
        key: {name: share for name, share in shares.items() if share}
        for key, shares in (("weights", traffic.weights), ("shadows", traffic.shadows))
    }
    return hashlib.sha256(json.dumps(routed, sort_keys=True).encode()).hexdigest()[:16]


def route_table(traffic: TrafficSettings, variants: Sequence[str]) -> RouteTable:
    """
    Raises:
        ConfigError: as `check`.
    """
    check(traffic, variants)
    shadows = [Shadow(name, share) for name, share in traffic.shadows.items()]
    return RouteTable({name: traffic.weights.get(name, 0.0) for name in variants}, shadows)


def tag_name(application: str, endpoint: str) -> str:
    """The tag of the first variant's registered model that holds an endpoint's override."""
    return f"taxiway.traffic/{application}/{endpoint}"


def parse_traffic(weights: Any, shadows: Any = None) -> TrafficSettings:
    """
    Raises:
        ConfigError: a share is no percentage, or the weights don't sum to 100.
    """
    try:
        return TrafficSettings(weights=weights, shadows=shadows or {})
    except ValidationError as error:
        raise ConfigError(f"traffic: {sentences(error.errors())}") from error


def parse_override(text: str | None) -> Override | None:
    """Reads the tag; None while there is none.

    Raises:
        ConfigError: the tag was written by something else.
    """
    if text is None:
        return None
    try:
        return Override.model_validate_json(text)
    except ValidationError as error:
        raise ConfigError(f"the traffic override in the registry can't be read: {sentences(error.errors())}") from error


def sentences(errors: Sequence[Any]) -> str:
    """What pydantic found, for people; each error with the key it is about."""
    return "; ".join(_sentence(entry) for entry in errors)


def _sentence(entry: Any) -> str:
    key = ".".join(str(part) for part in entry["loc"])
    message = entry["msg"].removeprefix("Value error, ")
    if entry["type"] == "extra_forbidden":
        return f"unknown key {key!r}"
    return f"key {key!r}: {message[0].lower()}{message[1:]}" if key else message


def _listed(shares: dict[str, float]) -> str:
    return ", ".join(f"{name} {share:g}" for name, share in shares.items())
