import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taxiway.planning.replica import Replica, left_out, service_rates, stationary
from taxiway.planning.settings import MeasuredPoint, ReplicaPlan


def point(connections: int, requests_per_s: float, p50_ms: float = 2.0, p99_ms: float = 5.0) -> MeasuredPoint:
    return MeasuredPoint(connections=connections, requests_per_s=requests_per_s, p50_ms=p50_ms, p99_ms=p99_ms)


SERVING = (
    point(1, 686, 1.34, 2.94),
    point(8, 3724, 2.02, 4.61),
    point(32, 4814, 5.7, 13.07),
    point(128, 6661, 18.9, 27.5),
)
"""benchmarks/results/serving.md: one replica, JSON, one row."""
REPLICA = Replica(ReplicaPlan(measured=SERVING))


def erlang_c(servers: int, offered: float) -> float:
    """The share of arrivals that wait in M/M/c (Erlang, 1917)."""
    last = offered**servers / math.factorial(servers) * servers / (servers - offered)
    return last / (sum(offered**k / math.factorial(k) for k in range(servers)) + last)


def servers(count: int, per_s: float, most: int) -> np.ndarray:
    return np.minimum(np.arange(1, most + 1), count) * per_s


@pytest.mark.parametrize(("count", "load"), [(1, 0.5), (1, 0.9), (4, 0.3), (4, 0.85), (16, 0.7)])
def test_equal_servers_make_an_mmc_queue(count: int, load: float) -> None:
    offered = count * load
    (shares,) = stationary(servers(count, 10.0, 600), np.array([10.0 * offered]))
    waits = erlang_c(count, offered)
    assert shares[count:].sum() == pytest.approx(waits, rel=1e-9)
    assert shares @ np.arange(601) == pytest.approx(offered + waits * load / (1 - load), rel=1e-9)


@pytest.mark.parametrize("offered", [0.5, 3.0, 8.0, 40.0])
def test_without_room_to_wait_erlangs_loss_formula_holds(offered: float) -> None:
    count = 8
    (shares,) = stationary(servers(count, 10.0, count), np.array([10.0 * offered]))
    terms = [offered**k / math.factorial(k) for k in range(count + 1)]
    assert shares[-1] == pytest.approx(terms[-1] / sum(terms), rel=1e-9)


def test_what_is_answered_is_what_arrives_and_is_not_refused() -> None:
    assert REPLICA.answered_per_s == pytest.approx(REPLICA.loads * (1 - REPLICA.refused), rel=1e-6)


def test_measured_rates_come_back_and_stay_above_the_last_point() -> None:
    rates = service_rates(SERVING, 512)
    assert [rates[p.connections - 1] for p in SERVING] == pytest.approx([p.requests_per_s for p in SERVING])
    assert rates[511] == pytest.approx(6661)


def test_a_batch_with_a_fixed_time_and_one_for_each_request_is_found_again() -> None:
    def per_s(number: int) -> float:
        return number / (0.001 + 0.0002 * number)

    points = [point(number, per_s(number)) for number in (1, 8, 32, 128)]
    assert left_out(points) == pytest.approx((0.0, 0.0))
    assert service_rates(points, 100)[49] == pytest.approx(per_s(50))


def test_measured_points_predict_each_other_within_a_fifth() -> None:
    assert left_out(SERVING) == pytest.approx((-0.18, 0.20), abs=0.01)


def test_measured_latencies_obey_littles_law_as_lognormals() -> None:
    """The median and the p99 were measured apart from the rate; the mean of a lognormal with both is near n / rate."""
    for one in SERVING:
        spread = math.log(one.p99_ms / one.p50_ms) / 2.3263
        mean_ms = one.p50_ms * math.exp(spread**2 / 2)
        assert mean_ms == pytest.approx(1_000 * one.connections / one.requests_per_s, rel=0.1)


def test_a_steady_load_settles_where_the_chain_is_stationary() -> None:
    for place in (20, 100, 150, 200):
        ongoing, arrived = 0.0, float(REPLICA.loads[place])
        for _ in range(2_000):
            ongoing, answered, found = REPLICA.second(ongoing, arrived)
        assert ongoing == pytest.approx(REPLICA.ongoing[place], rel=1e-3)
        assert answered == pytest.approx(REPLICA.answered_per_s[place], rel=1e-6)
        assert found == pytest.approx(place, abs=0.01)


@settings(deadline=None)
@given(st.lists(st.floats(0.0, 50_000.0), min_size=1, max_size=30))
def test_nothing_is_answered_that_did_not_arrive(arrivals: list[float]) -> None:
    ongoing = 0.0
    for arrived in arrivals:
        before = ongoing
        ongoing, answered, _ = REPLICA.second(ongoing, arrived)
        assert 0 <= ongoing <= 512
        assert -1e-6 <= answered <= REPLICA.most_per_s * 1.0001
        assert before + arrived - answered - ongoing >= -1e-6


@settings(deadline=None)
@given(st.floats(0.0, 512.0), st.floats(0.0, 20_000.0), st.floats(0.0, 5_000.0))
def test_more_arrivals_leave_more_on_their_way(ongoing: float, arrived: float, more: float) -> None:
    less_after, less_answered, _ = REPLICA.second(ongoing, arrived)
    after, answered, _ = REPLICA.second(ongoing, arrived + more)
    assert after >= less_after - 1e-6
    assert answered >= less_answered - 1e-6


def test_far_over_its_capacity_a_replica_answers_what_it_can_and_is_full() -> None:
    after, answered, _ = REPLICA.second(512.0, 1e6)
    assert answered == pytest.approx(6661, rel=1e-3)
    assert after == pytest.approx(512, rel=1e-2)


def test_an_idle_replica_has_the_latency_of_one_connection() -> None:
    places = np.zeros(3)
    assert REPLICA.latency_ms(places, np.ones(3), 0.5) == pytest.approx(1.34, rel=0.02)
    assert REPLICA.latency_ms(places, np.ones(3), 0.99) == pytest.approx(2.94, rel=0.02)
    assert math.isnan(REPLICA.latency_ms(places, np.zeros(3), 0.5))


def test_latency_rises_with_the_load() -> None:
    assert (np.diff(REPLICA.p99_ms) > -1e-9).all()
    assert REPLICA.p99_ms[-1] == pytest.approx(27.5 * 512 / 128, rel=0.05)
