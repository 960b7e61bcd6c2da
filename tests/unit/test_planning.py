import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ray.serve._private.constants import (
    SERVE_AUTOSCALING_DECISION_COUNTERS_KEY,
    SERVE_AUTOSCALING_DECISION_TIMESTAMP_KEY,
)
from ray.serve.autoscaling_policy import _apply_delay_logic
from ray.serve.config import AutoscalingConfig

from serve.autoscaling import REQUESTS_OF_INGRESS
from serve.settings import AutoscalingSettings
from taxiway.autoscaling import EndpointLoad, Memory, Observed, ReplicaLoad, Target, replicas_wanted
from taxiway.cli import main
from taxiway.errors import ConfigError
from taxiway.planning.cost import Summary, cost_so_far, summary
from taxiway.planning.nodes import Pool
from taxiway.planning.policy import Waiting, delayed
from taxiway.planning.replica import Replica
from taxiway.planning.settings import NodePlan, PlanSettings, PolicyPlan
from taxiway.planning.simulate import Run, simulate
from taxiway.planning.trace import Values
from taxiway.settings import load, parse

EXAMPLE = load("configs/plan.yaml", PlanSettings)
REPLICA = Replica(EXAMPLE.replica)
NODE = NodePlan(replicas=4, start_s=90, idle_s=300, on_demand_per_hour=1.0, spot_per_hour=0.25)


def policy(minimum: int, maximum: int, **keys: object) -> PolicyPlan:
    return PolicyPlan.model_validate({"name": "it", "min_replicas": minimum, "max_replicas": maximum} | keys)


def run(arrived: Values, one: PolicyPlan, node: NodePlan = NODE, seed: int = 0) -> Run:
    plan = EXAMPLE.model_copy(update={"node": node, "policies": (one,), "seed": seed})
    return simulate(plan, one, arrived, REPLICA)


def told(found: Run, node: NodePlan = NODE) -> Summary:
    return summary(found, node, REPLICA)


def steady(per_s: float, seconds: int = 1_800) -> Values:
    return np.full(seconds, per_s)


