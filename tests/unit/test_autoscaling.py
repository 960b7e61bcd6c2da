import math
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from ray.serve.autoscaling_policy import _apply_autoscaling_config

from serve.app import build
from serve.autoscaling import CALLS_OF_DEDICATED, REQUESTS_OF_INGRESS, ReplicasWanted, autoscaling_config
from serve.settings import AutoscalingSettings, ServeSettings
from serve.workload import Workload
from taxiway.autoscaling import (
    REPORT_EVERY_S,
    WINDOW_S,
    EndpointLoad,
    Memory,
    Observed,
    ReplicaLoad,
    Target,
    replicas_wanted,
)
from taxiway.settings import parse

LATER = 1_000.0
TARGET = Target(ongoing=10.0, p99_ms=None, minimum=1, maximum=20)
LATENCY = Target(ongoing=1_000.0, p99_ms=100.0, minimum=1, maximum=20)


def load(ongoing: float, p99_ms: float = 0.0, requests_per_s: float = 50.0) -> ReplicaLoad:
    return ReplicaLoad(ongoing, {"parcel": EndpointLoad(requests_per_s, p99_ms)} if p99_ms else {})


def wanted(observed: Observed, target: Target = TARGET, memory: Memory | None = None) -> int:
    """With as many replicas as for a long time."""
    calm = Memory(running=observed.running, decided=observed.decided)
    return replicas_wanted(observed, target, memory or calm, LATER)[0]


# What a replica reports.


def test_ongoing_requests_are_a_mean_over_the_interval_and_not_an_instant() -> None:
    workload = Workload(["parcel"], now=0.0)
    workload.began(0.0)
    workload.began(0.5)
    workload.ended("parcel", 0.0, 1.0)
    workload.ended("parcel", 0.5, 1.0)
    assert workload.ongoing == 0
    assert workload.stats(2.0)["ongoing"] == pytest.approx(0.75)
    assert workload.stats(4.0)["ongoing"] == 0.0


def test_a_request_that_has_no_answer_yet_is_ongoing() -> None:
    workload = Workload(["parcel"], now=0.0)
    workload.began(1.0)
    assert workload.stats(2.0) == {"ongoing": pytest.approx(0.5)}
    assert workload.stats(4.0) == {"ongoing": pytest.approx(1.0)}


@given(st.lists(st.floats(0.0003, 100.0), min_size=1, max_size=300))
def test_the_p99_is_at_most_ten_percent_above_the_true_one(durations: list[float]) -> None:
    workload = Workload(["parcel", "other"], now=0.0)
    for duration in durations:
        workload.began(200.0 - duration)
        workload.ended("parcel", 200.0 - duration, 200.0)
    stats = workload.stats(200.0)
    true = float(np.quantile(durations, 0.99, method="inverted_cdf")) * 1000
    assert true * 0.999 <= stats["p99_ms/parcel"] <= true * 1.11
    assert set(stats) == {"ongoing", "p99_ms/parcel", "requests_per_s/parcel"}


def test_latencies_are_forgotten_after_the_window() -> None:
    workload = Workload(["parcel"], now=0.0)
    for step in range(8):
        now = step * REPORT_EVERY_S
        if step == 0:
            workload.began(now)
            workload.ended("parcel", now, now + 1.0)
        stats = workload.stats(now + REPORT_EVERY_S)
        assert ("p99_ms/parcel" in stats) == (now < WINDOW_S)


def test_reports_from_another_thread_lose_nothing_worth_speaking_of() -> None:
    workload = Workload(["parcel"], now=0.0)
    begin, seen, stop = 0.0, [], threading.Event()

    def report() -> None:
        while not stop.is_set():
            seen.append(workload.stats(float(begin)))

    thread = threading.Thread(target=report)
    thread.start()
    for begin in range(1, 20_000):
        workload.began(float(begin))
        workload.ended("parcel", begin - 0.5, float(begin))
    stop.set()
    thread.join()
    assert max(stats["ongoing"] for stats in seen) <= 2.0
    assert workload.ongoing == 0


# What follows from it.


