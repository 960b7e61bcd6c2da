"""What serving promises, by causing the failures: one Ray, replicas that are killed, changed and drained under load."""

import copy
import json
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.client import HTTPConnection
from typing import Any

import httpx
import mlflow
import numpy as np
import pytest

from tests.e2e.faults.conftest import FACTOR
from tests.e2e.faults.serving import BATCH_ROWS, FAULTS, PARCELS, Serving
from tests.faulty_models import DEADLY, POISON
from tests.integration.test_ingress import INFER, question
from tests.integration.test_variants import eventually
from tests.load import SEEDS, Load, loaded
from tests.serving_cluster import Replica, connected, connections_to, listeners
from tests.tiny_model import parcels, registry_settings

pytestmark = pytest.mark.timeout(600)

CHAMPION_1, CHALLENGER_2, CHALLENGER_3 = ("champion", "1"), ("challenger", "2"), ("challenger", "3")
LIVE_S = 2.0
"""What is changed while requests are answered holds everywhere after it."""
STARTING_S = 0.05
"""What each client waits between two requests while replicas start: they need the CPU."""


def follow(replicas: list[Replica], weights: dict[str, float]) -> None:
    """Returns when every replica splits the traffic like this."""
    for replica in replicas:
        eventually(lambda it=replica: it.status("parcel")["traffic"]["weights"] == weights)  # type: ignore[misc]


def more(load: Load, answers: int = 300) -> None:
    """Returns when so many more have been asked."""
    before = len(load.answers)
    eventually(lambda: len(load.answers) > before + answers, within_s=30)


# Live changes, on two replicas.


def test_weights_and_shadows_that_are_deployed_reach_all_replicas_without_a_restart(running: Serving) -> None:
    before, weights = running.replicas(), {"champion": 0.0, "challenger": 100.0}
    with (
        connected(running.url, before) as replicas,
        loaded(running.clients(), running.expected, {CHAMPION_1, CHALLENGER_2}) as load,
    ):
        traffic = {"weights": weights, "shadows": {"champion": 50.0}}
        running.ingress["user_config"] = {"traffic": {"parcel": traffic}}
        running.cluster.deploy()
        deployed = time.monotonic()
        follow(replicas, weights)
        took_s = time.monotonic() - deployed
        assert all(it.status("parcel")["traffic"]["shadows"] == {"champion": 50.0} for it in replicas)
        more(load)
    print(f"deployed weights: {took_s:.2f} s, {len(load.answers)} answers")
    assert load.faults == []
    assert took_s < LIVE_S
    assert load.last("1") < deployed + LIVE_S
    assert running.replicas() == before
    eventually(lambda: running.metric("taxiway_shadow_requests_total", outcome="compared") > 50, within_s=30)


def test_weights_of_an_admin_call_reach_all_replicas(running: Serving) -> None:
    before, weights = running.replicas(), {"champion": 100.0, "challenger": 0.0}
    with (
        connected(running.url, before) as replicas,
        loaded(running.clients(), running.expected, {CHAMPION_1, CHALLENGER_2}) as load,
    ):
        called = running.call(weights)
        follow(replicas, weights)
        took_s = time.monotonic() - called
        more(load)
    print(f"admin call: {took_s:.2f} s, {len(load.answers)} answers")
    assert load.faults == []
    assert took_s < LIVE_S
    assert load.last("2") < called + LIVE_S
    assert running.replicas() == before


def test_a_moved_alias_is_loaded_beside_the_old_version_and_swapped_on_all_replicas(running: Serving) -> None:
    weights = {"champion": 50.0, "challenger": 50.0}
    with (
        connected(running.url, running.replicas()) as replicas,
        loaded(running.clients(), running.expected, {CHAMPION_1, CHALLENGER_2, CHALLENGER_3}) as load,
    ):
        running.call(weights)
        follow(replicas, weights)
        running.point("challenger", "3")
        moved = time.monotonic()
        eventually(lambda: {_challenger(it)["version"] for it in replicas} == {"3"})
        swapped = time.monotonic()
        more(load)
    print(f"moved alias: {swapped - moved:.2f} s, {len(load.answers)} answers")
    assert load.faults == []
    assert load.last("2") < swapped + 0.5
    assert {it.version for it in load.answers} == {"1", "2", "3"}


def _challenger(replica: Replica) -> Any:
    return replica.status("parcel")["variants"]["challenger"]


