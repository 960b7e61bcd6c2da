"""The report of a challenger as one page without a script and without anything from elsewhere."""

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from xml.etree.ElementTree import Element, tostring

from matplotlib.figure import Figure

from retrain.card import (
    METRIC_NAMES,
    SLICE_HEAD,
    SPREAD_HEAD,
    Account,
    notable_slices,
    outcome,
    plain,
    rules_of_column,
    spread_note,
    spread_rows,
    with_interval,
)
from retrain.compare import Comparison, Estimate, Latency, SliceComparison
from retrain.gate import RuleResult
from retrain.stability import Stability

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
_TITLES = {
    "roc": "ROC curve",
    "pr": "Precision and recall",
    "calibration": "Calibration",
    "slices": "Slices",
    "importance": "What the model looks at",
}
_SLICES_SHOWN = 20
_SIGNS = {True: "good", False: "bad", None: "muted"}
Child = Element | str | None


def page(account: Account, figures: Mapping[str, Figure]) -> str:
    """A whole HTML document; its plots are pictures inside it.

    Args:
        figures: by name; `roc`, `pr`, `calibration`, `slices` and `importance` get titles of their own.
    """
    style = files("retrain").joinpath("page.css").read_text(encoding="utf-8")
    head = _element(
        "head",
        _element("meta", charset="utf-8"),
        _element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        _element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        _element("title", account.title),
        _element("style", style),
    )
    main = _element(
        "main",
        *_header(account),
        _key_figures(account),
        _section("Rules", _rules(account.verdict.rules)),
        _section("Metrics", *_metrics(account.comparison, account.opponent)),
        _section("Plots", _plots(figures)) if figures else None,
        _section("Slices", *_slices(account.comparison)),
        _section("Stability across seeds", *_stability(account.stability)) if account.stability else None,
        _section("Latency", _latencies(account)) if account.latency else None,
        _section("Data", _windows(account)),
        _section("Inputs", *_inputs(account)),
        _section("Parameters", _facts(account.parameters)),
        _section("Lineage", _facts(_lineage(account))),
        *_own_words(account),
    )
    # Characters that no file can hold, such as half of a surrogate pair, are shown by their codes.
    document = tostring(_element("html", head, _element("body", main), lang="en"), encoding="unicode", method="html")
    return f"<!DOCTYPE html>\n{document}\n".encode("utf-8", "backslashreplace").decode()


def _header(account: Account) -> tuple[Element, ...]:
    passed = account.verdict.passed
    told = "passed: may become champion" if passed else "failed: must not become champion"
    against = f"beside {account.opponent}" if account.comparison.champion else "not compared with a champion"
    reasons = [_element("li", reason) for reason in account.verdict.reasons]
    banner = _element(
        "section",
        _element("p", _element("strong", f"Gate {told}", class_=_SIGNS[passed])),
        _element("ul", *reasons) if reasons else None,
        class_=f"verdict {_SIGNS[passed]}",
    )
    made = f"{account.created:%Y-%m-%d %H:%M} UTC, {against}"
    return _element("h1", account.title), _element("p", made, class_="muted"), banner


def _key_figures(account: Account) -> Element:
    comparison = account.comparison
    told = [
        (METRIC_NAMES["auc"], f"{comparison.auc.challenger.value:.4f}", _beside(comparison.auc.difference)),
        ("log loss", f"{comparison.log_loss.challenger.value:.4f}", _beside(comparison.log_loss.difference)),
        ("calibration error", f"{comparison.challenger.calibration_error:.4f}", ""),
        ("held-out rows", f"{comparison.challenger.rows:,}", f"{comparison.challenger.base_rate:.2%} with label 1"),
    ]
    if account.latency:
        told.append(("one row, p99", f"{account.latency.p99_ms:.3g} ms", ""))
    if account.model_mb is not None:
        told.append(("artifacts", f"{account.model_mb:.3g} MB", ""))
    boxes = [
        _element("div", _element("dt", name), _element("dd", value), _element("dd", note, class_="note"))
        for name, value, note in told
    ]
    return _element("dl", *boxes, class_="figures")


