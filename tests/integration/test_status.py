"""The status, readiness and metrics of an ingress whose loop is the test's own, without a socket and without Ray."""

import asyncio
import json
import random
import threading
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest

from serve.http_protocol import Answer, HttpRequest
from serve.ingress import Ingress
from serve.progress import Told
from serve.sampled import NOBODY, Sampler
from serve.settings import AdminSettings, CostSettings, EndpointSettings, ServeSettings
from serve.status import Observed, StatusPages
from serve.status_facts import Status
from taxiway.errors import TaxiwayError
from taxiway.settings import RegistrySettings
from taxiway.signature import RejectCode
from taxiway.slo import SloSettings
from taxiway.telemetry.metrics import ServingMetrics
from taxiway.telemetry.process import Usage
from tests.heard import Heard, listening
from tests.integration.test_ingress import question
from tests.tiny_model import parcels, register, registry_settings

TOKEN = "a-token-of-the-tests"
INFER = "/v2/models/parcel/infer"
GOOD = json.dumps(question(parcels(2))).encode()


def settings(registry: RegistrySettings, **rest: Any) -> ServeSettings:
    slo = SloSettings(availability=0.9, latency_ms=10_000)
    endpoint = EndpointSettings(name="parcel", model="models:/parcel@champion", slo=slo)
    return ServeSettings(endpoints=(endpoint,), registry=registry, **rest)


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> RegistrySettings:
    folder = tmp_path_factory.mktemp("registry")
    register(folder)
    return registry_settings(folder)


@pytest.fixture
def ingress(registry: RegistrySettings) -> Ingress:
    # A controller that hears nothing: with one there is a recorder.
    return Ingress("parcels", settings(registry, status_page=True), controller=SimpleNamespace())


def request(path: str, body: bytes = b"", method: str | None = None, **headers: str) -> HttpRequest:
    given = {name.replace("_", "-").encode(): value.encode() for name, value in headers.items()}
    return HttpRequest(method or ("POST" if body else "GET"), path, b"", given, body, "10.0.0.7", time.monotonic())


def answers(ingress: Ingress, requests: Iterable[HttpRequest]) -> list[Answer]:
    return asyncio.run(_answers(ingress, requests))


async def _answers(ingress: Ingress, requests: Iterable[HttpRequest]) -> list[Answer]:
    found: list[Answer] = []
    for count, one in enumerate(requests, start=1):
        answered: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        ingress.http(one, answered.set_result)
        found.append(await asyncio.wait_for(answered, 60))
        if count % 500 == 0:
            _hand_over(ingress)
    _hand_over(ingress)
    return found


def _hand_over(ingress: Ingress) -> None:
    if ingress._recorder is not None:
        ingress._recorder.count()
    ingress._sampler.look(now=True)
    ingress.metrics.flush(now=True)


def told(ingress: Ingress) -> Any:
    (answer,) = answers(ingress, [request("/status.json")])
    assert answer.status == 200
    return json.loads(answer.body)


def test_the_status_tells_versions_shares_and_counts(ingress: Ingress) -> None:
    bad = json.dumps({"inputs": []}).encode()
    answers(ingress, [*[request(INFER, GOOD)] * 3, request(INFER, bad)])
    status = told(ingress)
    assert (status["application"], status["ready"], status["reason"]) == ("parcels", True, None)
    (endpoint,) = status["endpoints"]
    (variant,) = endpoint["variants"]
    assert {key: variant[key] for key in ("name", "version", "share", "state", "error")} == {
        "name": "champion", "version": "1", "share": 100, "state": "ready", "error": None,
    }  # fmt: skip
    assert variant["models"] == ["models:/parcel/1"]
    assert (variant["counted"]["requests"], variant["counted"]["failures"]) == (3, 0)
    assert 0 < variant["counted"]["p50_ms"] <= variant["counted"]["p99_ms"]
    assert (endpoint["counted"]["requests"], endpoint["counted"]["refused"]) == (4, 1)
    assert [(it["bad"], it["of"], it["left"]) for it in endpoint["budgets"]] == [(0, 4, 1.0), (0, 3, 1.0)]
    assert status["memory_bytes"] > 50_000_000


def test_the_page_shows_the_same_without_a_script(ingress: Ingress) -> None:
    answers(ingress, [request(INFER, GOOD)])
    ingress.live._endpoints[0].baseline_variant.error = "<script>alert(1)</script>"
    (answer,) = answers(ingress, [request("/status")])
    page = answer.body.decode()
    assert (b"content-type", b"text/html; charset=utf-8") in answer.headers
    assert all(word in page for word in ("parcels", "champion", "90 % of requests", "failed"))
    assert "<script" not in page
    assert "&lt;script&gt;" in page


