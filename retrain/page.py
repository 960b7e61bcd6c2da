"""The report of a challenger as one page without a script and without anything from elsewhere."""

from collections.abc import Iterable, Mapping, Sequence
from xml.etree.ElementTree import Element

from matplotlib.figure import Figure

from retrain.card import (
    SPREAD_HEAD,
    Account,
    about_rows,
    notable_slices,
    outcome,
    plain,
    rules_of_column,
    slice_cells,
    slice_head,
    spread_note,
    spread_rows,
    with_interval,
)
from retrain.compare import Comparison, Estimate, Latency, SliceComparison
from retrain.gate import RuleResult
from retrain.stability import Stability
from taxiway.markup import Child, document, element, picture, section, table

_TITLES = {
    "roc": "ROC curve",
    "pr": "Precision and recall",
    "confusion": "Which class is taken for which",
    "predicted": "Predicted and true",
    "residuals": "Errors over predictions",
    "errors": "Errors",
    "calibration": "Calibration",
    "slices": "Slices",
    "importance": "What the model looks at",
}
_SLICES_SHOWN = 20
_SIGNS = {True: "good", False: "bad", None: "muted"}


def page(account: Account, figures: Mapping[str, Figure]) -> str:
    """A whole HTML document; its plots are pictures inside it.

    Args:
        figures: by name; those of `retrain.plots` get titles of their own.
    """
    return document(
        account.title,
        *_header(account),
        _key_figures(account),
        section("Rules", _rules(account.verdict.rules)),
        section("Metrics", *_metrics(account.comparison, account.opponent)),
        section("Plots", _plots(figures)) if figures else None,
        section("Slices", *_slices(account.comparison)),
        section("Stability across seeds", *_stability(account.stability)) if account.stability else None,
        section("Latency", _latencies(account)) if account.latency else None,
        section("Data", _windows(account)),
        section("Inputs", *_inputs(account)),
        section("Parameters", _facts(account.parameters)),
        section("Lineage", _facts(_lineage(account))),
        *_own_words(account),
    )


def _header(account: Account) -> tuple[Element, ...]:
    passed = account.verdict.passed
    told = "passed: may become champion" if passed else "failed: must not become champion"
    against = f"beside {account.opponent}" if account.comparison.champion else "not compared with a champion"
    reasons = [element("li", reason) for reason in account.verdict.reasons]
    banner = element(
        "section",
        element("p", element("strong", f"Gate {told}", class_=_SIGNS[passed])),
        element("ul", *reasons) if reasons else None,
        class_=f"verdict {_SIGNS[passed]}",
    )
    made = f"{account.created:%Y-%m-%d %H:%M} UTC, {against}"
    return element("h1", account.title), element("p", made, class_="muted"), banner


def _key_figures(account: Account) -> Element:
    comparison = account.comparison
    told = [
        (it.about.title, f"{it.challenger.value:.4f}", _beside(it.difference))
        for it in map(comparison.of, comparison.task.slice_metrics)
    ]
    if (error := comparison.challenger.calibration_error) is not None:
        told.append(("calibration error", f"{error:.4f}", ""))
    told.append(("held-out rows", f"{comparison.challenger.rows:,}", about_rows(comparison)))
    if account.latency:
        told.append(("one row, p99", f"{account.latency.p99_ms:.3g} ms", ""))
    if account.model_mb is not None:
        told.append(("artifacts", f"{account.model_mb:.3g} MB", ""))
    boxes = [
        element("div", element("dt", name), element("dd", value), element("dd", note, class_="note"))
        for name, value, note in told
    ]
    return element("dl", *boxes, class_="figures")


def _beside(difference: Estimate | None) -> str:
    return f"{difference.value:+.4f} beside the champion" if difference else ""


def _rules(rules: Sequence[RuleResult]) -> Element:
    rows: list[list[Child]] = [
        [
            element("code", it.rule),
            element("span", outcome(it.passed), class_=_SIGNS[it.passed]),
            _limit(it.measured),
            _limit(it.allowed),
            it.sentence,
        ]
        for it in rules
    ]
    return table(["rule", "outcome", "measured", "allowed", "what was found"], rows, numbers={2, 3})


