"""Boosted trees on a few rows: all trees of a model at once, instead of one call and one turn of Python's lock each."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]
_FEW = 3_200
"""Rows times trees; above, scikit-learn's own loop is faster."""


class FewRows:
    """Stands in for a HistGradientBoosting model's own `_predict_iterations`, on numbers.

    Its trees are one table of nodes; a leaf leads to itself, so that all rows are in their leaves after as many steps
    as the deepest tree has levels. Sums are taken in scikit-learn's order, so the bits are the same.

    Args:
        model: fitted; as `of` has looked at it.
    """

    def __init__(self, model: Any) -> None:
        trees = [tree.nodes for iteration in model._predictors for tree in iteration]
        nodes = np.concatenate(trees)
        starts = np.cumsum([0, *(len(tree) for tree in trees[:-1])])
        start = np.repeat(starts, [len(tree) for tree in trees])
        own, is_leaf = np.arange(len(nodes)), nodes["is_leaf"].astype(bool)
        children = [np.where(is_leaf, own, nodes[side] + start) for side in ("left", "right")]
        self._children = np.stack(children, axis=1).ravel().astype(np.int32)
        self._feature = np.where(is_leaf, 0, nodes["feature_idx"]).astype(np.int32)
        # Of a leaf, which compares with nothing, its value.
        self._numbers = np.where(is_leaf, nodes["value"], nodes["num_threshold"])
        self._missing_right = ~nodes["missing_go_to_left"].astype(bool)
        self._roots = starts.astype(np.int32)
        self._levels = int(nodes["depth"].max())
        self._iterations = model._predict_iterations

    @classmethod
    def of(cls, model: Any) -> "FewRows | None":
        """None for a model that splits by category."""
        every = [tree.nodes for iteration in model._predictors for tree in iteration]
        return cls(model) if every and not any(nodes["is_categorical"].any() for nodes in every) else None

    def __call__(self, inputs: Matrix, predictors: Any, raw: Matrix, is_binned: bool, n_threads: int) -> None:
        """Adds to `raw`, of shape (rows, trees of an iteration)."""
        if is_binned or len(inputs) * len(self._roots) > _FEW:
            self._iterations(inputs, predictors, raw, is_binned, n_threads)
            return
        each = len(self._roots) // raw.shape[1], raw.shape[1]
        values = self._numbers[self.leaves(inputs)].reshape(len(inputs), *each)
        # `accumulate` adds one after the other; `sum` would add pairs, and round otherwise.
        raw[:] = np.add.accumulate(np.concatenate([raw[:, None], values], axis=1), axis=1)[:, -1]

    def leaves(self, inputs: Matrix) -> NDArray[np.int32]:
        """The node that each row reaches in each tree: of shape (rows, trees)."""
        columns, flat = inputs.shape[1], np.ascontiguousarray(inputs).ravel()
        first = np.arange(0, len(flat), columns)[:, None]
        may_miss = bool(np.isnan(flat).any())
        at: NDArray[np.int32] = np.broadcast_to(self._roots, (len(inputs), len(self._roots)))
        for _ in range(self._levels):
            found = flat.take(first + self._feature.take(at))
            right = found > self._numbers.take(at)
            if may_miss:
                right = np.where(np.isnan(found), self._missing_right.take(at), right)
            at = self._children.take(at + at + right)
        return at
