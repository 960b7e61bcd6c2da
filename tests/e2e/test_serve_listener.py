"""One contract, three doors: a listener of our own, and behind Ray Serve's proxies at `/` and below a prefix. One Ray.

The suite is also right for Serve's other modes: run it with RAY_SERVE_THROUGHPUT_OPTIMIZED=1, and with
RAY_SERVE_ENABLE_HA_PROXY=1 beside it.
"""

import gzip
import json
import socket
import struct
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import grpc
import httpx
import numpy as np
import psutil
import pytest
import tritonclient.grpc
import tritonclient.http
from grpc_health.v1 import health_pb2, health_pb2_grpc

from serve.grpc_serve import SERVICER_FUNCTION
from serve.settings import EndpointSettings, LiveSettings, VariantSettings
from serve.traffic import live_table
from taxiway.protocols import open_inference_pb2 as pb
from taxiway.registry import CHAMPION, ModelVersion, Registry
from taxiway.signature import Array
from taxiway.traffic import TrafficSettings
from tests.faulty_models import register_faulty
from tests.integration.test_clients import tensors
from tests.integration.test_ingress import DATATYPES, INFER, question
from tests.integration.test_variants import eventually
from tests.load import SEEDS, Ask, Client, keep_alive, loaded
from tests.ports import free_port
from tests.serving_cluster import Cluster
from tests.tiny_model import parcels, register, registry_settings

pytestmark = pytest.mark.timeout(600)

BODY_BYTES, ROWS, QUEUE_REQUESTS = 100_000, 50, 8
SLOW_S = 1.5
LIVE_S = 3.0
TOKEN = "a-token-for-the-tests"
PREFIXES = {"own": None, "front": "/", "below": "/several/below"}
"""Where each application is mounted; None: its replicas listen themselves."""
MODEL_INFER = "/inference.GRPCInferenceService/ModelInfer"


@dataclass(frozen=True)
class Door:
    """One application, as its clients see it."""

    name: str
    url: str
    grpc_address: str

    @property
    def metadata(self) -> dict[str, str]:
        """Serve's gRPC port asks for the application; ours takes no notice."""
        return {"application": self.name}

    @property
    def address(self) -> str:
        return self.url.removeprefix("http://")

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=30)

    def ongoing(self) -> int:
        return int(httpx.get(f"{self.url}/-/status", timeout=30).json()["ongoing"])


class Doors(Cluster):
    """A `serve run` with all three applications."""

    def url(self, application: str) -> str:
        prefix = PREFIXES[application]
        port = self.port(application) if prefix is None else self.config["http_options"]["port"]
        return f"http://127.0.0.1:{port}{(prefix or '').rstrip('/')}"

    def door(self, application: str) -> Door:
        own = self.application(application)["args"]["listener"]
        options = self.config["grpc_options"] if own == "serve" else {"port": own["grpc_port"]}
        return Door(application, self.url(application), f"127.0.0.1:{options['port']}")


@dataclass(frozen=True)
class Serving:
    cluster: Doors
    registry: Registry
    versions: list[ModelVersion]

    def predict(self, columns: dict[str, Array], version: int = 1) -> list[float]:
        """What the registered model itself says."""
        predictor = self.registry.load(self.versions[version - 1]).predictor
        return list(predictor.predict(columns)["probability"].tolist())


def config(folder: Path) -> dict[str, Any]:
    variants = [{"name": name, "model": f"models:/parcel@{name}"} for name in ("champion", "challenger")]
    arguments = {
        "endpoints": [{"name": "parcel", "variants": variants}, {"name": "slow", "model": "models:/slow@champion"}],
        "registry": registry_settings(folder).model_dump(exclude_none=True),
        "limits": {"body_bytes": BODY_BYTES, "rows": ROWS, "queue_requests": QUEUE_REQUESTS},
        "ingress": {"cpus": 0.1},
        "admin": {"token": TOKEN},
    }
    own = {"host": "127.0.0.1", "port": free_port(), "grpc_port": free_port(), "drain_s": 4}
    return {
        "proxy_location": "HeadOnly",
        "http_options": {"host": "127.0.0.1", "port": free_port()},
        "grpc_options": {"port": free_port(), "grpc_servicer_functions": [SERVICER_FUNCTION]},
        "applications": [
            {
                "name": name,
                # An application needs a place even where no proxy is asked for it.
                "route_prefix": prefix or "/nobody-asks-here",
                "import_path": "serve.app:build",
                "args": arguments | {"listener": own if prefix is None else "serve"},
                "deployments": [{"name": "ingress", "user_config": {"traffic": {"parcel": only("champion")}}}],
            }
            for name, prefix in PREFIXES.items()
        ],
    }