def _beside(difference: Estimate | None) -> str:
    return f"{difference.value:+.4f} beside the champion" if difference else ""


def _rules(rules: Sequence[RuleResult]) -> Element:
    rows: list[list[Child]] = [
        [
            _element("code", it.rule),
            _element("span", outcome(it.passed), class_=_SIGNS[it.passed]),
            _limit(it.measured),
            _limit(it.allowed),
            it.sentence,
        ]
        for it in rules
    ]
    return _table(["rule", "outcome", "measured", "allowed", "what was found"], rows, numbers={2, 3})


def _metrics(comparison: Comparison, opponent: str) -> tuple[Element, Element]:
    own, others = comparison.challenger, comparison.champion
    rows = [
        [
            METRIC_NAMES[it.metric],
            with_interval(it.challenger),
            with_interval(it.champion) if it.champion else "",
            with_interval(it.difference, signed=True) if it.difference else "",
        ]
        for it in comparison.metrics
    ]
    for name, mine, theirs in (
        ("Brier score (lower is better)", own.brier, others.brier if others else None),
        ("calibration error", own.calibration_error, others.calibration_error if others else None),
    ):
        difference = f"{mine - theirs:+.4f}" if theirs is not None else ""
        rows.append([name, _shown(mine), _shown(theirs), difference])
    width = 4 if others else 2
    note = (
        f"{own.rows:,} held-out rows. Intervals hold {100 * comparison.confidence:.4g}% of {comparison.samples:,} "
        f"bootstrap samples{'; both models see the same samples' if others else ''}."
    )
    head = ["metric", "this model", opponent, "difference"][:width]
    return _table(head, [row[:width] for row in rows], numbers={1, 2, 3}), _element("p", note, class_="muted")


def _plots(figures: Mapping[str, Figure]) -> Element:
    return _element(
        "div", *[_plot(_TITLES.get(name, name), figure) for name, figure in figures.items()], class_="plots"
    )


def _plot(title: str, figure: Figure) -> Element:
    picture = io.BytesIO()
    figure.savefig(picture, format="png", facecolor="white", metadata={"Software": None})
    source = f"data:image/png;base64,{base64.b64encode(picture.getvalue()).decode()}"
    return _element("figure", _element("figcaption", title), _element("img", src=source, alt=title))


def _slices(comparison: Comparison) -> tuple[Child, ...]:
    if not comparison.slices:
        return (_element("p", "None were asked for.", class_="muted"),)
    notable = [
        _element("li", f"{why}: ", _element("strong", it.name), f", AUC {_shown(it.challenger.auc)}")
        for why, it in notable_slices(comparison)
    ]
    width = 8 if comparison.champion else 5
    first, rest = comparison.slices[:_SLICES_SHOWN], comparison.slices[_SLICES_SHOWN:]
    others = _element("details", _element("summary", f"{len(rest):,} smaller slices"), _slice_table(rest, width))
    note = "Slices marked as small have too few rows for their AUC to mean much; no rule judges them."
    return (
        _element("ul", *notable) if notable else None,
        _slice_table(first, width),
        others if rest else None,
        _element("p", note, class_="muted") if any(it.challenger.small for it in comparison.slices) else None,
    )


def _slice_table(slices: Iterable[SliceComparison], width: int) -> Element:
    rows = [
        [
            it.name,
            f"{it.challenger.rows:,}{' (small)' if it.challenger.small else ''}",
            f"{it.challenger.base_rate:.2%}",
            _shown(it.challenger.auc),
            _shown(it.challenger.log_loss),
            _shown(it.champion.auc) if it.champion else "",
            with_interval(it.auc_difference, signed=True) if it.auc_difference else "",
            f"{it.log_loss_difference:+.4f}" if it.log_loss_difference is not None else "",
        ]
        for it in slices
    ]
    return _table(SLICE_HEAD[:width], [row[:width] for row in rows], numbers=set(range(1, 8)))