def test_a_status_that_is_not_open_needs_the_admin_token(registry: RegistrySettings) -> None:
    closed = Ingress("parcels", settings(registry, admin=AdminSettings(token=TOKEN)))
    asked = [request("/status", authorization=it) for it in ("", "Bearer x", f"Bearer {TOKEN}")]
    assert [it.status for it in answers(closed, asked)] == [401, 403, 200]


def test_without_a_token_and_unless_it_is_open_there_is_no_status(registry: RegistrySettings) -> None:
    assert [it.status for it in answers(Ingress("parcels", settings(registry)), [request("/status")])] == [404]


PROBES = ("/v2/health/ready", "/-/healthz", "/ping", "/health")


def probed(ingress: Ingress, *paths: str) -> list[int]:
    return [it.status for it in answers(ingress, map(request, paths))]


def test_a_replica_is_not_ready_while_a_model_is_missing_or_it_drains(ingress: Ingress) -> None:
    assert probed(ingress, *PROBES, "/v2/models/parcel/ready", "/v2/models/parcel/versions/1/ready") == [200] * 6
    variant = ingress.service.endpoints["parcel"].baseline_variant
    slot, variant.slot = variant.slot, None
    assert probed(ingress, *PROBES) == [503] * 4
    assert told(ingress)["reason"] == "parcel: no model is loaded yet"
    variant.slot, ingress.service.draining = slot, True
    assert probed(ingress, *PROBES, "/v2/models/parcel/ready") == [503] * 5
    assert probed(ingress, "/v2/health/live", "/") == [200, 200]


class Still:
    """A status of nothing; remembers what was told."""

    def __init__(self) -> None:
        self.told: list[Mapping[str, Told]] = []

    def status(self, told: Mapping[str, Told]) -> Status:
        self.told.append(told)
        return Status("a", "1", True, None, 0, 0.0, 0, 1.0, 1.0, (), (), ())


def test_a_registry_that_hangs_is_asked_once_and_keeps_no_page_waiting_for_ever() -> None:
    still, release, calls = Still(), threading.Event(), list[int]()

    def ask() -> Mapping[str, Told]:
        calls.append(1)
        release.wait(10)
        return {"parcel": Told(("Rollout: none yet.",))}

    pages = StatusPages(cast("Observed", still), ask, None, patience_s=0.05)
    handler = pages.routes()["/status.json"].handler

    async def look() -> int:
        answered: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        handler(request("/status.json"), answered.set_result)
        return (await answered).status

    async def main() -> list[int]:
        found = [await look(), *await asyncio.gather(look(), look())]
        release.set()
        while "parcel" not in still.told[-1]:
            found.append(await look())
        return found

    assert set(asyncio.run(asyncio.wait_for(main(), 60))) == {200}
    assert calls == [1]
    assert still.told[0] == {}


def test_phases_and_versions_and_queues_are_measured(ingress: Ingress) -> None:
    heard = listening(ingress.metrics)
    answers(ingress, [request(INFER, GOOD), request("/v1/models/parcel:predict", b"{}")])
    where = {"endpoint": "parcel", "variant": "champion"}
    phases = heard["taxiway_phase_duration_seconds_count"]
    assert [phases.last(**where, phase=it) for it in ("queue", "score", "inference", "encode")] == [1] * 4
    assert heard["taxiway_request_duration_seconds_count"].last(**where, protocol="open_inference") == 1
    assert heard["taxiway_model_info"].last(**where, version="1") == 1
    assert heard["taxiway_model_load_seconds"].last(**where) > 0
    assert heard["taxiway_queue_rows"].last(**where, kind="live") == 0
    assert heard["taxiway_ongoing_requests"].last() == 0
    assert heard["taxiway_replica_memory_bytes"].last() > 50_000_000
    # parcels() leaves out a fifth of the weights, and every comment.
    assert heard["taxiway_missing_inputs_total"].of(**where, column="comment") == 2