def only(variant: str) -> dict[str, Any]:
    return {"weights": {variant: 100}}


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    folder = tmp_path_factory.mktemp("home")
    registry = Registry(registry_settings(folder))
    versions = [register(folder, seed=seed) for seed in (0, 7)]
    registry.point(CHAMPION, versions[0])
    registry.point("challenger", versions[1])
    register_faulty(folder, "slow", factor=3.0, call_s=SLOW_S)
    cluster = Doors(folder, config(folder))
    try:
        cluster.wait_until_ready()
        yield Serving(cluster, registry, versions)
    finally:
        cluster.stop()


@pytest.fixture(params=PREFIXES)
def door(request: pytest.FixtureRequest, serving: Serving) -> Door:
    return serving.cluster.door(request.param)


@pytest.fixture
def client(door: Door) -> Iterator[httpx.Client]:
    with door.client() as client:
        yield client


def columns(rows: int, seed: int = 0) -> dict[str, Array]:
    return {name: values for name, values in parcels(rows, seed).items() if name not in ("comment", "weight")}


def whole(given: dict[str, Array]) -> dict[str, Array]:
    rows = len(given["size"])
    return given | {"weight": np.full(rows, np.nan), "comment": np.full(rows, None)}


def message(model: str = "parcel", **value: Any) -> bytes:
    """A ModelInferRequest of one row."""
    row = {"color": b"red", "size": 1.5, "count": 3} | value
    fields = {"BYTES": "bytes_contents", "FP64": "fp64_contents", "INT64": "int64_contents"}
    inputs = []
    for name, one in row.items():
        datatype = DATATYPES.get(name, "FP64")
        contents = pb.InferTensorContents(**{fields[datatype]: [one]})
        inputs.append(pb.ModelInferRequest.InferInputTensor(name=name, datatype=datatype, shape=[1], contents=contents))
    return pb.ModelInferRequest(model_name=model, inputs=inputs).SerializeToString()


@dataclass(frozen=True)
class Told:
    """How an RPC ended."""

    code: grpc.StatusCode
    details: str
    trailers: dict[str, Any]


def rpc(door: Door, sent: bytes, timeout: float = 30.0, **metadata: str) -> Told:
    headers = (door.metadata | {name.replace("_", "-"): value for name, value in metadata.items()}).items()
    with grpc.insecure_channel(door.grpc_address) as channel:
        call = channel.unary_unary(MODEL_INFER).future(sent, timeout=timeout, metadata=tuple(headers))
        return Told(call.code(), call.details(), dict(call.trailing_metadata()))


def test_tritons_http_client_reads_health_metadata_and_the_index(door: Door) -> None:
    with tritonclient.http.InferenceServerClient(door.address) as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("parcel")
        assert client.get_server_metadata()["name"] == "taxiway"
        metadata = client.get_model_metadata("parcel")
        assert [(tensor["name"], tensor["datatype"]) for tensor in metadata["inputs"]] == list(DATATYPES.items())
        index = [(entry["name"], entry["version"]) for entry in client.get_model_repository_index()]
        assert index == [("parcel", "1"), ("parcel", "2"), ("slow", "1")]


def test_tritons_grpc_client_reads_health_and_metadata(door: Door) -> None:
    with tritonclient.grpc.InferenceServerClient(door.grpc_address) as client:
        assert client.is_server_live(headers=door.metadata)
        assert client.is_server_ready(headers=door.metadata)
        assert client.is_model_ready("parcel", headers=door.metadata)
        assert not client.is_model_ready("nobody", headers=door.metadata)
        assert client.get_server_metadata(headers=door.metadata).name == "taxiway"
        inputs = client.get_model_metadata("parcel", headers=door.metadata).inputs
        assert [tensor.name for tensor in inputs] == list(DATATYPES)
    with grpc.insecure_channel(door.grpc_address) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        told = health.Check(health_pb2.HealthCheckRequest(), metadata=tuple(door.metadata.items()))
        assert told.status == health_pb2.HealthCheckResponse.SERVING