def _stability(found: Stability) -> tuple[Element, Element]:
    table = _table(SPREAD_HEAD, spread_rows(found), numbers=set(range(1, len(SPREAD_HEAD))))
    return table, _element("p", spread_note(found), class_="muted")


def _latencies(account: Account) -> Element:
    measured = {"this model": account.latency, account.opponent: account.champion_latency}
    rows = [_latency(name, latency) for name, latency in measured.items() if latency]
    head = ["", "one row, median", "one row, p99", "calls", "rows/s", "rows of a batch"]
    return _table(head, rows, numbers=set(range(1, 6)))


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
    rows: list[list[Child]] = [
        [
            it.name,
            f"{it.start:%Y-%m-%d %H:%M}",
            f"{it.end:%Y-%m-%d %H:%M}",
            f"{it.rows:,}",
            f"{it.base_rate:.2%}",
            _element("code", it.digest),
        ]
        for it in account.windows
    ]
    return _table(["window", "from (UTC)", "to, exclusive", "rows", "label 1", "digest"], rows, numbers={3, 4})


def _inputs(account: Account) -> tuple[Element, Element]:
    rows = [[it.name, it.dtype, rules_of_column(it), it.description] for it in account.signature.inputs]
    answers = ", ".join(it.name for it in account.signature.outputs)
    note = f"Features: {', '.join(account.features) or 'none'}. Label: {account.label}. Answer: {answers}."
    return _table(["input", "type", "values", "description"], rows), _element("p", note, class_="muted")


def _lineage(account: Account) -> dict[str, str]:
    return {"code revision": account.code_revision, **account.lineage}


def _own_words(account: Account) -> list[Element]:
    told = (("Intended use", account.intended_use), ("Limits", account.limits))
    return [_section(title, _element("p", words.strip(), class_="words")) for title, words in told if words.strip()]


def _section(title: str, *children: Child) -> Element:
    return _element("section", _element("h2", title), *children)


def _facts(told: Mapping[str, object]) -> Element:
    rows = [
        _element("tr", _element("th", name, scope="row"), _element("td", _element("code", plain(value))))
        for name, value in told.items()
    ]
    return _element("table", _element("tbody", *rows), class_="facts")


def _table(
    head: Sequence[str], rows: Sequence[Sequence[Child]], numbers: "set[int] | frozenset[int]" = frozenset()
) -> Element:
    """A table whose first column names the row; `numbers` are the columns to be set flush right."""

    def cell(tag: str, place: int, content: Child, scope: str) -> Element:
        named = {"scope": scope} if tag == "th" else {}
        return _element(tag, content, class_="number" if place in numbers else None, **named)

    titles = [cell("th", place, title, "col") for place, title in enumerate(head)]
    body = [
        _element("tr", *[cell("td" if place else "th", place, it, "row") for place, it in enumerate(row)])
        for row in rows
    ]
    table = _element("table", _element("thead", _element("tr", *titles)), _element("tbody", *body))
    return _element("div", table, class_="scroll")


def _element(tag: str, *children: Child, **attributes: str | None) -> Element:
    """`<tag attribute="value">children</tag>`; `class_` is `class`, other underscores are hyphens, None is nothing.

    ElementTree escapes every text and attribute when it writes them.
    """
    told = {name.rstrip("_").replace("_", "-"): value for name, value in attributes.items() if value is not None}
    element = Element(tag, told)
    for child in children:
        if isinstance(child, Element):
            element.append(child)
        elif child and len(element):
            element[-1].tail = (element[-1].tail or "") + child
        elif child:
            element.text = (element.text or "") + child
    return element


def _shown(value: float | str | None) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else f"{value:.4f}"


def _limit(value: float | str | None) -> str:
    return f"{value:.4g}" if isinstance(value, float) else value or ""
