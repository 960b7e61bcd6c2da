"""Files of an hour in place of others: the moment at which a new one appears is the one at which they count no more.

The new file names in its metadata what it replaces (see snapshot.py); that is deleted afterwards. A kill between any
two steps leaves files that are superfluous, never a record that is missing or counts twice.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence

import pyarrow as pa

from taxiway.predictions import ids
from taxiway.predictions.files import parquet
from taxiway.predictions.partitions import COMPACTED
from taxiway.predictions.snapshot import REPLACES, live_files, read_files, replaces, together
from taxiway.predictions.storage import Storage

Change = Callable[[pa.Table], pa.Table]
Step = Callable[[str], None]


def replace(
    storage: Storage, folder: str, group: Sequence[str], listed: Mapping[str, int], change: Change, step: Step
) -> None:
    """Writes one file with what `change` makes of the rows of some live files, sorted by id. Theirs stay to be deleted.

    Args:
        listed: all files of the folder.
        step: told before the change what it is; whoever raises there has killed it.

    Raises:
        Vanished: one of the files has gone.
    """
    table = change(together(read_files(storage, group)))
    table = table.take(ids.order(ids.from_arrow(table["prediction_id"]), ids.numbers(table["row"], -1)))
    names = [name_of(path) for path in group]
    # A file that is replaced names others that may be there still: they must not count again when it has gone.
    inherited = [name for path in group if name_of(path).startswith(COMPACTED) for name in replaces(storage, path)]
    present = {name_of(path) for path in listed}
    gone = sorted({*names, *(name for name in inherited if name in present)})
    digest = hashlib.sha256("\n".join(names).encode()).hexdigest()[:32]
    path = f"{folder}/{COMPACTED}{digest}.parquet"
    step(f"write {path}")
    storage.write(path, parquet(ids.with_uuids(table), {REPLACES: json.dumps(gone)}))


def delete_superfluous(storage: Storage, folder: str, step: Step) -> int:
    """Deletes what other files have replaced, also those of somebody who was killed here; says how many."""
    listed = storage.files(folder)
    superfluous = sorted(listed.keys() - live_files(storage, listed).keys())
    for path in superfluous:
        step(f"delete {path}")
        storage.delete([path])
    return len(superfluous)


def name_of(path: str) -> str:
    return path.rpartition("/")[2]
