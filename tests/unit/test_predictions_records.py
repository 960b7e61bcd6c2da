"""Records, ids and field rules: what stands in a file of the prediction log."""

import uuid
from datetime import UTC, datetime

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taxiway.errors import ConfigError
from taxiway.predictions import ids
from taxiway.predictions.fields import FieldRules
from taxiway.predictions.files import encode
from taxiway.predictions.partitions import FileNames
from taxiway.predictions.record import LoggedBatch, Source, records
from taxiway.predictions.settings import PredictionLogSettings
from taxiway.settings import FileSettings, parse
from taxiway.signature import Column

NOON_MS = 1_767_268_800_000  # 2026-01-01 12:00 UTC
SOURCE = Source("delay", "champion", "3")


class _File(FileSettings):
    predictions: PredictionLogSettings


def an_id(unix_ms: int = NOON_MS, number: int = 0) -> str:
    return str(uuid.UUID(int=unix_ms << 80 | 7 << 76 | 0b10 << 62 | number))


def a_batch(inputs, outputs, rows, source=SOURCE, **others):
    names = [an_id(number=place) for place in range(len(rows))]
    return LoggedBatch(source, inputs, outputs, names, rows, [1.5] * len(rows), [2.0] * len(rows), **others)


@given(st.lists(st.uuids(), max_size=20))
def test_ids_survive_the_way_to_bytes_and_back(found):
    texts = [str(one) for one in found]
    assert ids.text(ids.parse(texts)).to_pylist() == texts
    assert ids.text(ids.from_arrow(pa.chunked_array([ids.to_arrow(ids.parse(texts))]))).to_pylist() == texts


def test_an_id_tells_its_moment():
    assert ids.milliseconds(ids.parse([an_id(NOON_MS + 7)])).tolist() == [NOON_MS + 7]
    assert ids.moment(an_id()) == datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize("text", ["", "x", "0" * 32, str(uuid.UUID(int=0)), an_id().upper(), f"{an_id()} "])
def test_what_is_no_uuid_of_version_7_is_no_prediction_id(text):
    assert not ids.is_prediction_id(text)
    assert ids.is_prediction_id(an_id())


def test_each_row_of_a_request_is_a_record_with_its_request_around_it():
    inputs = {"x": np.array([1.0, np.nan, 3.0]), "tail": np.array(["a", None, "c"], np.object_)}
    batch = a_batch(inputs, {"y": np.array([7, 8, 9])}, [2, 1], assignment=[5, None], trace_ids=["t", None])
    table = records([batch], FieldRules({})).to_pydict()
    assert table["prediction_id"] == [uuid.UUID(an_id(number=number)) for number in (0, 0, 1)]
    assert table["row"] == [0, 1, 0]
    assert table["assignment"] == [5, 5, None]
    assert table["trace_id"] == ["t", "t", None]
    assert table["time"] == [datetime(1970, 1, 1, 0, 0, 1, 500_000, tzinfo=UTC)] * 3
    assert table["input.x"] == [1.0, None, 3.0]
    assert table["input.tail"] == ["a", None, "c"]
    assert table["output.y"] == [7, 8, 9]
    assert (table["variant"], table["version"], table["kind"], table["status"]) == (
        ["champion"] * 3, ["3"] * 3, ["live"] * 3, ["ok"] * 3,
    )  # fmt: skip


def test_tensors_are_lists_whatever_their_sizes():
    first, second = np.arange(12.0).reshape(1, 3, 4), np.arange(4.0).reshape(2, 1, 2)
    batches = [a_batch({"t": first}, {}, [1]), a_batch({"t": second}, {}, [2])]
    table = records(batches, FieldRules({}))
    assert table["input.t"].to_pylist() == [*first.tolist(), *second.tolist()]


def test_text_that_is_missing_everywhere_is_text_still():
    nothing = np.array([None], np.object_)
    source = Source("delay", "a", "1", inputs={"raw": Column(name="raw", dtype="bytes", nullable=True)})
    schema = records([a_batch({"raw": nothing, "other": nothing}, {}, [1], source)], FieldRules({})).schema
    assert schema.field("input.raw").type == pa.binary()
    assert schema.field("input.other").type == pa.string()


def test_columns_of_another_length_than_the_requests_are_refused():
    with pytest.raises((ValueError, pa.ArrowInvalid)):
        records([a_batch({"x": np.zeros(3)}, {"y": np.zeros(2)}, [3])], FieldRules({}))