@pytest.mark.parametrize(
    ("ongoing", "decided", "replicas"),
    [(10.0, 1, 1), (10.1, 1, 2), (95.0, 1, 10), (17.0, 3, 3), (16.0, 3, 2), (0.0, 3, 1), (1e6, 3, 20)],
)
def test_replicas_follow_ongoing_requests_up_at_once_and_down_with_room(
    ongoing: float, decided: int, replicas: int
) -> None:
    loads = tuple(load(ongoing / decided) for _ in range(decided))
    assert wanted(Observed(decided, decided, loads)) == replicas


def test_requests_that_only_serve_sees_count() -> None:
    assert wanted(Observed(1, 1, (load(0.0),), ongoing_in_serve=25.0)) == 3


@pytest.mark.parametrize(
    ("p99_ms", "replicas"), [(100.0, 2), (101.0, 3), (150.0, 3), (190.0, 4), (5_000.0, 4), (85.0, 2), (39.0, 1)]
)
def test_replicas_follow_the_latency_in_proportion(p99_ms: float, replicas: int) -> None:
    assert wanted(Observed(2, 2, (load(20.0, p99_ms), load(20.0, p99_ms))), LATENCY) == replicas


def test_the_worst_endpoint_decides() -> None:
    endpoints = {"fast": EndpointLoad(900.0, 5.0), "slow": EndpointLoad(10.0, 200.0)}
    assert wanted(Observed(1, 1, (ReplicaLoad(40.0, endpoints),)), LATENCY) == 2


def test_a_slow_model_without_load_gets_no_more_replicas() -> None:
    assert wanted(Observed(1, 1, (load(0.9, 400.0),)), LATENCY) == 1


def test_the_latency_of_a_few_requests_is_no_reason() -> None:
    assert wanted(Observed(1, 1, (load(5.0, 400.0, requests_per_s=1.0),)), LATENCY) == 1


def test_replicas_without_connections_share_no_load_and_call_for_no_more() -> None:
    loads = (load(40.0, 150.0), load(0.0), load(0.0))
    assert wanted(Observed(3, 3, loads), LATENCY) == 3


def test_the_latency_is_judged_when_it_is_that_of_the_replicas_that_run_now() -> None:
    observed = Observed(2, 2, (load(20.0, 300.0), load(20.0, 300.0)))
    memory = Memory(running=1, decided=2)
    decided, memory = replicas_wanted(observed, LATENCY, memory, LATER)
    assert decided == 2
    assert replicas_wanted(observed, LATENCY, memory, LATER + WINDOW_S)[0] == 2
    assert replicas_wanted(observed, LATENCY, memory, LATER + 2 * WINDOW_S)[0] == 4


def test_replicas_that_report_nothing_are_kept() -> None:
    assert wanted(Observed(2, 2, ())) == 2
    assert wanted(Observed(2, 2, (load(1.0),))) == 2
    assert wanted(Observed(2, 2, (load(45.0),))) == 5
    assert wanted(Observed(0, 1, ())) == 1


def after_growth(requests_per_s: float, held_per_s: float = 0.0) -> Memory:
    """One replica was not enough for this rate; two are."""
    before = Memory(running=1, decided=1, held_per_s=held_per_s)
    few = Observed(1, 2, (load(50.0, 300.0, requests_per_s),))
    many = Observed(2, 2, (load(2.0, 10.0, requests_per_s / 2),) * 2)
    _, memory = replicas_wanted(few, LATENCY, before, LATER)
    return replicas_wanted(many, LATENCY, memory, LATER + 1)[1]


@pytest.mark.parametrize(("requests_per_s", "replicas"), [(900.0, 2), (800.0, 2), (500.0, 1), (1.0, 1)])
def test_a_count_that_was_too_small_is_not_tried_again_at_that_load(requests_per_s: float, replicas: int) -> None:
    now = Observed(2, 2, (load(2.0, 10.0, requests_per_s / 2),) * 2)
    assert replicas_wanted(now, LATENCY, after_growth(900.0), LATER + 100)[0] == replicas


def test_a_pause_at_a_rate_that_was_held_before_says_nothing_about_the_rate() -> None:
    memory = after_growth(90.0, held_per_s=900.0)
    assert math.isinf(memory.too_much_per_s)
    assert after_growth(90.0, held_per_s=memory.held_per_s).too_much_per_s == 90.0


