"""`python -m benchmarks.beside`: three ways round what a library does by itself, each beside it in turns.

CPU time of this thread. The collector's two thresholds take turns of some batches, so that a slow moment of the machine
hits both; in brackets are quartiles of the pairs.
"""

import argparse
import asyncio
import copy
import gc
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import mlflow
import numpy as np
import uvloop
from mlflow.models import Model
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier
from threadpoolctl import threadpool_limits

from benchmarks.in_process import CONNECTIONS, Kind, cell
from serve.heap import YOUNG, settle
from taxiway.boosted_trees import without_checks
from taxiway.few_rows import FewRows
from taxiway.flavors import sklearn
from taxiway.flavors.logged import read
from taxiway.profile import profile
from taxiway.signature import Column, Signature

_RESULTS = Path(__file__).parent / "results" / "beside.md"
_PYTHON = 700
"""Young objects before Python's collector looks at them."""
_COLUMNS, _ROWS = 15, 5_000
_WAVES = 12
Matrix = NDArray[np.float64]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.beside", description=__doc__)
    parser.add_argument("--pairs", type=int, default=200, help="of each comparison (200)")
    parser.add_argument("--results", type=Path, default=_RESULTS, metavar="FILE")
    given = parser.parse_args(arguments)
    with threadpool_limits(1):
        few = few_rows(given.pairs)
    loading = loads(max(given.pairs // 10, 5))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        collecting = runner.run(collected(given.pairs))
    text = _page(few, loading, collecting)
    given.results.write_text(text)
    print(text)
    return 0


def trained(iterations: int) -> tuple[HistGradientBoostingClassifier, Matrix]:
    random = np.random.default_rng(1)
    rows = random.normal(size=(_ROWS, _COLUMNS))
    label = rows[:, 0] + rows[:, 1] * rows[:, 2] + random.normal(size=_ROWS) > 0
    return HistGradientBoostingClassifier(max_iter=iterations, early_stopping=False).fit(rows, label), rows


def in_turn(pairs: int, one: Callable[[], Any], other: Callable[[], Any]) -> tuple[float, float]:
    """Median CPU seconds of each."""
    one(), other()
    spent: tuple[list[float], list[float]] = ([], [])
    for _ in range(pairs):
        for function, seconds in zip((one, other), spent, strict=True):
            began = time.thread_time()
            function()
            seconds.append(time.thread_time() - began)
    return median(spent[0]), median(spent[1])


def few_rows(pairs: int) -> list[tuple[int, int, float, float]]:
    """Trees, rows, and the seconds of scikit-learn's loop over trees and of all trees at once."""
    found = []
    for trees in (100, 300):
        classifier, rows = trained(trees)
        own = without_checks(classifier)
        if not isinstance(own._predict_iterations, FewRows):
            raise RuntimeError("this scikit-learn's trees are not known")
        theirs = copy.copy(own)
        theirs._predict_iterations = own._predict_iterations._iterations
        for count in (1, 8):
            asked = rows[:count]
            if not np.array_equal(own.predict_proba(asked), theirs.predict_proba(asked)):
                raise RuntimeError("they answer different bits")
            asks = [lambda it=it, asked=asked: it.predict_proba(asked) for it in (theirs, own)]
            found.append((trees, count, *in_turn(pairs, *asks)))
    return found


def loads(pairs: int) -> list[tuple[str, float, float]]:
    """What, and the seconds that it takes as MLflow does it, and here. The file says as much as one of a package."""
    classifier, rows = trained(100)
    columns = {f"x{number}": rows[:, number] for number in range(_COLUMNS)}
    signature = Signature(
        inputs=tuple(Column(name=name, dtype="float64") for name in columns),
        outputs=(Column(name="p", dtype="float64"),),
    )
    known = profile(columns, signature, outputs={"p": classifier.predict_proba(rows)[:, 1]})
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent) / "model"
        told = {"serialization_format": "cloudpickle", "metadata": {"reference": known.model_dump(mode="json")}}
        mlflow.sklearn.save_model(classifier, str(folder), **told)

        def theirs() -> None:
            Model.load(str(folder))
            mlflow.sklearn.load_model(str(folder))

        def ours() -> None:
            sklearn.load(folder, read(folder).flavors["sklearn"])

        return [
            ("the file `MLmodel`", *in_turn(pairs, lambda: Model.load(str(folder)), lambda: read(folder))),
            ("the file and the estimator, which reads it again", *in_turn(pairs, theirs, ours)),
        ]


async def collected(pairs: int) -> list[float]:
    """What a request takes more with the server's threshold than with Python's, by pairs of turns."""
    thresholds = gc.get_threshold()
    cells = {young: cell(Kind()) for young in (_PYTHON, YOUNG)}
    settle()
    found: list[float] = []
    try:
        for number in range(pairs):
            spent = dict.fromkeys(cells, 0.0)
            for young in sorted(cells, reverse=bool(number % 2)):
                gc.set_threshold(young, *thresholds[1:])
                for _ in range(_WAVES):
                    spent[young] += await cells[young].wave_s()
            found.append(spent[YOUNG] / spent[_PYTHON] - 1)
            for it in cells.values():
                it.metrics.flush()
    finally:
        gc.set_threshold(*thresholds)
    return found


def _page(
    few: Sequence[tuple[int, int, float, float]], loading: Sequence[tuple[str, float, float]], more: Sequence[float]
) -> str:
    low, middle, high = quantiles(more, n=4)
    lines = [
        "# Beside what a library does by itself: measured by `python -m benchmarks.beside`",
        "",
        "CPU time of one thread, medians; both sides take turns.",
        "",
        "| boosted trees, same bits | scikit-learn's loop, ms | all trees at once, ms | share |",
        "|---|---|---|---|",
        *(f"| {trees}, {rows} rows | {a * 1e3:.2f} | {b * 1e3:.2f} | {b / a:.0%} |" for trees, rows, a, b in few),
        "",
        "| loading 100 trees with a profile | as MLflow, ms | here, ms | share |",
        "|---|---|---|---|",
        *(f"| {what} | {a * 1e3:.1f} | {b * 1e3:.1f} | {b / a:.0%} |" for what, a, b in loading),
        "",
        (
            f"The collector looks at young objects from {YOUNG:,} on instead of {_PYTHON}: a request takes "
            f"{middle:+.1%} CPU time ({low:+.1%} to {high:+.1%}; {len(more)} pairs of {_WAVES} batches of "
            f"{CONNECTIONS} requests, everything but sockets)."
        ),
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
