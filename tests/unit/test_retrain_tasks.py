"""Several classes and numbers: what is known of their metrics, and what follows from a task's name."""

import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr
from sklearn.datasets import load_diabetes, load_digits
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    confusion_matrix,
    f1_score,
    log_loss,
    mean_absolute_error,
    median_absolute_error,
    precision_recall_fscore_support,
    r2_score,
    roc_auc_score,
    root_mean_squared_error,
)

from retrain.champion import Champion, champion_on
from retrain.checks import CheckSettings, check
from retrain.compare import Comparison, compare, facts
from retrain.dataset import Dataset
from retrain.gate import Evidence, GateSettings, MetricSettings, RuleResult, Verdict, judge
from retrain.importance import importance
from retrain.leakage import classes_auc, rank_correlation
from retrain.samples import Numbers, SeveralClasses
from retrain.settings import RetrainSettings
from retrain.stability import stability
from retrain.tasks import BINARY, Classes, Regression, Task
from retrain.trainers.choice import DEFAULT_TRAINER, TrainerSettings, open_trainer
from retrain.windows import split
from taxiway.errors import ConfigError, JobError
from taxiway.package import ModelPackage
from taxiway.settings import parse
from taxiway.signature import Array, Column, Signature

ABC = Classes(("a", "b", "c"))
NUMBER = Regression()
TIMES = st.lists(st.integers(0, 3), min_size=12, max_size=12)


@pytest.fixture(scope="module")
def digits() -> tuple[Task, Array, Array, Array]:
    """The task, held-out digits, and the probabilities of a model of all pixels and of one of half of them."""
    images, labels = load_digits(return_X_y=True)
    images /= 16
    fits = [LogisticRegression(max_iter=300, C=0.1).fit(images[:800, :width], labels[:800]) for width in (64, 32)]
    mine, theirs = (fit.predict_proba(images[800:, : fit.n_features_in_]) for fit in fits)
    return Classes(tuple(map(str, range(10)))), labels[800:], mine, theirs


@pytest.fixture(scope="module")
def diabetes() -> tuple[Array, Array, Array]:
    """Held-out numbers, and the answers of a linear model of ten columns and of one of two."""
    inputs, labels = load_diabetes(return_X_y=True)
    fits = [Ridge(alpha=0.01).fit(inputs[:200, :width], labels[:200]) for width in (10, 2)]
    mine, theirs = (fit.predict(inputs[200:, : fit.n_features_in_]) for fit in fits)
    return labels[200:], mine, theirs


def test_figures_of_classes_are_scikit_learns(digits: tuple[Task, Array, Array, Array]) -> None:
    task, labels, mine, theirs = digits
    found = compare(labels, mine, theirs, {}, task=task, samples=100)
    known: dict[str, Callable[[Array], float]] = {
        "accuracy": lambda answers: accuracy_score(labels, answers.argmax(axis=1)),
        "log_loss": lambda answers: log_loss(labels, answers),
        "macro_f1": lambda answers: f1_score(labels, answers.argmax(axis=1), average="macro"),
        "macro_auc": lambda answers: roc_auc_score(labels, answers, multi_class="ovr"),
    }
    assert [it.metric for it in found.metrics] == list(known)
    for metric in found.metrics:
        value = known[metric.metric]
        assert metric.challenger.value == pytest.approx(value(mine), abs=1e-9)
        assert metric.difference is not None
        assert metric.difference.value == pytest.approx(value(mine) - value(theirs), abs=1e-9)
        assert metric.difference.low < metric.difference.value < metric.difference.high


def test_figures_of_numbers_are_scikit_learns(diabetes: tuple[Array, Array, Array]) -> None:
    labels, mine, theirs = diabetes
    found = compare(labels, mine, theirs, {}, task=NUMBER, samples=100)
    known = (root_mean_squared_error, mean_absolute_error, r2_score, median_absolute_error)
    assert [it.metric for it in found.metrics] == ["rmse", "mae", "r2", "median_absolute_error"]
    for metric, value in zip(found.metrics, known, strict=True):
        assert metric.challenger.value == pytest.approx(value(labels, mine), abs=1e-9)
        assert metric.difference is not None
        assert metric.difference.value == pytest.approx(value(labels, mine) - value(labels, theirs), abs=1e-9)