def test_cpu_time_is_shared_out_by_the_time_of_models(ingress: Ingress, registry: RegistrySettings) -> None:
    metrics = ServingMetrics()
    heard = listening(metrics)
    clock, used = [10.0], [3.0]
    prices = settings(registry, cost=CostSettings(cpu_second=2.0, gpu_second=10.0), ingress={"gpus": 0.5})
    sampler = Sampler(metrics, ingress.service, prices, {}, None, lambda: Usage(used[0], 7, 0), lambda: clock[0])
    for variant, seconds in (("champion", 0.6), ("challenger", 0.2)):
        metrics.phase("parcel", variant, "inference", seconds)
    metrics.flush()
    clock[0], used[0] = 12.0, 7.0
    sampler.look()
    clock[0], used[0] = 13.0, 7.5
    sampler.look()
    metrics.flush()
    cpu, gpu, cost = (heard[f"taxiway_{name}_total"] for name in ("cpu_seconds", "gpu_seconds", "cost"))
    champion = {"endpoint": "parcel", "variant": "champion"}
    nobody = dict(zip(("endpoint", "variant"), NOBODY, strict=True))
    assert [it.of(**champion) for it in (cpu, gpu, cost)] == pytest.approx([3.0, 0.75, 13.5])
    assert (cpu.of(**nobody), gpu.of(**nobody)) == (0.5, 0.5)
    assert sum(cpu.total.values()) == pytest.approx(4.5)


def garbage(number: int, seed: int) -> Iterable[HttpRequest]:
    """Requests as of somebody who tries what happens: some of them are right."""
    chance = random.Random(seed)  # noqa: S311 - any garbage will do

    def word() -> str:
        return "".join(chance.choices("abcdefghijklmnopqrstuvwxyzäß%./: ", k=chance.randrange(1, 30)))

    def body() -> bytes:
        columns = parcels(2, chance.randrange(1_000))
        asked = question(columns)
        kind = chance.randrange(5)
        if kind == 0:
            return chance.randbytes(40)
        if kind == 1:
            return json.dumps({word(): word() for _ in range(5)}).encode()
        if kind == 2:
            asked["inputs"][0]["name"] = word()
        if kind == 3:
            asked["inputs"].append({"name": word(), "datatype": word(), "shape": [1], "data": [word()]})
        return json.dumps(asked).encode()

    for _ in range(number):
        paths = (INFER, f"/{word()}", f"/v2/models/{word()}/infer", f"{INFER}/{word()}", "/v2/models/parcel/ready")
        versioned = f"/v2/models/parcel/versions/{word()}/infer"
        path = chance.choice([*paths, versioned, f"/predictions/{word()}", "/invocations"])
        names = (
            "taxiway_model_version",
            "taxiway_timeout_ms",
            "content_encoding",
            "content_type",
            "traceparent",
            "x_" + "y",
        )
        headers = {name: word().encode("ascii", "ignore").decode() for name in names if chance.random() < 0.05}
        method = chance.choice(["POST"] * 8 + ["GET", word()])
        yield request(path, body(), method, **headers)


def elements(root: object) -> int:
    """How many elements all containers hold that an object of ours leads to."""
    known, waiting, found = set[int](), [root], 0
    while waiting:
        it = waiting.pop()
        if id(it) in known:
            continue
        known.add(id(it))
        if isinstance(it, Mapping):
            found += len(it)
            waiting += [*it.keys(), *it.values()]
        elif isinstance(it, list | tuple | set | frozenset | deque):
            found += len(it)
            waiting += list(it)
        elif type(it).__module__.split(".")[0] in ("serve", "taxiway"):
            slots = [name for kind in type(it).__mro__ for name in getattr(kind, "__slots__", ())]
            waiting += [*vars(it).values()] if hasattr(it, "__dict__") else [getattr(it, name, None) for name in slots]
    return found


def series(heard: Mapping[str, Heard]) -> set[tuple[str, Any]]:
    return {(name, tags) for name, it in heard.items() for tags in [*it.total, *it.levels]}


def codes() -> set[str]:
    below: Sequence[type[TaxiwayError]] = [TaxiwayError]
    found = {"ok", "cancelled", *map(str, RejectCode)}
    while below:
        found |= {it.code for it in below}
        below = [deeper for it in below for deeper in it.__subclasses__()]
    return found


def test_garbage_leaves_nothing_that_grows(ingress: Ingress) -> None:
    """An hour of it is the same again and again: what has not grown from 700 to 2,700 requests does not grow."""
    heard = listening(ingress.metrics)
    first = answers(ingress, garbage(700, seed=1))
    some, held = series(heard), elements(ingress)
    second = answers(ingress, garbage(2_000, seed=2))
    seen = {it.status for it in first + second}
    assert {200, 400, 404, 405} <= seen <= {200, 400, 404, 405, 413, 415, 503, 504}
    requests = heard["taxiway_requests_total"].total
    assert sum(requests.values()) >= 0.8 * 2_700
    assert {dict(tags)["code"] for tags in requests} <= codes()
    assert {dict(tags)["endpoint"] for tags in requests} == {"parcel", "-"}
    assert len(series(heard)) <= len(some) + 10
    # The recorder counts answers in bins, up to 400 an output; each slice of time has a few numbers.
    assert elements(ingress) <= held + 400