def test_json_answers_hold_the_models_own_bits(client: httpx.Client, serving: Serving) -> None:
    asked = parcels(ROWS, seed=4)
    answer = client.post(INFER, json=question(asked)).raise_for_status().json()
    assert answer["outputs"][0]["data"] == serving.predict(asked)


@pytest.mark.parametrize("compression", [None, "gzip", "deflate"])
def test_binary_answers_hold_the_models_own_bits(door: Door, serving: Serving, compression: str | None) -> None:
    asked = columns(ROWS, seed=5)
    with tritonclient.http.InferenceServerClient(door.address) as client:
        wanted = [tritonclient.http.InferRequestedOutput("probability", binary_data=True)]
        inputs = tensors(tritonclient.http, asked, binary_data=True)
        answer = client.infer("parcel", inputs, outputs=wanted, request_compression_algorithm=compression)
    assert answer.as_numpy("probability").tolist() == serving.predict(whole(asked))


def test_grpc_answers_hold_the_models_own_bits(door: Door, serving: Serving) -> None:
    asked = columns(ROWS, seed=6)
    with tritonclient.grpc.InferenceServerClient(door.grpc_address) as client:
        answer = client.infer("parcel", tensors(tritonclient.grpc, asked), request_id="g1", headers=door.metadata)
    assert answer.as_numpy("probability").tolist() == serving.predict(whole(asked))
    assert (answer.get_response().id, answer.get_response().model_version) == ("g1", "1")


def test_rows_of_other_protocols_are_answered(client: httpx.Client, serving: Serving) -> None:
    asked = columns(2)
    rows = [
        {name: values[row].item() if name != "color" else values[row] for name, values in asked.items()}
        for row in (0, 1)
    ]
    expected = serving.predict(whole(asked))
    assert client.post("/v1/models/parcel:predict", json={"instances": rows}).json() == {"predictions": expected}
    assert client.post("/predictions/parcel", json=rows).json() == expected
    assert client.post("/models/parcel/invocations", json={"dataframe_records": rows}).json()["predictions"] == expected


def test_an_answer_names_its_variant_version_and_prediction(door: Door, client: httpx.Client) -> None:
    response = client.post(INFER, json=question(parcels(1), id="mine"))
    answer = response.json()
    assert (answer["model_name"], answer["model_version"], answer["id"]) == ("parcel", "1", "mine")
    assert uuid.UUID(response.headers["taxiway-prediction-id"]).version == 7
    assert response.headers["taxiway-prediction-id"] == answer["parameters"]["prediction_id"]
    assert (response.headers["taxiway-variant"], response.headers["taxiway-model-version"]) == ("champion", "1")
    told = rpc(door, message())
    assert told.code == grpc.StatusCode.OK
    assert uuid.UUID(told.trailers["taxiway-prediction-id"]).version == 7
    assert (told.trailers["taxiway-variant"], told.trailers["taxiway-model-version"]) == ("champion", "1")


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code", "complaint"),
    [
        ("POST", INFER, b"{", 400, "malformed_request", "the body is not JSON"),
        ("POST", INFER, b"\x00\xff", 400, "malformed_request", "the body is not JSON"),
        ("POST", INFER, b'{"inputs": []}', 400, None, ""),
        ("POST", "/v2/models/nothing/infer", b"{}", 404, "not_found", "served here: parcel, slow"),
        ("POST", "/v2/models/parcel/versions/7/infer", b"{}", 404, "not_found", "served here: parcel, slow"),
        ("GET", "/etc/passwd", b"", 404, "not_found", "no such path: /etc/passwd"),
        ("GET", INFER, b"", 405, "method_not_allowed", f"{INFER} takes POST, not GET"),
        ("DELETE", "/v2/models/parcel", b"", 405, "method_not_allowed", "takes GET, not DELETE"),
        ("POST", INFER, b"x" * (BODY_BYTES + 1), 413, "payload_too_large", "the body has 100001 bytes, at most 100000"),
    ],
)
def test_an_error_has_its_status_its_code_and_a_sentence(
    client: httpx.Client, method: str, path: str, body: bytes, status: int, code: str | None, complaint: str
) -> None:
    response = client.request(method, path, content=body)
    assert response.status_code == status
    assert list(response.json()) == ["error"]
    assert complaint in response.json()["error"]
    assert code in (None, response.headers["taxiway-error"])
    assert client.get("/v2/health/live").json() == {"live": True}