def test_a_version_that_can_not_be_loaded_leaves_the_old_one_and_is_seen(running: Serving) -> None:
    client = mlflow.MlflowClient(registry_settings(running.folder).tracking_uri)
    broken = client.create_model_version("parcel", str(running.folder / "artifacts"))
    with (
        connected(running.url, running.replicas()) as replicas,
        loaded(running.clients(), running.expected, {CHAMPION_1, CHALLENGER_3}) as load,
    ):
        running.point("challenger", str(broken.version))
        eventually(lambda: all("no model" in (_challenger(it)["error"] or "") for it in replicas), within_s=20)
        assert {_challenger(it)["version"] for it in replicas} == {"3"}
        labels = {"endpoint": "parcel", "variant": "challenger"}
        eventually(lambda: running.metric("taxiway_load_failures_total", **labels) >= 2, within_s=30)
        running.point("challenger", "3")
        eventually(lambda: {_challenger(it)["error"] for it in replicas} == {None})
    assert load.faults == []


def test_a_second_application_on_the_same_port_is_refused(running: Serving) -> None:
    second = copy.deepcopy(running.cluster.application(FAULTS)) | {"name": "second", "route_prefix": "/second"}
    port = running.cluster.port(PARCELS)
    second["args"] |= {"endpoints": second["args"]["endpoints"][:1], "listener": {"host": "127.0.0.1", "port": port}}
    second["deployments"] = [{"name": "ingress", "max_constructor_retry_count": 1}]
    with loaded(running.clients(), running.expected, {CHAMPION_1, CHALLENGER_3}, pause_s=STARTING_S) as load:
        running.cluster.config["applications"].append(second)
        running.cluster.deploy()
        eventually(lambda: f"{port} is taken by the application" in running.cluster.output, within_s=300)
        said = str(running.cluster.status()["applications"]["second"])
        running.cluster.config["applications"].remove(second)
        running.cluster.deploy()
    assert f"listener.port: {port} is taken by the application" in said
    assert load.faults == []


# Replicas that die, come and go.


def test_a_killed_replica_fails_only_what_is_in_flight_on_it_and_is_replaced(running: Serving) -> None:
    port, grpc_port = running.cluster.port(PARCELS), running.grpc_port
    before, sockets = running.replicas(), (listeners(port), listeners(grpc_port))
    with loaded(running.clients(http=8), running.expected, {CHAMPION_1, CHALLENGER_3}, pause_s=STARTING_S) as load:
        held = {it: connections_to(it, port, grpc_port) for it in before}
        victim = max(before, key=held.__getitem__)
        victim.kill()
        killed = time.monotonic()

        def is_replaced() -> bool:
            now = running.replicas()
            listening = (listeners(port), listeners(grpc_port))
            return len(now) == 2 and victim not in now and listening == sockets

        back_s = eventually(is_replaced, within_s=300)
        more(load)
        gone = {it.variant for it in load.answers if it.at > killed}
    print(f"killed: {len(load.failures)} failed of {held[victim]} connections, back after {back_s:.1f} s")
    print(load.failures)
    assert held[victim] >= 1
    assert len(load.failures) <= held[victim]
    assert load.wrong == []
    assert gone == {"champion", "challenger"}
    assert (set(before) - {victim}) < set(running.replicas())


def test_a_rolling_update_loses_no_request(running: Serving) -> None:
    before = set(running.replicas())
    clients = running.clients(without_keep_alive=2)
    with loaded(clients, running.expected, {CHAMPION_1, CHALLENGER_3}, pause_s=STARTING_S) as load:
        running.cluster.application(PARCELS)["args"]["limits"] = {"rows": 7}
        running.cluster.deploy()
        took_s = eventually(lambda: len(now := set(running.replicas())) == 2 and not now & before, within_s=300)
        more(load)
    print(f"rolling update: {took_s:.1f} s, {len(load.answers)} answers, failures {load.failures}")
    assert load.faults == []
    eight = httpx.post(f"{running.url}{INFER}", json=question(parcels(8)))
    assert eight.status_code == 413


def test_scaling_down_to_one_replica_loses_no_request(running: Serving) -> None:
    before = set(running.replicas())
    clients = running.clients(without_keep_alive=2)
    with loaded(clients, running.expected, {CHAMPION_1, CHALLENGER_3}) as load:
        running.ingress["num_replicas"] = 1
        running.cluster.deploy()
        eventually(lambda: len(running.replicas()) == 1, within_s=300)
        more(load)
    print(f"scaled down: {len(load.answers)} answers, failures {load.failures}")
    assert load.faults == []
    assert set(running.replicas()) < before
    assert listeners(running.cluster.port(PARCELS)) == 1


