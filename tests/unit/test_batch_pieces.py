"""Input files are found, cut into pieces, and read piece by piece."""

from itertools import pairwise

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch.files import InputFile, list_files, read_footers
from batch.pieces import cut
from batch.reader import PieceReader
from taxiway.errors import ConfigError

NUMBERS = pa.schema([("number", pa.int64())])


def _input(*row_groups, path="a"):
    return InputFile(path, NUMBERS, row_groups)


def _spans(files, piece_rows):
    return [(piece.row_groups, piece.offset, piece.rows) for piece in cut(files, piece_rows)]


def test_a_large_row_group_is_cut_evenly():
    assert _spans([_input(27_268)], 16_384) == [((0, 1), 0, 13_634), ((0, 1), 13_634, 13_634)]


def test_small_row_groups_are_joined():
    assert _spans([_input(4, 4, 4)], 8) == [((0, 2), 0, 8), ((2, 3), 0, 4)]


def test_empty_row_groups_and_files_cost_nothing():
    assert _spans([_input(), _input(0, 5, 0)], 8) == [((0, 3), 0, 5)]


def test_an_input_without_rows_is_one_empty_piece():
    assert [piece.rows for piece in cut([_input(), _input(0)], 8)] == [0]


@given(st.lists(st.lists(st.integers(0, 40), max_size=6), min_size=1, max_size=4), st.integers(1, 16))
def test_pieces_cover_every_row_once_in_order(files, piece_rows):
    inputs = [_input(*groups, path=str(index)) for index, groups in enumerate(files)]
    pieces = cut(inputs, piece_rows)
    assert sum(piece.rows for piece in pieces) == sum(map(sum, files))
    assert all(before.first_row + before.rows == after.first_row for before, after in pairwise(pieces))
    assert [piece.number for piece in pieces] == list(range(len(pieces)))
    assert max(piece.rows for piece in pieces) <= piece_rows


def _write(path, numbers, row_group_size=1_000):
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table({"other": [str(number) for number in numbers], "number": pa.array(numbers, pa.int64())})
    pq.write_table(table, path, row_group_size=row_group_size)


@pytest.mark.parametrize("row_group_size", [7, 100, 20_000, 60_000])
def test_reading_the_pieces_in_any_order_gives_their_rows(tmp_path, row_group_size):
    _write(tmp_path / "a.parquet", range(50_000), row_group_size)
    (file,) = read_footers(list_files(str(tmp_path)))
    pieces, reader = cut([file], 9_000), PieceReader(lambda schema: ["number"])
    for piece in [*pieces, pieces[0], *reversed(pieces)]:
        numbers = reader.read(piece)
        assert numbers.column_names == ["number"]
        assert numbers["number"].to_pylist() == list(range(piece.first_row, piece.first_row + piece.rows))


def test_hidden_files_are_not_input(tmp_path):
    for name in ("b/2.parquet", "a.parquet", "_quarantine/x.parquet", ".run/x.parquet", "_SUCCESS", "b/.x.crc"):
        _write(tmp_path / name, [1])
    assert list_files(str(tmp_path)) == (str(tmp_path / "a.parquet"), str(tmp_path / "b/2.parquet"))


def test_uris_are_input(tmp_path):
    _write(tmp_path / "a b.parquet", [1, 2])
    for asked in (tmp_path.as_uri(), (tmp_path / "a b.parquet").as_uri(), f"local://{tmp_path}"):
        (file,) = read_footers(list_files(asked))
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


def test_what_is_no_parquet_file_is_named(tmp_path):
    (tmp_path / "notes.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ConfigError, match=r"notes\.csv can't be read as Parquet"):
        read_footers(list_files(str(tmp_path)))