def test_a_bad_value_is_named_and_harms_no_neighbour(door: Door, client: httpx.Client, serving: Serving) -> None:
    asked = parcels(3, seed=8)
    bad = asked | {"color": np.array(["red", "pink", "red"], dtype=object)}

    def ask(given: dict[str, Array]) -> httpx.Response:
        return client.post(INFER, json=question(given))

    with ThreadPoolExecutor(6) as pool:
        good, refused = list(pool.map(ask, [asked] * 3)), list(pool.map(ask, [bad] * 3))
    for response in refused:
        assert (response.status_code, response.headers["taxiway-error"]) == (400, "unknown_category")
        assert "color: got 'pink', expected one of red, green, blue (row 1)" in response.json()["error"]
    assert [response.json()["outputs"][0]["data"] for response in good] == [serving.predict(asked)] * 3


def test_a_body_over_the_limit_is_refused_however_it_comes(client: httpx.Client) -> None:
    assert client.post(INFER, content=(b" " * 10_000 for _ in range(20))).status_code == 413
    bomb = gzip.compress(b" " * 10_000_000)
    assert client.post(INFER, content=bomb, headers={"content-encoding": "gzip"}).status_code == 413
    assert client.post(INFER, json=question(parcels(ROWS + 1))).status_code == 413
    body = json.dumps(question(parcels(ROWS))).encode() + b" " * 80_000
    pieces = (body[at : at + 1_000] for at in range(0, len(body), 1_000))
    assert client.post(INFER, content=pieces).status_code == 200


@pytest.mark.parametrize(
    ("sent", "code", "details"),
    [
        (b"\xff", grpc.StatusCode.INVALID_ARGUMENT, ""),
        (message(color=b"pink"), grpc.StatusCode.INVALID_ARGUMENT, "color: got 'pink', expected one of red"),
        (message("nobody"), grpc.StatusCode.NOT_FOUND, "no such model: 'nobody'; served here: parcel, slow"),
        (b"\x00" * (BODY_BYTES + 1), grpc.StatusCode.RESOURCE_EXHAUSTED, ""),
    ],
)
def test_an_rpc_that_fails_has_its_status_code(door: Door, sent: bytes, code: grpc.StatusCode, details: str) -> None:
    told = rpc(door, sent)
    assert told.code == code
    assert details in told.details
    assert rpc(door, message()).code == grpc.StatusCode.OK


def test_head_answers_with_the_length_and_no_body(client: httpx.Client) -> None:
    got, head = client.get("/v2/models/parcel"), client.head("/v2/models/parcel")
    assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", str(len(got.content)))


def test_a_deadline_is_kept(door: Door, client: httpx.Client) -> None:
    body, begin = {"inputs": [{"name": "value", "datatype": "FP64", "shape": [1], "data": [1.0]}]}, time.monotonic()
    late = client.post("/v2/models/slow/infer", json=body, headers={"taxiway-timeout-ms": "200"})
    assert (late.status_code, late.headers["taxiway-error"]) == (504, "deadline_exceeded")
    told = rpc(door, slow_message(), taxiway_timeout_ms="200")
    assert (told.code, told.trailers["taxiway-error"]) == (grpc.StatusCode.DEADLINE_EXCEEDED, "deadline_exceeded")
    assert rpc(door, slow_message(), timeout=0.3).code == grpc.StatusCode.DEADLINE_EXCEEDED
    assert time.monotonic() - begin < 2 * SLOW_S
    eventually(lambda: door.ongoing() == 0)
    assert client.post("/v2/models/slow/infer", json=body).json()["outputs"][0]["data"] == [3.0]


def slow_message() -> bytes:
    contents = pb.InferTensorContents(fp64_contents=[1.0])
    tensor = pb.ModelInferRequest.InferInputTensor(name="value", datatype="FP64", shape=[1], contents=contents)
    return pb.ModelInferRequest(model_name="slow", inputs=[tensor]).SerializeToString()


@contextmanager
def slow_over_http(door: Door) -> Iterator[None]:
    parts = urlsplit(door.url)
    body = json.dumps({"inputs": [{"name": "value", "datatype": "FP64", "shape": [1], "data": [1.0]}]}).encode()
    head = f"POST {parts.path}/v2/models/slow/infer HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n".encode()
    with socket.create_connection((str(parts.hostname), int(parts.port or 0))) as connection:
        connection.sendall(head + body)
        yield
        # A reset: who closes his side only may still read.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@contextmanager
