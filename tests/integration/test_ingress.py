"""A real ingress on a real socket, without Ray: what a client sees."""

import contextlib
import gc
import gzip
import json
import socket
import threading
import time
import uuid
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.http

from serve.__main__ import main as check_file
from serve.ingress import Ingress
from serve.settings import EndpointSettings, LimitSettings, ListenerSettings, ServeSettings
from taxiway.errors import ConfigError
from taxiway.registry import Registry
from taxiway.signature import Array
from tests.ports import free_port
from tests.tiny_model import parcels, register, registry_settings

INFER = "/v2/models/parcel/infer"
DATATYPES = {"color": "BYTES", "size": "FP64", "count": "INT64", "weight": "FP64", "comment": "BYTES"}


def settings(folder: Path, port: int, drain_s: float = 5.0) -> ServeSettings:
    return ServeSettings(
        endpoints=(EndpointSettings(name="parcel", model="models:/parcel@champion"),),
        registry=registry_settings(folder),
        listener=ListenerSettings(host="127.0.0.1", port=port, drain_s=drain_s),
        limits=LimitSettings(body_bytes=100_000, rows=50),
    )


def start(settings: ServeSettings) -> Ingress:
    ingress = Ingress("tests", settings)
    ingress.listen()
    return ingress


def question(columns: dict[str, Array], **rest: Any) -> dict[str, Any]:
    tensors = []
    for name, values in columns.items():
        data = [None if value != value else value for value in values.tolist()]
        tensors.append({"name": name, "datatype": DATATYPES[name], "shape": [len(data)], "data": data})
    return {"inputs": tensors, **rest}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("registry")
    register(folder)
    return folder


@pytest.fixture(scope="module")
def port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def ingress(folder: Path, port: int) -> Iterator[Ingress]:
    ingress = start(settings(folder, port))
    yield ingress
    ingress.drain()


@pytest.fixture(scope="module")
def client(ingress: Ingress, port: int) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10) as client:
        yield client


@pytest.fixture(scope="module")
def expected(folder: Path) -> Any:
    registry = Registry(registry_settings(folder))
    return registry.load(registry.resolve("models:/parcel@champion")).predictor


def test_an_answer_holds_the_models_own_probabilities_bit_by_bit(client: httpx.Client, expected: Any) -> None:
    columns = parcels(50, seed=4)
    answer = client.post(INFER, json=question(columns)).json()
    assert answer["outputs"][0]["shape"] == [50]
    assert answer["outputs"][0]["data"] == expected.predict(columns)["probability"].tolist()


def test_an_answer_names_the_model_its_version_and_a_prediction_id(client: httpx.Client) -> None:
    response = client.post(INFER, json=question(parcels(1), id="mine"))
    answer = response.json()
    assert (answer["model_name"], answer["model_version"], answer["id"]) == ("parcel", "1", "mine")
    assert uuid.UUID(answer["parameters"]["prediction_id"]).version == 7
    assert response.headers["taxiway-prediction-id"] == answer["parameters"]["prediction_id"]
    assert response.headers["taxiway-model-version"] == "1"


