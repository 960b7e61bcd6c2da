"""Whether a challenger may take the champion's place: rules over what was measured, and a verdict with reasons."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, Self

from pydantic import Field, model_validator

from retrain.breaking import breaking_changes
from retrain.compare import SAMPLES, Comparison, Estimate, Latency, MetricComparison
from retrain.evaluate import SMALL_SLICE_ROWS
from retrain.stability import Stability
from retrain.tasks import METRICS, MetricName, Task, TaskName
from taxiway.settings import Settings
from taxiway.signature import Signature

_OF_BINARY = ("min_auc", "min_auc_gain", "max_log_loss_increase", "max_slice_auc_loss", "max_auc_spread")


class MetricSettings(Settings):
    """What a challenger must fulfil in one metric; null switches a rule off.

    A gain is an improvement, whichever way the metric goes: of RMSE it is by how much it has fallen.
    """

    limit: float | None = Field(
        default=None, description="the challenger's value must be at least this, where lower is better at most"
    )
    min_gain: float | None = Field(
        default=None,
        description="the lower end of the interval of the gain over the champion on the same rows must be above this, "
        "in the metric's own unit; below 0 it is what may be lost",
    )
    max_slice_loss: float | None = Field(
        default=None,
        ge=0,
        description="no slice may lose more than this to the champion; for auc, accuracy or rmse, by task",
    )
    max_spread: float | None = Field(
        default=None,
        ge=0,
        description="the best and the worst of the fits of search.seeds may differ by at most this; for what a trial "
        "is judged by: auc, accuracy, log_loss, rmse, r2",
    )

    @model_validator(mode="after")
    def _not_empty(self) -> Self:
        if all(getattr(self, name) is None for name in type(self).model_fields):
            raise ValueError(f"give at least one of {', '.join(type(self).model_fields)}")
        return self


DEFAULT_METRICS: Mapping[TaskName, Mapping[MetricName, MetricSettings]] = {
    "binary": {},
    "classes": {"accuracy": MetricSettings(min_gain=-0.01), "log_loss": MetricSettings(min_gain=-0.02)},
    "regression": {"r2": MetricSettings(limit=0.0, min_gain=-0.01)},
}
"""What `metrics` is where the settings say nothing; RMSE and MAE have a unit that only their owner knows."""


class GateSettings(Settings):
    """What a challenger must fulfil; null switches a rule off. Without a champion nothing is compared with it."""

    metrics: dict[MetricName, MetricSettings] = Field(
        default_factory=dict,
        description="rules by metric: of binary auc, average_precision, log_loss; of classes accuracy, log_loss, "
        "macro_f1, macro_auc; of regression rmse, mae, r2, median_absolute_error; if empty those of the task: "
        "accuracy and log_loss, or r2, may lose little",
    )
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

    rule: str
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
    """Every rule of the task, those by metric last; one that should hold and was not measured has failed.

    Raises:
        ValueError: the comparison's intervals have another confidence than the settings ask for.
    """
    if evidence.comparison.confidence != settings.confidence:
        raise ValueError(
            f"the comparison's intervals hold {evidence.comparison.confidence:g} of the samples, the gate asks for "
            f"{settings.confidence:g}: call compare(..., confidence=settings.confidence)"
        )
    is_binary = evidence.comparison.task.name == "binary"
    of_all = (rule(settings, evidence) for rule in _RULES if is_binary or rule not in _BINARY_RULES)
    rules = (*of_all, *_metric_rules(settings, evidence))
    reasons = tuple(it.sentence for it in rules if it.passed is False)
    return Verdict(passed=not reasons, reasons=reasons, rules=rules)


def misplaced(settings: GateSettings, task: type[Task]) -> str:
    """A sentence about rules that the task can't be judged by; empty when there are none."""
    given = [name for name in _OF_BINARY if name in settings.model_fields_set]
    if given and task.name != "binary":
        return f"{', '.join(given)}: for `task: binary` only; use metrics.{task.metrics[0]}"
    for name, rule in settings.metrics.items():
        if name not in task.metrics:
            return f"metrics.{name}: the task {task.name} has {', '.join(task.metrics)}"
        if rule.max_slice_loss is not None and name != task.metrics[0]:
            return f"metrics.{name}.max_slice_loss: slices are compared by {task.metrics[0]} only"
        if rule.max_spread is not None and name not in (task.loss, task.score):
            return f"metrics.{name}.max_spread: seeds are compared by {task.score} and {task.loss} only"
    return ""


def _min_auc(settings: GateSettings, evidence: Evidence) -> RuleResult:
    allowed, auc = settings.min_auc, evidence.comparison.challenger.figures["auc"]
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
    return _slice_loss("max_slice_auc_loss", allowed, settings, evidence.comparison)


def _slice_loss(rule: str, allowed: float, settings: GateSettings, comparison: Comparison) -> RuleResult:
    losses = [
        (-gain, it)
        for it in comparison.slices
        if (gain := comparison.gain(it)) is not None and it.challenger.rows >= settings.min_slice_rows
    ]
    if not losses:
        return _not_applicable(rule, "no slice is large enough to be judged", allowed)
    losses.sort(key=lambda pair: -pair[0])
    lost = [f"{it.name} ({loss:.4f}, {it.challenger.rows:,} rows)" for loss, it in losses if loss > allowed]
    (measured, worst), about = losses[0], comparison.primary.about
    side = "below" if about.higher_is_better else "above"
    if lost:
        sentence = f"slices whose {about.title} is {side} the champion's by more than {allowed:.4g}: {', '.join(lost)}"
    else:
        sentence = (
            f"in none of {len(losses):,} slices is the {about.title} {side} the champion's by more than {allowed:.4g}; "
            f"{worst.name} does worst with {about.gain(-measured):+.4f}"
        )
    return RuleResult(rule=rule, passed=not lost, measured=measured, allowed=allowed, sentence=sentence)


