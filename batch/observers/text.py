"""The report as a few lines: the job's last words on the terminal."""

from batch.inputs.storage import below
from batch.observers.report import PAGE, Report
from batch.observers.shown import compact, duration, share
from batch.summaries import LabelSummary, NumberSummary

_PROBLEMS, _LABELS = 10, 3


def summary(report: Report) -> str:
    """Of a published job."""
    rows = report.rows
    files = "1 file" if report.files == 1 else f"{report.files:,} files"
    codes = ", ".join(f"{count:,} {code}" for code, count in report.rejects.items())
    told = [
        ("read", f"{rows.read:,} rows from {files} in {report.input}"),
        ("written", f"{rows.written:,} rows to {report.output}"),
        (
            "rejected",
            f"{rows.rejected:,} rows{f': {codes}; {share(rows.rejected, rows.read)} of all' if codes else ''}",
        ),
    ]
    if rows.filtered:
        told.append(("filtered", f"{rows.filtered:,} rows"))
    told += [("missing", f"{problem.where}: {problem.reason}") for problem in report.problems[:_PROBLEMS]]
    if len(report.problems) > _PROBLEMS:
        told.append(("missing", f"and {len(report.problems) - _PROBLEMS:,} more, listed in the report"))
    told += [("scores", f"{name}: {_scores(scores)}") for name, scores in report.scores.items()]
    told.append(("model", f"{report.model}{f' and {report.compared}' if report.compared else ''}"))
    if report.resumed_pieces:
        told.append(("resumed", f"{report.resumed_pieces:,} of {report.pieces:,} pieces were done before"))
    if report.rows_per_s:
        told.append(("speed", f"{report.rows_per_s:,.0f} rows/s"))
    told += [("time", _time(report)), ("report", below(report.output, PAGE))]
    return "\n".join(f"{name:<9} {value}" for name, value in told)


def _scores(scores: NumberSummary | LabelSummary) -> str:
    if isinstance(scores, LabelSummary):
        commonest = sorted(scores.counts.items(), key=lambda item: -item[1])[:_LABELS]
        return ", ".join(f"{count:,} {label}" for label, count in commonest) or "none"
    if scores.mean is None or scores.minimum is None or scores.maximum is None:
        return "none"
    return f"mean {compact(scores.mean)}, from {compact(scores.minimum)} to {compact(scores.maximum)}"


def _time(report: Report) -> str:
    stages = ", ".join(f"{stage} {spent:.1f} s" for stage, spent in report.seconds_by_stage.items())
    return f"{duration(report.seconds)}{f': {stages}' if stages else ''}"