def test_tritons_client_reads_health_metadata_and_an_answer(ingress: Ingress, port: int, expected: Any) -> None:
    client = tritonclient.http.InferenceServerClient(f"127.0.0.1:{port}")
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("parcel")
    assert client.is_model_ready("parcel", "1")
    assert client.get_server_metadata()["name"] == "taxiway"
    metadata = client.get_model_metadata("parcel")
    assert [(tensor["name"], tensor["datatype"]) for tensor in metadata["inputs"]] == list(DATATYPES.items())
    columns = {name: values for name, values in parcels(8).items() if name not in ("comment", "weight")}
    inputs = []
    for name, values in columns.items():
        tensor = tritonclient.http.InferInput(name, [8], DATATYPES[name])
        tensor.set_data_from_numpy(values, binary_data=False)
        inputs.append(tensor)
    wanted = [tritonclient.http.InferRequestedOutput("probability", binary_data=False)]
    answer = client.infer("parcel", inputs, request_id="t1", outputs=wanted)
    full = columns | {"weight": np.full(8, np.nan), "comment": np.full(8, None)}
    assert answer.as_numpy("probability").tolist() == expected.predict(full)["probability"].tolist()
    assert answer.get_response()["id"] == "t1"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v2/health/live", {"live": True}),
        ("/v2/health/ready", {"ready": True}),
        ("/v2/models/parcel/ready", {"name": "parcel", "ready": True}),
        ("/v2/models/parcel/versions/1/ready", {"name": "parcel", "ready": True}),
        ("/-/routes", {"/": "tests"}),
    ],
)
def test_small_reads_answer_as_the_protocol_says(client: httpx.Client, path: str, body: dict[str, Any]) -> None:
    response = client.get(path)
    assert (response.status_code, response.json()) == (200, body)


def test_healthz_answers_as_serves_proxy_does(client: httpx.Client) -> None:
    assert client.get("/-/healthz").text == "success"


def test_server_metadata_is_the_same_with_and_without_a_slash(client: httpx.Client) -> None:
    assert client.get("/v2").json() == client.get("/v2/").json()
    assert "binary_tensor_data" in client.get("/v2").json()["extensions"]


@pytest.mark.parametrize(
    ("change", "status", "code", "complaint"),
    [
        ({"color": ["pink"]}, 400, "unknown_category", "color: got 'pink', expected one of red, green, blue"),
        ({"size": [-1.0]}, 400, "out_of_range", "size: got -1.0, expected at least 0"),
        ({"size": [None]}, 400, "missing_value", "size: got nothing, expected a float64"),
        ({"size": None}, 400, "missing_column", "size: this input is required"),
        ({"weird": [1.0]}, 400, "unknown_column", "weird: this model has no such input"),
        ({"size": ["big"]}, 400, "wrong_type", "size: expected values of FP64, got a string 'big'"),
        ({"size": [1.0, 2.0]}, 400, "wrong_shape", "size: has 2 rows where 'color' has 1"),
    ],
)
def test_bad_input_gets_a_4xx_that_names_the_field(
    client: httpx.Client, change: dict[str, Any], status: int, code: str, complaint: str
) -> None:
    data: dict[str, Any] = {"color": ["red"], "size": [1.0], "count": [1]} | change
    tensors = [
        {"name": name, "datatype": DATATYPES.get(name, "FP64"), "shape": [len(values)], "data": values}
        for name, values in data.items()
        if values is not None
    ]
    response = client.post(INFER, json={"inputs": tensors})
    assert (response.status_code, response.headers["taxiway-error"]) == (status, code)
    assert list(response.json()) == ["error"]
    assert complaint in response.json()["error"]
    assert client.post(INFER, json=question(parcels(1))).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "complaint"),
    [
        ("POST", INFER, b"{", 400, "the body is not JSON"),
        ("POST", INFER, b"\x00\xff", 400, "the body is not JSON"),
        ("POST", INFER, b"[" * 50_000, 400, "the body is not JSON"),
        ("POST", INFER, b"x" * 100_001, 413, "the body has 100001 bytes, at most 100000"),
        ("POST", "/v2/models/nothing/infer", b"{}", 404, "served here: parcel"),
        ("POST", "/v2/models/parcel/versions/7/infer", b"{}", 404, "served here: parcel"),
        ("GET", "/v2/models/parcel/explain", b"", 404, "parcel has no such version or operation"),
        ("GET", "/etc/passwd", b"", 404, "no such path"),
        ("GET", INFER, b"", 405, "takes POST, not GET"),
        ("DELETE", "/v2/models/parcel", b"", 405, "takes GET, not DELETE"),
    ],
)
def test_what_is_no_inference_request_gets_an_error_in_the_protocols_form(
    client: httpx.Client, method: str, path: str, body: bytes, status: int, complaint: str
) -> None:
    response = client.request(method, path, content=body)
    assert response.status_code == status
    assert complaint in response.json()["error"]
    assert client.get("/v2/health/live").status_code == 200


