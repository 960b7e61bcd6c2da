"""The part of a rollout's page about its answers: outputs, latency, missing inputs, how copies differ."""

from collections.abc import Sequence
from xml.etree.ElementTree import Element

from taxiway.markup import Child, element, picture, table
from taxiway.rollout.tally import OTHER, quantile_apart
from taxiway.rollout_series import Look, steps_of
from taxiway.rollout_sketch import SIDES, Pairing, Ranks, Side, Sketch, newest
from taxiway.rollout_sketch_plots import Sides, latency_curve, output_figure

_LABELS = 8
"""Rows and columns of a matrix; what else there is counts as `others`."""
_COLUMNS = 15
_OTHERS = "others"
_QUANTILES = (0.5, 0.9, 0.99)
_HOW_TO_READ = (
    "Of step {step}, unless another one is named. The bins of a number are drawn equally wide, whatever they span."
)


def answers(series: Sequence[Look]) -> list[Child]:
    """What is known of the last step that was measured, and of the copies of the last step that had some."""
    sketches = newest([one.sketch for one in series if one.sketch])
    if not sketches:
        return []
    sides, last = _sides(sketches), sketches[-1]
    named = sorted({name for side in sides.values() if side for name in side.outputs})
    figures = {f"Output {name}": output_figure(name, sides) for name in named}
    figures["Latency: how many answers took longer"] = latency_curve(sides)
    pictures = [picture(title, figure) for title, figure in figures.items() if figure is not None]
    shadowed = next((it for it in reversed(sketches) if it.apart), None)
    return [
        element("p", _HOW_TO_READ.format(step=last.step + 1), class_="muted"),
        element("div", *pictures, class_="plots"),
        *(_differences(series, shadowed) if shadowed else ()),
        *_missing(sides),
    ]


def _sides(sketches: Sequence[Sketch]) -> Sides:
    """By name: of the last step; copies and the challenger of the last step in which it has answered any."""
    found: dict[str, Side | None] = {}
    for name in SIDES:
        one = next((it for it in reversed(sketches) if it.side(name).rows or it.side(name).latency), None)
        told = "challenger, copies" if name == "copies" else name
        step = f", step {one.step + 1}" if one is not None and one is not sketches[-1] else ""
        found[told + step] = None if one is None else one.side(name)
    return found


def _differences(series: Sequence[Look], shadowed: Sketch) -> list[Child]:
    numbers = {name: it for name, it in shadowed.apart.items() if it.bins}
    looks = [group[-1] for group in steps_of(series) if group[-1].step == shadowed.step]
    rows: list[list[Child]] = []
    for name, it in numbers.items():
        known = looks[-1].apart.get(name) if looks else None
        correlation = "" if known is None or known.correlation is None else f"{known.correlation:.4f}"
        mean = "" if known is None else f"{known.mean:.4g}"
        ends = [quantile_apart(it.bins, share) for share in _QUANTILES]
        quantiles = ("" if end is None else f"{end:.3g}" for end in ends)
        rows.append([name, f"{it.n:,}", mean, *quantiles, correlation, _ranks(it.ranks)])
    parts: list[Child] = [element("h3", f"Copies beside live answers, step {shadowed.step + 1}")]
    if rows:
        head = [
            "absolute difference",
            "rows",
            "mean",
            *(f"{share:.0%} are below" for share in _QUANTILES),
            "correlation",
            "rank correlation",
        ]
        parts.append(table(head, rows, numbers=set(range(1, 8))))
    for name, it in shadowed.apart.items():
        if it.pairs:
            told = f"{name}: rows are what was answered live, columns what the copy said."
            unnamed = it.pairs.get(OTHER, 0)
            if unnamed:
                told = f"{told} {unnamed:,} rows of pairs that came late are not in it."
            parts += [element("p", told, class_="muted"), _matrix(it)]
    return parts


def _ranks(found: Ranks | None) -> str:
    """Spearman's, and what it lies between where values share a bin."""
    if found is None:
        return ""
    ends = f"{found.low:.4f} to {found.high:.4f}"
    return f"{found.estimate:.4f}" if found.low == found.high else f"{found.estimate:.4f} ({ends})"


def _matrix(pairing: Pairing) -> Element:
    """Of labels and classes: how often which stood for which."""
    named = ((pair.partition("→"), count) for pair, count in pairing.pairs.items() if pair != OTHER)
    pairs = {(live, copy): count for (live, _, copy), count in named}
    often: dict[str, int] = {}
    for (live, copy), count in pairs.items():
        for label in (live, copy):
            often[label] = often.get(label, 0) + count
    shown = sorted(often.keys() - {OTHER}, key=lambda label: (-often[label], label))[:_LABELS]
    labels = [*shown, _OTHERS] if len(often) > len(shown) else shown
    counts: dict[tuple[str, str], int] = {}
    for (live, copy), count in pairs.items():
        cell = tuple(it if it in shown else _OTHERS for it in (live, copy))
        counts[cell[0], cell[1]] = counts.get((cell[0], cell[1]), 0) + count
    rows: list[list[Child]] = [
        [live, *(_cell(counts.get((live, copy), 0), is_same=live == copy) for copy in labels)] for live in labels
    ]
    return table(["", *labels], rows, numbers=set(range(1, len(labels) + 1)))


def _cell(count: int, is_same: bool) -> Element:
    return element("span", f"{count:,}" if count else "·", class_="muted" if is_same or not count else "bad")


def _missing(sides: Sides) -> list[Child]:
    """Inputs and features that some row lacks, those first of which the shares lie furthest apart."""
    known = {name: side for name, side in sides.items() if side is not None and side.rows}
    shares = {
        column: [side.missing.get(column, 0) / side.rows for side in known.values()]
        for column in dict.fromkeys(column for side in known.values() for column in side.missing)
    }
    if not shares:
        return [element("p", "No row lacks an input or a feature.", class_="muted")] if known else []
    order = sorted(shares, key=lambda column: (min(shares[column]) - max(shares[column]), -max(shares[column]), column))
    rows: list[list[Child]] = [[column, *(f"{share:.2%}" for share in shares[column])] for column in order[:_COLUMNS]]
    parts: list[Child] = [
        element("h3", "Rows without a value"),
        table(["input or feature", *known], rows, numbers=set(range(1, len(known) + 1))),
    ]
    if len(order) > _COLUMNS:
        parts.append(element("p", f"{len(order) - _COLUMNS} more columns are missing less.", class_="muted"))
    return parts