def _metric_rules(settings: GateSettings, evidence: Evidence) -> Iterator[RuleResult]:
    """Those that are switched on, metric by metric."""
    comparison = evidence.comparison
    for name, asked in (settings.metrics or DEFAULT_METRICS[comparison.task.name]).items():
        rule, found = f"metrics.{name}", comparison.of(name)
        if asked.limit is not None:
            yield _limit(f"{rule}.limit", asked.limit, found)
        if asked.min_gain is not None:
            yield _gain(f"{rule}.min_gain", asked.min_gain, found, settings)
        if asked.max_slice_loss is not None:
            yield (
                _slice_loss(f"{rule}.max_slice_loss", asked.max_slice_loss, settings, comparison)
                if comparison.champion
                else _no_champion(f"{rule}.max_slice_loss", asked.max_slice_loss)
            )
        if asked.max_spread is not None:
            yield _spread(f"{rule}.max_spread", name, evidence.stability, asked.max_spread)


def _limit(rule: str, allowed: float, found: MetricComparison) -> RuleResult:
    value, about = found.challenger.value, found.about
    passed = about.gain(value - allowed) >= 0
    kept, missed = ("at least", "less than") if about.higher_is_better else ("at most", "more than")
    sentence = f"the {about.title} is {value:.4g}, {kept if passed else missed} the required {allowed:.4g}"
    return RuleResult(rule=rule, passed=passed, measured=value, allowed=allowed, sentence=sentence)


def _gain(rule: str, allowed: float, found: MetricComparison, settings: GateSettings) -> RuleResult:
    if found.gain is None or found.difference is None:
        return _no_champion(rule, allowed)
    passed = found.gain.low > allowed
    sentence = (
        f"the {found.about.title} {_differs(found.difference, settings)}; the gain's lower end, {found.gain.low:+.4g}, "
        f"{_is(passed)} above the {allowed:+.4g} required"
    )
    return RuleResult(rule=rule, passed=passed, measured=found.gain.low, allowed=allowed, sentence=sentence)


def _spread(rule: str, metric: MetricName, found: Stability | None, allowed: float | None) -> RuleResult:
    seeds = f"{len(found.seeds)} seeds" if found else "several seeds"
    what = f"the {METRICS[metric].title}'s range over {seeds}"
    return _at_most(rule, what, found.range_of(metric) if found else None, allowed)


def _max_calibration_error(settings: GateSettings, evidence: Evidence) -> RuleResult:
    error = evidence.comparison.challenger.calibration_error
    if not evidence.comparison.task.answers_probabilities:
        return _not_applicable("max_calibration_error", "numbers have no calibration error")
    return _at_most("max_calibration_error", "the calibration error", error, settings.max_calibration_error)


def _max_p99_ms(settings: GateSettings, evidence: Evidence) -> RuleResult:
    p99 = evidence.latency.p99_ms if evidence.latency else None
    return _at_most("max_p99_ms", "the 99th percentile of predicting one row", p99, settings.max_p99_ms, " ms")


def _max_model_mb(settings: GateSettings, evidence: Evidence) -> RuleResult:
    return _at_most("max_model_mb", "the model's size", evidence.model_mb, settings.max_model_mb, " MB")


def _max_auc_spread(settings: GateSettings, evidence: Evidence) -> RuleResult:
    return _spread("max_auc_spread", "auc", evidence.stability, settings.max_auc_spread)


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


_Judge = Callable[[GateSettings, Evidence], RuleResult]
_BINARY_RULES: tuple[_Judge, ...] = (
    _min_auc,
    _min_auc_gain,
    _max_log_loss_increase,
    _max_slice_auc_loss,
    _max_auc_spread,
)
_RULES: tuple[_Judge, ...] = (
    *_BINARY_RULES[:-1],
    _max_calibration_error,
    _max_p99_ms,
    _max_model_mb,
    _max_auc_spread,
    _signature,
)


def _at_most(rule: str, what: str, measured: float | None, allowed: float | None, unit: str = "") -> RuleResult:
    if allowed is None:
        return _off(rule)
    if measured is None:
        told = f"{what} was not measured and must be at most {allowed:.4g}{unit}"
        return RuleResult(rule=rule, passed=False, allowed=allowed, sentence=told)
    passed = measured <= allowed
    told = f"{what} is {measured:.4g}{unit}, {'at most' if passed else 'more than'} the {allowed:.4g}{unit} allowed"
    return RuleResult(rule=rule, passed=passed, measured=measured, allowed=allowed, sentence=told)


def _off(rule: str) -> RuleResult:
    return _not_applicable(rule, "switched off")


def _no_champion(rule: str, allowed: float) -> RuleResult:
    return _not_applicable(rule, "there are no answers of a champion to compare with", allowed)


def _not_applicable(rule: str, why: str, allowed: float | str | None = None) -> RuleResult:
    return RuleResult(rule=rule, passed=None, allowed=allowed, sentence=why)


def _differs(difference: Estimate, settings: GateSettings) -> str:
    interval = f"{100 * settings.confidence:.4g}% interval {difference.low:+.4f} to {difference.high:+.4f}"
    return f"differs from the champion's by {difference.value:+.4f} ({interval})"


def _is(passed: bool) -> str:
    return "is" if passed else "is not"


def _at_least(passed: bool) -> str:
    return "at least the required" if passed else "less than the required"
