"""How much of the label one column tells by itself: what tells nearly all of it may be known only afterwards."""

from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from retrain.tasks import Labels
from taxiway.signature import Array

FOLDS = 5
PRIOR_ROWS = 10.0
"""How many rows of the base rate are mixed into a category's mean label."""
Codes = NDArray[np.intp]


def number_auc(values: Array, labels: NDArray[np.int64]) -> float:
    """How well a column of numbers tells labels apart, at least 0.5: the AUC of the better direction.

    Ties count half (Mann and Whitney 1947). Missing values rank lowest or highest, whichever tells more, as
    a tree may send them either way. Both labels must occur.
    """
    positive, negative = values[labels == 1], values[labels == 0]
    present_positive, present_negative = positive[~pd.isna(positive)], negative[~pd.isna(negative)]
    missing_positive, missing_negative = len(positive) - len(present_positive), len(negative) - len(present_negative)
    won = _pairs_won(present_positive, present_negative) + missing_positive * missing_negative / 2
    pairs = float(len(positive)) * len(negative)
    lowest = (won + len(present_positive) * missing_negative) / pairs
    highest = (won + missing_positive * len(present_negative)) / pairs
    return max(lowest, 1 - lowest, highest, 1 - highest)


def category_auc(codes: Codes, labels: NDArray[np.int64], seed: int = 0) -> float:
    """How well a column of categories tells labels apart: the AUC of each category's mean label in other folds.

    Out of fold, so that a category of one row tells nothing about that row (Micci-Barreca, "A preprocessing scheme
    for high-cardinality categorical attributes", 2001, with the cross fitting of scikit-learn's TargetEncoder).

    Args:
        codes: an integer for each category; missing values are a category too.
    """
    encoded = _mean_labels(codes, labels, _folds(labels, seed))
    positive, negative = encoded[labels == 1], encoded[labels == 0]
    return _pairs_won(positive, negative) / len(positive) / len(negative)


def classes_auc(values: Array, labels: Labels, is_category: bool) -> float:
    """The mean over pairs of classes of how well a column tells the two apart (M of Hand and Till 2001).

    Args:
        values: numbers, or an integer for each category.
        labels: of two classes at least.
    """
    found = []
    for one, other in combinations(np.unique(labels), 2):
        rows = (labels == one) | (labels == other)
        pair = (labels[rows] == other).astype(np.int64)
        found.append(category_auc(values[rows], pair) if is_category else number_auc(values[rows], pair))
    return float(np.mean(found))


def rank_correlation(values: Array, labels: Labels, is_category: bool) -> float:
    """How well a column tells a number: Spearman's rank correlation (1904), its absolute value.

    A missing number has the middle rank. Of a category its mean label in other folds is ranked.

    Args:
        values: numbers, or an integer for each category.
    """
    told = values
    if is_category:
        told = _mean_labels(values, labels, np.random.default_rng(0).permutation(len(labels)) % FOLDS)
    ranked = pd.Series(np.asarray(told, np.float64)).rank()
    ranks = ranked.fillna(ranked.mean()).to_numpy()
    if np.ptp(ranks) == 0 or np.ptp(labels) == 0:
        return 0.0
    return float(abs(np.corrcoef(ranks, pd.Series(labels).rank().to_numpy())[0, 1]))


def _pairs_won(positive: Array, negative: Array) -> float:
    """Pairs in which the positive one is larger, and half of those that are equal."""
    ups, downs = np.sort(positive), np.sort(negative)
    below = np.searchsorted(downs, ups, side="left").sum(dtype=np.float64)
    return float(below + np.searchsorted(downs, ups, side="right").sum(dtype=np.float64)) / 2


def _mean_labels(codes: Codes, labels: Labels, folds: Codes) -> NDArray[np.float64]:
    """For each row the mean label of its category in the other folds."""
    codes = np.unique(codes, return_inverse=True)[1]
    size = int(codes.max()) + 1
    cell = codes * FOLDS + folds
    rows = np.bincount(cell, minlength=size * FOLDS).reshape(size, FOLDS)
    sums = np.bincount(cell, weights=labels, minlength=size * FOLDS).reshape(size, FOLDS)
    other_rows, other_sums = rows.sum(axis=1, keepdims=True) - rows, sums.sum(axis=1, keepdims=True) - sums
    base = other_sums.sum(axis=0) / np.maximum(other_rows.sum(axis=0), 1)
    means: NDArray[np.float64] = (other_sums + PRIOR_ROWS * base) / (other_rows + PRIOR_ROWS)
    return means[codes, folds]


def _folds(labels: NDArray[np.int64], seed: int) -> Codes:
    """A fold for each row, drawn so that each fold has its share of both labels."""
    random = np.random.default_rng(seed)
    folds = np.empty(len(labels), np.intp)
    for label in (0, 1):
        rows = np.flatnonzero(labels == label)
        folds[random.permutation(rows)] = np.arange(len(rows)) % FOLDS
    return folds
