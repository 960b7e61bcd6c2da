"""Encrypted fields: only who has the key reads them, and nobody changes them unseen."""

import base64
import os
from datetime import timedelta

import numpy as np
import pyarrow.parquet as pq
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st

from taxiway.errors import ConfigError, JobError
from taxiway.predictions.compaction import compact
from taxiway.predictions.encryption import derived_key
from taxiway.predictions.fields import FieldRules
from taxiway.predictions.files import encode
from taxiway.predictions.keys import FieldKeys, read_keys
from taxiway.predictions.partitions import FileNames
from taxiway.predictions.reader import by_ids, read, scan
from taxiway.predictions.record import LoggedBatch, Source
from taxiway.predictions.settings import PredictionLogSettings
from taxiway.predictions.storage import Storage
from taxiway.predictions.writer import PredictionLog
from tests.prediction_records import NOON, an_id, write

OLD = FieldKeys({"k1": b"1" * 32})
NEW = FieldKeys({"k2": b"2" * 32, "k1": b"1" * 32})
HOUR = timedelta(hours=1)


def a_batch(values, endpoint="delay", number=0):
    names = [an_id(number=number + place) for place in range(len(values))]
    ones = [1.0] * len(values)
    return LoggedBatch(Source(endpoint, "champion", "1"), {"tail": values}, {}, names, [1] * len(values), ones, ones)


def put(location, values, keys=OLD, rule="encrypt", **others):
    rules = FieldRules({"tail": rule} if rule else {}, keys=keys)
    (file,) = encode([(a_batch(values, **others), None)], rules, FileNames())
    Storage(str(location)).write(file.path, file.content)


def texts(*values):
    return np.array(values, np.object_)


def seen(location, keys=None, endpoint="delay"):
    return read(str(location), endpoint, NOON, NOON + HOUR, ["input.tail"], keys)["input.tail"].to_pylist()


def changed(location, change):
    """The files with another value in their encrypted column."""
    for path in location.rglob("*.parquet"):
        table = pq.read_table(path, partitioning=None)
        position = table.schema.get_field_index("input.tail")
        values = [change(value) for value in table["input.tail"].to_pylist()]
        field = table.schema.field("input.tail")
        pq.write_table(table.set_column(position, field, [values]), path)


@pytest.mark.parametrize(
    ("key", "plain", "about", "expected"),
    [
        (b"\1" * 32, b"XAES-256-GCM", b"", "ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271"),
        (
            b"\3" * 32,
            b"XAES-256-GCM",
            b"c2sp.org/XAES-256-GCM",
            "986ec1832593df5443a179437fd083bf3fdb41abd740a21f71eb769d",
        ),
    ],
)
def test_it_is_xaes_256_gcm(key, plain, about, expected):
    """The test vectors of the specification, c2sp.org/XAES-256-GCM."""
    nonce = b"ABCDEFGHIJKLMNOPQRSTUVWX"
    assert AESGCM(derived_key(key, nonce[:12])).encrypt(nonce[12:], plain, about).hex() == expected


def test_who_has_the_key_reads_and_nobody_else(tmp_path):
    put(tmp_path, texts("N1", None, "N1"))
    opaque = seen(tmp_path)
    assert opaque[1] is None
    assert all(value.startswith("enc1:k1:") and "N1" not in value for value in (opaque[0], opaque[2]))
    assert opaque[0] != opaque[2]
    assert seen(tmp_path, OLD) == ["N1", None, "N1"]
    assert by_ids(str(tmp_path), [an_id()], keys=OLD)["input.tail"].to_pylist() == ["N1"]
    (batch,) = scan(str(tmp_path), "delay", NOON, NOON + HOUR, keys=OLD)
    assert batch.column("input.tail").to_pylist() == ["N1", None, "N1"]
    assert b"N1" not in next(tmp_path.rglob("*.parquet")).read_bytes()


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([1.5, np.nan]), ["1.5", None]),
        (np.array([7, -1]), ["7", "-1"]),
        (np.array([True, False]), ["true", "false"]),
        (np.array([[1.0, np.nan], [2.0, 3.0]]), ["[1.0, null]", "[2.0, 3.0]"]),
        (np.array([[["a"], [None]]], np.object_), ['[["a"], [null]]']),
        (texts(b"\0\xff"), ["AP8="]),
    ],
)
def test_values_come_back_as_json(tmp_path, values, expected):
    put(tmp_path, values)
    assert seen(tmp_path, OLD) == expected


