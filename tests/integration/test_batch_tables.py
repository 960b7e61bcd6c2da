"""Delta and Iceberg tables are read by the files of their current version."""

import sys

import pyarrow as pa
import pytest

from batch.inputs.tables import find_input
from taxiway.errors import ConfigError
from tests.scoring_job import Job


def _rows(first, count):
    return pa.table(
        {
            "row_id": pa.array(range(first, first + count), pa.int64()),
            "color": ["red"] * count,
            "count": pa.array(range(first, first + count), pa.int64()),
            "place": ["JFK" if row % 2 else "New York/EWR" for row in range(first, first + count)],
        }
    )


def test_the_current_version_of_a_delta_table_is_scored(tmp_path):
    from deltalake import DeltaTable, write_deltalake

    job = Job(tmp_path, keep=["place"])
    write_deltalake(job.folder, _rows(20, 5), partition_by=["place"])
    write_deltalake(job.folder, _rows(30, 5), mode="append")
    DeltaTable(job.folder).delete("row_id < 22")
    job.run()
    scores = job.scores()
    expected = [22, 23, 24, *range(30, 35)]
    assert sorted(scores["row_id"]) == expected
    places = dict(zip(scores["row_id"], scores["place"], strict=True))
    assert places == {row: "JFK" if row % 2 else "New York/EWR" for row in expected}


def test_a_delta_table_with_deletion_vectors_is_refused(tmp_path):
    from deltalake import write_deltalake

    write_deltalake(tmp_path / "table", _rows(0, 2), configuration={"delta.enableDeletionVectors": "true"})
    with pytest.raises(ConfigError, match="deletionVectors, which is not supported"):
        find_input(str(tmp_path / "table"), "auto")


def test_the_current_snapshot_of_an_iceberg_table_is_scored(tmp_path):
    from pyiceberg.catalog.sql import SqlCatalog

    job = Job(tmp_path, keep=["place"])
    catalog = SqlCatalog("test", uri=f"sqlite:///{tmp_path}/catalog.db", warehouse=f"file://{tmp_path}/warehouse")
    catalog.create_namespace("parcels")
    table = catalog.create_table("parcels.daily", _rows(0, 1).schema)
    table.append(_rows(20, 5))
    table.append(_rows(30, 5))
    table.overwrite(_rows(40, 2), overwrite_filter="row_id >= 30")
    for asked in (table.location(), table.metadata_location):
        job.settings = job.settings.model_copy(update={"input": asked, "overwrite": True})
        job.run()
        assert sorted(job.scores()["row_id"]) == [20, 21, 22, 23, 24, 40, 41]


@pytest.mark.parametrize(("kind", "package"), [("delta", "deltalake"), ("iceberg", "pyiceberg")])
def test_a_package_that_is_not_installed_is_named(tmp_path, monkeypatch, kind, package):
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setitem(sys.modules, f"{package}.exceptions", None)
    with pytest.raises(ConfigError, match=rf"needs {package}: pip install 'taxiway\[{kind}\]'"):
        find_input(str(tmp_path), kind)
