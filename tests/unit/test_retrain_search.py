import json
import os
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher

from retrain.journal import Journal, Look, TrialRecord
from retrain.model import layout
from retrain.search import PATIENCE, Looks, SearchData, Trial, best_look, identity, places, scheduler
from retrain.settings import SearchSettings
from retrain.suggest import RandomPoints, Suggestions, suggestions, tune_space
from retrain.trainers.boosting import Boosting
from retrain.trainers.choice import TrainerName, TrainerSettings, open_trainer
from retrain.trainers.contract import Trainer
from retrain.trainers.space import Choice, LogInt, LogUniform, Space, Uniform
from taxiway.errors import ConfigError, JobError
from taxiway.signature import Column
from taxiway.telemetry import job_trace
from taxiway.telemetry.job_trace import JobTrace
from taxiway.telemetry.tracing import Spans
from tests.toy_examples import INPUTS, examples, toy_data, toy_layout

DEFAULTS = dict(Boosting().space().defaults)
ANY_SPACE = Space(
    {"rate": LogUniform(1e-3, 1.0), "leaves": LogInt(2, 9), "share": Uniform(0.2, 1.0), "kind": Choice(("a", "b"))},
    {"rate": 0.1, "leaves": 4, "share": 1.0, "kind": "a"},
)


@pytest.fixture(scope="module")
def data() -> SearchData:
    return toy_data()


def trial(data: SearchData, settings: SearchSettings, trainer: Trainer | None = None, **config: Any) -> Trial:
    made = Trial.__new__(Trial)
    trainer = trainer or Boosting()
    made.setup({"trial": 1, "parameters": dict(trainer.space().defaults), **config}, data, settings, trainer)
    return made


def test_strings_without_categories_are_keys_and_not_in_the_matrix() -> None:
    found = layout(INPUTS, ["speed"])
    assert found.columns == ("kind", "x", "speed")
    assert found.categorical == [0]
    assert [column.name for column in found.inputs] == ["kind", "key", "x", "speed"]


def test_a_model_that_would_see_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match="sees no column"):
        layout([Column(name="key", dtype="string")], [])


def test_a_trial_stepped_to_its_end_equals_one_fit_of_as_many_iterations(data: SearchData) -> None:
    stepped = trial(data, SearchSettings(max_iterations=30, report_every=10, seed=4))
    results = [stepped.step() for _ in range(3)]
    at_once = trial(data, SearchSettings(max_iterations=30, report_every=30, seed=4)).step()
    assert [it["iterations"] for it in results] == [10, 20, 30]
    assert [it["done"] for it in results] == [False, False, True]
    assert results[-1]["log_loss"] == pytest.approx(at_once["log_loss"], rel=1e-9)


def test_the_last_fit_is_what_the_search_has_judged(data: SearchData) -> None:
    judged = trial(data, SearchSettings(max_iterations=20, report_every=20, seed=4)).step()
    learn, validate = examples(2_000, 1), examples(500, 2)
    fitted = Boosting().final(learn, toy_layout(), DEFAULTS, 20, seed=4)
    probabilities = fitted.predict(validate.columns)
    truth = np.where(validate.labels == 1, probabilities, 1 - probabilities)
    assert -np.log(truth).mean() == pytest.approx(judged["log_loss"], rel=1e-9)


def test_a_trial_that_gets_worse_gives_up(data: SearchData) -> None:
    overfitting = trial(data, SearchSettings(max_iterations=2_000, report_every=100))
    steps = next(step for step in range(1, 20) if overfitting.step()["done"])
    assert steps == 1 + PATIENCE


def test_a_reset_trial_begins_anew(data: SearchData) -> None:
    settings = SearchSettings(max_iterations=20, report_every=10)
    reused = trial(data, settings)
    first = reused.step()
    reused.step()
    assert reused.reset_config({"trial": 2, "parameters": DEFAULTS, "checkpoint": None})
    assert reused.step() == first


@pytest.mark.parametrize("name", ["boosting", "xgboost", "lightgbm", "torch"])
def test_a_trial_that_is_restored_goes_on_from_its_checkpoint(
    name: TrainerName, data: SearchData, tmp_path: Path
) -> None:
    if name != "boosting":
        pytest.importorskip(name)
    settings = SearchSettings(max_iterations=30, report_every=10, seed=4)
    trainer = open_trainer(TrainerSettings(name=name))
    killed = trial(data, settings, trainer)
    killed.step()
    killed.step()
    assert killed.save_checkpoint(str(tmp_path)) is None
    expected = killed.step()
    restarted = trial(data, settings, trainer)
    restarted.load_checkpoint(str(tmp_path))
    in_a_new_search = trial(data, settings, trainer, checkpoint=str(tmp_path))
    for found in (restarted.step(), in_a_new_search.step()):
        assert found["iterations"] == expected["iterations"] == 30
        assert found["log_loss"] == pytest.approx(expected["log_loss"], rel=1e-6)
        assert found["done"]


