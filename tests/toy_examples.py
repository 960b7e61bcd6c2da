"""Examples whose label depends on a category, a number and a feature of the store; a key means nothing."""

import numpy as np

from retrain.dataset import Dataset
from retrain.model import Layout, layout
from retrain.trainers.contract import SearchData
from retrain.windows import Windows, search_data
from taxiway.signature import Column

INPUTS = [
    Column(name="kind", dtype="string", categories=("a", "b", "c")),
    Column(name="key", dtype="string"),
    Column(name="x", dtype="float64", nullable=True),
]
NUMBERS = [Column(name="x", dtype="float64", nullable=True), Column(name="size", dtype="int64")]


def examples(rows: int, seed: int) -> Dataset:
    random = np.random.default_rng(seed)
    kind, x, speed = random.choice(["a", "b", "c"], rows), random.normal(size=rows), random.normal(size=rows)
    logits = 1.5 * x + 2.0 * (kind == "b") - 0.5 * speed
    labels = (random.random(rows) < 1 / (1 + np.exp(-logits))).astype(np.int64)
    columns = {
        "kind": kind.astype(object),
        "key": kind.astype(object),
        "x": np.where(random.random(rows) < 0.05, np.nan, x),
        "size": random.integers(0, 5, rows),
        "speed": speed * 100.0 + 400.0,
    }
    return Dataset(np.arange(rows), np.arange(rows).astype("datetime64[us]"), labels, columns)


def toy_layout() -> Layout:
    return layout(INPUTS, ["speed"])


def toy_data(rows: int = 2_000) -> SearchData:
    learn, validate = examples(rows, 1), examples(500, 2)
    return search_data(Windows(learn, learn, validate, validate), toy_layout())
