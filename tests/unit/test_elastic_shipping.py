"""Shipping the prediction log: each record once, whatever dies, is compacted or is refused."""

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from cluster.observability.generate import HERE
from taxiway.errors import JobError, OutputHeld, TryLater
from taxiway.predictions.compaction import compact
from taxiway.predictions.settings import PredictionLogSettings
from taxiway.predictions.storage import Storage
from taxiway.predictions.writer import PredictionLog
from taxiway.telemetry.elastic.__main__ import main
from taxiway.telemetry.elastic.bulk import Bulk, Outcome, Patience
from taxiway.telemetry.elastic.checkpoint import checkpoint
from taxiway.telemetry.elastic.documents import MOST_VALUES, Document, index_of
from taxiway.telemetry.elastic.ship import Send, Shipped, Shipper, requests
from taxiway.telemetry.elastic.spool import KEPT_HOURS, Spool
from tests.bulk_server import Elastic, elastic
from tests.prediction_records import NOON, a_batch, an_id, minutes, write

DAY = timedelta(days=1)
INDEX = "taxiway-predictions-delay-2026.01.01"


@pytest.fixture
def server() -> Iterator[Elastic]:
    with elastic() as held:
        yield held


@pytest.fixture
def log(tmp_path: Path) -> Iterator[PredictionLog]:
    opened = PredictionLog(PredictionLogSettings(location=str(tmp_path / "log")))
    yield opened
    opened.close()


def ship(tmp_path: Path, send: Send, **options: Any) -> Shipped:
    with checkpoint(tmp_path / "state") as kept:
        return Shipper(Storage(str(tmp_path / "log")), kept, send, **options).once(minutes(30), DAY)


def bulk(server: Elastic) -> Send:
    return Bulk(server.url, patience=Patience(first_s=0.1, give_up_s=0.2), sleep=lambda _: None).send


def test_a_record_becomes_a_document(tmp_path: Path, log: PredictionLog, server: Elastic) -> None:
    made = an_id(number=7)
    write(log, replace(a_batch([made]), trace_ids=["t1"], assignment=[2**64 - 1]))
    assert ship(tmp_path, bulk(server)) == Shipped(files=1, created=1)
    assert server.documents == {
        INDEX: {
            f"{made}:0:live:champion": {
                "@timestamp": "1970-01-01T00:00:01Z",
                "endpoint": "delay",
                "prediction_id": made,
                "row": 0,
                "variant": "champion",
                "version": "1",
                "kind": "live",
                "status": "ok",
                "latency_ms": 2.0,
                "assignment": "f" * 16,
                "trace": {"id": "t1"},
                "input": {"x": 0.0},
                "output": {"y": 0.0},
            }
        }
    }
    assert server.bad == []


def test_a_shadow_is_a_document_beside_the_live_answer_that_it_copies(
    tmp_path: Path, log: PredictionLog, server: Elastic
) -> None:
    write(
        log,
        a_batch([an_id()]),
        a_batch([an_id()], variant="a", kind="shadow"),
        a_batch([an_id()], variant="b", kind="shadow"),
    )
    assert ship(tmp_path, bulk(server)).created == 3


def test_infinities_are_null_and_long_tensors_are_left_out(tmp_path: Path, log: PredictionLog, server: Elastic) -> None:
    batch = a_batch([an_id()])
    inputs = {"x": np.array([math.inf]), "image": np.zeros((1, 2, MOST_VALUES)), "pair": np.array([[1.0, 2.0]])}
    write(log, replace(batch, inputs=inputs))
    ship(tmp_path, bulk(server))
    (document,) = server.documents[INDEX].values()
    assert document["input"] == {"x": None, "pair": [1.0, 2.0]}
    assert document["left_out"] == ["input.image"]


def test_a_second_pass_sends_what_is_new(tmp_path: Path, log: PredictionLog, server: Elastic) -> None:
    write(log, a_batch([an_id(number=1)]))
    ship(tmp_path, bulk(server))
    write(log, a_batch([an_id(number=2)]))
    assert ship(tmp_path, bulk(server)) == Shipped(files=1, created=1)
    assert ship(tmp_path, bulk(server)) == Shipped()
    assert server.requests == [1, 1]