def test_a_chunked_body_over_the_limit_is_refused_while_it_arrives(client: httpx.Client) -> None:
    response = client.post(INFER, content=(b" " * 10_000 for _ in range(20)))
    assert response.status_code == 413


def test_too_many_rows_are_refused(client: httpx.Client) -> None:
    assert client.post(INFER, json=question(parcels(51))).status_code == 413


def test_compressed_bodies_are_read_and_bombs_are_not(client: httpx.Client) -> None:
    body = json.dumps(question(parcels(3))).encode()
    for encoding, packed in (("gzip", gzip.compress(body)), ("deflate", zlib.compress(body))):
        response = client.post(INFER, content=packed, headers={"content-encoding": encoding})
        assert (response.status_code, len(response.json()["outputs"][0]["data"])) == (200, 3)
    bomb = client.post(INFER, content=gzip.compress(b" " * 10_000_000), headers={"content-encoding": "gzip"})
    assert bomb.status_code == 413


@pytest.mark.parametrize(
    ("encoding", "body", "complaint"),
    [
        ("br", b"12345", "content-encoding br is not supported; send gzip, deflate or plain bytes"),
        ("gzip", b"12345", "the body is not gzip"),
        ("gzip", gzip.compress(b"{}", mtime=0)[:-9], "the gzip body is cut off"),
    ],
)
def test_a_body_that_can_not_be_unpacked_is_refused(
    client: httpx.Client, encoding: str, body: bytes, complaint: str
) -> None:
    response = client.post(INFER, content=body, headers={"content-encoding": encoding})
    assert response.status_code == 400
    assert complaint in response.json()["error"]


def test_many_connections_get_each_their_own_answer(client: httpx.Client, port: int, expected: Any) -> None:
    wrong: list[Any] = []

    def ask(seed: int) -> None:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as mine:
            for turn in range(20):
                columns = parcels(1 + (seed + turn) % 5, seed=1000 * seed + turn)
                bad = turn % 7 == 3
                if bad:
                    columns["color"][-1] = f"pink{seed}-{turn}"
                response = mine.post(INFER, json=question(columns, id=f"{seed}-{turn}"))
                answer = response.json()
                if bad:
                    right = response.status_code == 400 and f"pink{seed}-{turn}" in answer["error"]
                else:
                    data = answer["outputs"][0]["data"]
                    right = (
                        answer["id"] == f"{seed}-{turn}" and data == expected.predict(columns)["probability"].tolist()
                    )
                if not right:
                    wrong.append(answer)

    threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_client_that_goes_away_in_the_middle_harms_nobody(client: httpx.Client, port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as half:
        half.sendall(f"POST {INFER} HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n{{".encode())
    with socket.create_connection(("127.0.0.1", port)) as garbage:
        garbage.sendall(b"\x16\x03\x01 not http at all\r\n\r\n")
        answer = garbage.recv(1000)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.endswith(b'{"error":"this is not an HTTP request"}')
    assert client.get("/v2/health/ready").status_code == 200


def test_a_head_without_end_is_refused(client: httpx.Client, port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as endless:
        answer = b""
        with contextlib.suppress(ConnectionError):
            endless.sendall(b"GET /v2 HTTP/1.1\r\nhost: x\r\nx-filler: ")
            for _ in range(100):
                endless.sendall(b"a" * 10_000)
                time.sleep(0.001)
        with contextlib.suppress(ConnectionError):
            answer = endless.recv(1000)
    assert answer.startswith(b"HTTP/1.1 431 ") or answer == b""
    assert client.get("/v2/health/ready").status_code == 200


def test_large_bodies_in_many_pieces_are_no_endless_head(client: httpx.Client) -> None:
    body = json.dumps(question(parcels(50))).encode() + b" " * 90_000
    assert client.post(INFER, content=(body[at : at + 1000] for at in range(0, len(body), 1000))).status_code == 200


def test_a_port_that_another_program_holds_is_a_clear_error(folder: Path) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        taken = int(holder.getsockname()[1])
        with pytest.raises(ConfigError, match=f"listener.port: {taken} is taken by another program"):
            start(settings(folder, taken))


def test_a_port_that_another_program_would_share_is_a_clear_error(folder: Path) -> None:
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        taken = int(holder.getsockname()[1])
        with pytest.raises(ConfigError, match=f"listener.port: {taken} is taken by another program"):
            start(settings(folder, taken))


def test_a_port_of_another_application_is_a_clear_error_until_that_has_gone(folder: Path) -> None:
    port = free_port()
    first = start(settings(folder, port))
    second = Ingress("other", settings(folder, port))
    with pytest.raises(ConfigError, match=f"listener.port: {port} is taken by the application 'tests'"):
        second.listen()
    first.drain()
    second.listen()
    second.drain()


@pytest.mark.parametrize("body", [json.dumps(question(parcels(1))), "{}"], ids=["answered", "refused"])
def test_a_request_leaves_nothing_for_the_garbage_collector(ingress: Ingress, port: int, body: str) -> None:
    head = f"POST {INFER} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", port)) as connection:

        def ask(times: int) -> None:
            for _ in range(times):
                connection.sendall((head + body).encode())
                connection.recv(65_536)

        ask(1)
        gc.collect()
        gc.disable()
        gc.set_debug(gc.DEBUG_SAVEALL)
        try:
            ask(200)
            gc.collect()
            ours = {
                type(each).__name__ for each in gc.garbage if type(each).__module__.startswith(("serve", "taxiway"))
            }
        finally:
            gc.set_debug(0)
            gc.garbage.clear()
            gc.enable()
    assert not ours


