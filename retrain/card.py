"""What is told of a challenger, and its model card in Markdown."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from retrain.compare import Comparison, Estimate, Latency, SliceComparison
from retrain.gate import RuleResult, Verdict
from retrain.stability import Stability
from retrain.tasks import METRICS
from taxiway.signature import Column, Signature

SPREAD_HEAD = ("metric", "mean", "standard deviation", "lowest", "highest", "range")
_SLICES_LISTED = 40
_MARKDOWN = re.compile(r"([\\`*_{}\[\]<>|#~$!&])")


@dataclass(frozen=True)
class Window:
    """The rows of a span of event time, `start` inclusive, `end` exclusive, both UTC.

    Args:
        name: what it was used for, such as "training".
        base: of its labels, as the task has it: the share of rows with label 1, say.
        digest: SHA-256 of the rows.
    """

    name: str
    start: datetime
    end: datetime
    rows: int
    base: float
    digest: str


@dataclass(frozen=True)
class Account:
    """Everything that report and card say of one challenger.

    Args:
        version: as registered; None when it was not.
        champion_version: whom it was compared with; None when there was nobody.
        features: what the feature store brings, in the model's order.
        lineage: further facts by name, such as the MLflow run or the feature service.
        intended_use: Markdown of the model's owner, as it stands in the settings; likewise `limits`.
    """

    model: str
    version: str | None
    champion_version: str | None
    created: datetime
    label: str
    signature: Signature
    features: Sequence[str]
    windows: Sequence[Window]
    comparison: Comparison
    verdict: Verdict
    parameters: Mapping[str, object]
    code_revision: str
    latency: Latency | None = None
    champion_latency: Latency | None = None
    model_mb: float | None = None
    stability: Stability | None = None
    lineage: Mapping[str, str] = field(default_factory=dict)
    intended_use: str = ""
    limits: str = ""

    @property
    def title(self) -> str:
        return f"{self.model}, version {self.version}" if self.version else f"{self.model}, not registered"

    @property
    def opponent(self) -> str:
        return f"champion (version {self.champion_version})" if self.champion_version else "champion"


def card(account: Account) -> str:
    """A model card after Mitchell et al. 2019, as Markdown; everything but the owner's own words is escaped."""
    verdict = "may become champion" if account.verdict.passed else "must not become champion"
    sections = (
        f"# {_text(account.title)}",
        f"Made {account.created:%Y-%m-%d %H:%M} UTC. The gate's verdict: **{verdict}**.",
        _own_words("Intended use", account.intended_use),
        _own_words("Limits", account.limits),
        _section("Data", _windows(account)),
        _section("Inputs and answer", _columns(account)),
        _section("Metrics", _metrics(account)),
        _section("Slices", _slices(account)),
        _section("Calibration", _calibration(account)),
        _section("Stability across seeds", _stability(account.stability) if account.stability else ""),
        _section("Latency and size", _latency(account)),
        _section("Verdict", _rules(account.verdict.rules)),
        _section("Training", _training(account)),
    )
    return "\n\n".join(it for it in sections if it) + "\n"


def with_interval(estimate: Estimate, *, signed: bool = False) -> str:
    """`0.7312 (0.7265 to 0.7358)`."""
    form = "+.4f" if signed else ".4f"
    return f"{estimate.value:{form}} ({estimate.low:{form}} to {estimate.high:{form}})"


def outcome(passed: bool | None) -> str:
    return "not applicable" if passed is None else "passed" if passed else "failed"


def rules_of_column(column: Column) -> str:
    """What values a column takes, in a few words."""
    told = [f"one of {', '.join(column.categories)}"] if column.categories is not None else []
    told += [f"at least {column.minimum:g}"] if column.minimum is not None else []
    told += [f"at most {column.maximum:g}"] if column.maximum is not None else []
    told += ["may be missing"] if column.nullable else []
    return ", ".join(told)


