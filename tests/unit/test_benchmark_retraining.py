"""What the figures of benchmarks/retraining rest upon: the same work on both sides, and the accounts of a search."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import roc_auc_score

from benchmarks.retraining import report
from benchmarks.retraining.material import points
from benchmarks.retraining.measure import Run, Search, auc, common_looks, stages
from benchmarks.retraining.peer import Done, Look, Task, matrix, run
from benchmarks.retraining.report import Results, checkpoint_cost
from benchmarks.retraining.trainer import Step, Timed, account, gaps, read_steps
from retrain.compare import compare
from retrain.model import one_thread
from retrain.search import PATIENCE, Trial
from retrain.settings import SearchSettings
from retrain.trainers.boosting import Boosting
from retrain.trainers.contract import SearchData
from retrain.windows import Windows, search_data
from tests.toy_examples import examples, toy_data, toy_layout

SEARCH = SearchSettings(trials=3, seed=7, max_iterations=40, report_every=10)
LOG = """retrain: search ...
AUC                0.7445 (95%: 0.7380 to 0.7512)
gate               passed
wall time          61.2 s (open 2.1, labels 0.4, search 50.0, refit 2.0, judge 6.7)
"""


@pytest.fixture(scope="module")
def windows() -> Windows:
    table = examples(2_500, 1)
    learn, validate, evaluate = (table.take(slice(*edges)) for edges in ((0, 1_500), (1_500, 2_000), (2_000, 2_500)))
    return Windows(table.take(slice(0, 2_000)), learn, validate, evaluate)


@pytest.fixture(scope="module")
def task(windows: Windows, tmp_path_factory: pytest.TempPathFactory) -> Task:
    rows = tmp_path_factory.mktemp("rows") / "rows.parquet"
    pq.write_table(examples(2_500, 1).table("row", "moment", "late"), rows)
    edges = [datetime.fromtimestamp(row / 1e6, UTC).isoformat() for row in (0, 1_500, 2_000, 2_500)]
    return Task(
        rows=str(rows),
        moment="moment",
        label="late",
        columns=toy_layout().columns,
        categories=toy_layout().categories,
        learn=(edges[0], edges[1]),
        validate=(edges[1], edges[2]),
        evaluate=(edges[2], edges[3]),
        points=points(Boosting().space(), SEARCH),
        seed=SEARCH.seed,
        max_iterations=SEARCH.max_iterations,
        report_every=SEARCH.report_every,
        patience=PATIENCE,
        jobs=1,
        samples=50,
    )


def looks_of(number: int, task: Task, data: SearchData) -> list[Look]:
    trial = Trial.__new__(Trial)
    trial.setup({"trial": number, "parameters": task.points[number - 1]}, data, SEARCH, Boosting())
    found, done = [], False
    while not done:
        result = trial.step()
        found.append(Look(number, result["iterations"], result["log_loss"]))
        done = result["done"]
    return found


def done_by(task: Task) -> Done:
    with one_thread():
        return run(task)


def test_the_script_has_the_looks_of_a_search_without_asha(task: Task, windows: Windows) -> None:
    done = done_by(task)
    expected = [look for number in (1, 2, 3) for look in looks_of(number, task, search_data(windows, toy_layout()))]
    assert [(it.trial, it.iterations) for it in done.looks] == [(it.trial, it.iterations) for it in expected]
    assert [it.log_loss for it in done.looks] == pytest.approx([it.log_loss for it in expected], rel=1e-9)


def test_the_script_ends_with_the_model_of_a_retraining(task: Task, windows: Windows) -> None:
    done = done_by(replace(task, samples=400))
    best = min(done.looks, key=lambda look: (look.log_loss, look.iterations, look.trial))
    parameters = task.points[best.trial - 1]
    fitted = Boosting().final(windows.train, toy_layout(), parameters, best.iterations, task.seed)
    probabilities = fitted.predict(windows.evaluate.columns)
    assert done.auc == pytest.approx(roc_auc_score(windows.evaluate.labels, probabilities), rel=1e-9)
    interval = compare(windows.evaluate.labels, probabilities, None, {}, seed=task.seed, samples=400).auc.challenger
    assert (done.auc_low, done.auc_high) == pytest.approx((interval.low, interval.high), abs=0.01)


def test_the_script_encodes_as_the_package_does(task: Task, windows: Windows) -> None:
    inputs, labels = matrix(pq.read_table(task.rows).to_pandas(), task, task.validate)
    np.testing.assert_array_equal(inputs, toy_layout().encoder().transform(windows.validate.columns))
    np.testing.assert_array_equal(labels, windows.validate.labels)


def test_the_clock_changes_nothing_of_a_fit(tmp_path: Path) -> None:
    data, parameters = toy_data(500), dict(Boosting().space().defaults)
    timed, plain = (trainer.fit_steps(data, parameters, 3) for trainer in (Timed(str(tmp_path)), Boosting()))
    assert [timed.step(up_to) for up_to in (5, 10)] == [plain.step(up_to) for up_to in (5, 10)]
    first, second = read_steps(tmp_path)
    assert (first.iterations, second.iterations, first.fit) == (5, 10, second.fit)
    for step in (first, second):
        assert 0 < step.useful_s <= step.ended - step.began
    (pause,) = gaps([first, second])
    assert pause == second.began - first.ended > 0


def step(process: int, fit: str, began: float, ended: float, saved_s: float = 0.0) -> Step:
    return Step(process, fit, 50, began, ended, (ended - began) * 0.75, (ended - began) * 0.125, saved_s)


STEPS = (step(1, "a", 10, 18), step(2, "b", 11, 19), step(1, "a", 18.5, 26.5), step(1, "c", 28, 36))


def test_the_account_of_a_search_adds_up_to_its_wall_time_times_the_cores() -> None:
    found = account(STEPS, wall_s=40.0, cores=2)
    assert found.useful_s == 28.0
    assert found.scoring_s == 4.0
    assert found.between_looks_s == 0.5
    assert found.between_trials_s == 1.5
    assert found.ends_s == 18.0
    assert found.around_s == 28.0
    assert found.total_s == 80.0
    assert found.useful_share == 0.35


def test_a_pause_lies_between_two_looks_of_the_same_fit() -> None:
    assert gaps(STEPS) == [0.5]


def test_a_checkpoint_costs_what_pauses_are_longer_with_it() -> None:
    saving = [Search(1, 40.0, (step(1, "a", 0, 9, 0.1), step(1, "a", 10, 19, 0.1), step(1, "a", 20, 29)))]
    idle = [Search(0, 30.0, (step(1, "a", 0, 9), step(1, "a", 9.25, 19)))]
    cost = checkpoint_cost(saving, idle, places=2)
    assert cost.each_s == 0.75
    assert cost.share == pytest.approx(2 * 0.75 / 80)


def test_stages_and_auc_are_read_from_the_end_of_a_retraining() -> None:
    assert stages(LOG) == {"open": 2.1, "labels": 0.4, "search": 50.0, "refit": 2.0, "judge": 6.7}
    assert auc(LOG) == 0.7445
    with pytest.raises(ValueError, match="no line `wall time`"):
        stages("retrain: interrupted")


SCRIPT = Run(
    50.0, 90.0, 0.0, {"read": 1.0, "search": 30.0, "evaluate": 10.0}, [Look(1, 50, 0.5), Look(1, 100, 0.4)], 0.7
)
OWN = Run(
    70.0,
    120.0,
    0.0,
    {"labels": 1.0, "search": 45.0, "judge": 6.0, "register": 4.0},
    [Look(1, 50, 0.5), Look(2, 50, 0.6)],
    0.7,
    STEPS,
)


def test_looks_that_both_have_had_must_agree() -> None:
    assert common_looks(SCRIPT, OWN) == 1
    with pytest.raises(ValueError, match="trial 1 after 50 iterations"):
        common_looks(SCRIPT, replace(OWN, looks=[Look(1, 50, 0.51)]))


def test_iterations_of_a_run_are_those_of_each_trials_last_look() -> None:
    assert (SCRIPT.iterations, OWN.iterations, SCRIPT.start_s) == (100, 100, 9.0)


def test_the_ratio_is_the_median_over_rounds() -> None:
    facts = {"learn_rows": 3, "validate_rows": 2, "evaluate_rows": 2, "feast_s": 1.0, "asked_rows": 7}
    rounds = [OWN, replace(OWN, wall_s=60.0), replace(OWN, wall_s=100.0)]
    results = Results([SCRIPT] * 3, rounds, [], facts, trials=2)
    assert results.ratio == 1.4
    assert results.fitted_ratio == 1.5
    page = report.write(results)
    assert "Ratio of wall time: 1.40 (aim: at most 1.5)." in page
    assert "| judge | 10.0 | 6.0 |" in page
    assert "What a checkpoint" not in page