def test_a_rate_that_is_held_after_all_is_not_too_much() -> None:
    busy = Observed(2, 2, (load(2.0, 10.0, 950.0),) * 2)
    assert math.isinf(replicas_wanted(busy, LATENCY, after_growth(900.0), LATER + 100)[1].too_much_per_s)


def test_replicas_stop_in_steps_as_long_as_nobody_knows_what_one_holds() -> None:
    observed = Observed(10, 10, (load(1.0, 5.0, 90.0),) * 10)
    for held_per_s, replicas in ((90.0, 8), (300.0, 3), (900.0, 2)):
        assert wanted(observed, TARGET, Memory(running=10, decided=10, held_per_s=held_per_s)) == replicas


def test_what_is_remembered_calls_for_no_more_replicas() -> None:
    memory = Memory(running=1, decided=1, too_much_per_s=1.0)
    assert wanted(Observed(1, 1, (load(2.0, 10.0, 900.0),)), LATENCY, memory) == 1


def test_the_most_that_was_wanted_during_the_delay_is_taken() -> None:
    memory = Memory(running=5, decided=5)
    seen = []
    for ongoing in (30.0, 8.0, 20.0, 2.0, 39.9, 8.0):
        decided, memory = replicas_wanted(Observed(5, 5, (load(ongoing / 5),) * 5), TARGET, memory, LATER)
        seen.append(decided)
    assert seen == [4, 4, 4, 4, 5, 1]


def test_nobody_asks_and_nothing_stays_if_nothing_may() -> None:
    to_zero = Target(ongoing=2.0, p99_ms=100.0, minimum=0, maximum=3)
    assert wanted(Observed(1, 1, (load(0.0),)), to_zero) == 0
    assert wanted(Observed(1, 1, (load(0.0001),)), to_zero) == 1
    assert wanted(Observed(1, 1, (load(0.0),), ongoing_in_serve=0.01), to_zero) == 1
    assert wanted(Observed(0, 0, ()), to_zero) == 0


LOADS = st.builds(load, st.floats(0, 1e4), st.floats(0, 1e5), st.floats(0, 1e5))
TARGETS = st.builds(
    lambda ongoing, p99_ms, minimum, more: Target(ongoing, p99_ms, minimum, minimum + more),
    st.floats(0.01, 1e3),
    st.none() | st.floats(0.1, 1e4),
    st.integers(0, 5),
    st.integers(1, 50),
)
OBSERVED = st.builds(
    lambda loads, silent, decided, in_serve: Observed(len(loads) + silent, decided, tuple(loads), in_serve),
    st.lists(LOADS, max_size=5),
    st.integers(0, 2),
    st.integers(0, 60),
    st.floats(0, 1e4),
)


@given(st.lists(st.tuples(OBSERVED, st.floats(0, 100)), min_size=1, max_size=20), TARGETS)
def test_bounds_hold_whatever_is_reported(moments: list[tuple[Observed, float]], target: Target) -> None:
    memory, now = Memory(), LATER
    for observed, passed_s in moments:
        now += passed_s
        decided, memory = replicas_wanted(observed, target, memory, now)
        assert target.minimum <= decided <= target.maximum


def test_replicas_that_answered_nothing_when_more_came_say_nothing_of_what_one_can_do() -> None:
    target, memory = Target(ongoing=4, p99_ms=None, minimum=1, maximum=10), Memory()
    hanging = ReplicaLoad(ongoing=40, endpoints={})
    for decided in (1, 2, 10):
        wanted_now, memory = replicas_wanted(Observed(1, decided, (hanging,)), target, memory, LATER)
        assert wanted_now == 10


@given(OBSERVED, TARGETS, st.floats(1.0, 100.0))
def test_more_load_never_means_fewer_replicas(observed: Observed, target: Target, factor: float) -> None:
    heavier = Observed(
        observed.running,
        observed.decided,
        tuple(ReplicaLoad(load.ongoing * factor, load.endpoints) for load in observed.loads),
        observed.ongoing_in_serve * factor,
    )
    assert wanted(heavier, target) >= wanted(observed, target)


