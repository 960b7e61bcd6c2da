import json
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import jsonschema
import numpy as np
import pytest

from batch.events import Planned, Published, Totals
from batch.manifest import PieceShare
from batch.observers.charts import distinct, histogram, ticks
from batch.observers.html import element
from batch.observers.kept import keep
from batch.observers.page import page
from batch.observers.report import Report, failed_report, partition_of, published_report
from batch.observers.reporting import Reporting
from batch.observers.text import summary
from batch.pieces import PieceResult
from batch.run_plan import PlannedFile, UnreadableFile
from tests.scoring_events import ROWS, failed, manifest, piece, pieces, planned, published, sums

HOSTILE = "</style></title><script>alert('\"&')</script><img src=x onerror=alert(1)>"
VOID = {"meta"}


class Outline(HTMLParser):
    """Which elements and attributes a browser finds, and that all of them are closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()
        self.attributes: set[str] = set()
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def outline(markup: str) -> Outline:
    parser = Outline()
    parser.feed(markup)
    parser.close()
    assert parser.open == []
    return parser


def report_of(results: list[PieceResult] | None = None) -> Report:
    results = pieces() if results is None else results
    end = published("/scores", results)[-1]
    assert isinstance(end, Published)
    return published_report(planned(results, "/scores"), 2, results, end)


def failed_one(message: str = "too many") -> Report:
    plan, _, _, end = failed("/scores", message=message)
    assert isinstance(plan, Planned)
    assert not isinstance(end, Planned | Published)
    return failed_report(plan, 2, pieces()[:1], end)  # type: ignore[arg-type]


def hostile_report() -> Report:
    labels = np.array([HOSTILE, HOSTILE, "b"], dtype=object)
    results = [piece(0, {HOSTILE: np.array([0.25, 0.5, np.nan]), "label": labels}, {HOSTILE: 3}, "x=%3Cscript%3E/")]
    results = [results[0].model_copy(update={"file": f"/in/{HOSTILE}", "actor": HOSTILE})]
    found = manifest(results, "/scores").model_copy(
        update={
            "inputs": (PlannedFile(path=HOSTILE, size=1, changed=1, rows=3),),
            "left_out": (UnreadableFile(path=HOSTILE, reason=HOSTILE),),
            "skipped": (PieceShare(piece=0, file=HOSTILE, rows_missing=None, reason=HOSTILE),),
            "settings": {HOSTILE: HOSTILE},
            "seconds_by_stage": {HOSTILE: 1.0},
        }
    )
    plan = replace(planned(results, HOSTILE, HOSTILE), job_id=HOSTILE, compare=HOSTILE)
    return published_report(plan, 1, results, Published(found, sums(results), 0.0))


def test_a_report_says_what_was_read_written_and_rejected() -> None:
    report = report_of()
    assert (report.rows.read, report.rows.written, report.rows.rejected) == (6 * ROWS, 6 * ROWS - 33, 33)
    assert report.rejects == {"missing_value": 27, "unknown_category": 6}
    assert report.rows_per_s == 6 * ROWS / 3
    assert {it.name: it.files for it in report.partitions} == {"origin=EWR": 3, "origin=JFK": 3}
    assert sum(it.rows for it in report.partitions) == report.rows.written
    assert [it.pieces for it in report.actor_shares] == [3, 3]
    assert sum(it.rows or 0 for it in report.input_files) == report.rows.read


def test_report_json_is_what_its_schema_says_and_reads_back() -> None:
    for report in (report_of(), hostile_report(), failed_one()):
        text = report.model_dump_json()
        jsonschema.validate(json.loads(text), Report.model_json_schema(mode="serialization"))
        assert Report.model_validate_json(text) == report


def test_the_digest_of_an_input_changes_with_its_files_and_not_with_their_order() -> None:
    results = pieces()
    again = report_of(results[:1] + results[:0:-1])
    assert again.input_digest == report_of(results).input_digest
    assert report_of(results[:-1]).input_digest != again.input_digest


def test_text_files_are_counted_by_their_pieces() -> None:
    results = pieces(3)
    found = manifest(results, "/scores")
    found = found.model_copy(update={"inputs": tuple(it.model_copy(update={"rows": None}) for it in found.inputs)})
    end = Published(found, sums(results), 0.0)
    plan = planned(results, "/scores")
    assert [it.rows for it in published_report(plan, 1, results, end).input_files] == [ROWS] * 3
    resumed = replace(plan, before=Totals(pieces=1, rows=ROWS))
    assert [it.rows for it in published_report(resumed, 1, results, end).input_files] == [None] * 3


def test_a_partition_is_what_the_folders_of_a_part_say() -> None:
    assert partition_of("20260922-ab/origin=E%2FR/month=1/part-00001-x.parquet") == "origin=E/R/month=1"
    assert partition_of("part-00001-a=b.parquet") == ""


def test_the_page_shows_hostile_data_as_text() -> None:
    found = outline(page(hostile_report()))
    assert found.seen.isdisjoint({"script", "img"})
    assert "onerror" not in found.attributes
    assert found.words.count(HOSTILE) >= 8


def test_the_page_needs_nothing_from_elsewhere() -> None:
    for report in (report_of(), hostile_report(), failed_one()):
        markup = page(report)
        found = outline(markup)
        assert found.attributes.isdisjoint({"src", "href", "srcset", "xlink:href"})
        assert found.seen.isdisjoint({"link", "script", "iframe", "object"})
        style = markup.partition("<style>")[2].partition("</style>")[0]
        assert not re.search(r"url\(|@import", style)


def test_every_picture_has_words_and_a_table_for_those_who_do_not_see_it() -> None:
    markup = page(report_of())
    pictures = re.findall(r"<svg.*?</svg>", markup, re.DOTALL)
    assert len(pictures) == 2
    for picture in pictures:
        root = ElementTree.fromstring(picture)  # noqa: S314 - our own
        assert root.get("role") == "img"
        assert len(root.get("aria-label") or "") > 20
    assert markup.count("As a table") == 2


def test_the_page_of_a_failed_job_says_why_and_what_to_do() -> None:
    words = " ".join(outline(page(failed_one("no space <left>"))).words)
    assert "no space <left>" in words
    assert "exit status 3" in words
    assert "published" not in words


def test_a_page_of_nothing_at_all_is_a_page() -> None:
    results = [piece(0, {"p": np.array([])}, {}).model_copy(update={"rows": 0, "parts": ()})]
    end = Published(manifest(results, "/scores"), sums(results), 0.0)
    report = published_report(planned(results, "/scores"), 0, [], end)
    assert "No finite number" in page(report)
    assert "0 rows" in summary(report)


@pytest.mark.parametrize(
    "values", [[3.0], [0.1, 0.1], [-1e300, 1e300], [1e-12, 2e-12], [float("nan")], [1e15, 1e15 + 1]]
)
def test_any_scores_make_a_picture(values: list[float]) -> None:
    assert outline(page(report_of([piece(0, {"p": np.array(values)}, {})])))


def test_bars_of_a_histogram_stand_within_the_picture() -> None:
    picture = ElementTree.fromstring(histogram((0.0, 0.5, 1.0), (3, 9), "described", "p"))  # noqa: S314 - our own
    bars = list(picture.iter("rect"))
    assert len(bars) == 2
    for bar in bars:
        assert 0 <= float(bar.attrib["x"]) <= float(bar.attrib["x"]) + float(bar.attrib["width"]) <= 720
        assert 0 <= float(bar.attrib["y"]) <= float(bar.attrib["y"]) + float(bar.attrib["height"]) <= 240
    assert float(bars[1].attrib["height"]) == pytest.approx(3 * float(bars[0].attrib["height"]), rel=0.01)


def test_ticks_are_round_numbers_within_the_range() -> None:
    assert ticks(0, 1, 5) == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1.0])
    assert ticks(-3, 17, 4) == pytest.approx([0, 5, 10, 15])
    assert ticks(5, 5) == [5]
    assert distinct([1_000_001, 1_000_002]) == ["1.000001M", "1.000002M"]


def test_text_is_escaped_unless_it_is_markup() -> None:
    assert element("p", "<b>", element("i", "&"), class_='"') == '<p class="&quot;">&lt;b&gt;<i>&amp;</i></p>'


def test_the_summary_is_the_jobs_last_words() -> None:
    lines = summary(report_of()).splitlines()
    assert lines[0] == "read      60,000 rows from 6 files in /data/flights"
    assert lines[1] == "written   59,967 rows to /scores"
    assert lines[2] == "rejected  33 rows: 27 missing_value, 6 unknown_category; 0.055% of all"
    assert lines[3].startswith("scores    probability: mean 0.2")
    assert lines[-1] == "report    /scores/_report.html"


def test_a_report_lies_beside_the_manifest(tmp_path: Path) -> None:
    keep(planned(pieces(), str(tmp_path)), report_of())
    assert Report.model_validate_json((tmp_path / "_report.json").read_text()) == report_of()
    assert (tmp_path / "_report.html").read_text() == page(report_of())


def test_a_failed_job_leaves_no_report_in_an_output_that_is_not_there(tmp_path: Path) -> None:
    keep(planned(pieces(), str(tmp_path / "scores")), failed_one())
    assert not (tmp_path / "scores").exists()


def test_secrets_of_places_do_not_reach_the_report() -> None:
    results = pieces(1)
    secret = "s3://key:hunter2@bucket/in?endpoint_override=x"
    end = Published(manifest(results, secret, secret), sums(results), 0.0)
    report = published_report(planned(results, secret, secret), 1, results, end)
    assert "hunter2" not in report.model_dump_json() + page(report) + summary(report)


def test_a_sink_that_fails_is_told_of_once_and_the_others_still_hear(caplog: pytest.LogCaptureFixture) -> None:
    heard: list[Report] = []

    def fails(_: Planned, __: Report) -> None:
        raise OSError("https://user:hunter2@server is away")

    reporting = Reporting([("mlflow", fails), ("others", lambda _, report: heard.append(report))])
    for event in published("/scores"):
        reporting.observe(event)
    reporting.observe(failed("/scores")[-1])
    assert [it.failure for it in heard] == [None]
    assert [record.getMessage() for record in caplog.records] == ["mlflow: OSError: https://***@server is away"]


def test_the_start_of_a_job_waits_for_nobody_who_listens() -> None:
    code = "import sys, batch.observers.build; print(sorted({'mlflow', 'ray', 'prometheus_client'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
