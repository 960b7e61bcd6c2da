"""Input files are found, cut into pieces, handed out, and read piece by piece."""

from itertools import pairwise

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch.inputs.footers import InputFile, read_footers
from batch.inputs.listing import list_files
from batch.inputs.reading import PieceReader, Reading
from batch.inputs.text import TextForm
from batch.pieces import cut
from batch.pool import tasks_of
from taxiway.errors import ConfigError

NUMBERS = pa.schema([("number", pa.int64())])
PARQUET = TextForm("parquet", {})


def _input(*row_groups, path="a"):
    return InputFile(path, NUMBERS, row_groups)


def _spans(files, piece_rows, limit=None):
    pieces = cut(files, piece_rows, limit)
    return [[(span.file, span.within, span.offset, span.rows) for span in piece.spans] for piece in pieces]


def _files(path, **options):
    files, _ = read_footers(list_files(str(path)), PARQUET, **options)
    return files


def test_a_large_row_group_is_cut_evenly():
    assert _spans([_input(27_268)], 16_384) == [[("a", (0, 1), 0, 13_634)], [("a", (0, 1), 13_634, 13_634)]]


def test_small_row_groups_are_joined():
    assert _spans([_input(4, 4, 4)], 8) == [[("a", (0, 2), 0, 8)], [("a", (2, 3), 0, 4)]]


def test_empty_row_groups_and_files_cost_nothing():
    assert _spans([_input(), _input(0, 5, 0)], 8) == [[("a", (0, 3), 0, 5)]]


def test_small_files_share_a_piece():
    files = [_input(3, path="a"), _input(4, path="b"), _input(5, path="c")]
    assert _spans(files, 8) == [[("a", (0, 1), 0, 3), ("b", (0, 1), 0, 4)], [("c", (0, 1), 0, 5)]]


def test_an_input_without_rows_is_one_empty_piece():
    assert [piece.rows for piece in cut([_input(), _input(0)], 8)] == [0]


def test_a_limit_ends_the_input_in_the_middle_of_a_file():
    files = [_input(6, path="a"), _input(6, path="b"), _input(6, path="c")]
    assert _spans(files, 8, limit=9) == [[("a", (0, 1), 0, 6)], [("b", (0, 1), 0, 3)]]


@given(st.lists(st.lists(st.integers(0, 40), max_size=6), min_size=1, max_size=4), st.integers(1, 16))
def test_pieces_cover_every_row_once_in_order(files, piece_rows):
    inputs = [_input(*groups, path=str(index)) for index, groups in enumerate(files)]
    pieces = cut(inputs, piece_rows)
    spans = [span for piece in pieces for span in piece.spans]
    assert sum(span.rows for span in spans) == sum(map(sum, files))
    assert all(before.first_row + before.rows == after.first_row for before, after in pairwise(spans))
    assert [piece.number for piece in pieces] == list(range(len(pieces)))
    assert max(piece.rows for piece in pieces) <= piece_rows


@given(st.lists(st.integers(0, 40), min_size=1, max_size=6), st.integers(1, 4))
def test_tasks_hold_every_piece_once_and_never_two_row_groups(row_groups, actors):
    pieces = cut([_input(*row_groups)], 4)
    tasks = tasks_of(pieces, actors)
    assert tuple(piece for task in tasks for piece in task) == pieces
    assert all(len({piece.chain for piece in task}) == 1 for task in tasks)
    assert len(tasks) >= min(len(pieces), actors)


def test_pieces_of_a_row_group_go_together_while_there_is_enough_for_all():
    pieces = cut([_input(36, path="a"), _input(36, path="b")], 3)
    assert [len(task) for task in tasks_of(pieces, 1)] == [6, 6, 6, 6]
    assert {len(task) for task in tasks_of(pieces, 12)} == {1}


def _write(path, numbers, row_group_size=1_000):
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table({"other": [str(number) for number in numbers], "number": pa.array(numbers, pa.int64())})
    pq.write_table(table, path, row_group_size=row_group_size)


def _reader(batch_rows=4_000):
    return PieceReader(Reading(PARQUET, {}, "row_id", batch_rows, 0), lambda names: ["number"])


@pytest.mark.parametrize("row_group_size", [7, 100, 20_000, 60_000])
def test_reading_the_pieces_in_any_order_gives_their_rows(tmp_path, row_group_size):
    _write(tmp_path / "a.parquet", range(50_000), row_group_size)
    pieces, reader = cut(_files(tmp_path), 9_000), _reader()
    for piece in [*pieces, pieces[0], *reversed(pieces)]:
        table = pa.concat_tables([batch.table for batch in reader.batches(piece)])
        first = piece.spans[0].first_row
        assert table["number"].to_pylist() == list(range(first, first + piece.rows))
        assert table["row_id"].to_pylist() == table["number"].to_pylist()


