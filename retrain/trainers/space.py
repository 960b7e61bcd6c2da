"""The hyperparameters that a search may vary, and where it begins."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Uniform:
    """A number from `low` to `high`, each as likely as the other."""

    low: float
    high: float

    def holds(self, value: Any) -> bool:
        return isinstance(value, int | float) and self.low <= value <= self.high


@dataclass(frozen=True)
class LogUniform(Uniform):
    """A number from `low` (above 0) to `high`, each order of magnitude as likely as the other."""


@dataclass(frozen=True)
class LogInt:
    """A whole number from `low` (above 0) to below `high`, each order of magnitude as likely as the other."""

    low: int
    high: int

    def holds(self, value: Any) -> bool:
        return isinstance(value, int) and self.low <= value < self.high


@dataclass(frozen=True)
class Choice:
    """One of some numbers, texts or truth values."""

    values: tuple[Any, ...]

    def holds(self, value: Any) -> bool:
        return value in self.values


Dimension = Uniform | LogUniform | LogInt | Choice


@dataclass(frozen=True)
class Space:
    """Dimensions by name. `defaults` are the first trial: a search never ends below them.

    Raises:
        ValueError: a default is missing, unknown or outside its dimension.
    """

    dimensions: Mapping[str, Dimension]
    defaults: Mapping[str, Any]

    def __post_init__(self) -> None:
        if odd := sorted(self.dimensions.keys() ^ self.defaults.keys()):
            raise ValueError(f"{', '.join(odd)} must be both among the dimensions and among the defaults")
        for name, dimension in self.dimensions.items():
            if not dimension.holds(self.defaults[name]):
                raise ValueError(f"the default {name}={self.defaults[name]!r} lies outside {dimension}")