def slow_over_grpc(door: Door) -> Iterator[None]:
    with grpc.insecure_channel(door.grpc_address) as channel:
        call = channel.unary_unary(MODEL_INFER).future(slow_message(), metadata=tuple(door.metadata.items()))
        yield
        call.cancel()


@pytest.mark.parametrize("asking", [slow_over_http, slow_over_grpc])
def test_a_client_that_goes_away_is_not_worked_for(door: Door, asking: Any) -> None:
    with asking(door):
        eventually(lambda: door.ongoing() == 1)
        # One call of the model is on its way; what waits behind it is begun only if somebody waits for it.
        with asking(door):
            eventually(lambda: door.ongoing() == 2)
        assert eventually(lambda: door.ongoing() == 1) < SLOW_S / 2
    assert eventually(lambda: door.ongoing() == 0) < SLOW_S


def test_over_capacity_requests_are_refused_in_the_protocols_form(door: Door) -> None:
    body = {"inputs": [{"name": "value", "datatype": "FP64", "shape": [1], "data": [1.0]}]}

    def ask(_: int) -> httpx.Response:
        return httpx.post(f"{door.url}/v2/models/slow/infer", json=body, timeout=60)

    with ThreadPoolExecutor(40) as pool:
        answers = list(pool.map(ask, range(40)))
    refused = [answer for answer in answers if answer.status_code == 503]
    assert {answer.status_code for answer in answers} == {200, 503}
    assert len(answers) - len(refused) >= QUEUE_REQUESTS
    assert {(answer.headers["retry-after"], answer.headers["taxiway-error"]) for answer in refused} == {
        ("1", "overloaded")
    }
    assert door.ongoing() == 0


def test_what_people_look_at_is_there(client: httpx.Client) -> None:
    assert "parcel" in client.get("/docs").text
    assert client.get("/openapi.json").json()["paths"]
    assert client.get("/admin/status").status_code == 401
    told = client.get("/admin/status", headers={"authorization": f"Bearer {TOKEN}"}).json()
    assert told["endpoints"]["parcel"]["variants"]["champion"]["version"] == "1"


def test_requests_are_counted(client: httpx.Client, serving: Serving) -> None:
    def counted() -> float:
        lines = [line for line in serving.cluster.metrics().splitlines() if "taxiway_requests_total{" in line]
        return sum(float(line.rpartition(" ")[2]) for line in lines if 'code="unknown_column"' in line)

    before = counted()
    for _ in range(5):
        asked = question(parcels(1))
        asked["inputs"].append({"name": "weird", "datatype": "FP64", "shape": [1], "data": [1.0]})
        assert client.post(INFER, json=asked).status_code == 400
    eventually(lambda: counted() == before + 5, within_s=30)


def test_a_moved_alias_answers_without_a_restart(door: Door, client: httpx.Client, serving: Serving) -> None:
    asked = parcels(5, seed=9)
    expected = {str(version): serving.predict(asked, version) for version in (1, 2)}

    def answered_by(version: str) -> bool:
        answer = client.post(INFER, json=question(asked)).raise_for_status().json()
        assert answer["outputs"][0]["data"] == expected[answer["model_version"]]
        return bool(answer["model_version"] == version)

    assert answered_by("1")
    try:
        serving.registry.point(CHAMPION, serving.versions[1])
        eventually(lambda: answered_by("2"), LIVE_S)
        assert client.get("/v2/models/parcel").json()["versions"] == ["2", "2"]
    finally:
        serving.registry.point(CHAMPION, serving.versions[0])
    eventually(lambda: answered_by("1"), LIVE_S)


def test_new_weights_hold_for_http_and_grpc_at_once(door: Door, client: httpx.Client, serving: Serving) -> None:
    variants = tuple(VariantSettings(name=name, model=f"models:/parcel@{name}") for name in ("champion", "challenger"))
    declared = LiveSettings(traffic={"parcel": TrafficSettings(weights={"champion": 100})})
    table = live_table(serving.registry, door.name, EndpointSettings(name="parcel", variants=variants), declared)

    def variant() -> Any:
        return client.post(INFER, json=question(parcels(1))).headers["taxiway-variant"]

    assert variant() == "champion"
    table.write(TrafficSettings(weights={"challenger": 100}), "a test", datetime.now(UTC))
    try:
        eventually(lambda: variant() == "challenger", LIVE_S)
        assert rpc(door, message()).trailers["taxiway-variant"] == "challenger"
    finally:
        table.reset()
    eventually(lambda: variant() == "champion", LIVE_S)


