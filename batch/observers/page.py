"""The report as one page without a script and without anything from elsewhere: `_report.html`."""

from importlib.resources import files

from batch.observers.charts import histogram, rate_over_time
from batch.observers.html import Html, declared, element
from batch.observers.report import Report
from batch.observers.shown import compact, duration, share, size
from batch.observers.tables import Cell, bars, facts, numbers
from batch.summaries import LabelSummary, NumberSummary

_LISTED = 30
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def page(report: Report) -> str:
    """A whole HTML document."""
    style = files("batch.observers").joinpath("page.css").read_text(encoding="utf-8")
    head = element(
        "head",
        declared('<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'),
        declared(f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'),
        element("title", f"Scoring job {report.job_id}: {report.model}"),
        element("style", declared(style)),
    )
    sections = (
        _failure(report),
        _figures(report),
        _problems(report),
        _what_was_run(report),
        *[_scores(name, scores) for name, scores in report.scores.items()],
        _rejects(report),
        _throughput(report),
        _time(report),
        _partitions(report),
        _inputs(report),
    )
    main = element("main", *_title(report), *sections)
    return f"<!DOCTYPE html>\n{element('html', head, element('body', main), lang='en')}\n"


def _title(report: Report) -> tuple[Html, ...]:
    ended = f"{report.ended:%Y-%m-%d %H:%M:%S} UTC"
    state = ("bad", "failed") if report.failure else ("good", "published")
    return (
        element("h1", f"Scores of {report.model}"),
        element("p", element("span", state[1], class_=state[0]), f" {ended}, job {report.job_id}", class_="muted"),
    )


def _failure(report: Report) -> Html:
    if report.failure is None:
        return Html()
    again = "The same command goes on where this one ended." if report.failure.resumable else ""
    told = f"{report.failure.code}, exit status {report.failure.exit_status}. {again}"
    return element("section", element("p", report.failure.message, class_="bad"), element("p", told, class_="muted"))


def _figures(report: Report) -> Html:
    rows = report.rows
    rejected = f"{rows.rejected:,} ({share(rows.rejected, rows.read)})" if rows.rejected else "0"
    told = [("rows read", f"{rows.read:,}"), ("written", f"{rows.written:,}"), ("rejected", rejected)]
    if rows.filtered:
        told.append(("filtered", f"{rows.filtered:,}"))
    told += [("rows/s while scoring", f"{report.rows_per_s:,.0f}"), ("time", duration(report.seconds))]
    return element(
        "dl", *[element("div", element("dt", name), element("dd", value)) for name, value in told], class_="figures"
    )


def _problems(report: Report) -> Html:
    rows = [(problem.where, Cell(problem.reason)) for problem in report.problems]
    return _section("Missing in the output", numbers(("file", "reason"), rows)) if rows else Html()


def _what_was_run(report: Report) -> Html:
    told = [("model", report.model)]
    told += [("model's SHA-256", element("code", report.model_digest))] if report.model_digest else []
    told += [("compared with", report.compared)] if report.compared else []
    told.append(("input", f"{report.input} ({report.files:,} {'file' if report.files == 1 else 'files'})"))
    told += [("input's digest", element("code", report.input_digest))] if report.input_digest else []
    told += [
        ("output", report.output),
        ("started", f"{report.started:%Y-%m-%d %H:%M:%S} UTC"),
        ("ended", f"{report.ended:%Y-%m-%d %H:%M:%S} UTC"),
        ("pieces", f"{report.pieces:,}"),
        ("resumed", _resumed(report)),
    ]
    settings = facts([(name, element("code", value)) for name, value in report.settings.items()])
    return _section("What was run", facts(told), _details("Settings", settings) if report.settings else Html())


def _resumed(report: Report) -> str:
    if not (report.resumed_pieces or report.repeated_pieces):
        return "no: one attempt did all of it"
    return (
        f"{report.resumed_pieces:,} pieces with {report.resumed_rows:,} rows were done by earlier attempts, "
        f"{report.repeated_pieces:,} had been begun and were done again"
    )


def _scores(name: str, scores: NumberSummary | LabelSummary) -> Html:
    title = f"Scores: {name}"
    if isinstance(scores, LabelSummary):
        counts = sorted(scores.counts.items(), key=lambda item: -item[1])
        if scores.others:
            counts.append(("(all others)", scores.others))
        missing = element("p", f"{scores.missing:,} missing", class_="muted")
        return _section(title, bars(("label", "rows"), counts), missing)
    if scores.histogram is None or scores.mean is None:
        return _section(title, element("p", f"No finite number; {scores.missing:,} missing.", class_="muted"))
    low, high = compact(scores.minimum or 0.0), compact(scores.maximum or 0.0)
    told = f"{scores.count:,} numbers from {low} to {high}, mean {compact(scores.mean)}; {scores.missing:,} missing"
    edges, counts_of_bins = scores.histogram.edges, scores.histogram.counts
    table = numbers(
        ("from", "to", "rows"),
        [
            (compact(begin, 8), Cell(compact(end, 8), is_number=True), Cell.of(count))
            for begin, end, count in zip(edges, edges[1:], counts_of_bins, strict=False)
            if count
        ],
    )
    picture = histogram(edges, counts_of_bins, f"Histogram of {name}: {told}", name)
    return _section(title, picture, element("p", told, class_="muted"), _details("As a table", table))


def _rejects(report: Report) -> Html:
    if not report.rejects:
        return _section("Rejected rows", element("p", "None.", class_="muted"))
    counts = sorted(report.rejects.items(), key=lambda item: -item[1])
    return _section("Rejected rows by code", bars(("code", "rows"), counts))


def _throughput(report: Report) -> Html:
    if not report.throughput:
        return Html()
    intervals = report.throughput
    highest = max(it.rows_per_s for it in intervals)
    told = f"Rows per second of this attempt: {report.rows_per_s:,.0f} on the whole, at most {highest:,.0f}"
    table = numbers(
        ("from second", "to second", "rows/s"),
        [
            (f"{it.begin_s:.1f}", Cell(f"{it.end_s:.1f}", is_number=True), Cell.of(round(it.rows_per_s)))
            for it in intervals
        ],
    )
    note = element("p", f"{told}.", class_="muted")
    return _section("Throughput over time", rate_over_time(intervals, told), note, _details("As a table", table))


def _time(report: Report) -> Html:
    if not (report.seconds_by_stage or report.actor_shares):
        return Html()
    spans = list(report.seconds_by_stage.items())
    stages = bars(("stage", "seconds"), spans, digits=1) if spans else Html()
    spent = report.throughput[-1].end_s if report.throughput else 0.0
    actors = numbers(
        ("actor", "pieces", "rows", "busy"),
        [
            (it.actor, Cell.of(it.pieces), Cell.of(it.rows), Cell(f"{it.seconds:.1f} s ({share(it.seconds, spent)})"))
            for it in report.actor_shares[:_LISTED]
        ],
    )
    return _section("Where the time went", stages, _details(f"Actors ({len(report.actor_shares):,})", actors))


def _partitions(report: Report) -> Html:
    if not any(partition.name for partition in report.partitions):
        return Html()
    counts = [(partition.name or "(none)", partition.rows) for partition in report.partitions[:_LISTED]]
    return _section("Rows by partition", bars(("partition", "rows"), counts), _more(len(report.partitions)))


def _inputs(report: Report) -> Html:
    if not report.input_files:
        return Html()
    shown = report.input_files[:_LISTED]
    if all(file.rows is not None for file in shown):
        table = bars(("file", "rows"), [(file.path, file.rows or 0) for file in shown])
    else:
        table = numbers(("file", "size"), [(file.path, Cell(size(file.bytes))) for file in shown])
    return _section("Input files", table, _more(report.files))


def _more(count: int) -> Html:
    if count <= _LISTED:
        return Html()
    return element("p", f"and {count - _LISTED:,} more; _report.json lists up to a thousand", class_="muted")


def _section(title: str, *children: str) -> Html:
    return element("section", element("h2", title), *children)


def _details(title: str, *children: str) -> Html:
    return element("details", element("summary", title), *children)
