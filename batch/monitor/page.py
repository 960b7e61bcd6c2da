"""The report of a monitor job as a page for people."""

from datetime import UTC
from xml.etree.ElementTree import Element

from matplotlib.figure import Figure

from batch.monitor.quality import LOSSES, Quality
from batch.monitor.report import MonitorReport, told
from taxiway.drift.judgement import ColumnDrift
from taxiway.markup import document, element, picture, section, table

_HEAD = ("column", "p", "PSI", "by chance", "Jensen-Shannon", "Kolmogorov-Smirnov", "missing", "drifts")
_HOW_DRIFT = (
    "p is the smallest of the column's p-values after Holm's correction over all tests of all columns. A column "
    "drifts when it is significant and the distance is large enough to matter."
)
_HOW_QUALITY = "In brackets the middle 95% over bootstrap samples of whole answers. A day counts by when it was asked."


def page(report: MonitorReport) -> str:
    """A whole HTML document."""
    title = f"{report.model} at {report.endpoint}"
    return document(
        f"Monitoring of {title}",
        element("h1", f"Monitoring of {title}"),
        element("p", _about(report), class_="muted"),
        _verdict(report),
        section("Quality over time", *_quality(report.quality)),
        section("Drift", element("p", _HOW_DRIFT), _drift(report.columns)),
        section("Not in the log", element("p", ", ".join(report.absent))) if report.absent else None,
    )


def _about(report: MonitorReport) -> str:
    window = f"{report.began.astimezone(UTC):%Y-%m-%d %H:%M} to {report.ended.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    drawn = f"{report.rows:,} rows of {report.answers:,} answers, drawn from {report.of_answers:,}"
    few = "" if report.is_judged else " There are too few rows to judge drift."
    return f"Answers of {window}: {drawn}, against the {report.reference}.{few}"


def _verdict(report: MonitorReport) -> Element:
    if not report.broken:
        return element("div", element("strong", "Within the limits.", class_="good"), class_="verdict good")
    lines = element("ul", *(element("li", sentence) for sentence in report.broken))
    return element("div", element("strong", "Broken:", class_="bad"), lines, class_="verdict bad")


def _quality(quality: Quality | None) -> list[Element]:
    if quality is None:
        return [element("p", "Nothing of the window can be judged yet.", class_="muted")]
    head = ("day", "answers", "rows", "mean label", LOSSES[quality.task], "AUC")
    rows = [
        [
            "all" if it.day is None else it.day.isoformat(),
            f"{it.answers:,}",
            f"{it.rows:,}",
            "–" if it.base is None else f"{it.base:.4g}",
            told(it.loss),
            told(it.auc),
        ]
        for it in (*quality.days, quality.whole)
    ]
    reference = f" On the reference: {quality.reference:.4g}." if quality.reference is not None else ""
    counted = f" {quality.corrections:,} labels were corrected, {quality.unmatched:,} are about no answer in the log."
    return [
        picture(f"{LOSSES[quality.task]} by day", figure(quality)),
        element("p", f"{_HOW_QUALITY}{reference}{counted}"),
        table(head, rows, {1, 2, 3, 4, 5}),
    ]


def figure(quality: Quality) -> Figure:
    """The loss of each day with its interval, and the reference's as a line."""
    drawn = Figure(figsize=(8.0, 3.0), layout="constrained")
    axes = drawn.add_subplot()
    days = [str(it.day) for it in quality.days]
    losses = [it.loss for it in quality.days]
    below = [max(it.value - it.low, 0.0) for it in losses]
    above = [max(it.high - it.value, 0.0) for it in losses]
    axes.errorbar(days, [it.value for it in losses], [below, above], fmt="o-", capsize=3)
    if quality.reference is not None:
        axes.axhline(quality.reference, linestyle="--", color="gray", label="reference")
        axes.legend()
    axes.set_ylabel(LOSSES[quality.task])
    axes.tick_params(axis="x", rotation=30)
    return drawn


def _drift(columns: tuple[ColumnDrift, ...]) -> Element:
    ordered = sorted(columns, key=lambda it: (not it.drifts, it.p))
    return table(_HEAD, [_row(it) for it in ordered], set(range(1, 7)))


def _row(it: ColumnDrift) -> list[str | Element | None]:
    distances = (it.psi, it.psi_by_chance, it.jensen_shannon, it.kolmogorov_smirnov, it.missing_difference)
    shown = ["–" if value is None else f"{value:.3f}" for value in distances]
    mark = element("span", ", ".join(it.because), class_="bad") if it.drifts else "no"
    return [it.key, f"{it.p:.2g}", *shown, mark]
