"""What a step's answers looked like, in few numbers: outputs, latency, missing inputs, how copies differ."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Literal

from pydantic import Field

from taxiway.rollout.tally import Tally
from taxiway.settings import Settings

SideName = Literal["champion", "challenger", "copies"]
SIDES: tuple[SideName, ...] = ("champion", "challenger", "copies")
OUTPUTS = 8
"""Of a model with more, the first by name are kept."""
_BINS = 200


class Distribution(Settings):
    """Of one output. `bins` are those of `tally.bin_of` where it has a mean, else labels."""

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


class Pairing(Settings):
    """A copy's output beside the live one: of numbers `bins` of the difference, of labels what stood for what.

    Attributes:
        bins: as `tally.quantile_apart` takes them.
        pairs: `live→copy`, also where both are the same.
    """

    n: int
    bins: dict[int, int] = Field(default_factory=dict)
    pairs: dict[str, int] = Field(default_factory=dict)


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
    apart = {name: _pairing(copies, f"difference/{name}") for name in copies.names("difference")[:OUTPUTS]}
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
    mean = total / n if n and f"{prefix}/sum" in tally.numbers else None
    return Distribution(n=n, mean=mean, bins=_counts(tally.below(f"{prefix}/bin/")))


def _pairing(copies: Tally, prefix: str) -> Pairing:
    bins = {int(place): int(count) for place, count in copies.below(f"{prefix}/bin/").items()}
    return Pairing(n=int(copies[f"{prefix}/n"]), bins=bins, pairs=_counts(copies.below(f"{prefix}/pair/")))


def _counts(found: Mapping[str, float]) -> dict[str, int]:
    return dict(Counter({name: int(count) for name, count in found.items()}).most_common(_BINS))