def test_a_dropped_field_is_not_there_and_a_hashed_one_shows_only_what_is_equal():
    rules = FieldRules({"tail": "hash", "name": "drop", "n": "hash"}, "a secret of some length")
    tail = np.array(["N1", "N2", "N1", None], np.object_)
    inputs = {"tail": tail, "name": tail, "n": np.array([1.0, 2.5, 1.0, np.nan])}
    table = records([a_batch(inputs, {}, [4])], rules)
    hashed = table["input.tail"].to_pylist()
    assert "input.name" not in table.column_names
    assert hashed[0] == hashed[2] != hashed[1]
    assert hashed[3] is None
    assert "N1" not in str(hashed)
    assert table["input.n"].to_pylist()[0] == rules.digests("n", np.array([1]))[0]
    assert rules.digests("tail", tail)[0] != rules.digests("other", tail)[0]
    assert rules.digests("tail", tail)[0] != FieldRules({"tail": "hash"}, "another").digests("tail", tail)[0]


def test_a_digest_is_keyed_blake2b():
    import hashlib

    key = hashlib.blake2b(b"k", digest_size=64).digest()
    expected = hashlib.blake2b(b"\0\0\0\4tailN1", key=key, digest_size=16).hexdigest()
    assert FieldRules({}, "k").digests("tail", np.array(["N1"], np.object_)).tolist() == [expected]


def test_there_is_one_file_for_each_endpoint_hour_and_set_of_columns():
    late = an_id(NOON_MS + ids.HOUR_MS)
    batch = LoggedBatch(SOURCE, {"x": np.array([1.0, 2.0])}, {}, [an_id(), late], [1, 1], [1.0, 1.0], [1.0, 1.0])
    other = Source("other", "a", "1")
    taken = [(batch, None), (a_batch({"x": np.zeros(2)}, {}, [2], other), None), (batch, [True, False])]
    files = encode(taken, FieldRules({}), FileNames())
    folders = sorted((file.path.rpartition("/")[0], file.rows) for file in files)
    assert folders == [
        ("endpoint=delay/date=2026-01-01/hour=12", 2),
        ("endpoint=delay/date=2026-01-01/hour=13", 1),
        ("endpoint=other/date=2026-01-01/hour=12", 2),
    ]


def test_duckdb_reads_the_files_as_they_lie(tmp_path):
    batch = a_batch({"x": np.array([1.0, 2.0])}, {"y": np.array(["a", "b"], np.object_)}, [1, 1])
    for file in encode([(batch, None)], FieldRules({}), FileNames()):
        (tmp_path / file.path).parent.mkdir(parents=True)
        (tmp_path / file.path).write_bytes(file.content)
    query = 'select prediction_id::text, endpoint, hour, "output.y" from read_parquet(?)'
    assert duckdb.execute(query, [f"{tmp_path}/*/*/*/*.parquet"]).fetchall()[1] == (an_id(number=1), "delay", 12, "b")
    path = next(tmp_path.rglob("*.parquet"))
    assert pq.read_metadata(path).schema.column(0).logical_type.type == "UUID"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"fields": {"tail": "hash"}}, "hash_secret"),
        ({"fields": {"tail": "encrypt"}}, "encrypt_keys: `encrypt` needs a key"),
        ({"encrypt_keys": {"k1": "AAAA"}}, "encrypt_keys.k1: has 3 bytes; expected 32 random bytes in base64"),
        ({"encrypt_keys": {"k1": "?"}}, "encrypt_keys.k1: is no base64"),
        ({"encrypt_keys": {"a:b": "file:x"}}, "'a:b' can't be a key's id"),
        ({"subject": "tail"}, "hash_secret: `subject` needs a secret of at least 16 characters"),
        ({"fields": {"tail": "shred"}}, "fields.tail"),
        ({"sample": 0}, "sample"),
    ],
)
def test_settings_that_can_not_be_are_refused_with_their_key(settings, message):
    with pytest.raises(ConfigError, match=message):
        parse({"predictions": settings}, _File, "file")


def test_a_secret_is_not_shown():
    settings = PredictionLogSettings(fields={"tail": "hash"}, hash_secret="a secret of some length")
    assert "some length" not in repr(settings)


def test_the_subject_is_a_keyed_digest_and_the_same_in_every_endpoint():
    rules = FieldRules({"tail": "drop"}, "a secret of some length", subject="tail")
    tail = np.array(["N1", None, "N2"], np.object_)
    table = records([a_batch({"tail": tail}, {}, [2, 1]), a_batch({"tail": tail[:1]}, {}, [1])], rules)
    first, missing, second, again = table["subject"].to_pylist()
    assert (missing, again) == (None, first)
    assert first != second
    assert "input.tail" not in table.column_names
    other = records([a_batch({"tail": tail[:1]}, {}, [1], Source("other", "a", "1"))], rules)
    assert other["subject"].to_pylist() == [first]
    assert records([a_batch({"x": np.zeros(2)}, {}, [2])], rules)["subject"].to_pylist() == [None, None]