def notable_slices(comparison: Comparison) -> list[tuple[str, SliceComparison]]:
    """The slices that a reader should look at first, with the reason."""
    about, found = comparison.primary.about, []
    if (worst := comparison.worst_slice) is not None:
        found.append((f"{'lowest' if about.higher_is_better else 'highest'} {about.title}", worst))
    if (lost := comparison.largest_loss) is not None and (comparison.gain(lost) or 0.0) < 0:
        found.append(("falls most behind the champion", lost))
    return found


def slice_head(comparison: Comparison) -> tuple[str, ...]:
    """Over `slice_cells`."""
    score, loss = (METRICS[name].title for name in comparison.task.slice_metrics)
    own = ("slice", "rows", comparison.task.base_title, score, loss)
    return (*own, f"champion's {score}", "difference", f"difference of {loss}") if comparison.champion else own


def slice_cells(comparison: Comparison, it: SliceComparison) -> tuple[str, ...]:
    """One row of a table of slices."""
    own = (
        it.name,
        f"{it.challenger.rows:,}{' (small)' if it.challenger.small else ''}",
        comparison.task.told_base(it.challenger.base),
        figure(it.challenger.score),
        f"{it.challenger.loss:.4f}",
    )
    if comparison.champion is None:
        return own
    return (
        *own,
        figure(it.champion.score) if it.champion else "",
        with_interval(it.difference, signed=True) if it.difference else "",
        f"{it.loss_difference:+.4f}" if it.loss_difference is not None else "",
    )


def about_rows(comparison: Comparison) -> str:
    """What the held-out labels are like."""
    told = comparison.task.told_base(comparison.challenger.base)
    named = {"binary": "{} with label 1", "classes": "{} of the largest class", "regression": "mean {}"}
    return named[comparison.task.name].format(told)


def _windows(account: Account) -> str:
    task, windows = account.comparison.task, account.windows
    return _table(
        ("window", "from", "to (exclusive)", "rows", task.base_title, "digest"),
        [
            (
                it.name,
                f"{it.start:%Y-%m-%d %H:%M}",
                f"{it.end:%Y-%m-%d %H:%M}",
                f"{it.rows:,}",
                task.told_base(it.base),
                it.digest,
            )
            for it in windows
        ],
    )


def _columns(account: Account) -> str:
    inputs = _table(
        ("input", "type", "values", "description"),
        [(it.name, it.dtype, rules_of_column(it), it.description) for it in account.signature.inputs],
    )
    features = f"From the feature store: {_text(', '.join(account.features) or 'nothing')}."
    answers = ", ".join(f"{it.name} ({it.dtype})" for it in account.signature.outputs)
    return f"{inputs}\n\n{features}\n\nLabel: {_text(account.label)}. Answer: {_text(answers)}."


def _metrics(account: Account) -> str:
    comparison = account.comparison
    evaluation = comparison.challenger
    if comparison.champion is None:
        head: tuple[str, ...] = ("metric", "this model")
        rows: list[tuple[str, ...]] = [(str(it.about), with_interval(it.challenger)) for it in comparison.metrics]
    else:
        head = ("metric", "this model", account.opponent, "difference")
        rows = [
            (
                str(it.about),
                with_interval(it.challenger),
                with_interval(it.champion) if it.champion else "",
                with_interval(it.difference, signed=True) if it.difference else "",
            )
            for it in comparison.metrics
        ]
    told = (
        f"On {evaluation.rows:,} held-out rows, {about_rows(comparison)}. Intervals hold "
        f"{100 * comparison.confidence:.4g}% of {comparison.samples:,} bootstrap samples"
        f"{', drawn for both models alike' if comparison.champion else ''}."
    )
    return f"{_table(head, rows)}\n\n{told}"


def _slices(account: Account) -> str:
    comparison = account.comparison
    if not comparison.slices:
        return "None were asked for."
    notable = [f"- {_text(f'{why}: {_told(comparison, it)}')}" for why, it in notable_slices(comparison)]
    rows = [slice_cells(comparison, it) for it in comparison.slices[:_SLICES_LISTED]]
    more = len(comparison.slices) - len(rows)
    parts = [
        "\n".join(notable),
        _table(slice_head(comparison), rows),
        f"{more:,} more slices are in the report." if more else "",
    ]
    return "\n\n".join(it for it in parts if it)