@given(
    rows=st.lists(
        st.tuples(st.integers(0, 2), st.integers(0, 4), st.integers(0, 4), st.integers(1, 3)), min_size=3, max_size=20
    ).filter(lambda rows: len({row[0] for row in rows}) == 3)
)
def test_a_sample_of_classes_counts_as_its_repeated_rows_do(rows: list[tuple[int, int, int, int]]) -> None:
    labels, times = np.array([row[0] for row in rows]), np.array([row[3] for row in rows])
    raw = np.array([(1.0, row[1] + 1.5, row[2] + 1.5) for row in rows])
    answers = raw / raw.sum(axis=1, keepdims=True)
    truth, said = np.repeat(labels, times), np.repeat(answers, times, axis=0)
    found = SeveralClasses(labels, answers).figures(times)
    expected = (
        accuracy_score(truth, said.argmax(axis=1)),
        log_loss(truth, said),
        f1_score(truth, said.argmax(axis=1), average="macro"),
        roc_auc_score(truth, said, multi_class="ovr"),
    )
    assert found == pytest.approx(expected, abs=1e-9)


@given(
    pairs=st.lists(st.tuples(st.integers(-50, 50), st.integers(-50, 50)), min_size=12, max_size=12).filter(
        lambda pairs: len({pair[0] for pair in pairs}) > 1
    ),
    times=TIMES,
)
def test_a_sample_of_numbers_counts_as_its_repeated_rows_do(pairs: list[tuple[int, int]], times: list[int]) -> None:
    labels, answers = (np.array(it, float) for it in zip(*pairs, strict=True))
    truth, said = np.repeat(labels, times), np.repeat(answers, times)
    if len(np.unique(truth)) < 2:
        return
    found = Numbers(labels, answers).figures(np.array(times))
    known = (root_mean_squared_error, mean_absolute_error, r2_score, median_absolute_error)
    assert found == pytest.approx([value(truth, said) for value in known], rel=1e-6, abs=1e-6)


def test_the_interval_of_the_mae_is_as_wide_as_theory_says(diabetes: tuple[Array, Array, Array]) -> None:
    labels, mine, theirs = diabetes
    found = compare(labels, mine, theirs, {}, task=NUMBER).of("mae").difference
    assert found is not None
    apart = np.abs(labels - mine) - np.abs(labels - theirs)
    assert found.high - found.low == pytest.approx(2 * 1.96 * apart.std() / np.sqrt(len(apart)), rel=0.1)


def test_each_class_is_told_as_scikit_learn_tells_it(digits: tuple[Task, Array, Array, Array]) -> None:
    task, labels, mine, _ = digits
    told: Any = compare(labels, mine, None, {}, task=task, samples=100).challenger
    said = mine.argmax(axis=1)
    np.testing.assert_array_equal(told.confusion, confusion_matrix(labels, said))
    known = precision_recall_fscore_support(labels, said)
    for place, one in enumerate(told.by_class):
        assert (one.precision, one.recall, one.f1, one.rows) == pytest.approx([it[place] for it in known])
        assert one.average_precision == pytest.approx(average_precision_score(labels == place, mine[:, place]))


def test_who_is_sure_and_wrong_half_of_the_time_is_badly_calibrated() -> None:
    labels = np.arange(3_000) % 3
    said = np.where(np.arange(3_000) % 2 == 0, labels, (labels + 1) % 3)
    sure, unsure = np.full((3_000, 3), 0.01), np.full((3_000, 3), 0.25)
    sure[np.arange(3_000), said], unsure[np.arange(3_000), said] = 0.98, 0.5
    errors = [
        compare(labels, it, None, {}, task=ABC, samples=100).challenger.calibration_error for it in (sure, unsure)
    ]
    assert errors == pytest.approx([0.48, 0.0])


def rule(verdict: Verdict, name: str) -> RuleResult:
    return next(it for it in verdict.rules if it.rule == name)


def judged(found: Comparison, gate: GateSettings) -> Verdict:
    signature = Signature(inputs=(Column(name="x", dtype="float64"),), outputs=(found.task.output("y"),))
    return judge(gate, Evidence(found, signature, signature))


