"""How an ensemble's answers become one: functions of arrays.

Every operation is element by element, so that a row's answer is the same to the last bit in any batch.
"""

from collections.abc import Sequence

import numpy as np

from taxiway.signature import Array


def weighted_sum(answers: Sequence[Array], weights: Sequence[float]) -> Array:
    """The members' answers, weighted; float64."""
    total = np.zeros(answers[0].shape)
    for answer, weight in zip(answers, weights, strict=True):
        total += answer.astype(np.float64, copy=False) * weight
    return total


def mean(answers: Sequence[Array]) -> Array:
    """The members' mean; float64."""
    total: Array = weighted_sum(answers, [1.0] * len(answers)) / len(answers)
    return total


def vote(answers: Sequence[Array]) -> Array:
    """The label that most members give each row; among equals that of the earliest member."""
    together = np.stack(answers)
    supporters = np.array([(together == answer).sum(axis=0) for answer in answers])
    return np.asarray(together[supporters.argmax(axis=0), np.arange(together.shape[1])])
