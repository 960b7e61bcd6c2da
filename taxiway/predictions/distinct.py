"""One of each: records of the same answer, and reports of the same truth."""

from typing import Any

import numpy as np
import pyarrow as pa

from taxiway.predictions import ids
from taxiway.signature import Array

RECORD_KEY = ("prediction_id", "row", "kind", "variant")


def distinct_records(table: pa.Table) -> pa.Table:
    """The first record of each id, row, kind and variant, in order. Ids are bytes."""
    if table.num_rows < 2:
        return table
    about = [codes(table[name]) for name in ("kind", "variant")]
    key = ids.keys(ids.from_arrow(table["prediction_id"]), table["row"].to_numpy(), *about)
    first = first_of_each(codes(key))
    return table if len(first) == table.num_rows else table.take(first)


def first_of_each(codes: Array) -> Array:
    """The position at which each code comes first, in order."""
    return np.sort(np.unique(codes, return_index=True)[1])


def codes(values: Any) -> Array:
    """A number for each value, equal for equal ones; null is a value."""
    whole = pa.concat_arrays(values.chunks) if isinstance(values, pa.ChunkedArray) and values.num_chunks else values
    return np.asarray(whole.dictionary_encode("encode").indices.to_numpy(zero_copy_only=False))