def test_patience_is_part_of_a_checkpoint(data: SearchData, tmp_path: Path) -> None:
    settings = SearchSettings(max_iterations=2_000, report_every=100)
    overfitting = trial(data, settings)
    overfitting.step()
    overfitting.step()
    overfitting.save_checkpoint(str(tmp_path))
    assert trial(data, settings, checkpoint=str(tmp_path)).step()["done"]


def test_a_trial_whose_checkpoint_is_gone_begins_anew(data: SearchData, tmp_path: Path) -> None:
    settings = SearchSettings(max_iterations=20, report_every=10)
    assert trial(data, settings, checkpoint=str(tmp_path / "gone")).step()["iterations"] == 10


def test_a_trial_uses_the_cpus_that_it_was_given(data: SearchData) -> None:
    trainer = Boosting()
    trial(data, SearchSettings(cpus=2), trainer)
    assert trainer.threads == 2
    trial(data, SearchSettings(cpus=0.5), trainer)
    assert trainer.threads == 1


def test_the_best_look_has_the_lowest_log_loss_and_then_the_fewest_iterations() -> None:
    looks = [
        Look(1, {}, 50, 0.5, 0.7),
        Look(1, {}, 100, 0.4, 0.6),
        Look(2, {}, 50, 0.4, 0.8),
        Look(2, {}, 100, 0.6, 0.9),
    ]
    assert best_look(looks) == looks[2]


@given(st.integers(0, 2**32 - 1))
def test_the_first_point_is_the_defaults_and_every_other_lies_in_the_space(seed: int) -> None:
    points = RandomPoints(ANY_SPACE, seed, trials=4)
    found = [points.suggest("id") for _ in range(4)]
    assert found[0] == ANY_SPACE.defaults
    for point in found[1:]:
        assert point.keys() == ANY_SPACE.defaults.keys()
        assert all(dimension.holds(point[name]) for name, dimension in ANY_SPACE.dimensions.items())


def test_a_dimension_is_drawn_as_ray_tune_draws_it() -> None:
    domains = tune_space(ANY_SPACE)
    drawn = {name: domain.sample(size=2_000, random_state=np.random.default_rng(1)) for name, domain in domains.items()}
    assert np.median(drawn["rate"]) == pytest.approx(10**-1.5, rel=0.2)
    assert np.median(drawn["share"]) == pytest.approx(0.6, abs=0.03)
    assert set(drawn["leaves"]) == set(range(2, 9))
    assert set(drawn["kind"]) == {"a", "b"}


def asked(searcher: Suggestions) -> list[Any]:
    """Everything that is left."""
    found = []
    while (config := searcher.suggest(f"id{len(found)}")) != Searcher.FINISHED:
        found.append(config)
    return found


def searcher(folder: Path, now: list[float] | None = None, **changes: Any) -> Suggestions:
    journal = Journal(folder / "search.jsonl")
    past = journal.open("this search")
    clock = (now or [0.0]).__getitem__
    return suggestions(ANY_SPACE, SearchSettings(seed=5, **changes), past, journal, lambda: clock(0))


def test_trials_are_numbered_from_one(tmp_path: Path) -> None:
    found = searcher(tmp_path, trials=3)
    assert found.left == 3
    configs = asked(found)
    assert [config["trial"] for config in configs] == [1, 2, 3]
    assert configs[0] == {"trial": 1, "parameters": dict(ANY_SPACE.defaults), "checkpoint": None}


def test_a_search_that_was_killed_goes_on_where_it_was(tmp_path: Path) -> None:
    whole = asked(searcher(tmp_path / "whole", trials=6))
    killed = searcher(tmp_path / "killed", trials=6)
    begun = [killed.suggest(f"id{number}") for number in range(4)]
    journal = Journal(tmp_path / "killed" / "search.jsonl")
    journal.looked(Look(1, begun[0]["parameters"], 50, 0.5, 0.7))
    journal.ended(1)
    journal.saved(3, "/somewhere")
    journal.ended(4)
    resumed = searcher(tmp_path / "killed", trials=6)
    assert resumed.left == 4
    found = asked(resumed)
    assert [config["trial"] for config in found] == [2, 3, 5, 6]
    assert [config["checkpoint"] for config in found] == [None, "/somewhere", None, None]
    parameters = {config["trial"]: config["parameters"] for config in begun + found}
    assert [parameters[number] for number in range(1, 7)] == [config["parameters"] for config in whole]


