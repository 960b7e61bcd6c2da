"""scikit-learn's boosted trees without the checks that cost more than the trees.

A HistGradientBoostingClassifier validates every input, and with categorical columns sends it through a
ColumnTransformer and an OrdinalEncoder: two thirds of the time of predicting one row. Our inputs are
float matrices already, so a table of categories does the same.
"""

import copy
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier

from taxiway.few_rows import FewRows

Matrix = NDArray[np.float64]
_PROBE_ROWS = 512
_FEW_ROWS = 8


class CategoryTables:
    """Stands in for the classifier's own preprocessor: categorical columns first, as ordinals, then the others."""

    def __init__(self, preprocessor: Any) -> None:
        (_, encoder, categorical), (_, _, numerical) = preprocessor.transformers_[:2]
        self._categorical = np.flatnonzero(categorical)
        self._numerical = np.flatnonzero(numerical)
        self._categories = [known[~np.isnan(known)] for known in encoder.categories_]

    def transform(self, inputs: Matrix) -> Matrix:
        """A category that training has not seen becomes NaN, as with scikit-learn's encoder."""
        outputs = np.empty_like(inputs)
        outputs[:, len(self._categorical) :] = inputs[:, self._numerical]
        for position, (column, known) in enumerate(zip(self._categorical, self._categories, strict=True)):
            values = inputs[:, column]
            ordinals = np.minimum(np.searchsorted(known, values), len(known) - 1)
            outputs[:, position] = np.where(known[ordinals] == values, ordinals, np.nan)
        return outputs

    def probe(self, columns: int) -> Matrix:
        """Inputs with known, unknown and missing categories and numbers of every size."""
        random = np.random.default_rng(0)
        inputs = random.standard_normal((_PROBE_ROWS, columns)) * 10.0 ** random.integers(-3, 5, columns)
        for column, known in zip(self._categorical, self._categories, strict=True):
            inputs[:, column] = random.choice(np.append(known, [known.max() + 1.0, -1.0]), _PROBE_ROWS)
        inputs[random.random(inputs.shape) < 0.1] = np.nan
        return inputs


class NoCategories(CategoryTables):
    """Numbers only: nothing to look up."""

    def __init__(self) -> None:
        self._categorical = self._numerical = np.empty(0, np.intp)
        self._categories = []

    def transform(self, inputs: Matrix) -> Matrix:
        return np.ascontiguousarray(inputs)


def without_checks(classifier: Any) -> Any:
    """A copy that answers the same bits sooner; the classifier itself where that can't be had.

    It replaces a private attribute of scikit-learn, and so it is asked first whether it answers as the original does.
    """
    if not isinstance(classifier, HistGradientBoostingClassifier):
        return classifier
    try:
        tables = CategoryTables(classifier._preprocessor) if classifier._preprocessor is not None else NoCategories()
        faster = copy.copy(classifier)
        faster._preprocessor = tables
        probe = tables.probe(classifier.n_features_in_)
        with warnings.catch_warnings():
            # The original says that a matrix has no names; whoever asks it has none to give.
            warnings.simplefilter("ignore")
            expected = classifier.predict_proba(probe)
        same = np.array_equal(faster.predict_proba(probe), expected)
        faster = _on_few_rows(faster, probe, expected) if same else classifier
    except Exception:  # noqa: BLE001 - text categories, another scikit-learn
        return classifier
    return faster


def _on_few_rows(model: Any, probe: Matrix, expected: Matrix) -> Any:
    """A copy that asks all trees at once where that gives the same bits; else the model itself."""
    few = FewRows.of(model)
    if few is None:
        return model
    faster = copy.copy(model)
    faster._predict_iterations = few
    found = [faster.predict_proba(part) for part in (probe[:1], probe[1:3], probe[3:_FEW_ROWS])]
    return faster if np.array_equal(np.concatenate(found), expected[:_FEW_ROWS]) else model