def _metrics(comparison: Comparison, opponent: str) -> tuple[Element, Element]:
    own, others = comparison.challenger, comparison.champion
    rows = [
        [
            str(it.about),
            with_interval(it.challenger),
            with_interval(it.champion) if it.champion else "",
            with_interval(it.difference, signed=True) if it.difference else "",
        ]
        for it in comparison.metrics
    ]
    for name, mine in own.further.items():
        theirs = others.further[name] if others else None
        difference = f"{mine - theirs:+.4f}" if theirs is not None else ""
        rows.append([name, _shown(mine), _shown(theirs), difference])
    width = 4 if others else 2
    note = (
        f"{own.rows:,} held-out rows. Intervals hold {100 * comparison.confidence:.4g}% of {comparison.samples:,} "
        f"bootstrap samples{'; both models see the same samples' if others else ''}."
    )
    head = ["metric", "this model", opponent, "difference"][:width]
    return table(head, [row[:width] for row in rows], numbers={1, 2, 3}), element("p", note, class_="muted")


def _plots(figures: Mapping[str, Figure]) -> Element:
    pictures = [picture(_TITLES.get(name, name), figure) for name, figure in figures.items()]
    return element("div", *pictures, class_="plots")


def _slices(comparison: Comparison) -> tuple[Child, ...]:
    if not comparison.slices:
        return (element("p", "None were asked for.", class_="muted"),)
    title = comparison.primary.about.title
    notable = [
        element("li", f"{why}: ", element("strong", it.name), f", {title} {_shown(it.challenger.score)}")
        for why, it in notable_slices(comparison)
    ]
    first, rest = comparison.slices[:_SLICES_SHOWN], comparison.slices[_SLICES_SHOWN:]
    others = element("details", element("summary", f"{len(rest):,} smaller slices"), _slice_table(comparison, rest))
    note = f"Slices marked as small have too few rows for their {title} to mean much; no rule judges them."
    return (
        element("ul", *notable) if notable else None,
        _slice_table(comparison, first),
        others if rest else None,
        element("p", note, class_="muted") if any(it.challenger.small for it in comparison.slices) else None,
    )


def _slice_table(comparison: Comparison, slices: Iterable[SliceComparison]) -> Element:
    rows = [list[Child](slice_cells(comparison, it)) for it in slices]
    return table(slice_head(comparison), rows, numbers=set(range(1, 8)))


def _stability(found: Stability) -> tuple[Element, Element]:
    seeds = table(SPREAD_HEAD, spread_rows(found), numbers=set(range(1, len(SPREAD_HEAD))))
    return seeds, element("p", spread_note(found), class_="muted")


def _latencies(account: Account) -> Element:
    measured = {"this model": account.latency, account.opponent: account.champion_latency}
    rows = [_latency(name, latency) for name, latency in measured.items() if latency]
    head = ["", "one row, median", "one row, p99", "calls", "rows/s", "rows of a batch"]
    return table(head, rows, numbers=set(range(1, 6)))


def _latency(name: str, latency: Latency) -> list[Child]:
    return [
        name,
        f"{latency.p50_ms:.3g} ms",
        f"{latency.p99_ms:.3g} ms",
        f"{latency.calls:,}",
        f"{latency.rows_per_s:,.0f}",
        f"{latency.batch_rows:,}",
    ]


def _windows(account: Account) -> Element:
    task = account.comparison.task
    rows: list[list[Child]] = [
        [
            it.name,
            f"{it.start:%Y-%m-%d %H:%M}",
            f"{it.end:%Y-%m-%d %H:%M}",
            f"{it.rows:,}",
            task.told_base(it.base),
            element("code", it.digest),
        ]
        for it in account.windows
    ]
    head = ["window", "from (UTC)", "to, exclusive", "rows", task.base_title, "digest"]
    return table(head, rows, numbers={3, 4})


def _inputs(account: Account) -> tuple[Element, Element]:
    rows = [[it.name, it.dtype, rules_of_column(it), it.description] for it in account.signature.inputs]
    answers = ", ".join(it.name for it in account.signature.outputs)
    note = f"Features: {', '.join(account.features) or 'none'}. Label: {account.label}. Answer: {answers}."
    return table(["input", "type", "values", "description"], rows), element("p", note, class_="muted")


def _lineage(account: Account) -> dict[str, str]:
    return {"code revision": account.code_revision, **account.lineage}


def _own_words(account: Account) -> list[Element]:
    told = (("Intended use", account.intended_use), ("Limits", account.limits))
    return [section(title, element("p", words.strip(), class_="words")) for title, words in told if words.strip()]


def _facts(told: Mapping[str, object]) -> Element:
    rows = [
        element("tr", element("th", name, scope="row"), element("td", element("code", plain(value))))
        for name, value in told.items()
    ]
    return element("table", element("tbody", *rows), class_="facts")


def _shown(value: float | str | None) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else f"{value:.4f}"


def _limit(value: float | str | None) -> str:
    return f"{value:.4g}" if isinstance(value, float) else value or ""