# In Serve's hands.


@dataclass
class Point:
    timestamp: float
    value: float


Series = dict[str, dict[str, list[Point]]]


@dataclass
class Cluster:
    """Replicas under a load, with Serve's delays around the policy, on a clock of its own.

    Args:
        capacity_per_s: requests that one replica can answer.
        start_s: from a decision to a replica that runs.
    """

    settings: AutoscalingSettings
    capacity_per_s: float
    start_s: float = 20.0
    now: float = 1_000_000.0
    decided: int = 1
    waiting: float = 0.0
    starting: list[float] = field(default_factory=list)
    running: list[str] = field(default_factory=lambda: ["r0"])
    series: Series = field(default_factory=dict)
    decisions: list[int] = field(default_factory=list)
    p99_ms: float = 0.0

    def __post_init__(self) -> None:
        config = autoscaling_config(self.settings, 32.0)
        kwargs = config.policy.policy_kwargs
        self._config = config
        self._policy = _apply_autoscaling_config(ReplicasWanted(**kwargs))
        self._state: dict[str, Any] = {}

    def live(self, seconds: float, requests_per_s: float, noise: Callable[[], float] = lambda: 1.0) -> None:
        for _ in range(int(seconds / REPORT_EVERY_S)):
            self.now += REPORT_EVERY_S
            self._start()
            self._answer(requests_per_s * noise())
            self._report(requests_per_s)
            self._decide()

    def _start(self) -> None:
        ready = [at for at in self.starting if at <= self.now]
        self.starting = [at for at in self.starting if at > self.now]
        self.running += [f"r{at}-{index}" for index, at in enumerate(ready)]

    def _answer(self, requests_per_s: float) -> None:
        """A queue in front of each replica; waiting explodes near the capacity."""
        capacity = max(len(self.running), 1e-9) * self.capacity_per_s
        more = (requests_per_s - capacity) * REPORT_EVERY_S
        self.waiting = min(max(self.waiting + more, 0.0), 512.0 * max(len(self.running), 1))
        busy = min(requests_per_s / capacity, 0.99)
        in_service = len(self.running) * busy / (1 - busy)
        self.ongoing = self.waiting + in_service
        self.p99_ms = 1000 * (4.6 / (self.capacity_per_s * (1 - busy)) + self.waiting / capacity)

    def _report(self, requests_per_s: float) -> None:
        replicas = len(self.running)
        rate = min(requests_per_s, replicas * self.capacity_per_s) / max(replicas, 1)
        said = {"ongoing": self.ongoing / max(replicas, 1)}
        if rate:
            said |= {"p99_ms/parcel": self.p99_ms, "requests_per_s/parcel": rate}
        for name, value in said.items():
            for replica in self.running:
                self.series.setdefault(name, {}).setdefault(replica, []).append(Point(self.now, value))
        self.series = {
            name: {
                replica: [point for point in points if point.timestamp > self.now - WINDOW_S]
                for replica, points in by_replica.items()
                if replica in self.running
            }
            for name, by_replica in self.series.items()
        }

    def _decide(self) -> None:
        context = SimpleNamespace(
            config=self._config,
            current_time=self.now,
            current_num_replicas=len(self.running),
            target_num_replicas=self.decided,
            capacity_adjusted_min_replicas=self._config.min_replicas,
            capacity_adjusted_max_replicas=self._config.max_replicas,
            raw_metrics=self.series,
            total_num_requests=self.waiting if not self.running else 0.0,
            policy_state=dict(self._state),
        )
        with clock(self.now):
            decided, self._state = self._policy(context)
        decided = max(self._config.min_replicas, min(decided, self._config.max_replicas))
        self.starting += [self.now + self.start_s] * (decided - self.decided)
        surplus = len(self.running) + len(self.starting) - decided
        while surplus > 0 and self.starting:
            self.starting.pop()
            surplus -= 1
        self.running = self.running[: len(self.running) - max(surplus, 0)]
        if decided != self.decided:
            self.decisions.append(decided)
        self.decided = decided