# Models that fail, are slow, or are away.


def body(*values: float) -> str:
    tensor = {"name": "value", "shape": [len(values)], "datatype": "FP64", "data": list(values)}
    return json.dumps({"inputs": [tensor]})


def ask(url: str, endpoint: str, *values: float) -> httpx.Response:
    return httpx.post(f"{url}/v2/models/{endpoint}/infer", content=body(*values), timeout=60)


def outputs(answer: httpx.Response) -> dict[str, list[float]]:
    assert answer.status_code == 200, answer.text
    return {it["name"]: it["data"] for it in answer.json()["outputs"]}


def test_inline_and_dedicated_give_the_same_bits_and_the_same_errors(running: Serving) -> None:
    url, random = running.cluster.url(FAULTS), np.random.default_rng(0)
    requests = [tuple(random.normal(size=size).tolist()) for size in (1, 1, 2, 7, 32)]
    for values in requests:
        inline, remote = (outputs(ask(url, name, *values))["answer"] for name in ("inline", "remote"))
        assert inline == remote == [value * FACTOR for value in values]
    for values in ((POISON,), (1.0, POISON, 2.0), (), ("text",)):
        inline, remote = (ask(url, name, *values) for name in ("inline", "remote"))  # type: ignore[arg-type]
        assert inline.status_code == remote.status_code != 200
        assert inline.headers.get("taxiway-error") == remote.headers.get("taxiway-error")
        assert inline.json() == remote.json()
    for seed in range(SEEDS):
        answer = httpx.post(f"{url}/v2/models/guarded/infer", json=question(parcels(1, seed)))
        assert outputs(answer)["probability"] == [running.expected["1"][seed]]


@pytest.mark.parametrize("endpoint", ["inline", "remote"])
def test_of_a_batch_only_the_request_that_crashes_the_model_fails(running: Serving, endpoint: str) -> None:
    values = [float(value) for value in range(BATCH_ROWS)]
    values[13] = POISON
    connections = [HTTPConnection("127.0.0.1", running.cluster.port(FAULTS), timeout=60) for _ in values]
    for connection in connections:
        connection.connect()
    for connection, value in zip(connections, values, strict=True):
        connection.request("POST", f"/v2/models/{endpoint}/infer", body(value))
    answers = [connection.getresponse() for connection in connections]
    guilty = answers.pop(13)
    assert (guilty.status, guilty.headers["taxiway-error"]) == (500, "model_failed")
    assert {it.status for it in answers} == {200}
    columns = [{it["name"]: it["data"][0] for it in json.load(answer)["outputs"]} for answer in answers]
    assert [it["answer"] for it in columns] == [value * FACTOR for value in values if value != POISON]
    # Halved until the guilty row stood alone: they were one batch.
    assert Counter(it["rows"] for it in columns) == {16: 16, 8: 8, 4: 4, 2: 2, 1: 1}


def test_requests_to_a_killed_dedicated_replica_are_answered_or_refused_and_it_comes_back(running: Serving) -> None:
    url, stop = running.cluster.url(FAULTS), threading.Event()
    seen: list[tuple[float, float, tuple[int, str | None, str | None]]] = []

    def load(value: float) -> None:
        with httpx.Client(base_url=url, timeout=60) as client:
            while not stop.is_set():
                begun = time.monotonic()
                answer = client.post("/v2/models/remote/infer", content=body(value))
                kind = answer.status_code, answer.headers.get("taxiway-error"), answer.headers.get("retry-after")
                seen.append((begun, time.monotonic() - begun, kind))
                if answer.status_code == 200:
                    assert outputs(answer)["answer"] == [value * FACTOR]
                else:
                    stop.wait(0.2)

    def are_answered(since: float) -> bool:
        return sum(begun > since and kind[0] == 200 for begun, _, kind in seen) > 10

    with ThreadPoolExecutor(6) as pool:
        asking = [pool.submit(load, float(value)) for value in range(6)]
        eventually(lambda: are_answered(0.0))
        (victim,) = running.cluster.processes(f"{FAULTS}:remote-alone")
        victim.kill()
        killed = time.monotonic()
        eventually(lambda: not victim.is_running())
        back_s = eventually(lambda: are_answered(killed + 1.0), within_s=300)
        stop.set()
        for it in asking:
            it.result()
    kinds, longest_s = Counter(kind for *_, kind in seen), max(seconds for _, seconds, _ in seen)
    print(f"dedicated replica killed: {dict(kinds)}, back after {back_s:.1f} s, longest {longest_s:.1f} s")
    assert set(kinds) <= {(200, None, None), (503, "variant_unavailable", "1"), (503, "overloaded", "1")}


