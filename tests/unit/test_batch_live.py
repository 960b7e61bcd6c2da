import io
from dataclasses import replace

import pytest

from batch.events import Failed, Observer, Totals
from batch.observers.live import LiveProgress, PlainDisplay, TerminalDisplay, display_for, plan_line
from batch.observers.pace import Mark, pace, recent
from batch.observers.shown import compact, duration, share, without_secrets
from batch.observers.throughput import MAX_INTERVALS, Span, throughput
from tests.scoring_events import BEGAN_S, ROWS, pieces, planned, published, sums


def told(observer: Observer, output: str = "/scores") -> None:
    for event in published(output):
        observer.observe(event)


def test_the_rest_takes_as_long_as_the_pace_of_the_marks_says() -> None:
    current = pace([Mark(100, 0, 0), Mark(110, 500, 500)], whole=2_000)
    assert (current.share, current.rows_per_s, current.left_s) == (0.25, 50.0, 30.0)


def test_bytes_foretell_the_end_where_nobody_has_counted_the_rows() -> None:
    current = pace([Mark(0, 0, 0), Mark(10, 70, 1_000)], whole=5_000)
    assert (current.share, current.rows_per_s, current.left_s) == (0.2, 7.0, 40.0)


def test_nobody_foretells_the_end_from_too_few_pieces_or_none() -> None:
    assert pace([Mark(0, 0, 0), Mark(5, 10, 10)], 100, certain=False).left_s is None
    assert pace([Mark(0, 0, 0)], 100).left_s is None
    assert pace([Mark(0, 0, 0)], 0).share == 1.0


def test_work_that_was_estimated_too_small_leaves_nothing_rather_than_less() -> None:
    current = pace([Mark(0, 0, 0), Mark(1, 20, 20)], whole=10)
    assert (current.share, current.left_s) == (1.0, 0.0)


def test_the_pace_is_that_of_the_last_half_minute() -> None:
    slow_then_fast = [Mark(second, second, second) for second in range(100)]
    slow_then_fast += [Mark(100 + second, 100 + 9 * second, 0) for second in range(61)]
    assert pace(recent(slow_then_fast, at_least=4), 1_000).rows_per_s == 9.0


def test_pieces_that_take_longer_than_the_window_still_have_a_pace() -> None:
    marks = [Mark(60.0 * minute, minute, minute) for minute in range(10)]
    assert len(recent(marks, at_least=4)) == 4
    assert pace(recent(marks, at_least=4), 100).rows_per_s == pytest.approx(1 / 60)


def test_plain_lines_come_every_few_seconds_and_each_ends() -> None:
    stream = io.StringIO()
    told(LiveProgress(PlainDisplay(stream)))
    lines = stream.getvalue().splitlines()
    assert lines == [
        "job 20260922T000000-0badcafe: 60,000 rows of /data/flights in 6 pieces, models:/flight-delay/7",
        "starting 2 actors",
        "10,000 of 60,000 rows (17%), 10,000 rows/s, 15 rejected",
    ]


def test_a_terminal_has_one_line_that_is_rewritten_and_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    stream = io.StringIO()
    told(LiveProgress(TerminalDisplay(stream)))
    *_, last = stream.getvalue().splitlines()
    *_, shown = last.split("\r")
    assert shown == f"[{'#' * 24}] 60,000 of 60,000 rows (100%), 20,000 rows/s, 0.0 s left, 33 rejected\x1b[K"
    assert stream.getvalue().endswith("\n")


def test_a_narrow_terminal_never_wraps_the_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    stream = io.StringIO()
    display = TerminalDisplay(stream)
    display.status("1,000,000 of 2,000,000 rows (50%)", 0.5, 0.0)
    assert len(stream.getvalue().strip("\r").removesuffix("\x1b[K")) == 39


def test_a_failed_job_leaves_no_open_line() -> None:
    stream = io.StringIO()
    live = LiveProgress(TerminalDisplay(stream))
    for event in published("/scores")[:4]:
        live.observe(event)
    live.observe(Failed("job", "disk full", 1, True, Totals(), BEGAN_S + 30))
    assert stream.getvalue().endswith("\n")


def test_a_file_gets_plain_lines() -> None:
    assert isinstance(display_for(io.StringIO()), PlainDisplay)


def test_a_resumed_job_says_what_is_done_and_its_rate_leaves_that_out() -> None:
    stream = io.StringIO()
    results = pieces()
    plan = replace(planned(results, "/scores"), before=sums(results[:4]), repeated=1)
    events = published("/scores", results)
    live = LiveProgress(PlainDisplay(stream))
    live.observe(plan)
    live.observe(events[6])
    assert "goes on: 4 pieces with 40,000 rows are done, 1 were begun and are done again" in plan_line(plan)
    assert (
        f"50,000 of 60,000 rows (83%), {ROWS:,} rows/s, 1.0 s left, 33 rejected, 4 pieces resumed" in stream.getvalue()
    )


def test_rows_that_passed_are_spread_over_the_time_that_they_took() -> None:
    intervals = throughput([Span(10.0, 20.0, 1_000), Span(10.0, 15.0, 1_000)])
    total = sum(it.rows_per_s * (it.end_s - it.begin_s) for it in intervals)
    assert total == pytest.approx(2_000)
    assert intervals[0].rows_per_s == pytest.approx(300)
    assert intervals[-1].rows_per_s == pytest.approx(100)
    assert intervals[-1].end_s == pytest.approx(10.0)


def test_throughput_has_few_intervals_however_many_pieces_there_are() -> None:
    intervals = throughput([Span(float(second), second + 3.0, 7) for second in range(5_000)])
    assert len(intervals) == MAX_INTERVALS
    assert sum(it.rows_per_s * (it.end_s - it.begin_s) for it in intervals) == pytest.approx(35_000)


def test_pieces_that_took_no_time_are_counted_too() -> None:
    intervals = throughput([Span(5.0, 5.0, 40), Span(5.0, 5.0, 60)])
    assert sum(it.rows_per_s * (it.end_s - it.begin_s) for it in intervals) == pytest.approx(100)
    assert throughput([]) == ()


@pytest.mark.parametrize(
    ("seconds", "expected"), [(0.04, "0.0 s"), (59.94, "59.9 s"), (187, "3:07 min"), (3_723, "1:02:03 h")]
)
def test_durations_read_well(seconds: float, expected: str) -> None:
    assert duration(seconds) == expected


def test_a_share_is_a_whole_only_when_it_is() -> None:
    assert [share(0, 10), share(10, 10), share(1, 10**9), share(10**9 - 1, 10**9), share(1, 3), share(0, 0)] == [
        "0%",
        "100%",
        "<0.01%",
        ">99.99%",
        "33.3%",
        "0%",
    ]


def test_numbers_of_an_axis_are_short() -> None:
    assert [compact(250_000), compact(1.2e6), compact(0.05), compact(0), compact(3e15)] == [
        "250k",
        "1.2M",
        "0.05",
        "0",
        "3e+15",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("s3://key:secret@bucket/in?region=x&secret=y", "s3://***@bucket/in"),
        ("can't reach postgresql://u:p@db/mlflow: refused", "can't reach postgresql://***@db/mlflow: refused"),
        ("/data/what?/x@y", "/data/what?/x@y"),
        ("/data/\udcff", "/data/\\udcff"),
    ],
)
def test_secrets_of_uris_are_not_shown(text: str, expected: str) -> None:
    assert without_secrets(text) == expected