def test_a_gain_in_rmse_is_its_fall(diabetes: tuple[Array, Array, Array]) -> None:
    labels, mine, theirs = diabetes
    gate = GateSettings(metrics={"rmse": MetricSettings(min_gain=0.0)})
    better, worse = (compare(labels, *it, {}, task=NUMBER, samples=200) for it in ((mine, theirs), (theirs, mine)))
    assert better.primary.difference is not None
    assert better.primary.difference.high < 0
    found = rule(judged(better, gate), "metrics.rmse.min_gain")
    assert found.measured == -better.primary.difference.high
    assert [judged(it, gate).passed for it in (better, worse)] == [True, False]
    assert judged(worse, gate).reasons[0].startswith("the RMSE differs from the champion's by +")


@pytest.mark.parametrize(("limit", "passes"), [(1_000.0, True), (1.0, False)])
def test_a_limit_of_rmse_is_an_upper_one(diabetes: tuple[Array, Array, Array], limit: float, passes: bool) -> None:
    labels, mine, _ = diabetes
    found = compare(labels, mine, None, {}, task=NUMBER, samples=100)
    verdict = judged(found, GateSettings(metrics={"rmse": MetricSettings(limit=limit)}))
    assert verdict.passed is passes


def test_a_limit_of_accuracy_is_a_lower_one(digits: tuple[Task, Array, Array, Array]) -> None:
    task, labels, mine, _ = digits
    found = compare(labels, mine, None, {}, task=task, samples=100)
    gates = [
        GateSettings(metrics={"accuracy": MetricSettings(limit=it)}, max_calibration_error=None) for it in (0.5, 0.999)
    ]
    assert [judged(found, gate).passed for gate in gates] == [True, False]


def test_without_rules_a_worse_challenger_of_either_task_fails(
    digits: tuple[Task, Array, Array, Array], diabetes: tuple[Array, Array, Array]
) -> None:
    task, labels, mine, theirs = digits
    numbers, better, worse = diabetes
    for found in (
        compare(labels, theirs, mine, {}, task=task, samples=100),
        compare(numbers, worse, better, {}, task=NUMBER, samples=100),
    ):
        verdict = judged(found, GateSettings())
        assert not verdict.passed
        assert not {it.rule for it in verdict.rules} & {"min_auc", "max_slice_auc_loss"}


def test_the_worst_slice_of_numbers_has_the_highest_rmse_and_the_rule_names_it() -> None:
    random = np.random.default_rng(0)
    labels, kinds = random.normal(size=2_000), np.array(["calm", "wild"] * 1_000)
    champion = labels + random.normal(0, 0.5, 2_000)
    challenger = labels + random.normal(0, 1, 2_000) * np.where(kinds == "wild", 1.0, 0.2)
    found = compare(labels, challenger, champion, {"kind": kinds}, task=NUMBER, samples=100)
    assert found.worst_slice is not None
    assert found.largest_loss is not None
    assert found.worst_slice.name == found.largest_loss.name == "kind wild"
    chosen = kinds == "wild"
    rise = root_mean_squared_error(labels[chosen], challenger[chosen]) - root_mean_squared_error(
        labels[chosen], champion[chosen]
    )
    for allowed, passes in ((rise + 0.01, True), (rise - 0.01, False)):
        gate = GateSettings(metrics={"rmse": MetricSettings(max_slice_loss=allowed)})
        result = rule(judged(found, gate), "metrics.rmse.max_slice_loss")
        assert (result.passed, result.measured) == (passes, pytest.approx(rise))


def test_a_slice_of_classes_is_told_by_its_accuracy(digits: tuple[Task, Array, Array, Array]) -> None:
    task, labels, mine, theirs = digits
    bright = np.where(np.arange(len(labels)) < 600, "early", "late")
    early = compare(labels, mine, theirs, {"when": bright}, task=task, samples=100).slices[0]
    right = [accuracy_score(labels[:600], answers[:600].argmax(axis=1)) for answers in (mine, theirs)]
    assert early.name == "when early"
    assert early.challenger.score == pytest.approx(right[0])
    assert early.difference is not None
    assert early.difference.value == pytest.approx(right[0] - right[1])