def test_two_replicas_share_a_port(folder: Path) -> None:
    port = free_port()
    first = start(settings(folder, port))
    second = start(settings(folder, port))
    first.drain()
    assert httpx.get(f"http://127.0.0.1:{port}/-/healthz").text == "success"
    second.drain()
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{port}/-/healthz")


def test_a_draining_replica_says_so_answers_what_is_open_and_then_stops(folder: Path) -> None:
    port = free_port()
    ingress = start(settings(folder, port))
    ingress.check_health()
    with httpx.Client(base_url=f"http://127.0.0.1:{port}") as open_connection:
        assert "connection" not in open_connection.get("/v2/health/ready").headers
        draining = threading.Thread(target=ingress.drain)
        draining.start()
        time.sleep(0.5)
        last = open_connection.post(INFER, json=question(parcels(1)))
        assert (last.status_code, last.headers["connection"]) == (200, "close")
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"http://127.0.0.1:{port}/-/healthz")
        draining.join(timeout=3)
        assert not draining.is_alive()
    with pytest.raises(Exception, match="the listener has stopped"):
        ingress.check_health()


def test_a_body_that_never_comes_does_not_hold_up_draining(folder: Path) -> None:
    port = free_port()
    ingress = start(settings(folder, port, drain_s=0.5))
    with socket.create_connection(("127.0.0.1", port)) as half:
        half.sendall(f"POST {INFER} HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n{{".encode())
        time.sleep(0.2)
        draining = threading.Thread(target=ingress.drain, daemon=True)
        draining.start()
        draining.join(timeout=10)
        assert not draining.is_alive()


