"""What a run pins, when it ends early, what it says, and what it ends with."""

from datetime import date

import pytest

from batch.events import Failed, Observers, Totals
from batch.exit_status import exit_status
from batch.finish import too_many
from batch.inputs.listing import FoundFile
from batch.moments import fill_in_date, parse_date
from batch.pieces import PartFile, PieceResult
from batch.run_plan import PlannedFile, deciding, differences
from batch.settings import ScoreSettings
from taxiway.errors import (
    ConfigError,
    JobError,
    OutputHeld,
    RegistryAway,
    RegistryError,
    TooManyRejects,
    TryLater,
)
from taxiway.settings import parse

KEYS = {"model": "models:/m/1", "input": "in", "output": "out"}


def _piece(number=0, rows=100, rejects=0):
    return PieceResult(
        piece=number,
        file="a",
        files=1,
        rows=rows,
        filtered=0,
        parts=(PartFile(path="p", rows=rows - rejects, bytes=10, sha256=""),),
        quarantine=None,
        rejects={"missing_value": rejects} if rejects else {},
        bytes_read=50,
        started_s=0.0,
        ended_s=1.0,
        seconds=1.0,
        actor="h:1",
        scores={},
    )


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (JobError("x"), 1),
        (RegistryError("x"), 1),
        (ConfigError("x"), 2),
        (TooManyRejects("x"), 3),
        (OutputHeld("x"), 4),
        (RegistryAway("x"), 75),
        (TryLater("x"), 75),
        (KeyboardInterrupt(), 130),
    ],
)
def test_each_kind_of_end_has_its_status(error, status):
    assert exit_status(error) == status


def test_a_date_has_its_place_in_paths():
    day = parse_date("2013-11-05")
    assert fill_in_date("s3://b/{date:%Y/%m}/x", day, "input") == "s3://b/2013/11/x"
    assert ScoreSettings(**(KEYS | {"output": "out/{date}"})).on(day).output == "out/2013-11-05"
    with pytest.raises(ConfigError, match=r"output: 'out/\{date\}' has a date in it"):
        ScoreSettings(**(KEYS | {"output": "out/{date}"})).on(None)
    with pytest.raises(ConfigError, match=r"the output 'out' has no \{date\}"):
        ScoreSettings(**KEYS).on(date(2013, 1, 1))
    with pytest.raises(ConfigError, match="no date, expected YYYY-MM-DD"):
        parse_date("yesterday")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"filter": "a >"}, "filter: 'a >'"),
        ({"compression": "brotli"}, "compression"),
        ({"cpus": 0}, "cpus and gpus: an actor needs a share of one of them"),
        ({"actors": 0}, "actors"),
        ({"partition": ["a"]}, r"unknown key 'partition'; known here: .*partition_by"),
        ({"compare": {"modle": "x"}}, r"compare\.modle"),
    ],
)
def test_settings_that_can_not_be_meant_are_refused(change, message):
    with pytest.raises(ConfigError, match=message):
        parse(KEYS | change, ScoreSettings, "score.yaml")


def test_what_differs_since_a_run_began_is_named():
    settings = deciding(ScoreSettings(**KEYS, keep=("a",)))
    assert "out" not in settings["registry"]
    then = (
        PlannedFile(path="a", size=1, changed=1, rows=1),
        PlannedFile(path="b", size=1, changed=1, rows=1),
        PlannedFile(path="c", size=1, changed=1, rows=1),
    )
    same = [FoundFile(path=file.path, size=file.size, changed=file.changed) for file in then]
    assert differences((settings, settings), (then, same)) == ""
    now = [
        FoundFile(path="b", size=2, changed=1),
        FoundFile(path="c", size=1, changed=2),
        FoundFile(path="d", size=1, changed=1),
    ]
    other = deciding(ScoreSettings(**KEYS, keep=("a", "b"), actors=9))
    told = differences((settings, other), (then, now))
    assert told == 'keep was ["a"], now ["a", "b"]; a is gone; d is new and 2 more'
    assert "b had 1 bytes, now 2" in differences((settings, settings), (then[1:2], now[:1]))


@pytest.mark.parametrize(
    ("rows_done", "rejects", "rows", "ends"),
    [(100, 10, 1_000, False), (100, 11, 100, True), (1_000, 101, 5_000, True), (999, 600, None, False)],
)
def test_too_many_rejects_end_the_run_when_they_are_certain_or_enough_is_read(rows_done, rejects, rows, ends):
    settings = ScoreSettings(**KEYS, max_reject_share=0.1, early_reject_rows=1_000)
    assert too_many(Totals().plus(_piece(rows=rows_done, rejects=rejects)), rows, settings) is ends


def test_an_observer_that_fails_is_told_nothing_more_and_the_others_are(caplog):
    heard = []

    class Broken:
        def observe(self, event):
            heard.append("broken")
            raise RuntimeError

    class Good:
        def observe(self, event):
            heard.append("good")

    observers = Observers([Broken(), Good()])
    event = Failed("job", "x", 1, False, Totals(), 0.0)
    observers.observe(event)
    observers.observe(event)
    assert heard == ["broken", "good", "good"]
    assert "Broken failed" in caplog.text
