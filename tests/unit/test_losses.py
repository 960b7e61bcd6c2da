"""The losses of labelled predictions: by task, clipped, by version and in pairs."""

from collections.abc import Sequence
from datetime import timedelta
from math import log
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from taxiway.errors import ConfigError
from taxiway.predictions.ground_truth import GroundTruth
from taxiway.predictions.losses import Versions, losses_of, read_losses
from taxiway.predictions.record import LoggedBatch, Source
from taxiway.predictions.settings import PredictionLogSettings
from taxiway.predictions.truth_log import GroundTruthLog
from taxiway.predictions.writer import PredictionLog
from taxiway.rollout.plan import QualitySettings
from tests.prediction_records import NOON, an_id, minutes, write

VERSIONS = Versions(("champion", "3"), ("challenger", "4"))
BINARY = QualitySettings()
CLASSES, REGRESSION = QualitySettings(task="classes"), QualitySettings(task="regression", largest_loss=100)
CHAMPION, CHALLENGER, COPY = ("champion", "3", "live"), ("challenger", "4", "live"), ("challenger", "4", "shadow")


def labelled(
    answers: Sequence[Any], labels: Sequence[Any], who: tuple[str, str, str] = CHAMPION, first: int = 0
) -> pa.Table:
    """As `label_window` gives it, ids from `first` on."""
    numbers = [it if isinstance(it, int | float) else None for it in labels]
    texts = [it if isinstance(it, str) else None for it in labels]
    number = len(labels)
    return pa.table(
        {
            "prediction_id": [an_id(number=first + place) for place in range(number)],
            "row": pa.array([0] * number, pa.int32()),
            "variant": [who[0]] * number,
            "version": [who[1]] * number,
            "kind": [who[2]] * number,
            "output.y": pa.array(answers),
            "label_number": pa.array(numbers, pa.float64()),
            "label_text": pa.array(texts, pa.string()),
        }
    )


def test_of_two_classes_it_is_the_log_loss() -> None:
    found = losses_of(labelled([0.8, 0.4], [1, 0]), BINARY, VERSIONS).champion
    assert (found.n, found.total) == (2, pytest.approx(-log(0.8) - log(0.6)))


def test_rows_that_can_not_be_judged_are_left_out() -> None:
    found = losses_of(labelled([0.8, None, 1.5, 0.5], [1, 1, 1, 2]), BINARY, VERSIONS).champion
    assert found.n == 1


def test_one_row_costs_no_more_than_the_largest_loss() -> None:
    assert losses_of(labelled([0.0], [1]), BINARY, VERSIONS).champion.total == 4.0
    assert losses_of(labelled([0.0], [1]), QualitySettings(largest_loss=99), VERSIONS).champion.total == (
        pytest.approx(-log(1e-6))
    )


def test_of_numbers_it_is_the_squared_error() -> None:
    found = losses_of(labelled([3.0, -1.0, 50.0], [1.0, -1.0, 0.0]), REGRESSION, VERSIONS).champion
    assert (found.n, found.total) == (3, 4.0 + 0.0 + 100.0)


@pytest.mark.parametrize(
    ("answers", "labels", "wrong"),
    [
        ([[0.1, 0.9], [0.8, 0.2], [0.3, 0.7]], [1, 1, 0], 2),
        (["cat", "dog", "cat"], ["cat", "cat", "dog"], 2),
        ([1, 2, 3], [1, 2, 4], 1),
    ],
)
def test_of_several_classes_it_is_whether_the_answer_is_wrong(
    answers: list[Any], labels: list[Any], wrong: int
) -> None:
    found = losses_of(labelled(answers, labels), CLASSES, VERSIONS).champion
    assert (found.n, found.total) == (3, wrong)


def test_a_class_without_its_label_is_left_out() -> None:
    assert losses_of(labelled(["cat", None, "dog"], ["cat", "cat", None]), CLASSES, VERSIONS).champion.n == 1


def test_versions_are_kept_apart_and_copies_make_pairs() -> None:
    table = pa.concat_tables(
        [
            labelled([0.5, 0.5, 0.5], [1, 1, 1]),
            labelled([0.25], [1], CHALLENGER, first=10),
            labelled([1.0, 0.5], [1, 1], COPY, first=1),
            labelled([0.001], [1], ("challenger", "9", "live"), first=20),
        ]
    )
    found = losses_of(table, BINARY, VERSIONS)
    assert (found.champion.n, found.champion.mean) == (3, pytest.approx(log(2)))
    assert (found.challenger.n, found.challenger.mean) == (1, pytest.approx(log(4)))
    assert (found.pairs.n, found.pairs.total) == (2, pytest.approx(-log(2), abs=1e-5))


def test_nothing_labelled_is_nothing_known() -> None:
    found = losses_of(labelled([], []).slice(0, 0), BINARY, VERSIONS)
    assert (found.champion.n, found.challenger.n, found.pairs.n) == (0, 0, 0)


def test_of_several_outputs_one_must_be_named() -> None:
    table = labelled([0.5], [1]).append_column("output.z", pa.array([0.9]))
    with pytest.raises(ConfigError, match="say which of y, z"):
        losses_of(table, BINARY, VERSIONS)
    assert losses_of(table, QualitySettings(output="z"), VERSIONS).champion.total == pytest.approx(-log(0.9))
    with pytest.raises(ConfigError, match="no output 'x'"):
        losses_of(table, QualitySettings(output="x"), VERSIONS)


def test_a_label_that_was_corrected_counts_as_it_is_now(tmp_path: Path) -> None:
    log_of_answers = PredictionLog(PredictionLogSettings(location=str(tmp_path)))
    names = [an_id(number=place) for place in range(2)]
    source = Source("delay", "champion", "3", "live")
    outputs = {"y": np.array([0.8, 0.8])}
    write(log_of_answers, LoggedBatch(source, {}, outputs, names, [1, 1], [1.0] * 2, [2.0] * 2))
    log_of_answers.close()
    truth = GroundTruthLog(str(tmp_path), gather_s=0.0)

    def tell(label: float, at: float) -> None:
        truth.add([GroundTruth(names[0], 0, label, NOON, minutes(at))]).result(5)

    def read() -> tuple[int, float]:
        found = read_losses(str(tmp_path), "delay", NOON, NOON + timedelta(hours=1), BINARY, VERSIONS).champion
        return found.n, round(found.total, 6)

    tell(0.0, 1)
    assert read() == (1, round(-log(0.2), 6))
    assert read() == (1, round(-log(0.2), 6))
    tell(1.0, 2)
    assert read() == (1, round(-log(0.8), 6))
    truth.close()
