"""What a step's answers looked like, in few numbers: outputs, latency, missing inputs, how copies differ."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Literal

from pydantic import Field

from taxiway.rollout.ranks import rank_correlation
from taxiway.rollout.tally import OTHER, Tally
from taxiway.settings import Settings

SideName = Literal["champion", "challenger", "copies"]
SIDES: tuple[SideName, ...] = ("champion", "challenger", "copies")
OUTPUTS = 8
"""Of a model with more, the first by name are kept."""
_BINS = 200
_UNNAMED = 0.05
"""Whole numbers of which more have no name are no classes."""


class Distribution(Settings):
    """Of one output. `bins` are those of `tally.bin_of` where it has a mean, else labels or classes."""

    n: int
    mean: float | None = None
    bins: dict[str, int]


class Side(Settings):
    """What one side has answered since the step began.

    Attributes:
        latency: answers by bucket, as `Tally.latencies` counts them.
        missing: rows without a value, by column; of the others no row lacks one.
    """

    rows: int = 0
    latency: dict[int, int] = Field(default_factory=dict)
    missing: dict[str, int] = Field(default_factory=dict)
    outputs: dict[str, Distribution] = Field(default_factory=dict)


class Ranks(Settings):
    """Spearman's rank correlation; that of the values themselves lies between `low` and `high`."""

    estimate: float
    low: float
    high: float


class Pairing(Settings):
    """A copy's output beside the live one: of numbers `bins` of the difference, of labels what stood for what.

    Attributes:
        bins: as `tally.quantile_apart` takes them.
        pairs: `live→copy`, also where both are the same; of whole numbers too, where nearly all are small.
        ranks: of one number a row, once it varies.
    """

    n: int
    bins: dict[int, int] = Field(default_factory=dict)
    pairs: dict[str, int] = Field(default_factory=dict)
    ranks: Ranks | None = None


class Sketch(Settings):
    """A step of a rollout; `step` counts from 0."""

    step: int
    champion: Side
    challenger: Side
    copies: Side
    apart: dict[str, Pairing] = Field(default_factory=dict)

    def side(self, name: SideName) -> Side:
        found: Side = getattr(self, name)
        return found


def sketch(step: int, champion: Tally, challenger: Tally, copies: Tally) -> Sketch:
    """Of the tallies of a step."""
    apart = {name: _pairing(copies, name) for name in copies.names("difference")[:OUTPUTS]}
    return Sketch(step=step, champion=_side(champion), challenger=_side(challenger), copies=_side(copies), apart=apart)


def newest(sketches: Sequence[Sketch]) -> list[Sketch]:
    """The last one of each step."""
    found = {it.step: it for it in sketches}
    return [found[step] for step in sorted(found)]


def _side(tally: Tally) -> Side:
    return Side(
        rows=int(tally["rows"]),
        latency={int(bucket): int(count) for bucket, count in tally.below("latency/").items()},
        missing=_counts(tally.below("missing/")),
        outputs={name: _distribution(tally, f"output/{name}") for name in tally.names("output")[:OUTPUTS]},
    )


def _distribution(tally: Tally, prefix: str) -> Distribution:
    n, total, _ = tally.moments(prefix)
    classes = _counts(tally.below(f"{prefix}/class/"))
    if n and _are_classes(classes):
        return Distribution(n=n, bins=classes)
    mean = total / n if n and f"{prefix}/sum" in tally.numbers else None
    return Distribution(n=n, mean=mean, bins=_counts(tally.below(f"{prefix}/bin/")))


def _are_classes(counts: Mapping[str, int]) -> bool:
    """Whether whole numbers are few enough for a name each. A pair counts by the live class."""
    other = sum(count for name, count in counts.items() if OTHER in name)
    return bool(counts) and other <= _UNNAMED * sum(counts.values())


def _pairing(copies: Tally, output: str) -> Pairing:
    prefix = f"difference/{output}"
    found = rank_correlation(copies, output)
    ranks = None if found is None else Ranks(estimate=found.estimate, low=found.low, high=found.high)
    pairs = _counts(copies.below(f"{prefix}/pair/"))
    is_number = f"{prefix}/pairs" in copies.numbers
    bins = {int(place): int(count) for place, count in copies.below(f"{prefix}/bin/").items()}
    shown = pairs if not is_number or _are_classes(pairs) else {}
    return Pairing(n=int(copies[f"{prefix}/n"]), bins=bins, pairs=shown, ranks=ranks)


def _counts(found: Mapping[str, float]) -> dict[str, int]:
    return dict(Counter({name: int(count) for name, count in found.items()}).most_common(_BINS))