def test_comparisons_of_both_tasks_are_strict_json(
    digits: tuple[Task, Array, Array, Array], diabetes: tuple[Array, Array, Array]
) -> None:
    task, labels, mine, theirs = digits
    told = json.loads(json.dumps(facts(compare(labels, mine, theirs, {}, task=task, samples=100)), allow_nan=False))
    assert len(told["challenger"]["confusion"]) == 10
    numbers, one, other = diabetes
    columns = {"half": np.arange(len(numbers)) % 2}
    told = json.loads(
        json.dumps(facts(compare(numbers, one, other, columns, task=NUMBER, samples=100)), allow_nan=False)
    )
    assert told["rmse"]["champion"]["value"] == pytest.approx(root_mean_squared_error(numbers, other))
    assert "rmse_difference" in told["slices"][0]


@pytest.mark.parametrize(
    ("task", "labels", "answers", "message"),
    [
        (ABC, [0, 1, 2], np.full((3, 2), 0.5), r"answered \[3, 2\] for 3 held-out rows of 3 classes"),
        (ABC, [0, 1, 2], np.full((3, 3), 0.5), "no probabilities that add up to 1 for 3 of 3"),
        (NUMBER, [0.0, 1.0], np.array([0.0, np.nan]), "no finite number for 1 of 2"),
        (NUMBER, [1.0, 1.0], np.array([0.0, 1.0]), "all of one label"),
    ],
)
def test_answers_of_another_form_are_refused(task: Task, labels: list[float], answers: Array, message: str) -> None:
    with pytest.raises(JobError, match=message):
        compare(np.array(labels), answers, None, {}, task=task)


@pytest.mark.parametrize(
    ("task", "values", "expected"),
    [
        (ABC, ["c", None, "a"], [2.0, np.nan, 0.0]),
        (Classes(("2", "7", "9")), [7, None, 9], [1.0, np.nan, 2.0]),
        (Classes(("2", "7", "9")), [7.0, np.nan, 2.0], [1.0, np.nan, 0.0]),
        (NUMBER, [1, None, 3], [1.0, np.nan, 3.0]),
        (BINARY, [1.0, None, 0.0], [1.0, np.nan, 0.0]),
    ],
)
def test_labels_become_numbers(task: Task, values: list[Any], expected: list[float]) -> None:
    np.testing.assert_array_equal(task.labels(pa.chunked_array([values]), "y"), expected)


@pytest.mark.parametrize(
    ("task", "values", "message"),
    [
        (BINARY, [0, 1, 2], "must be 0 or 1, found 2; for several classes say `task: classes`"),
        (BINARY, ["x", "y"], "y is string, expected numbers"),
        (ABC, ["a", "d"], "y holds d, which `classes` does not list"),
        (NUMBER, ["a"], "y is string, expected numbers"),
        (NUMBER, [1.0, np.inf], "y holds infinite numbers"),
    ],
)
def test_labels_that_do_not_fit_the_task_are_the_operators_error(task: Task, values: list[Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        task.labels(pa.chunked_array([values]), "y")


def config(**changes: Any) -> RetrainSettings:
    data = {
        "model": "m",
        "labels": "l.parquet",
        "label": "y",
        "inputs": [{"name": "x", "dtype": "float64"}],
        "train": {"start": "2024-01-01", "end": "2024-07-01"},
        "validate_from": "2024-06-01",
        "evaluate": {"start": "2024-07-01", "end": "2024-09-01"},
    }
    return parse(data | changes, RetrainSettings, "retrain.yaml")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": "classes"}, "key 'classes': `task: classes` needs the label's values, three or more"),
        ({"task": "classes", "classes": [0, 1]}, "two classes are `task: binary`"),
        ({"task": "classes", "classes": ["a", "b", "a"]}, "lists a class twice"),
        ({"task": "regression", "classes": ["a", "b", "c"]}, "is for `task: classes`"),
        ({"task": "ranking"}, "key 'task'"),
        ({"task": "regression", "gate": {"min_auc": 0.7}}, "min_auc: for `task: binary` only; use metrics.rmse"),
        (
            {"task": "regression", "gate": {"metrics": {"auc": {"limit": 1}}}},
            "metrics.auc: the task regression has rmse",
        ),
        ({"gate": {"metrics": {"log_loss": {"max_slice_loss": 1}}}}, "slices are compared by auc only"),
        (
            {"gate": {"metrics": {"average_precision": {"max_spread": 1}}}, "search": {"seeds": 2}},
            "by auc and log_loss",
        ),
        ({"gate": {"metrics": {"auc": {"max_spread": 1}}}}, "max_spread needs search.seeds of at least 2"),
        ({"gate": {"metrics": {"auc": {}}}}, "give at least one of limit"),
    ],
)
def test_settings_that_do_not_fit_the_task_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config(**changes)