def test_what_was_shipped_is_not_sent_again_after_compaction(
    tmp_path: Path, log: PredictionLog, server: Elastic
) -> None:
    for number in range(3):
        write(log, a_batch([an_id(number=number)]))
    ship(tmp_path, bulk(server))
    compact(str(tmp_path / "log"), NOON + DAY)
    assert ship(tmp_path, bulk(server)) == Shipped()
    assert server.requests == [1, 1, 1]


def test_a_compaction_of_shipped_and_new_files_loses_and_doubles_nothing(
    tmp_path: Path, log: PredictionLog, server: Elastic
) -> None:
    write(log, a_batch([an_id(number=1)]))
    ship(tmp_path, bulk(server))
    write(log, a_batch([an_id(number=2)]))
    compact(str(tmp_path / "log"), NOON + DAY)
    assert ship(tmp_path, bulk(server)) == Shipped(files=1, created=1, present=1)


def test_a_kill_at_any_moment_doubles_nothing_and_loses_nothing(
    tmp_path: Path, log: PredictionLog, server: Elastic
) -> None:
    write(log, *(a_batch([an_id(number=number)]) for number in range(40)))
    send, kills = bulk(server), 0

    class Killed(BaseException):
        """As SIGKILL would: nothing after it runs."""

    def deadly(documents: list[Document], after: int) -> Outcome:
        nonlocal kills
        outcome = send(documents)
        kills += 1
        if kills % after == 0:
            raise Killed
        return outcome

    for _ in range(3):
        with pytest.raises(Killed):
            ship(tmp_path, lambda it: deadly(list(it), after=2), request_bytes=2_000)
    done = ship(tmp_path, send, request_bytes=2_000)
    assert len(server.ids()) == 40
    assert done.created + done.present <= 40
    assert ship(tmp_path, send) == Shipped()


def test_a_file_goes_on_at_the_row_it_had_reached(tmp_path: Path, log: PredictionLog, server: Elastic) -> None:
    rows = 5_000
    write(log, a_batch([an_id()], rows=[rows]))
    calls = 0

    def away_later(documents: Any) -> Outcome:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise TryLater("away")
        return bulk(server)(documents)

    with pytest.raises(TryLater):
        ship(tmp_path, away_later)
    reached = len(server.ids())
    assert 0 < reached < rows
    assert ship(tmp_path, bulk(server)) == Shipped(files=1, created=rows - reached)


def test_dead_letters_are_kept_with_their_reason_and_are_not_sent_again(
    tmp_path: Path, log: PredictionLog, server: Elastic
) -> None:
    made = an_id(number=1)
    server.refused.add(f"{made}:0:live:champion")
    write(log, a_batch([made, an_id(number=2)]))
    assert ship(tmp_path, bulk(server)) == Shipped(files=1, created=1, dead=1)
    (letter,) = map(json.loads, (tmp_path / "state" / "dead-letters.jsonl").read_text().splitlines())
    assert (letter["status"], letter["type"], letter["index"]) == (400, "document_parsing_exception", INDEX)
    assert letter["document"]["prediction_id"] == made
    assert ship(tmp_path, bulk(server)) == Shipped()


def test_old_hours_are_not_looked_at_and_are_forgotten(tmp_path: Path, log: PredictionLog, server: Elastic) -> None:
    write(log, a_batch([an_id(NOON - 2 * DAY)]), a_batch([an_id()]))
    assert ship(tmp_path, bulk(server)).created == 1
    with checkpoint(tmp_path / "state") as kept:
        Shipper(Storage(str(tmp_path / "log")), kept, bulk(server)).once(NOON + 3 * DAY, DAY)
    assert json.loads((tmp_path / "state" / "shipped.json").read_text())["done"] == {}


def test_encrypted_fields_stay_where_they_are(tmp_path: Path, server: Elastic) -> None:
    key = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
    settings = {"location": str(tmp_path / "log"), "fields": {"x": "encrypt"}, "encrypt_keys": {"k1": key}}
    log = PredictionLog(PredictionLogSettings.model_validate(settings))
    write(log, a_batch([an_id()]))
    log.close()
    ship(tmp_path, bulk(server))
    (document,) = server.documents[INDEX].values()
    assert (document["input"], document["output"]) == ({}, {"y": 0.0})