@contextmanager
def clock(now: float) -> Iterator[None]:
    """Serve's delays read the clock themselves."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ray.serve.autoscaling_policy.time", SimpleNamespace(time=lambda: now))
        yield


@settings(deadline=None, max_examples=20, phases=(Phase.explicit, Phase.reuse, Phase.generate))
@given(
    capacity_per_s=st.floats(20.0, 2_000.0),
    share=st.floats(0.05, 7.0),
    target_ongoing=st.floats(1.0, 64.0),
    target_p99_ms=st.none() | st.floats(1.0, 2_000.0),
    start_s=st.floats(1.0, 60.0),
)
def test_under_constant_load_the_replicas_converge_hold_it_and_stay(
    capacity_per_s: float, share: float, target_ongoing: float, target_p99_ms: float | None, start_s: float
) -> None:
    scaling = AutoscalingSettings(
        max_replicas=16, target_ongoing_requests=target_ongoing, target_p99_ms=target_p99_ms, downscale_delay_s=60
    )
    cluster = Cluster(scaling, capacity_per_s, start_s)
    cluster.live(1_800, share * capacity_per_s)
    assert len(cluster.running) == cluster.decided > share
    assert turns(cluster.decisions) <= 2
    cluster.decisions.clear()
    cluster.live(1_200, share * capacity_per_s)
    assert cluster.decisions == []


def turns(decisions: list[int]) -> int:
    """How often a rise follows a fall, or a fall a rise."""
    rises = [later > earlier for earlier, later in pairwise([1, *decisions])]
    return sum(before != after for before, after in pairwise(rises))


def test_noise_around_a_constant_load_moves_nothing() -> None:
    random = np.random.default_rng(0)
    cluster = Cluster(AutoscalingSettings(max_replicas=10, target_ongoing_requests=5, downscale_delay_s=120), 100.0)
    cluster.live(600, 330.0)
    before = cluster.decided
    cluster.decisions.clear()
    cluster.live(1_200, 330.0, lambda: float(random.uniform(0.9, 1.1)))
    assert len(cluster.decisions) <= 1
    assert before <= cluster.decided <= before + 1


def test_replicas_follow_a_day_of_load_up_and_down() -> None:
    cluster = Cluster(AutoscalingSettings(max_replicas=10, target_ongoing_requests=5, downscale_delay_s=60), 100.0)
    for minute in range(24 * 60):
        cluster.live(60, 250.0 - 240.0 * math.cos(minute / 720 * math.pi))
    assert max(cluster.decisions) >= 6
    assert cluster.decided == 1

    assert turns(cluster.decisions) <= 2


def test_delays_pass_before_anything_changes() -> None:
    scaling = AutoscalingSettings(max_replicas=4, target_ongoing_requests=5, upscale_delay_s=30, downscale_delay_s=90)
    cluster = Cluster(scaling, 100.0)
    cluster.live(29, 200.0)
    assert cluster.decided == 1
    cluster.live(30, 200.0)
    assert cluster.decided > 1
    cluster.live(300, 200.0)
    high = cluster.decided
    cluster.live(89, 1.0)
    assert cluster.decided == high
    cluster.live(30, 1.0)
    assert cluster.decided < high


def test_a_deployment_goes_to_zero_and_serve_wakes_it_at_the_first_request() -> None:
    scaling = AutoscalingSettings(min_replicas=0, max_replicas=2, downscale_delay_s=60)
    cluster = Cluster(scaling, 100.0, start_s=5.0)
    cluster.live(100, 10.0)
    assert cluster.decided == 1
    cluster.live(59, 0.0)
    assert cluster.decided == 1
    cluster.live(30, 0.0)
    assert (cluster.decided, cluster.running) == (0, [])
    cluster.live(300, 0.0)
    assert cluster.decided == 0
    cluster.live(2, 1.0)
    assert cluster.decided == 1
    cluster.live(10, 1.0)
    assert len(cluster.running) == 1
    assert cluster.waiting == 0.0


def context(series: Series, running: int = 1, decided: int = 1, now: float = LATER) -> Any:
    return SimpleNamespace(
        config=SimpleNamespace(target_ongoing_requests=10.0),
        current_time=now,
        current_num_replicas=running,
        target_num_replicas=decided,
        capacity_adjusted_min_replicas=1,
        capacity_adjusted_max_replicas=9,
        raw_metrics=series,
        total_num_requests=0.0,
        policy_state={},
    )


def points(*values: float, until: float = LATER) -> list[Point]:
    begin = until - REPORT_EVERY_S * (len(values) - 1)
    return [Point(begin + REPORT_EVERY_S * index, value) for index, value in enumerate(values)]


def decided_for(series: Series, **given: Any) -> int:
    return ReplicasWanted(None)(context(series, **given))[0]


def test_what_was_reported_long_ago_is_as_good_as_missing() -> None:
    old = {"ongoing": {"a": points(0.0, until=LATER - 60), "b": points(1.0)}}
    new = {"ongoing": {"a": points(0.0, until=LATER - 2), "b": points(1.0)}}
    assert decided_for(old, running=2, decided=2) == 2
    assert decided_for(new, running=2, decided=2) == 1


def test_load_that_moves_to_a_new_replica_counts_once() -> None:
    series = {"ongoing": {"a": points(80.0, 80.0, 80.0, 40.0, 40.0), "b": points(40.0, 40.0)}}
    assert decided_for(series, running=2, decided=8) == 8
    assert decided_for(series, running=2, decided=2) == 8


def test_an_endpoint_without_requests_in_the_last_report_is_left_out() -> None:
    def with_latency(until: float) -> Mapping[str, Any]:
        slow = {"p99_ms/parcel": {"a": points(900.0, until=until)}, "requests_per_s/parcel": {"a": points(50.0)}}
        return {"ongoing": {"a": points(9.0)}} | slow

    policy = ReplicasWanted(100.0)
    memory = {"taxiway": Memory(running=1, decided=1)}
    for until, replicas in ((LATER, 2), (LATER - REPORT_EVERY_S, 1)):
        moment = context(dict(with_latency(until)))
        moment.policy_state = memory
        assert policy(moment)[0] == replicas


def test_serves_controller_needs_none_of_our_packages() -> None:
    config = autoscaling_config(AutoscalingSettings(max_replicas=3, target_p99_ms=20.0), REQUESTS_OF_INGRESS)
    program = f"""