def test_the_output_is_named_by_the_task_unless_it_has_a_name() -> None:
    several = {"task": "classes", "classes": [3, 1, 2]}
    found = [
        config(**it).output for it in ({}, several, {"task": "regression"}, {"task": "regression", "output": "cm"})
    ]
    assert found == ["probability", "probabilities", "value", "cm"]
    column = config(**several).learning_task.output("p")
    assert column.shape == (3,)
    assert column.description.endswith("3, 1, 2")


class Own(type(open_trainer(DEFAULT_TRAINER))):  # type: ignore[misc]
    tasks = ("binary",)


def test_a_trainer_says_what_it_can_fit() -> None:
    own = TrainerSettings.model_validate({"class": f"{__name__}:Own"})
    assert open_trainer(own).tasks == ("binary",)
    with pytest.raises(ConfigError, match="Own fits binary, not regression"):
        open_trainer(own, "regression")


def beside(task: Task, answered_by: Task) -> Champion:
    """What a champion of one task is to a challenger of another."""
    signature = Signature(inputs=(Column(name="x", dtype="float64"),), outputs=(answered_by.output("y"),))
    package = ModelPackage(signature=signature, output_kind=answered_by.output_kind)
    shape = (6, 3) if isinstance(answered_by, Classes) else (6,)
    predictor = SimpleNamespace(predict=lambda columns: {"y": np.full(shape, 1 / 3)})
    loaded = SimpleNamespace(package=package, predictor=predictor)
    registry: Any = SimpleNamespace(alias=lambda model, name: "1", load=lambda version: loaded)
    found = champion_on(registry, "m", dataset(np.zeros(6), x=np.zeros(6)), None, task, task.output("y"))
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("task", "champion", "obstacle"),
    [
        (NUMBER, NUMBER, ""),
        (ABC, ABC, ""),
        (ABC, NUMBER, "the champion answers a value, not a tensor"),
        (BINARY, NUMBER, "the champion answers a value, not a probability"),
        (ABC, Classes(("b", "a", "c")), "this one's probability of each class, in this order: a, b, c"),
    ],
)
def test_a_champion_is_compared_where_it_answers_the_same(task: Task, champion: Task, obstacle: str) -> None:
    found = beside(task, champion)
    assert obstacle in found.obstacle
    assert (found.answers is None) is bool(obstacle)