def test_after_the_time_budget_no_trial_is_begun(tmp_path: Path) -> None:
    now = [0.0]
    found = searcher(tmp_path, now, trials=10, time_budget_s=60)
    assert [found.suggest(name)["trial"] for name in "ab"] == [1, 2]
    now[0] = 60.0
    assert found.suggest("c") == Searcher.FINISHED


def test_the_first_trial_is_begun_however_late(tmp_path: Path) -> None:
    now = [0.0]
    found = searcher(tmp_path, now, trials=10, time_budget_s=1)
    now[0] = 5.0
    assert [config["trial"] for config in asked(found)] == [1]


@pytest.mark.skipif(find_spec("optuna") is not None, reason="optuna is installed")
def test_a_search_with_optuna_needs_optuna(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="optuna is not installed; pip install optuna, or say random"):
        searcher(tmp_path, algorithm="optuna")


@pytest.mark.skipif(find_spec("optuna") is None, reason="optuna is not installed")
def test_a_search_with_optuna_goes_on_where_it_was(tmp_path: Path) -> None:
    found = searcher(tmp_path, algorithm="optuna", trials=3)
    first = found.suggest("a")
    assert first["parameters"] == ANY_SPACE.defaults
    found.on_trial_result("a", {"log_loss": 0.5, "training_iteration": 1})
    found.on_trial_complete("a", {"log_loss": 0.5})
    second = found.suggest("b")
    assert all(dimension.holds(second["parameters"][name]) for name, dimension in ANY_SPACE.dimensions.items())
    journal = Journal(tmp_path / "search.jsonl")
    journal.looked(Look(1, first["parameters"], 50, 0.5, 0.7))
    journal.ended(1)
    resumed = searcher(tmp_path, algorithm="optuna", trials=3)
    assert resumed.suggest("c") == second
    third = resumed.suggest("d")
    assert third["trial"] == 3
    assert third["parameters"] != second["parameters"]


def test_a_line_that_was_cut_off_does_not_count(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "search.jsonl")
    assert journal.open("this search") == {}
    journal.started(1, {"rate": 0.1})
    journal.looked(Look(1, {"rate": 0.1}, 50, 0.5, 0.7))
    with journal.path.open("a") as file:
        file.write('{"looked": 1, "iterat')
    assert journal.open("this search")[1].looks == [Look(1, {"rate": 0.1}, 50, 0.5, 0.7)]
    journal.ended(1)
    assert journal.trials()[1].ended


def test_a_look_that_a_restored_trial_had_again_counts_once(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "search.jsonl")
    journal.open("this search")
    journal.started(1, {"rate": 0.1})
    for iterations in (50, 100, 100, 150):
        journal.looked(Look(1, {"rate": 0.1}, iterations, 0.5, 0.7))
    assert [look.iterations for look in journal.trials()[1].looks] == [50, 100, 150]


@given(rate=st.floats(allow_nan=False, allow_infinity=False), figures=st.tuples(st.floats(0, 1e3), st.floats(0, 1)))
def test_what_the_journal_gives_back_is_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, rate: float, figures: tuple[float, float]
) -> None:
    journal = Journal(tmp_path_factory.mktemp("journal") / "search.jsonl")
    journal.open("this search")
    parameters = {"rate": rate, "leaves": 7, "kind": "a"}
    journal.started(1, {**parameters, "leaves": np.int64(7)})
    journal.looked(Look(1, parameters, 50, *figures))
    journal.saved(1, "/checkpoint")
    expected = TrialRecord(1, parameters, [Look(1, parameters, 50, *figures)], "/checkpoint")
    assert journal.trials() == {1: expected}


def test_a_folder_with_another_search_is_refused(tmp_path: Path) -> None:
    Journal(tmp_path / "search.jsonl").open("one search")
    with pytest.raises(JobError, match="holds another search"):
        Journal(tmp_path / "search.jsonl").open("another search")


def test_more_trials_or_other_resources_make_no_other_search(data: SearchData) -> None:
    own = identity(data, SearchSettings(), Boosting())
    assert identity(data, SearchSettings(trials=50, parallel=3, cpus=2, time_budget_s=60), Boosting()) == own
    assert identity(data, SearchSettings(seed=1), Boosting()) != own
    assert identity(toy_data(2_001), SearchSettings(), Boosting()) != own


def looks_of(number: int, losses: list[float]) -> list[Look]:
    return [Look(number, {}, 50 * place, loss, 0.5) for place, loss in enumerate(losses, start=1)]