def test_an_application_below_a_prefix_hears_only_of_its_own(serving: Serving) -> None:
    front, below = (serving.cluster.door(name).url for name in ("front", "below"))
    assert httpx.get(f"{below}/-/routes").json() == {"/": "below"}
    assert httpx.get(f"{front}/-/routes").json()["/several/below"] == "below"
    stranger = httpx.get(f"{front}/several/belowish/v2")
    assert (stranger.status_code, stranger.json()["error"]) == (404, "no such path: /several/belowish/v2")
    assert httpx.get(below).status_code == 404


def test_a_declared_traffic_reaches_running_replicas(serving: Serving) -> None:
    processes = {name: serving.cluster.processes(f"{name}:ingress") for name in PREFIXES}

    def variants() -> set[str]:
        urls = [serving.cluster.url(name) for name in PREFIXES]
        return {httpx.post(f"{url}{INFER}", json=question(parcels(1))).headers["taxiway-variant"] for url in urls}

    declare(serving.cluster, "challenger")
    eventually(lambda: variants() == {"challenger"}, within_s=30)
    declare(serving.cluster, "champion")
    eventually(lambda: variants() == {"champion"}, within_s=30)
    assert {name: serving.cluster.processes(f"{name}:ingress") for name in PREFIXES} == processes


def declare(cluster: Doors, variant: str) -> None:
    for application in cluster.config["applications"]:
        application["deployments"][0]["user_config"] = {"traffic": {"parcel": only(variant)}}
    cluster.deploy()


def test_a_killed_replica_behind_serve_is_replaced(serving: Serving) -> None:
    door = serving.cluster.door("below")
    (replica,) = serving.cluster.processes(f"{door.name}:ingress")
    replica.kill()

    def answers() -> bool:
        try:
            return httpx.post(f"{door.url}{INFER}", json=question(parcels(1)), timeout=5).status_code == 200
        except httpx.HTTPError:
            return False

    eventually(answers, within_s=300)


def over_grpc(door: Door) -> Client:
    """A client of the load, on one connection; RPCs that Serve's port refuses while replicas change are failures."""

    def connect() -> tuple[Ask, Callable[[], None]]:
        client = tritonclient.grpc.InferenceServerClient(door.grpc_address)

        def ask(seed: int) -> tuple[str, str, float]:
            asked = tensors(tritonclient.grpc, {name: it for name, it in parcels(1, seed).items() if name != "comment"})
            answer = client.infer("parcel", asked, headers=door.metadata, client_timeout=30)
            said = answer.get_response()
            variant = said.parameters["variant"].string_param
            return variant, said.model_version, float(answer.as_numpy("probability")[0])

        return ask, client.close

    return connect


def test_no_request_is_lost_while_replicas_are_replaced(serving: Serving) -> None:
    cluster = serving.cluster
    doors = [cluster.door(name) for name in PREFIXES]
    expected = {"1": [serving.predict(parcels(1, seed))[0] for seed in range(SEEDS)]}
    old = [process for door in doors for process in cluster.processes(f"{door.name}:ingress")]
    for application in cluster.config["applications"]:
        application["args"] = application["args"] | {"limits": application["args"]["limits"] | {"rows": 7}}

    def updated(door: Door) -> bool:
        """The new replica takes at most seven rows."""
        answers = [httpx.post(f"{door.url}{INFER}", json=question(parcels(8)), timeout=30) for _ in range(3)]
        return all(answer.status_code == 413 for answer in answers)

    clients = [keep_alive(door.url) for door in doors for _ in range(2)]
    clients += [over_grpc(door) for door in doors]
    with loaded(clients, expected, [("champion", "1")], pause_s=0.2) as load:
        cluster.deploy()
        for door in doors:
            eventually(lambda door=door: updated(door), within_s=300)
        _, alive = psutil.wait_procs(old, timeout=300)
        before = len(load.answers)
        eventually(lambda: len(load.answers) > before + 50)
    assert (load.faults, alive) == ([], [])