def dataset(labels: Array, **columns: Array) -> Dataset:
    start = np.datetime64("2024-01-01", "us")
    moments = start + np.arange(len(labels)) * np.timedelta64(60 * 24 * 244 // len(labels), "m")
    return Dataset(np.arange(len(labels)), moments, labels, columns)


def test_a_window_needs_every_class_to_learn_and_two_to_judge() -> None:
    settings = config(task="classes", classes=["a", "b", "c"])
    labels = np.arange(2_440) % 3
    split(dataset(labels, x=labels.astype(float)), settings)
    without = np.where(labels == 2, 0, labels)
    with pytest.raises(JobError, match=r"train, before validate_from.*and none of the class c among them"):
        split(dataset(without, x=without.astype(float)), settings)
    late = np.where(np.arange(2_440) < 1_800, labels, 1)
    with pytest.raises(JobError, match=r"evaluate.*not two classes"):
        split(dataset(late, x=labels.astype(float)), settings)


def findings(task: Task, data: Dataset, **settings: Any) -> list[tuple[str, str | None]]:
    inputs = [Column(name=name, dtype="float64") for name in data.columns]
    off: dict[Any, Any] = {"time_gap": "off"}
    return [(it.code, it.column) for it in check(data, CheckSettings(severity=off, **settings), inputs, None, task)]


def test_a_rare_class_and_a_number_that_always_occurs_are_out_of_balance() -> None:
    noise = np.random.default_rng(0).normal(size=3_000)
    labels = np.arange(3_000) % 3
    assert findings(ABC, dataset(labels, x=noise)) == []
    rare = np.where(np.arange(3_000) == 5, 2, labels % 2)
    assert findings(ABC, dataset(rare, x=noise)) == [("label_balance", None)]
    constant = np.where(np.arange(3_000) == 5, 1.0, 0.0)
    assert findings(NUMBER, dataset(constant, x=noise)) == [("label_balance", None)]


def test_numbers_may_differ_where_all_columns_are_equal_and_classes_may_not() -> None:
    column, labels = np.repeat(np.arange(1_000.0), 3), np.tile(np.arange(3), 1_000)
    assert ("contradicting_labels", None) in findings(ABC, dataset(labels, x=column))
    assert findings(NUMBER, dataset(labels.astype(float), x=column)) == []


def test_a_column_that_gives_the_label_away_is_a_leak_in_either_task() -> None:
    random = np.random.default_rng(0)
    noise, labels = random.normal(size=3_000), random.integers(0, 3, 3_000)
    swapped = np.array([1.0, 2.0, 0.0])[labels] + 0.1 * noise
    assert findings(ABC, dataset(labels, x=noise, leak=swapped)) == [("leakage", "leak")]
    numbers = np.exp(noise) + 0.01 * random.normal(size=3_000)
    found = findings(NUMBER, dataset(numbers, x=random.normal(size=3_000), leak=-noise))
    assert found == [("leakage", "leak")]
    assert findings(NUMBER, dataset(numbers, leak=-noise), max_column_correlation=1.0) == []


def test_the_rank_correlation_is_spearmans_and_a_missing_value_tells_nothing() -> None:
    random = np.random.default_rng(1)
    labels, values = random.normal(size=(2, 500)).round(1)
    values += labels
    assert rank_correlation(values, labels, False) == pytest.approx(spearmanr(values, labels).statistic)
    values[::2] = np.nan
    assert rank_correlation(values, labels, False) < 0.9 * spearmanr(values[1::2], labels[1::2]).statistic


def test_a_category_tells_a_number_as_far_as_its_mean_does_and_a_key_nothing() -> None:
    random = np.random.default_rng(1)
    kinds = random.integers(0, 4, 2_000)
    labels = kinds + 0.01 * random.normal(size=2_000)
    assert rank_correlation(kinds, labels, True) > 0.9
    assert rank_correlation(np.arange(2_000), labels, True) < 0.1


def test_the_mean_auc_over_pairs_of_classes_is_scikit_learns_for_an_ordered_column() -> None:
    """Hand and Till's M; scikit-learn takes scores by class, so each pair is asked by itself."""
    random = np.random.default_rng(2)
    labels = random.integers(0, 3, 600)
    values = labels + random.normal(size=600)
    pairs = []
    for one, other in ((0, 1), (0, 2), (1, 2)):
        rows = (labels == one) | (labels == other)
        pairs.append(roc_auc_score(labels[rows] == other, values[rows]))
    assert classes_auc(values, labels, False) == pytest.approx(np.mean(pairs))


def test_importance_is_what_rmse_rises_by() -> None:
    random = np.random.default_rng(0)
    columns = {name: random.normal(size=4_000) for name in ("unread", "much")}
    labels = 3 * columns["much"] + random.normal(size=4_000)
    found = importance(lambda rows: 3 * rows["much"], columns, labels, ["unread", "much"], task=NUMBER)
    # Shuffled, the errors have the variance 3^2 + 3^2 + 1.
    assert [it.column for it in found] == ["much", "unread"]
    assert found[0].lost == pytest.approx(np.sqrt(19) - 1, rel=0.05)
    assert found[1].lost == 0.0


def test_seeds_differ_by_the_mean_distance_of_their_answers() -> None:
    labels = np.array([1.0, 2.0, 4.0])
    found = stability(labels, (0, 1), [labels, labels + 0.5], NUMBER)
    assert found.values["rmse"] == (0.0, 0.5)
    assert found.metrics["seeds_answer_difference"] == 0.5
    assert found.metrics["seeds_rmse_range"] == 0.5