@given(st.lists(st.text(st.characters(codec="utf-8")), min_size=1, max_size=5))
@settings(deadline=None, max_examples=20)
def test_every_text_comes_back(tmp_path_factory, found):
    location = tmp_path_factory.mktemp("log")
    put(location, texts(*found))
    assert seen(location, OLD) == found


def test_after_a_rotation_the_first_key_encrypts_and_both_decrypt(tmp_path):
    put(tmp_path, texts("N1"))
    put(tmp_path, texts("N2"), NEW, number=5)
    assert sorted(value.split(":")[1] for value in seen(tmp_path)) == ["k1", "k2"]
    assert sorted(seen(tmp_path, NEW)) == ["N1", "N2"]
    with pytest.raises(ConfigError, match=r"input\.tail: .* the key 'k2'; add it to k1"):
        seen(tmp_path, OLD)


def test_another_key_of_the_same_id_does_not_read(tmp_path):
    put(tmp_path, texts("N1"))
    with pytest.raises(JobError, match=r"input\.tail: .* it was changed, or the key 'k1' is not the one"):
        seen(tmp_path, FieldKeys({"k1": b"x" * 32}))


@pytest.mark.parametrize("place", [0, 12, 24, -1])
def test_a_value_in_which_a_bit_is_changed_is_not_read(tmp_path, place):
    def flip(value):
        mark, _, data = value.rpartition(":")
        content = bytearray(base64.urlsafe_b64decode(data))
        content[place] ^= 1
        return f"{mark}:{base64.urlsafe_b64encode(content).decode()}"

    put(tmp_path, texts("N1"))
    changed(tmp_path, flip)
    with pytest.raises(JobError, match="can't be decrypted"):
        seen(tmp_path, OLD)


@pytest.mark.parametrize("value", ["N1", "enc1:k1:", "enc1:k1:AAAA", "enc2:k1:AAAA"])
def test_what_stands_in_the_place_of_an_encrypted_value_is_not_taken_for_one(tmp_path, value):
    put(tmp_path, texts("N1"))
    changed(tmp_path, lambda _: value)
    with pytest.raises(JobError, match=r"input\.tail"):
        seen(tmp_path, OLD)


def test_a_value_of_another_endpoint_is_not_read(tmp_path):
    put(tmp_path, texts("N1"))
    put(tmp_path, texts("N2"), endpoint="other")
    foreign = seen(tmp_path)[0]
    changed(tmp_path / "endpoint=other", lambda _: foreign)
    with pytest.raises(JobError, match="can't be decrypted"):
        seen(tmp_path, OLD, "other")


def test_text_of_a_caller_that_looks_encrypted_is_text(tmp_path):
    put(tmp_path, texts("N1"))
    forged = seen(tmp_path)[0]
    put(tmp_path, texts(forged, "enc1:k1:AAAA"), rule=None, number=5)
    assert sorted(seen(tmp_path, OLD)) == sorted(["N1", forged, "enc1:k1:AAAA"])


def test_a_compaction_keeps_apart_what_is_encrypted_and_what_is_not(tmp_path):
    put(tmp_path, texts("N1"))
    put(tmp_path, texts("N2"), NEW, number=5)
    put(tmp_path, texts("N3"), rule=None, number=10)
    put(tmp_path, texts("N4"), rule=None, number=15)
    compact(str(tmp_path), NOON + timedelta(days=1))
    assert len(list(tmp_path.rglob("*.parquet"))) == 2
    assert sorted(seen(tmp_path, NEW)) == ["N1", "N2", "N3", "N4"]


def test_a_log_encrypts_with_the_key_of_a_file(tmp_path):
    key = os.urandom(32)
    (tmp_path / "key").write_text(base64.b64encode(key).decode() + "\n")
    location = str(tmp_path / "log")
    told = PredictionLogSettings(
        location=location, fields={"tail": "encrypt"}, encrypt_keys={"k1": f"file:{tmp_path}/key"}
    )
    log = PredictionLog(told)
    write(log, a_batch(texts("N1")))
    log.close()
    assert seen(location, FieldKeys({"k1": key})) == ["N1"]
    assert seen(location, told.field_keys()) == ["N1"]
    (tmp_path / "key").unlink()
    with pytest.raises(ConfigError, match=r"encrypt_keys\.k1: .*key can't be read"):
        PredictionLog(told)


def test_a_key_is_not_shown():
    secret = base64.b64encode(b"s" * 32).decode()
    assert "ssss" not in repr(read_keys({"k1": secret}))
    assert secret not in repr(PredictionLogSettings(encrypt_keys={"k1": secret}))
    with pytest.raises(ConfigError) as refused:
        read_keys({"k1": "not a key at all"})
    assert "not a key" not in str(refused.value)
