"""What a skew audit says: the report as JSON, its verdict, and the same for people."""

from datetime import UTC
from typing import Literal
from xml.etree.ElementTree import Element

from pydantic import AwareDatetime

from batch.audit.compare import ColumnSkew, StaleValues
from batch.audit.replay import Skew
from batch.audit.settings import SkewLimits
from taxiway.markup import Child, document, element, section, table
from taxiway.settings import Settings

_HEAD = ("column", "differ", "share", "missing online", "missing offline", "unequal", "by (median, 99%)", "stale")
_HOW_TO_READ = (
    "Each audited request was scored again with the same model version and with features as they were known when it "
    "arrived. A stale value is one that the feature's history held earlier: its age says how old it was when it was "
    "served, and behind by how much the online store was late."
)


class AuditReport(Settings):
    """The result of an audit.

    Attributes:
        answers: that were drawn, of `of_answers` in the window.
        rows: of them that were compared.
        refused: answered rows that batch sets aside, by code.
        absent: columns that the log does not have.
        broken: a sentence for each limit that is.
    """

    kind: Literal["skew audit"] = "skew audit"
    at: AwareDatetime
    model: str
    endpoint: str
    variant: str | None
    began: AwareDatetime
    ended: AwareDatetime
    as_of: AwareDatetime | None
    seed: int
    answers: int
    of_answers: int
    rows: int
    unreadable: int
    tolerance: float
    features: tuple[ColumnSkew, ...]
    outputs: tuple[ColumnSkew, ...]
    refused: dict[str, int]
    absent: tuple[str, ...]
    broken: tuple[str, ...]

    @property
    def metrics(self) -> dict[str, float]:
        told = {"rows": float(self.rows), "refused": float(sum(self.refused.values()))}
        for group, columns in (("feature", self.features), ("output", self.outputs)):
            told |= {f"{group}/{it.column}/differing_share": it.share for it in columns}
        stale = {f"feature/{it.column}/behind_s": it.stale.behind_s.median for it in self.features if it.stale}
        return told | stale


def broken(skew: Skew, limits: SkewLimits) -> tuple[str, ...]:
    """A sentence for each limit that is broken."""
    told = []
    for kind, columns, limit in (
        ("feature", skew.features, limits.feature_share),
        ("output", skew.outputs, limits.output_share),
    ):
        told += [
            f"{kind} {it.column}: {it.share:.2%} of {it.rows:,} rows differ, allowed are {limit:.2%}{_cause(it)}"
            for it in columns
            if limit is not None and it.share > limit
        ]
    if limits.refused_share is not None and skew.refused_share > limits.refused_share:
        codes = ", ".join(f"{count:,} {code}" for code, count in sorted(skew.refused.items()))
        refused = f"batch refuses {skew.refused_share:.2%} of the answered rows ({codes})"
        told.append(f"{refused}, allowed are {limits.refused_share:.2%}")
    return tuple(told)


def _cause(it: ColumnSkew) -> str:
    causes = [
        f"{count:,} {name}"
        for name, count in (
            ("missing online", it.missing_online),
            ("missing offline", it.missing_offline),
            ("unequal", it.unequal),
        )
        if count
    ]
    stale = f"; {it.stale.rows:,} stale, behind by {duration(it.stale.behind_s.median)}" if it.stale else ""
    return f" ({', '.join(causes)}{stale})"


def summary(report: AuditReport) -> list[str]:
    """Lines for a terminal."""
    differing = [it for it in (*report.features, *report.outputs) if it.differing]
    lines = [f"{report.model} at {report.endpoint}: {report.rows:,} rows of {report.answers:,} answers compared"]
    lines += [f"  {it.column}: {it.share:.2%} differ{_cause(it)}" for it in differing]
    if not differing:
        lines.append("  served and offline agree in every feature and output")
    if report.absent:
        lines.append(f"  not in the log, not compared: {', '.join(report.absent)}")
    return [*lines, *(f"broken: {sentence}" for sentence in report.broken)]


def page(report: AuditReport) -> str:
    """A whole HTML document."""
    title = f"Skew audit of {report.model} at {report.endpoint}"
    refused = [[code, f"{count:,}"] for code, count in sorted(report.refused.items())]
    return document(
        title,
        element("h1", title),
        element("p", _about(report), class_="muted"),
        _verdict(report.broken),
        element("p", _HOW_TO_READ),
        section("Features", _columns(report.features)),
        section("Outputs", _columns(report.outputs)),
        section("Answered rows that batch refuses", table(("code", "rows"), refused, {1})) if refused else None,
        section("Not in the log", element("p", ", ".join(report.absent))) if report.absent else None,
    )


def _about(report: AuditReport) -> str:
    window = f"{report.began.astimezone(UTC):%Y-%m-%d %H:%M} to {report.ended.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    joined = f", features as of {report.as_of.isoformat()}" if report.as_of else ""
    return (
        f"Answers of {window}: {report.rows:,} rows of {report.answers:,} answers, drawn from {report.of_answers:,} "
        f"with seed {report.seed}; numbers within {report.tolerance:g} of the larger one are equal{joined}."
    )


def _verdict(sentences: tuple[str, ...]) -> Element:
    if not sentences:
        return element("div", element("strong", "Within the limits.", class_="good"), class_="verdict good")
    lines = element("ul", *(element("li", sentence) for sentence in sentences))
    return element("div", element("strong", "Broken:", class_="bad"), lines, class_="verdict bad")


def _columns(columns: tuple[ColumnSkew, ...]) -> Element:
    if not columns:
        return element("p", "None.", class_="muted")
    return table(_HEAD, [_row(it) for it in sorted(columns, key=lambda it: -it.share)], set(range(1, 8)))


def _row(it: ColumnSkew) -> list[Child]:
    counts = (it.missing_online, it.missing_offline, it.unequal)
    by = f"{it.difference.median:.4g}, {it.difference.p99:.4g}" if it.difference else "–"
    share = f"{it.share:.2%}"
    return [it.column, f"{it.differing:,}", share, *(f"{count:,}" for count in counts), by, _stale(it.stale)]


def _stale(stale: StaleValues | None) -> str:
    if stale is None:
        return "–"
    age, behind = duration(stale.age_s.median), duration(stale.behind_s.median)
    return f"{stale.rows:,}, age {age}, behind {behind} (at most {duration(stale.behind_s.maximum)})"


def duration(seconds: float) -> str:
    """`3.0 h`: in the largest unit that is not below one."""
    for unit, size in (("d", 86_400.0), ("h", 3_600.0), ("min", 60.0)):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s"