def test_whole_rows_are_found_again_for_the_quarantine(tmp_path):
    _write(tmp_path / "a.parquet", range(5_000), 2_000)
    _write(tmp_path / "b.parquet", range(5_000, 5_010))
    pieces, reader = cut(_files(tmp_path), 1_500), _reader(batch_rows=1_000)
    for piece in pieces:
        for batch in reader.batches(piece):
            numbers = batch.table["number"].to_pylist()
            positions = [0, len(numbers) // 2, len(numbers) - 1] if len(numbers) > 2 else [0]
            assert batch.originals(positions) == [
                f'{{"other": "{numbers[place]}", "number": {numbers[place]}}}' for place in positions
            ]


def test_hidden_files_are_not_input(tmp_path):
    for name in ("b/2.parquet", "a.parquet", "_quarantine/x.parquet", ".run/x.parquet", "_SUCCESS", "b/.x.crc"):
        _write(tmp_path / name, [1])
    found = [file.path for file in list_files(str(tmp_path)).files]
    assert found == [str(tmp_path / "a.parquet"), str(tmp_path / "b/2.parquet")]


def test_folders_give_columns(tmp_path):
    for name in ("day=2/city=New%20York/a.parquet", "day=10/city=__HIVE_DEFAULT_PARTITION__/b.parquet"):
        _write(tmp_path / name, [1])
    listing = list_files(str(tmp_path))
    assert listing.partition_types == {"day": pa.int64(), "city": pa.string()}
    assert [file.partition for file in listing.files] == [
        {"day": "10", "city": None},
        {"day": "2", "city": "New York"},
    ]
    files = _files(tmp_path)
    assert files[0].schema.names == ["other", "number", "city", "day"]
    reading = Reading(PARQUET, listing.partition_types, "row_id", 100, 0)
    reader = PieceReader(reading, lambda names: [name for name in ("day", "city", "number") if name in names])
    tables = [batch.table for piece in cut(files, 100) for batch in reader.batches(piece)]
    assert [row for table in tables for row in table.to_pylist()] == [
        {"number": 1, "day": 10, "city": None, "row_id": 0},
        {"number": 1, "day": 2, "city": "New York", "row_id": 1},
    ]


def test_a_folder_that_only_some_files_lie_in_is_refused(tmp_path):
    _write(tmp_path / "day=1/a.parquet", [1])
    _write(tmp_path / "b.parquet", [1])
    with pytest.raises(ConfigError, match="not every file lies in a folder day="):
        list_files(str(tmp_path))


def test_uris_are_input(tmp_path):
    _write(tmp_path / "a b.parquet", [1, 2])
    for asked in (tmp_path.as_uri(), (tmp_path / "a b.parquet").as_uri(), f"local://{tmp_path}"):
        (file,) = _files(asked)
        assert file.rows == 2


@pytest.mark.parametrize("scheme", ["nobody://x/y", "nobody+odd://x"])
def test_a_scheme_that_nobody_knows_is_refused(scheme):
    with pytest.raises(ConfigError, match="input: nobody"):
        list_files(scheme)


def test_no_files_is_an_error(tmp_path):
    with pytest.raises(ConfigError, match="no files in"):
        list_files(str(tmp_path))
    with pytest.raises(ConfigError, match="nowhere"):
        list_files(str(tmp_path / "nowhere"))


def test_files_of_two_formats_are_refused(tmp_path):
    _write(tmp_path / "a.parquet", [1])
    (tmp_path / "b.csv.gz").touch()
    with pytest.raises(ConfigError, match=r"a\.parquet is parquet and .*b\.csv\.gz is csv; set input_format"):
        list_files(str(tmp_path))


def test_what_is_no_parquet_file_is_named_or_left_out(tmp_path):
    (tmp_path / "notes.txt").write_text("a,b\n1,2\n")
    with pytest.raises(ConfigError, match=r"notes\.txt can't be read as parquet"):
        _files(tmp_path)
    _write(tmp_path / "a.parquet", [1])
    files, unreadable = read_footers(list_files(str(tmp_path)), PARQUET, skip_corrupt=True)
    assert [file.rows for file in files] == [1]
    assert [file.path for file in unreadable] == [str(tmp_path / "notes.txt")]