def test_no_request_fails_while_one_of_two_replicas_drains_under_load(folder: Path) -> None:
    port = free_port()
    leaving, staying = (start(settings(folder, port)) for _ in range(2))
    body, stop, failed, answered = json.dumps(question(parcels(1))), threading.Event(), [], []

    def ask() -> None:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as mine:
            while not stop.is_set():
                try:
                    answered.append(mine.post(INFER, content=body).raise_for_status().status_code)
                except httpx.HTTPError as error:
                    failed.append(repr(error))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    _until(lambda: len(answered) > 100)
    leaving.drain()
    before = len(answered)
    _until(lambda: len(answered) > before + 100)
    stop.set()
    for thread in threads:
        thread.join()
    staying.drain()
    assert failed == []


def _until(fact: Callable[[], bool], within_s: float = 120.0) -> None:
    deadline = time.monotonic() + within_s
    while not fact():
        assert time.monotonic() < deadline, "too late"
        time.sleep(0.01)


def test_a_draining_replica_is_not_ready(folder: Path) -> None:
    port = free_port()
    ingress = start(settings(folder, port))
    with httpx.Client(base_url=f"http://127.0.0.1:{port}") as open_connection:
        open_connection.get("/v2/health/live")
        draining = threading.Thread(target=ingress.drain)
        draining.start()
        time.sleep(0.3)
        response = open_connection.get("/v2/health/ready")
        assert (response.status_code, response.headers["retry-after"]) == (503, "1")
        draining.join(timeout=8)
        assert not draining.is_alive()


def test_check_says_in_one_sentence_what_is_wrong_with_a_serve_file(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def check(change: dict[str, Any], arguments: dict[str, Any]) -> tuple[int, str]:
        application = {
            "name": "parcels",
            "import_path": "serve.app:build",
            "args": {
                "endpoints": [{"name": "parcel", "model": "models:/parcel@champion"}],
                "registry": registry_settings(folder).model_dump(),
            }
            | arguments,
        }
        path = tmp_path / "serve.yaml"
        path.write_text(json.dumps({"proxy_location": "Disabled", "applications": [application]} | change))
        status = check_file([str(path)])
        told = capsys.readouterr()
        return status, told.out + told.err

    status, text = check({}, {})
    assert (status, "parcel/champion: models:/parcel@champion is version 1" in text) == (0, True)
    cases: list[tuple[dict[str, Any], dict[str, Any], str]] = [
        ({"proxy_locatoin": "Disabled"}, {}, "unknown key 'proxy_locatoin'"),
        ({"proxy_location": "HeadOnly"}, {}, "key 'proxy_location': must be Disabled"),
        ({}, {"listner": {}}, "unknown key 'listner'; known here: admin, cost, endpoints"),
        (
            {},
            {"endpoints": [{"name": "x", "model": "models:/nobody@champion"}]},
            "models:/nobody@champion is not in the",
        ),
        ({}, {"endpoints": [{"name": "x", "model": "parcel"}]}, "'parcel' is no model: expected models:/NAME@ALIAS"),
        (
            {"applications": [{"name": "x", "import_path": "serve.app:build", "rout_prefix": "/"}]},
            {},
            "unknown key 'rout_",
        ),
        (
            {"applications": [{"name": "x", "import_path": "serve.ap:build"}]},
            {},
            "no application has import_path serve.app",
        ),
        ({}, {"feature_store": {"repository": "nowhere"}}, "no feature_store.yaml in nowhere"),
        ({}, {"registry": {"tracking_uri": "sqlite:////proc/nowhere/mlflow.db"}}, "registry.tracking_uri: sqlite"),
        (
            {},
            {"registry": {"tracking_uri": "postgresql://me:secret@localhost:1/x"}},
            "postgresql://***@localhost:1/x ",
        ),
    ]
    for change, arguments, complaint in cases:
        status, text = check(change, arguments)
        assert (status, text.count("\n"), complaint in text, "secret" in text) == (2, 1, True, False), text


def test_nothing_is_recorded_where_nobody_wants_to_know(folder: Path) -> None:
    ingress = start(settings(folder, free_port()))
    try:
        assert "recording" not in {thread.name for thread in threading.enumerate()}
    finally:
        ingress.drain()
