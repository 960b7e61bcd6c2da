"""Ground truth of both versions: figures of live answers, and of pairs of answers to the same rows."""

from collections.abc import Sequence
from datetime import timedelta
from math import log
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from sklearn.metrics import roc_auc_score

from taxiway.errors import ConfigError
from taxiway.predictions.ground_truth import GroundTruth
from taxiway.predictions.record import LoggedBatch, Source
from taxiway.predictions.settings import PredictionLogSettings
from taxiway.predictions.truth_log import GroundTruthLog
from taxiway.predictions.writer import PredictionLog
from taxiway.rollout.plan import QualitySettings
from taxiway.rollout_truth import figures, read_truth, truth_lines, truth_of
from tests.prediction_records import an_id, write
from tests.rollout_records import BEGAN, PLAN, after, begun
from tests.unit.test_losses import CHALLENGER, CHAMPION, CLASSES, COPY, REGRESSION, VERSIONS, labelled

BINARY = QualitySettings()


def both(champion: Sequence[Any], copies: Sequence[Any], labels: Sequence[Any]) -> pa.Table:
    """The copies are in another order, and the first live answer has none."""
    names = labelled(copies, labels[1:], COPY, first=1)
    return pa.concat_tables([labelled(champion, labels), names.take(list(range(len(copies)))[::-1])])


def test_pairs_are_of_the_same_rows_whatever_their_order() -> None:
    live, paired = truth_of(both([0.9, 0.6, 0.2], [0.8, 0.1], [1, 1, 0]), BINARY, VERSIONS)
    assert (figures(live.champion)["rows"], figures(live.challenger)["rows"]) == (3, 0)
    assert figures(paired.champion)["log loss"] == pytest.approx((-log(0.6) - log(0.8)) / 2)
    assert figures(paired.challenger)["log loss"] == pytest.approx((-log(0.8) - log(0.9)) / 2)


def test_the_auc_is_the_one_of_scikit_learn() -> None:
    random = np.random.default_rng(2)
    labels = random.integers(0, 2, 500)
    scores = np.clip(0.3 * labels + 0.7 * random.random(500), 0, 1)
    table = labelled(scores.tolist(), labels.tolist(), CHALLENGER)
    found = figures(truth_of(table, BINARY, VERSIONS)[0].challenger)
    assert found["AUC"] == pytest.approx(roc_auc_score(labels, scores), abs=0.01)
    assert found["label 1"] == pytest.approx(labels.mean())
    assert 0 < found["calibration error"] < 1


def test_rows_that_can_not_be_judged_are_left_out() -> None:
    live, _ = truth_of(labelled([0.8, None, 1.5, 0.5], [1, 1, 1, 2]), BINARY, VERSIONS)
    assert figures(live.champion)["rows"] == 1
    assert "AUC" not in figures(live.champion)


def test_numbers_have_their_errors() -> None:
    live, _ = truth_of(labelled([3.0, -1.0, None], [1.0, 0.0, 5.0]), REGRESSION, VERSIONS)
    assert figures(live.champion) == {
        "rows": 2,
        "mean squared error": 2.5,
        "mean absolute error": 1.5,
        "mean error": 0.5,
    }


def test_of_several_classes_right_answers_are_counted_without_clipping() -> None:
    settings = CLASSES.model_copy(update={"largest_loss": 0.5})
    table = both(["a", "b", "c"], ["b", "b"], ["a", "b", "b"])
    live, paired = truth_of(table, settings, VERSIONS)
    assert figures(live.champion) == {"rows": 3, "right answers": pytest.approx(2 / 3)}
    assert figures(paired.champion)["right answers"] == 0.5
    assert figures(paired.challenger)["right answers"] == 1.0
    probabilities = labelled([[0.1, 0.9], [0.8, 0.2]], [1, 1])
    assert figures(truth_of(probabilities, CLASSES, VERSIONS)[0].champion)["right answers"] == 0.5


def test_an_output_that_can_not_be_told_is_refused() -> None:
    table = labelled([0.5], [1]).append_column("output.z", pa.array([0.9]))
    with pytest.raises(ConfigError, match="say which"):
        truth_of(table, BINARY, VERSIONS)
    named = truth_of(table, QualitySettings(output="z"), VERSIONS)[0].champion
    assert figures(named)["mean prediction"] == pytest.approx(0.9)


def test_only_answers_of_the_rollouts_time_count(tmp_path: Path) -> None:
    state = begun()
    names = [an_id(after(second), number) for number, second in enumerate((-60, 10, 20, 30))]
    log_of_answers = PredictionLog(PredictionLogSettings(location=str(tmp_path)))
    outputs = {"p": np.array([0.1, 0.9, 0.8, 0.7])}
    for variant, version, kind in (CHAMPION, COPY):
        source = Source("delay", variant, version, "shadow" if kind == "shadow" else "live")
        write(log_of_answers, LoggedBatch(source, {}, outputs, names, [1] * 4, [1.0] * 4, [2.0] * 4))
    log_of_answers.close()
    labels = GroundTruthLog(str(tmp_path), gather_s=0.0)
    labels.add([GroundTruth(name, 0, 1.0, BEGAN, after(40)) for name in names]).result(5)
    labels.close()
    truth = read_truth(str(tmp_path), state, after(60))
    assert truth is not None
    assert figures(truth.live.champion)["rows"] == figures(truth.paired.challenger)["rows"] == 3
    assert (truth.corrections, truth.unmatched) == (0, 0)
    lines = list(truth_lines(truth, state))
    assert lines[0].startswith("live answers, version 3: log loss 0.2")
    assert [line.partition(":")[0] for line in lines[1:]] == ["the same rows, version 3", "the same rows, version 4"]
    assert read_truth(str(tmp_path), state, after(30)) is None


def test_without_labels_or_without_a_check_of_quality_there_is_nothing_to_tell(tmp_path: Path) -> None:
    until = BEGAN + timedelta(hours=1)
    assert read_truth(str(tmp_path / "not there"), begun(), until) is None
    plan = PLAN.model_copy(update={"checks": PLAN.checks.model_copy(update={"quality": None})})
    assert read_truth("ftp://not asked", begun(plan), until) is None
