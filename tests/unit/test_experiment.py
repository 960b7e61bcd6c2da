"""Experiments without a server: the plan, the ways of a state, what is said of variants, the split by Thompson."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from serve.settings import EndpointSettings, ServeSettings
from taxiway.errors import ConfigError
from taxiway.experiment_page import page
from taxiway.experiment_told import experiment_lines
from taxiway.predictions.outcomes import outcomes_of
from taxiway.rollout.experiment import ExperimentSettings, LossMetric, ValueMetric
from taxiway.rollout.experiment_state import EVENTS, ExperimentState, begun, ended, reallocated, without
from taxiway.rollout.observations import Moments
from taxiway.rollout.readout import Arm, Readout, read_out, thompson
from taxiway.rollout.tally import Tally
from taxiway.settings import parse

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
VALUE = ValueMetric(kind="value", lowest=0.0, highest=1.0)
PLAN = ExperimentSettings(name="colors", metric=VALUE)
BANDIT = PLAN.model_copy(update={"allocation": "thompson"})


def state_of(plan: ExperimentSettings = PLAN, names: Sequence[str] = ("a", "b", "c")) -> ExperimentState:
    versions = {name: str(place + 1) for place, name in enumerate(names)}
    return begun("id", "app", "end", "m", plan, versions, plan.shares(tuple(names)), NOW)


def arm(mean: float, rows: int, requests: int | None = None, faults: int = 0) -> Arm:
    """Of a metric that is 0 or 1."""
    hits = mean * rows
    numbers = {"requests": float(requests or rows), "code/model_failed": float(faults)}
    return Arm(Tally(numbers), Moments(rows, hits, hits))


def said(state: ExperimentState, arms: Mapping[str, Arm]) -> Readout:
    return read_out(state, arms, NOW, drawn=True)


def standings(found: Readout) -> dict[str, str]:
    return {it.variant: it.standing for it in found.arms}


def test_shares_are_even_unless_they_are_given() -> None:
    assert PLAN.shares(("a", "b", "c")) == {"a": 33.4, "b": 33.3, "c": 33.3}
    given = ExperimentSettings(name="x", weights={"a": 90, "c": 10})
    assert given.shares(("a", "b", "c")) == {"a": 90, "c": 10}


@pytest.mark.parametrize(
    ("experiment", "told"),
    [
        ({"name": "x", "weights": {"a": 50, "b": 40}}, "sum to 90"),
        ({"name": "x", "weights": {"a": 50, "z": 50}}, "'z' is no variant"),
        ({"name": "x", "weights": {"b": 50, "c": 50}}, "the control, 'a'"),
        ({"name": "x", "allocation": "thompson", "metric": {"kind": "value"}}, "thompson needs `lowest` and `highest`"),
        ({"name": "x", "allocation": "thompson", "floor": 40}, "3 variants can't keep 40 percent"),
        ({"name": "x", "metric": {"kind": "value", "lowest": 2, "highest": 1}}, "lowest must be less than highest"),
        ({"name": "x", "metric": {"kind": "clicks"}}, "metric"),
        ({"name": "x y"}, "name"),
    ],
)
def test_a_plan_that_can_not_be_is_refused_with_a_sentence(experiment: dict[str, Any], told: str) -> None:
    endpoint = {
        "name": "end",
        "variants": [{"name": name, "model": f"models:/m/{place}"} for place, name in enumerate("abc", 1)],
        "experiment": experiment,
    }
    with pytest.raises(ConfigError, match=told):
        parse({"endpoints": [endpoint], "predictions": {}}, ServeSettings, "file")


def test_an_experiment_needs_the_log_and_excludes_a_rollout() -> None:
    variants = [{"name": role, "model": f"models:/m@{role}"} for role in ("champion", "challenger")]
    endpoint: dict[str, Any] = {"name": "end", "variants": variants, "experiment": {"name": "x"}}
    with pytest.raises(ConfigError, match="add `predictions"):
        parse({"endpoints": [endpoint]}, ServeSettings, "file")
    with pytest.raises(ConfigError, match="either rollout or experiment"):
        parse({"endpoints": [endpoint | {"rollout": {}}], "predictions": {}}, ServeSettings, "file")
    endpoint["experiment"] = {"name": "x", "metric": {"kind": "value", "without_feedback": "zero"}}
    with pytest.raises(ConfigError, match=r"set predictions\.sample to 1"):
        parse({"endpoints": [endpoint], "predictions": {"sample": 0.5}}, ServeSettings, "file")
    with pytest.raises(ConfigError, match="at least two variants"):
        parse({"endpoints": [{"name": "end", "model": "models:/m/1", "experiment": {"name": "x"}}]}, ServeSettings, "f")


def test_a_variant_is_better_or_worse_when_its_whole_interval_is() -> None:
    found = said(state_of(), {"a": arm(0.2, 4_000), "b": arm(0.3, 4_000), "c": arm(0.12, 4_000)})
    assert standings(found) == {"a": "control", "b": "better", "c": "worse"}
    assert found.told == "b is better than a"
    b = found.arms[1]
    assert b.low is not None
    assert b.high is not None
    assert 0 < b.low < 0.1 < b.high
    assert b.best == pytest.approx(1.0, abs=1e-3)
    assert found.alpha == pytest.approx(0.05 / 4)


def test_of_a_loss_lower_is_better() -> None:
    state = state_of(ExperimentSettings(name="losses"), ("a", "b"))
    found = said(state, {"a": arm(0.4, 4_000), "b": arm(0.3, 4_000)})
    assert standings(found)["b"] == "better"


def test_with_few_rows_nothing_is_known() -> None:
    found = said(state_of(), {"a": arm(0.2, 90), "b": arm(0.9, 90), "c": Arm()})
    assert standings(found) == {"a": "control", "b": "open", "c": "open"}
    assert "not known yet" in found.told
    assert said(state_of(), {name: Arm() for name in "abc"}).told == found.told


def test_equal_variants_are_rarely_told_apart_however_often_one_looks() -> None:
    random, state = np.random.default_rng(5), state_of()
    wrong = 0
    for _ in range(60):
        hits = np.cumsum(random.binomial(200, 0.2, size=(3, 25)), axis=1)
        looks = [
            said(state, {name: arm(float(hits[place, look]) / (200 * (look + 1)), 200 * (look + 1))
                         for place, name in enumerate("abc")})
            for look in range(25)
        ]  # fmt: skip
        wrong += any(set(standings(it).values()) & {"better", "worse"} for it in looks)
    assert wrong <= 6  # 60 x 0.05 = 3 are allowed on average; more than 6 have a probability below 4%


def test_errors_are_harm_and_the_shares_are_watched() -> None:
    arms = {"a": arm(0.2, 3_000), "b": arm(0.2, 3_000, faults=200), "c": arm(0.2, 3_000, requests=4_000)}
    found = said(state_of(), arms)
    assert "errors" in found.arms[1].harm[0]
    assert not found.arms[2].harm
    assert found.mismatch is not None
    assert read_out(state_of(), arms, NOW, drawn=False).mismatch is None


def test_a_dropped_variant_gives_its_share_to_the_control() -> None:
    state = without(state_of(), "b", "errors", NOW + timedelta(seconds=5))
    assert state.weights == {"a": pytest.approx(66.7), "b": 0.0, "c": 33.3}
    assert state.traffic.weights["b"] == 0
    found = said(state, {"a": arm(0.2, 4_000), "b": arm(0.9, 4_000), "c": arm(0.2, 4_000)})
    assert standings(found)["b"] == "dropped"
    assert found.arms[1].best is None
    assert found.mismatch is None  # the split has changed: totals no longer follow the shares


def test_thompson_waits_for_rows_and_then_prefers_the_best_and_keeps_the_floor() -> None:
    state = state_of(BANDIT)
    assert thompson(state, {"a": arm(0.2, 299), "b": arm(0.5, 500), "c": arm(0.2, 500)}) is None
    split = thompson(state, {"a": arm(0.2, 500), "b": arm(0.5, 500), "c": arm(0.2, 500)})
    assert split == {"a": 5.0, "b": 90.0, "c": 5.0}
    moved = reallocated(state, split, NOW)
    assert thompson(moved, {"a": arm(0.2, 500), "b": arm(0.5, 500), "c": arm(0.2, 500)}) is None


def test_a_bandit_gives_the_best_variant_most_of_the_requests() -> None:
    random, state, rates = np.random.default_rng(7), state_of(BANDIT), {"a": 0.1, "b": 0.12, "c": 0.2}
    rows, hits = dict.fromkeys(rates, 0), dict.fromkeys(rates, 0)
    for _ in range(60):
        drawn = random.multinomial(300, [state.weights[name] / 100 for name in rates])
        for name, count in zip(rates, drawn, strict=True):
            rows[name] += int(count)
            hits[name] += int(random.binomial(count, rates[name]))
        arms = {name: arm(hits[name] / max(rows[name], 1), rows[name]) for name in rates}
        state = reallocated(state, thompson(state, arms) or state.weights, NOW)
    assert rows["c"] > 0.7 * sum(rows.values())
    assert standings(said(state, arms)) == {"a": "control", "b": "open", "c": "better"}


def test_events_stay_few_and_the_first_one_stays() -> None:
    state = state_of()
    for _ in range(2 * EVENTS):
        state = reallocated(state, state.weights, NOW)
    state = ended(state, "enough", "ann", NOW)
    assert (len(state.events), state.events[0].what, state.events[-1].told) == (EVENTS, "started", "enough")
    assert state.is_over


def labelled(rows: Sequence[tuple[str, str, str, float, float, float | None]]) -> pa.Table:
    """Variant, version, kind, answer, label and value of each."""
    names = ("variant", "version", "kind", "output.score", "label_number", "value")
    columns = dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))
    return pa.table(columns | {"label_text": pa.nulls(len(rows), pa.string())})


def test_outcomes_are_of_live_answers_of_the_versions_that_take_part() -> None:
    table = labelled(
        [
            ("a", "1", "live", 0.5, 1.0, 2.0),
            ("a", "1", "live", 0.5, 0.0, None),
            ("a", "9", "live", 0.5, 0.0, 100.0),
            ("b", "2", "shadow", 0.5, 0.0, 100.0),
            ("b", "2", "live", 0.5, 0.0, 50.0),
        ]
    )
    versions = {"a": "1", "b": "2", "c": "3"}
    found = outcomes_of(table, ValueMetric(kind="value", highest=10.0), versions)
    assert {name: (it.n, it.total) for name, it in found.items()} == {"a": (1, 2.0), "b": (1, 10.0), "c": (0, 0.0)}
    losses = outcomes_of(table, LossMetric(), versions)
    assert losses["a"].n == 2
    assert losses["a"].mean == pytest.approx(np.log(2.0))


def test_people_see_each_variant_and_why_one_was_taken_out() -> None:
    state = without(state_of(), "c", "errors: <b>many</b>", NOW)
    found = said(state, {"a": arm(0.2, 4_000), "b": arm(0.3, 4_000), "c": arm(0.2, 400, faults=300)})
    lines = "\n".join(experiment_lines(state, found, NOW + timedelta(hours=2)))
    assert "b is better than a" in lines
    assert "c was taken out: errors" in lines
    html = page(state, found)
    assert "B is better than a." in html
    assert "&lt;b&gt;many" in html
    assert html.count("<img") == 1
    assert page(state, None).count("<img") == 0
    assert Readout.model_validate_json(found.model_dump_json()) == found


def test_an_endpoint_with_an_experiment_is_parsed() -> None:
    endpoint = EndpointSettings.model_validate(
        {
            "name": "end",
            "variants": [{"name": "a", "model": "models:/m/1"}, {"name": "b", "model": "models:/m/2"}],
            "experiment": {"name": "x", "metric": {"kind": "loss", "task": "regression", "largest_loss": 9}},
        }
    )
    assert endpoint.experiment is not None
    assert endpoint.experiment.metric.bounds == (0.0, 9.0)