def spiky(seconds: int = 3_600) -> Values:
    return np.random.default_rng(3).uniform(0, 40_000, seconds // 60).repeat(60)


# The policy.


@settings(deadline=None)
@given(
    st.lists(st.integers(0, 6), min_size=1, max_size=60),
    st.floats(0, 30),
    st.floats(0, 30),
    st.integers(1, 4),
)
def test_delays_decide_as_serves_own(wants: list[int], up_s: float, down_s: float, begins: int) -> None:
    one = policy(1, 9, upscale_delay_s=up_s, downscale_delay_s=down_s)
    config = AutoscalingConfig(min_replicas=0, max_replicas=9, upscale_delay_s=up_s, downscale_delay_s=down_s)
    state = {SERVE_AUTOSCALING_DECISION_COUNTERS_KEY: 0, SERVE_AUTOSCALING_DECISION_TIMESTAMP_KEY: None}
    ours = theirs = begins
    waiting = Waiting()
    for step, wanted in enumerate(wants):
        theirs, state = _apply_delay_logic(wanted, theirs, config, state, 1_000.0 + 2 * step)
        ours, waiting = delayed(wanted, ours, waiting, 1_000.0 + 2 * step, one)
        assert ours == theirs


@given(st.floats(0, 200), st.floats(1, 900), st.floats(0, 5_000), st.integers(1, 8), st.integers(1, 8))
def test_replicas_that_report_the_same_count_as_if_each_had_reported(
    ongoing: float, p99_ms: float, per_s: float, running: int, decided: int
) -> None:
    one = ReplicaLoad(ongoing, {"parcel": EndpointLoad(per_s, p99_ms)})
    many = ReplicaLoad(ongoing, {"parcel": EndpointLoad(per_s, p99_ms)}, running)
    target = Target(32.0, 97.3, 1, 20)
    memory = Memory(running=running, decided=decided)
    each = replicas_wanted(Observed(running, decided, (one,) * running), target, memory, 1_000.0)
    together = replicas_wanted(Observed(running, decided, (many,)), target, memory, 1_000.0)
    assert each[0] == together[0]


def test_a_policys_keys_mean_what_they_mean_in_a_serve_file() -> None:
    planned, served = PolicyPlan.model_fields, AutoscalingSettings.model_fields
    assert set(served) <= set(planned)
    for name in ("target_p99_ms", "upscale_delay_s", "downscale_delay_s", "min_replicas"):
        assert planned[name].default == served[name].default
    assert planned["target_ongoing_requests"].default == REQUESTS_OF_INGRESS


# Nodes.


def test_a_replica_waits_for_a_node_only_when_none_has_room() -> None:
    pool = Pool(NODE, 30.0, 3)
    pool.settle(6, 0.0)
    assert (pool.ready, pool.replicas, pool.nodes) == (3, 6, 2)
    pool.settle(6, 29.0)
    assert pool.ready == 3
    pool.settle(6, 30.0)
    assert pool.ready == 4
    pool.settle(6, 119.0)
    assert pool.ready == 4
    pool.settle(6, 120.0)
    assert pool.ready == 6


def test_a_node_that_is_not_needed_is_kept_for_a_while() -> None:
    pool = Pool(NODE, 30.0, 8)
    pool.settle(4, 0.0)
    assert (pool.ready, pool.nodes) == (4, 2)
    pool.settle(4, 299.0)
    assert pool.nodes == 2
    pool.settle(4, 300.0)
    assert pool.nodes == 1


def test_a_node_takes_its_replicas_along() -> None:
    pool = Pool(NODE, 30.0, 6)
    assert pool.lose_node(0.9) == 2
    assert (pool.ready, pool.nodes) == (4, 1)
    assert pool.lose_node(0.0) == 4
    assert (pool.replicas, pool.nodes) == (0, 0)


@given(st.lists(st.tuples(st.integers(0, 40), st.booleans(), st.floats(0, 0.999)), max_size=40))
def test_replicas_always_have_a_node(steps: list[tuple[int, bool, float]]) -> None:
    pool = Pool(NODE, 30.0, 4)
    for number, (wanted, preempted, which) in enumerate(steps):
        if preempted and pool.nodes:
            pool.lose_node(which)
        pool.settle(wanted, 50.0 * number)
        assert pool.replicas == wanted
        assert 0 <= pool.ready <= pool.replicas <= pool.nodes * NODE.replicas


# A trace played.


@pytest.mark.parametrize("notice_s", [0.0, 120.0])
def test_every_request_is_answered_refused_lost_or_on_its_way(notice_s: float) -> None:
    node = NODE.model_copy(update={"preemptions_per_hour": 20.0, "notice_s": notice_s})
    found = run(spiky(), policy(1, 12, target_ongoing_requests=16, on_demand_replicas=1), node)
    ended = found.answered + found.refused + found.lost
    assert ended.sum() + found.ongoing[-1] == pytest.approx(found.arrived.sum(), rel=1e-9)
    assert np.cumsum(found.arrived - ended) == pytest.approx(found.ongoing, abs=1e-3)
    assert found.preempted.sum() > 0
    assert found.refused.sum() > 0
    assert (found.lost.sum() > 0) == (notice_s == 0)


def test_littles_law_holds_at_a_steady_load() -> None:
    found = run(steady(9_000), policy(3, 3))
    per_s = 9_000 / 3
    ongoing = float(np.interp(per_s, REPLICA.loads, REPLICA.ongoing))
    assert told(found).mean_ms == pytest.approx(1_000 * ongoing / per_s, rel=0.01)
    assert told(found).refused_share < 1e-9


def test_what_exceeds_the_capacity_is_refused() -> None:
    found = run(steady(10_000), policy(1, 1))
    assert told(found).refused_share == pytest.approx(1 - REPLICA.most_per_s / 10_000, rel=0.01)


def test_a_fixed_number_costs_its_nodes_for_the_time() -> None:
    found = run(steady(1_000, 7_200), policy(9, 9))
    assert told(found).cost == pytest.approx(3 * 2 * 1.0)
    assert told(found).replica_hours == pytest.approx(18)
    assert cost_so_far(found, NODE)[-1] == pytest.approx(6)


def test_the_floor_runs_on_demand_and_the_rest_on_spot() -> None:
    found = told(run(steady(1_000, 7_200), policy(9, 9, on_demand_replicas=4)))
    assert (found.on_demand_cost, found.spot_cost) == (pytest.approx(2.0), pytest.approx(2 * 2 * 0.25))


@pytest.mark.parametrize("replicas", [4, 8])
def test_more_replicas_refuse_less_and_answer_sooner_for_more_money(replicas: int) -> None:
    fewer = told(run(spiky(), policy(replicas, replicas)))
    more = told(run(spiky(), policy(2 * replicas, 2 * replicas)))
    assert more.refused_share <= fewer.refused_share + 1e-9
    assert more.mean_ms is not None
    assert fewer.mean_ms is not None
    assert more.mean_ms < fewer.mean_ms
    assert more.p99_ms is not None
    assert fewer.p99_ms is not None
    assert more.p99_ms < fewer.p99_ms
    assert more.cost > fewer.cost


def test_preemptions_are_as_many_as_a_poisson_process_has() -> None:
    node = NODE.model_copy(update={"preemptions_per_hour": 2.0})
    found = run(steady(1_000, 36_000), policy(40, 40, on_demand_replicas=0), node)
    expected = 2.0 * float(found.spot_nodes.sum()) / 3_600
    assert abs(found.preempted.sum() - expected) < 4 * np.sqrt(expected)


def test_a_preempted_replica_is_replaced_after_a_node_has_started() -> None:
    node = NODE.model_copy(update={"preemptions_per_hour": 1.0})
    found = run(steady(1_000, 36_000), policy(4, 4, on_demand_replicas=0), node)
    first = int(np.argmax(found.preempted > 0))
    assert found.ready[first] == 0
    back = int(np.argmax(found.ready[first:] == 4))
    assert back == NODE.start_s + EXAMPLE.replica.start_s


def test_replicas_follow_a_step_of_the_load_after_the_delays() -> None:
    arrived = np.concatenate([steady(2_000, 600), steady(30_000, 1_200), steady(2_000, 1_800)])
    found = run(arrived, policy(1, 20, target_ongoing_requests=16))
    assert found.ready[599] == 1
    assert found.ready[1_799] * REPLICA.most_per_s > 30_000
    assert found.refused[1_500:].sum() < 1e-3 * found.arrived[1_500:].sum()
    assert found.ready[1_850] == found.ready[1_799]
    assert found.ready[-1] < found.ready[1_799]


def test_the_same_seed_gives_the_same_run() -> None:
    node = NODE.model_copy(update={"preemptions_per_hour": 20.0})
    one = policy(4, 20, on_demand_replicas=0)
    again = [asdict(told(run(spiky(), one, node, seed))) for seed in (1, 1, 2)]
    assert again[0] == again[1] != again[2]


def test_nobody_listens_and_everything_is_refused_while_all_nodes_are_gone() -> None:
    node = NODE.model_copy(update={"preemptions_per_hour": 3_000.0})
    found = run(steady(100, 600), policy(1, 1, on_demand_replicas=0), node)
    gone = found.ready == 0
    assert gone.any()
    assert (found.refused[gone] == 100).all()


def test_a_million_requests_a_second_on_a_thousand_nodes() -> None:
    found = told(run(steady(1_000_000, 600), policy(4_000, 4_000, on_demand_replicas=400)))
    assert (found.most_nodes, found.most_replicas) == (1_000, 4_000)
    assert found.refused_share < 1e-9
    assert found.cost == pytest.approx((100 * 1.0 + 900 * 0.25) / 6)


# The command.


def small(tmp_path: Path, **keys: object) -> str:
    path = tmp_path / "plan.yaml"
    data = EXAMPLE.model_dump(mode="json") | {"trace": {"daily": {"hours": 0.5, "low_per_s": 10, "high_per_s": 9_000}}}
    path.write_text(json.dumps(data | keys))
    return str(path)


def test_the_command_writes_a_table_and_a_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = tmp_path / "plan.png"
    assert main(["plan", small(tmp_path), "-o", str(picture)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith("policy")
    assert [line.split("  ")[0] for line in lines[2:6]] == [one.name for one in EXAMPLE.policies]
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_programs_get_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trace = tmp_path / "trace.csv"
    trace.write_text("time,requests_per_s\n0,100\n60,200\n120,0\n")
    assert main(["plan", small(tmp_path), "--trace", str(trace), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["requests"], found["seconds"]) == (18_000, 180)
    assert {one["policy"] for one in found["policies"]} == {one.name for one in EXAMPLE.policies}


def test_a_trace_without_requests_has_no_latency(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trace = tmp_path / "trace.csv"
    trace.write_text("time,requests_per_s\n0,0\n60,0\n")
    assert main(["plan", small(tmp_path), "--trace", str(trace), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["policies"][0]["p99_ms"] is None


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ({"trace": {}}, "give either path or daily"),
        ({"nodes": {}}, "unknown key 'nodes'"),
        ({"policies": [{"name": "a", "min_replicas": 3, "max_replicas": 2}]}, "min_replicas is more than max_replicas"),
        ({"policies": [{"name": "a", "max_replicas": 2}] * 2}, "two policies have the same name"),
    ],
)
def test_a_wrong_plan_file_is_refused_with_the_key(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], keys: dict[str, object], sentence: str
) -> None:
    assert main(["plan", small(tmp_path, **keys)]) == 2
    assert sentence in capsys.readouterr().err


def test_measured_points_must_rise() -> None:
    data = EXAMPLE.model_dump(mode="json")
    data["replica"]["measured"].reverse()
    with pytest.raises(ConfigError, match="connections must rise"):
        parse(data, PlanSettings, "plan.yaml")
