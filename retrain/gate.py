"""Whether a challenger may take the champion's place: rules over what was measured, and a verdict with reasons."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import Field

from retrain.compare import SAMPLES, Comparison, Estimate, Latency
from retrain.evaluate import SMALL_SLICE_ROWS
from retrain.stability import Stability
from taxiway.settings import Settings
from taxiway.signature import Column, Signature

Rule = Literal[
    "min_auc",
    "min_auc_gain",
    "max_log_loss_increase",
    "max_slice_auc_loss",
    "max_calibration_error",
    "max_p99_ms",
    "max_model_mb",
    "max_auc_spread",
    "signature",
]


class GateSettings(Settings):
    """What a challenger must fulfil; null switches a rule off. Without a champion nothing is compared with it."""

    min_auc: float | None = Field(default=0.5, ge=0, le=1, description="the challenger's AUC must be at least this")
    min_auc_gain: float | None = Field(
        default=-0.005,
        ge=-1,
        le=1,
        description="the lower end of the interval of AUC, challenger minus champion on the same rows, must be above "
        "this; below 0 it is what may be lost (non-inferiority), 0 asks for a proven gain",
    )
    confidence: float = Field(
        default=0.95, ge=0.5, lt=1, description="the share of bootstrap samples that an interval holds, both ends cut"
    )
    samples: int = Field(default=SAMPLES, ge=100, description="bootstrap samples behind each interval")
    max_log_loss_increase: float | None = Field(
        default=0.005,
        description="the upper end of the interval of log loss, challenger minus champion, must be below this",
    )
    max_slice_auc_loss: float | None = Field(
        default=0.03, ge=0, le=1, description="no slice may have an AUC lower than the champion's by more than this"
    )
    min_slice_rows: int = Field(
        default=SMALL_SLICE_ROWS,
        ge=SMALL_SLICE_ROWS,
        description="slices of fewer rows are shown and not judged, nor are those with fewer than 50 of a class",
    )
    max_calibration_error: float | None = Field(
        default=0.1, ge=0, le=1, description="the challenger's expected calibration error must be at most this"
    )
    max_p99_ms: float | None = Field(
        default=None, gt=0, description="the 99th percentile of predicting a single row must be at most this"
    )
    max_model_mb: float | None = Field(
        default=None, gt=0, description="the model's artifacts must be at most so many millions of bytes"
    )
    max_auc_spread: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="between the best and the worst AUC of the fits of search.seeds there may be at most this",
    )
    signature: Literal["compatible", "any"] = Field(
        default="compatible",
        description="`compatible`: what callers send to the champion and read from its answers must go on working; "
        "`any`: a change is not judged",
    )


@dataclass(frozen=True)
class Evidence:
    """What is known of a challenger. `latency`, `model_mb` and `stability` are None when nobody measured them.

    A signature counts only beside the other one: `champion_signature` is None without a champion.
    """

    comparison: Comparison
    signature: Signature
    champion_signature: Signature | None
    latency: Latency | None = None
    model_mb: float | None = None
    stability: Stability | None = None


class RuleResult(Settings):
    """What came of one rule. `passed` is null where the rule is switched off or has nothing to compare with."""

    rule: Rule
    passed: bool | None
    measured: float | None = None
    allowed: float | str | None = None
    sentence: str


class Verdict(Settings):
    """Whether the challenger may become champion; `reasons` are the sentences of the rules that failed."""

    passed: bool
    reasons: tuple[str, ...]
    rules: tuple[RuleResult, ...]


def judge(settings: GateSettings, evidence: Evidence) -> Verdict:
    """Every rule, in the order of the settings; one that should hold and was not measured has failed.

    Raises:
        ValueError: the comparison's intervals have another confidence than the settings ask for.
    """
    if evidence.comparison.confidence != settings.confidence:
        raise ValueError(
            f"the comparison's intervals hold {evidence.comparison.confidence:g} of the samples, the gate asks for "
            f"{settings.confidence:g}: call compare(..., confidence=settings.confidence)"
        )
    rules = tuple(rule(settings, evidence) for rule in _RULES)
    reasons = tuple(it.sentence for it in rules if it.passed is False)
    return Verdict(passed=not reasons, reasons=reasons, rules=rules)


def breaking_changes(champion: Signature, challenger: Signature) -> tuple[str, ...]:
    """A sentence for everything in which the challenger refuses, or answers otherwise, what callers send today.

    What only adds does not break: optional inputs, wider ranges, more categories, a further output beside
    several.
    """
    return (*_broken_inputs(champion, challenger), *_broken_outputs(champion, challenger))


def _min_auc(settings: GateSettings, evidence: Evidence) -> RuleResult:
    allowed, auc = settings.min_auc, evidence.comparison.challenger.auc
    if allowed is None:
        return _off("min_auc")
    passed = auc >= allowed
    sentence = f"the AUC is {auc:.4f}, {_at_least(passed)} {allowed:.4g}"
    return RuleResult(rule="min_auc", passed=passed, measured=auc, allowed=allowed, sentence=sentence)


def _min_auc_gain(settings: GateSettings, evidence: Evidence) -> RuleResult:
    allowed, difference = settings.min_auc_gain, evidence.comparison.auc.difference
    if allowed is None:
        return _off("min_auc_gain")
    if difference is None:
        return _no_champion("min_auc_gain", allowed)
    passed = difference.low > allowed
    sentence = (
        f"the AUC {_differs(difference, settings)}; the lower end {_is(passed)} above the {allowed:+.4g} required"
    )
    return RuleResult(rule="min_auc_gain", passed=passed, measured=difference.low, allowed=allowed, sentence=sentence)


def _max_log_loss_increase(settings: GateSettings, evidence: Evidence) -> RuleResult:
    allowed, difference = settings.max_log_loss_increase, evidence.comparison.log_loss.difference
    if allowed is None:
        return _off("max_log_loss_increase")
    if difference is None:
        return _no_champion("max_log_loss_increase", allowed)
    passed = difference.high < allowed
    sentence = (
        f"the log loss {_differs(difference, settings)}; the upper end {_is(passed)} below the {allowed:+.4g} required"
    )
    return RuleResult(
        rule="max_log_loss_increase", passed=passed, measured=difference.high, allowed=allowed, sentence=sentence
    )


def _max_slice_auc_loss(settings: GateSettings, evidence: Evidence) -> RuleResult:
    allowed = settings.max_slice_auc_loss
    if allowed is None:
        return _off("max_slice_auc_loss")
    if evidence.comparison.champion is None:
        return _no_champion("max_slice_auc_loss", allowed)
    losses = [
        (-it.auc_difference.value, it)
        for it in evidence.comparison.slices
        if it.auc_difference is not None and it.challenger.rows >= settings.min_slice_rows
    ]
    if not losses:
        return _not_applicable("max_slice_auc_loss", "no slice is large enough to be judged", allowed)
    losses.sort(key=lambda pair: -pair[0])
    lost = [f"{it.name} ({loss:.4f}, {it.challenger.rows:,} rows)" for loss, it in losses if loss > allowed]
    measured, worst = losses[0]
    if lost:
        sentence = f"slices whose AUC is below the champion's by more than {allowed:.4g}: {', '.join(lost)}"
    else:
        sentence = (
            f"in none of {len(losses):,} slices is the AUC below the champion's by more than {allowed:.4g}; "
            f"{worst.name} does worst with {-measured:+.4f}"
        )
    return RuleResult(rule="max_slice_auc_loss", passed=not lost, measured=measured, allowed=allowed, sentence=sentence)


def _max_calibration_error(settings: GateSettings, evidence: Evidence) -> RuleResult:
    error = evidence.comparison.challenger.calibration_error
    return _at_most("max_calibration_error", "the calibration error", error, settings.max_calibration_error)


def _max_p99_ms(settings: GateSettings, evidence: Evidence) -> RuleResult:
    p99 = evidence.latency.p99_ms if evidence.latency else None
    return _at_most("max_p99_ms", "the 99th percentile of predicting one row", p99, settings.max_p99_ms, " ms")


def _max_model_mb(settings: GateSettings, evidence: Evidence) -> RuleResult:
    return _at_most("max_model_mb", "the model's size", evidence.model_mb, settings.max_model_mb, " MB")


def _max_auc_spread(settings: GateSettings, evidence: Evidence) -> RuleResult:
    found = evidence.stability
    what = f"the AUC's range over {len(found.seeds)} seeds" if found else "the AUC's range over several seeds"
    return _at_most("max_auc_spread", what, found.auc_range if found else None, settings.max_auc_spread)


def _signature(settings: GateSettings, evidence: Evidence) -> RuleResult:
    if settings.signature == "any":
        return _off("signature")
    if evidence.champion_signature is None:
        return _not_applicable("signature", "there is no champion to compare with", settings.signature)
    broken = breaking_changes(evidence.champion_signature, evidence.signature)
    told = f"present callers would break: {'; '.join(broken)}" if broken else "present callers go on as they are"
    return RuleResult(
        rule="signature", passed=not broken, measured=float(len(broken)), allowed=settings.signature, sentence=told
    )


_RULES: tuple[Callable[[GateSettings, Evidence], RuleResult], ...] = (
    _min_auc,
    _min_auc_gain,
    _max_log_loss_increase,
    _max_slice_auc_loss,
    _max_calibration_error,
    _max_p99_ms,
    _max_model_mb,
    _max_auc_spread,
    _signature,
)


def _at_most(rule: Rule, what: str, measured: float | None, allowed: float | None, unit: str = "") -> RuleResult:
    if allowed is None:
        return _off(rule)
    if measured is None:
        told = f"{what} was not measured and must be at most {allowed:.4g}{unit}"
        return RuleResult(rule=rule, passed=False, allowed=allowed, sentence=told)
    passed = measured <= allowed
    told = f"{what} is {measured:.4g}{unit}, {'at most' if passed else 'more than'} the {allowed:.4g}{unit} allowed"
    return RuleResult(rule=rule, passed=passed, measured=measured, allowed=allowed, sentence=told)


def _off(rule: Rule) -> RuleResult:
    return _not_applicable(rule, "switched off")


def _no_champion(rule: Rule, allowed: float) -> RuleResult:
    return _not_applicable(rule, "there are no answers of a champion to compare with", allowed)


def _not_applicable(rule: Rule, why: str, allowed: float | str | None = None) -> RuleResult:
    return RuleResult(rule=rule, passed=None, allowed=allowed, sentence=why)


def _differs(difference: Estimate, settings: GateSettings) -> str:
    interval = f"{100 * settings.confidence:.4g}% interval {difference.low:+.4f} to {difference.high:+.4f}"
    return f"differs from the champion's by {difference.value:+.4f} ({interval})"


def _is(passed: bool) -> str:
    return "is" if passed else "is not"


def _at_least(passed: bool) -> str:
    return "at least the required" if passed else "less than the required"


def _broken_inputs(champion: Signature, challenger: Signature) -> Iterator[str]:
    offered = challenger.input_by_name
    for present in champion.inputs:
        if (column := offered.get(present.name)) is None:
            yield f"input {present.name} is gone, and a request that brings it is refused"
        else:
            yield from (f"input {present.name} {what}" for what in _narrowed(present, column))
    for column in challenger.inputs:
        if column.name not in champion.input_by_name and column.is_required:
            yield f"input {column.name} is new and required"
    kept = [column.name for column in challenger.inputs if column.name in champion.input_by_name]
    before = [column.name for column in champion.inputs if column.name in offered]
    if kept != before:
        yield (
            f"the inputs come in another order ({', '.join(kept)} in place of {', '.join(before)}): rows without names "
            "would be misread"
        )


def _narrowed(present: Column, column: Column) -> Iterator[str]:
    """In what `column` takes less than `present`."""
    if column.dtype != present.dtype:
        yield f"was {present.dtype} and is {column.dtype}"
        return
    if not _takes_all_shapes(column, present):
        yield f"had rows of shape {list(present.shape)} and has {list(column.shape)}"
    if column.is_required and not present.is_required:
        yield "could be left out and is required"
    if present.nullable and not column.nullable:
        yield "could be missing in a row and must have a value"
    if column.finite and not present.finite:
        yield "could be infinite and must be finite"
    yield from _fewer_categories(present, column)
    yield from _narrower_range(present, column)


def _takes_all_shapes(column: Column, present: Column) -> bool:
    return len(column.shape) == len(present.shape) and all(
        taken in (-1, size) for taken, size in zip(column.shape, present.shape, strict=True)
    )


def _fewer_categories(present: Column, column: Column) -> Iterator[str]:
    if column.categories is None:
        return
    if present.categories is None:
        yield "took any string and takes listed categories only"
    elif gone := [it for it in present.categories if it not in column.category_index]:
        yield f"no longer takes {', '.join(gone)}"


def _narrower_range(present: Column, column: Column) -> Iterator[str]:
    lowest, highest = _range(present)
    if column.minimum is not None and column.minimum > lowest:
        yield f"must be at least {column.minimum:g}, and was taken from {lowest:g}"
    if column.maximum is not None and column.maximum < highest:
        yield f"must be at most {column.maximum:g}, and was taken up to {highest:g}"


def _range(column: Column) -> tuple[float, float]:
    """The smallest and the largest value that a column takes; what its integer type can't hold does not count."""
    lowest, highest = -np.inf, np.inf
    if column.numpy_dtype.kind in "iu":
        lowest, highest = float(np.iinfo(column.numpy_dtype).min), float(np.iinfo(column.numpy_dtype).max)
    return (
        lowest if column.minimum is None else max(lowest, column.minimum),
        highest if column.maximum is None else min(highest, column.maximum),
    )


def _broken_outputs(champion: Signature, challenger: Signature) -> Iterator[str]:
    given = {column.name: column for column in challenger.outputs}
    for present in champion.outputs:
        column = given.get(present.name)
        if column is None:
            yield f"output {present.name} is gone"
        elif (column.dtype, column.shape) != (present.dtype, present.shape):
            yield f"output {present.name} was {_typed(present)} and is {_typed(column)}"
        elif column.nullable and not present.nullable:
            yield f"output {present.name} may be missing in a row and had always a value"
    if len(champion.outputs) == 1 < len(challenger.outputs):
        yield "a single output has become several, and TensorFlow Serving and MLflow answer with names then"


def _typed(column: Column) -> str:
    return f"{column.dtype} {list(column.shape)}" if column.shape else column.dtype