def _told(comparison: Comparison, it: SliceComparison) -> str:
    difference = f", {with_interval(it.difference, signed=True)} beside the champion" if it.difference else ""
    told = f"{comparison.primary.about.title} {figure(it.challenger.score)}"
    return f"{it.name}, {told}{difference}, {it.challenger.rows:,} rows"


def _calibration(account: Account) -> str:
    comparison = account.comparison
    if comparison.challenger.calibration_error is None:
        return ""
    bins = _table(
        ("rows", "predicted", "observed"),
        [(f"{it.rows:,}", f"{it.predicted:.4f}", f"{it.observed:.4f}") for it in comparison.challenger.calibration],
    )
    beside = f", the champion's {figure(comparison.champion.calibration_error)}" if comparison.champion else ""
    return f"Expected calibration error {comparison.challenger.calibration_error:.4f}{beside}.\n\n{bins}"


def spread_rows(found: Stability) -> list[tuple[str, ...]]:
    """One for each metric, under `SPREAD_HEAD`."""
    rows = [
        (str(METRICS[name]), values, found.deviation_of(name), found.range_of(name))
        for name, values in found.values.items()
    ]
    return [
        (name, *(f"{it:.4f}" for it in (sum(values) / len(values), deviation, min(values), max(values), width)))
        for name, values, deviation, width in rows
    ]


def spread_note(found: Stability) -> str:
    what = "probabilities of" if found.of_probabilities else "answers to"
    return (
        f"{len(found.seeds)} fits of the same rows by the same parameters, on the held-out rows; only the seed "
        f"differs. Between two seeds the {what} a row differ by {found.answer_difference:.4f} in the mean."
    )


def _stability(found: Stability) -> str:
    return f"{_table(SPREAD_HEAD, spread_rows(found))}\n\n{_text(spread_note(found))}"


def _latency(account: Account) -> str:
    lines = []
    if (latency := account.latency) is not None:
        lines.append(
            f"- one row: median {latency.p50_ms:.3g} ms, 99th percentile {latency.p99_ms:.3g} ms "
            f"({latency.calls:,} calls in the training job's process)"
        )
        lines.append(f"- {latency.rows_per_s:,.0f} rows/s in batches of {latency.batch_rows:,}")
    if account.model_mb is not None:
        lines.append(f"- {account.model_mb:.3g} MB of artifacts")
    return "\n".join(lines)


def _rules(rules: Sequence[RuleResult]) -> str:
    return _table(("rule", "outcome", "what was found"), [(it.rule, outcome(it.passed), it.sentence) for it in rules])


def _training(account: Account) -> str:
    told = {"code revision": account.code_revision, **account.lineage}
    told |= {f"digest of {it.name}": it.digest for it in account.windows}
    told |= {f"parameter {name}": plain(value) for name, value in account.parameters.items()}
    return "\n".join(f"- {_text(name)}: {_text(value)}" for name, value in told.items())


def _own_words(title: str, words: str) -> str:
    return _section(title, words.strip() or "The settings say nothing about it.")


def _section(title: str, body: str) -> str:
    return f"## {title}\n\n{body}" if body else ""


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    def line(cells: Iterator[str]) -> str:
        return f"| {' | '.join(cells)} |"

    body = [line(map(_text, row)) for row in rows]
    return "\n".join([line(map(_text, head)), line("---" for _ in head), *body])


def _text(text: str) -> str:
    """Text that Markdown shows as it is, on one line."""
    return _MARKDOWN.sub(r"\\\1", " ".join(text.split()))


def figure(value: float | None) -> str:
    """Four digits, or that there is none."""
    return "none" if value is None else f"{value:.4f}"


def plain(value: object) -> str:
    """A parameter, to as many digits as a person reads."""
    return f"{value:.6g}" if isinstance(value, float) else str(value)