def test_a_row_that_ends_its_process_is_not_asked_again_for_ever(running: Serving) -> None:
    url = running.cluster.url(FAULTS)
    guilty = ask(url, "remote", DEADLY)
    assert (guilty.status_code, guilty.headers["retry-after"]) == (503, "1")
    eventually(lambda: ask(url, "remote", 1.0).status_code == 200, within_s=300)
    assert len(running.cluster.processes(f"{FAULTS}:remote-alone")) == 1


def test_a_fallback_answers_at_once_while_its_dedicated_node_is_dead(running: Serving) -> None:
    own, other = (running.expected[version][5] for version in ("1", "2"))
    request, values, slowest = question(parcels(1, 5)), [own], 0.0
    (victim,) = running.cluster.processes(f"{FAULTS}:guarded-graph-remote")
    victim.kill()
    killed = time.monotonic()
    with httpx.Client(base_url=running.cluster.url(FAULTS), timeout=60) as client:
        while other not in values or values[-10:] != [own] * 10:
            assert time.monotonic() < killed + 60, Counter(values)
            begun = time.monotonic()
            values += outputs(client.post("/v2/models/guarded/infer", json=request))["probability"]
            slowest = max(slowest, time.monotonic() - begun)
            time.sleep(0.02)
    print(f"fallback: {Counter(values)}, slowest {slowest:.2f} s, back after {time.monotonic() - killed:.1f} s")
    assert set(values) == {own, other}
    assert slowest < 1.5


def test_goodput_holds_at_three_times_the_capacity_and_latency_is_normal_afterwards(running: Serving) -> None:
    port = running.cluster.port(FAULTS)
    request = body(*[1.0] * (BATCH_ROWS // 2))  # two of them are a batch
    alone_s = np.median([it for _ in range(5) for it in _offer(port, request, 1, 0.0, 0.05).answered])
    capacity = len(_offer(port, request, 6, 0.0, 3.0).answered) / 3
    load = _offer(port, request, 45, 45 / (3.2 * capacity), 5.0)
    after_s = _offer(port, request, 1, 0.0, 0.05).answered[0]
    offered, goodput = (len(load.answered) + len(load.refused)) / 5, len(load.answered) / 5
    refusals_s = np.percentile(load.refused, [50, 95, 99])
    print(f"capacity {capacity:.0f}/s, offered {offered:.0f}/s, goodput {goodput:.0f}/s")
    print(f"refused after {refusals_s.round(4)} s, answered after {np.percentile(load.answered, [50, 99]).round(3)} s")
    print(f"alone {alone_s:.3f} s, afterwards {after_s:.3f} s")
    assert offered > 2.7 * capacity
    assert goodput > 0.8 * capacity
    assert refusals_s[1] < 0.05
    assert after_s < 2 * alone_s + 0.02


@dataclass
class Offered:
    """Seconds of what was answered and of what was refused."""

    answered: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)


def _offer(port: int, request: str, threads: int, every_s: float, seconds: float) -> Offered:
    """Each thread begins a request every `every_s`, or one after the other."""
    found, end = Offered(), time.monotonic() + seconds

    def load(position: int) -> None:
        connection = HTTPConnection("127.0.0.1", port, timeout=30)
        due = time.monotonic() + every_s * position / threads
        while due < end:
            time.sleep(max(due - time.monotonic(), 0))
            begun = time.monotonic()
            connection.request("POST", "/v2/models/slow/infer", request)
            answer = connection.getresponse()
            answer.read()
            took_s = time.monotonic() - begun
            if answer.status == 200:
                found.answered.append(took_s)
            else:
                assert (answer.status, answer.headers["retry-after"]) == (503, "1")
                found.refused.append(took_s)
            due = max(due + every_s, begun) if every_s else time.monotonic()
        connection.close()

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(load, range(threads)))
    return found


# The end.


def test_serve_shutdown_loses_no_accepted_request(running: Serving) -> None:
    accepted: list[str] = []
    refused = 0
    with loaded(running.clients(triton=0, grpc=0), running.expected, {CHAMPION_1, CHALLENGER_3}) as load:
        running.cluster.shut_down()
        eventually(lambda: not running.replicas(), within_s=300)
    accepted = [it for it in load.failures if "ConnectError" not in it]
    refused = len(load.failures) - len(accepted)
    print(f"shutdown: {len(load.answers)} answers, then {refused} refused connections")
    assert accepted == []
    assert load.wrong == []
    assert refused > 0