def test_only_the_columns_that_are_asked_for_leave(tmp_path: Path, log: PredictionLog, server: Elastic) -> None:
    write(log, a_batch([an_id()]))
    ship(tmp_path, bulk(server), columns=["output.*"])
    (document,) = server.documents[INDEX].values()
    assert (document["input"], document["output"], document["kind"]) == ({}, {"y": 0.0}, "live")


def test_two_shippers_do_not_share_a_checkpoint(tmp_path: Path) -> None:
    with checkpoint(tmp_path), pytest.raises(OutputHeld, match="another process"), checkpoint(tmp_path):
        pass


def test_a_torn_checkpoint_is_told(tmp_path: Path) -> None:
    (tmp_path / "shipped.json").write_text('{"done": ')
    with pytest.raises(JobError, match="can't be read"), checkpoint(tmp_path):
        pass


@pytest.mark.parametrize(
    ("endpoint", "index"),
    [("flight-delay", "taxiway-predictions-flight-delay-d"), ("Delay", "taxiway-predictions-delay-"), ("_x", "-_x-")],
)
def test_endpoints_have_indices_of_their_own(endpoint: str, index: str) -> None:
    assert index in index_of(endpoint, "d")
    assert index_of(endpoint, "d") == index_of(endpoint, "d").lower()
    assert index_of("Delay", "d") != index_of("delay", "d")


def test_no_request_is_larger_than_asked() -> None:
    documents = [Document(INDEX, str(number), b"{}" * number) for number in range(50)]
    parts = list(requests(iter(documents), 500))
    assert [it for part in parts for it in part] == documents
    assert all(sum(len(it.lines()) for it in part) <= 500 for part in parts)


def test_a_spool_has_the_id_in_each_line_and_no_files_that_are_old(tmp_path: Path) -> None:
    now = [0.0]
    spool = Spool(tmp_path, clock=lambda: now[0])
    spool.send([Document(INDEX, "a", b'{"x":1}')])
    assert json.loads((tmp_path / "predictions-0.ndjson").read_text()) == {"index": INDEX, "id": "a", "x": 1}
    now[0] = (KEPT_HOURS + 1) * 3600.0
    spool.send([Document(INDEX, "b", b'{"x":1}')])
    assert [path.name for path in tmp_path.iterdir()] == [f"predictions-{KEPT_HOURS + 1}.ndjson"]


def test_the_command_ships_and_says_so(
    tmp_path: Path, log: PredictionLog, server: Elastic, capsys: pytest.CaptureFixture[str]
) -> None:
    write(log, a_batch([an_id(minutes(0))]))
    where = ["--location", str(tmp_path / "log"), "--state", str(tmp_path / "state"), "--days", "100000"]
    assert main([*where, "--url", server.url]) == 0
    assert "1 files: 1 documents created, 0 were there, 0 refused" in capsys.readouterr().out
    assert main([*where, "--url", "nowhere"]) == 2


def test_filebeat_reads_the_files_of_the_spool_and_keeps_their_ids_and_times(tmp_path: Path) -> None:
    body = b'{"@timestamp":"2026-01-01T00:00:00Z","prediction_id":"p"}'
    Spool(tmp_path).send([Document(INDEX, "a", body)])
    (written,) = tmp_path.iterdir()
    settings = yaml.safe_load((HERE / "elastic/filebeat.yml").read_text())
    spool = next(it for it in settings["filebeat.inputs"] if it["id"] == "taxiway-predictions")
    assert written.match(Path(spool["paths"][0]).name)
    of_spool = next(it["then"] for it in settings["processors"] if "if" in it)
    decoding = next(it["decode_json_fields"] for it in of_spool if "decode_json_fields" in it)
    line = json.loads(written.read_text())
    assert line[decoding["document_id"]] == "a"
    assert decoding["overwrite_keys"]  # else @timestamp is when the line was read
    (to,) = settings["output.elasticsearch"]["indices"]
    assert to["index"] == "%{[index]}"
    assert {"has_fields": ["prediction_id"]} in to["when"]["and"]
    assert line["index"] == INDEX


def test_logstash_finds_the_id_where_filebeat_puts_it() -> None:
    assert 'document_id => "%{[@metadata][_id]}"' in (HERE / "elastic/logstash.conf").read_text()