def test_trials_of_an_earlier_run_decide_which_of_the_next_go_on() -> None:
    ended = [TrialRecord(number, {}, looks_of(number, [0.5, 0.4]), ended=True) for number in (1, 2, 3)]
    settings = SearchSettings(max_iterations=300, report_every=50)
    decided = []
    for found in (scheduler(settings, ended), scheduler(settings, [])):
        hopeless = SimpleNamespace(trial_id="next")
        found.on_trial_add(None, hopeless)
        decided.append(found.on_trial_result(None, hopeless, {"iterations": 100, "log_loss": 0.6}))
    assert decided == [TrialScheduler.STOP, TrialScheduler.CONTINUE]


def test_what_happens_is_printed_and_written_down(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    journal = Journal(tmp_path / "search.jsonl")
    journal.open("this search")
    running = SimpleNamespace(config={"trial": 2, "parameters": {"rate": 0.1}, "checkpoint": None})
    failing = SimpleNamespace(config={"trial": 3, "parameters": {"rate": 0.2}, "checkpoint": None})
    journal.started(2, {"rate": 0.1})
    journal.started(3, {"rate": 0.2})
    looks = Looks(trials=3, journal=journal, seen=[Look(1, {}, 50, 0.3, 0.8)], finished=1)
    looks.on_trial_result(1, [], running, {"iterations": 50, "log_loss": 0.4, "auc": 0.7})
    looks.on_checkpoint(1, [], running, SimpleNamespace(path="/checkpoint"))
    looks.on_trial_complete(2, [], running)
    looks.on_trial_error(3, [], failing)
    assert capsys.readouterr().out.splitlines() == [
        (
            "  trial   2 (2 of 3 done):   50 iterations, log loss 0.4000, AUC 0.7000; "
            "best so far: trial 1, log loss 0.3000, AUC 0.8000"
        ),
        "  trial   3 failed; the search goes on without it",
    ]
    assert journal.trials() == {
        2: TrialRecord(2, {"rate": 0.1}, [Look(2, {"rate": 0.1}, 50, 0.4, 0.7)], "/checkpoint", ended=True),
        3: TrialRecord(3, {"rate": 0.2}, ended=True),
    }
    assert all(json.loads(line) for line in journal.path.read_text().splitlines())


def test_each_trial_is_a_span_with_its_looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exporter = InMemorySpanExporter()
    job = JobTrace("retrain", Spans(SimpleSpanProcessor(exporter)), 1.0)
    monkeypatch.setattr(job_trace, "begin_job", lambda name, began_s: job)
    journal = Journal(tmp_path / "search.jsonl")
    journal.open("x")
    running = SimpleNamespace(config={"trial": 2, "parameters": {"rate": 0.1}, "checkpoint": None})
    with job_trace.traced_job("retrain"), job_trace.stage("search"):
        looks = Looks(trials=1, journal=journal)
        looks.on_trial_start(1, [], running)
        looks.on_trial_result(1, [], running, {"iterations": 50, "log_loss": 0.4, "auc": 0.7, "time_this_iter_s": 0.25})
        looks.on_trial_complete(2, [], running)
    found: Any = exporter.get_finished_spans()
    look, trial_span, search_span, _ = found
    assert [it.name for it in found] == ["look", "trial", "search", "retrain"]
    assert (look.parent, trial_span.parent) == (trial_span.context, search_span.context)
    assert trial_span.attributes == {"taxiway.trial": 2, "taxiway.parameter.rate": 0.1}
    assert look.end_ns - look.start_ns == pytest.approx(0.25e9, abs=1e3)


def test_the_process_of_a_trial_knows_the_trace_of_its_search(
    data: SearchData, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACEPARENT", "of the job's own caller")
    made = Trial.__new__(Trial)
    made.setup({"trial": 1, "parameters": DEFAULTS}, data, SearchSettings(), Boosting(), "00-a-b-01")
    assert os.environ["TRACEPARENT"] == "00-a-b-01"


@pytest.mark.parametrize(
    ("changes", "free", "expected"),
    [
        ({}, {"CPU": 4.0}, 4),
        ({"cpus": 0.1}, {"CPU": 0.3}, 3),
        ({"cpus": 2}, {"CPU": 5.0}, 2),
        ({"gpus": 0.25}, {"CPU": 16.0, "GPU": 1.0}, 4),
        ({"gpus": 1}, {"CPU": 16.0}, 0),
    ],
)
def test_as_many_trials_run_as_have_room(changes: dict[str, Any], free: dict[str, float], expected: int) -> None:
    assert places(free, SearchSettings(**changes)) == expected


def test_more_than_one_cpu_is_a_whole_number() -> None:
    with pytest.raises(ValueError, match="above 1, Ray lends whole ones only"):
        SearchSettings(cpus=1.5)