import sys
class Nothing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("serve", "taxiway"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Nothing())
from types import SimpleNamespace
from ray import cloudpickle
policy = cloudpickle.loads({config.policy.get_serialized_policy_def()!r})(**{config.policy.policy_kwargs!r})
point = SimpleNamespace(timestamp=10.0, value=70.0)
context = SimpleNamespace(
    config=SimpleNamespace(target_ongoing_requests=32.0, downscale_delay_s=1.0), current_time=10.0,
    current_num_replicas=1, target_num_replicas=1, capacity_adjusted_min_replicas=1, capacity_adjusted_max_replicas=9,
    raw_metrics={{"ongoing": {{"a": [point]}}}}, total_num_requests=0.0, policy_state={{}},
)
print(policy(context)[0])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd="/")
    assert done.stdout.strip() == "3", done.stderr


# In a serve file.


def test_the_example_of_the_page_is_a_valid_serve_file() -> None:
    page = Path("docs/autoscaling.md").read_text()
    example = yaml.safe_load(page.partition("```yaml\n")[2].partition("```")[0])
    (application,) = example["applications"]
    served = parse(application["args"], ServeSettings, "docs/autoscaling.md")
    ingress = build(served)._bound_deployment
    dedicated = ingress.init_args[1]["flight-delay/large"]._bound_deployment
    for deployment, name, target in (
        (ingress, "ingress", REQUESTS_OF_INGRESS),
        (dedicated, "flight-delay-large", CALLS_OF_DEDICATED),
    ):
        config = deployment._deployment_config.autoscaling_config
        assert deployment.name == name
        assert config.policy.policy_function == "serve.autoscaling:ReplicasWanted"
        assert config.target_ongoing_requests == target
    assert dedicated._deployment_config.autoscaling_config.min_replicas == 0
    assert served.ingress.autoscaling is not None
    assert ingress._deployment_config.autoscaling_config.policy.policy_kwargs == {
        "target_p99_ms": served.ingress.autoscaling.target_p99_ms
    }
