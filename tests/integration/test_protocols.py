"""Every protocol as strangers use it, over models of every type that answer with what they were asked."""

import queue
import time
from collections.abc import Callable, Iterator
from itertools import product
from typing import Any, get_args

import grpc
import httpx
import numpy as np
import orjson
import pytest
import tritonclient.grpc
import tritonclient.http
from mlflow.deployments import get_deploy_client
from requests import HTTPError
from tritonclient.utils import InferenceServerException

from taxiway.json_values import DATATYPE
from taxiway.protocols import open_inference_pb2 as pb
from taxiway.signature import ColumnType
from tests.echo_server import TABLE, Served, serving
from tests.integration.test_grpc_listener import stub

ROW = {"color": "red", "size": 1.5, "count": 3}
TENSORS = (("color", "BYTES"), ("size", "FP64"), ("count", "INT64"))
ANSWER = ROW | {"floor": None, "comment": None}
NUMBERS = [dtype for dtype in get_args(ColumnType) if dtype not in ("string", "bytes")]
Way = Callable[[Served, str, list[Any]], list[Any]]


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serving() as served:
        yield served


@pytest.fixture(scope="module")
def client(served: Served) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=served.url, timeout=10) as client:
        yield client


def hardest(dtype: str) -> list[Any]:
    """The largest values, the smallest, and those that are none of another type."""
    if dtype == "bool":
        return [True, False]
    if dtype.startswith("float"):
        limits = np.finfo(dtype)
        values = [0.1, 1 / 3, -0.0, limits.max, limits.min, limits.tiny, limits.smallest_subnormal]
        return list(np.array(values, dtype).tolist())
    bounds = np.iinfo(dtype)
    return [int(bounds.min), int(bounds.max), int(bounds.max) - 1, 0, int(bounds.max) // 2 + 1]


def through_json_tensors(served: Served, dtype: str, values: list[Any]) -> list[Any]:
    tensor = {"name": "x", "datatype": DATATYPE[dtype], "shape": [len(values)], "data": values}
    answer = httpx.post(f"{served.url}/v2/models/{dtype}/infer", json={"inputs": [tensor]}).raise_for_status()
    return list(answer.json()["outputs"][0]["data"])


def through_triton(client: Any, port: int, dtype: str, values: list[Any]) -> list[Any]:
    numpy_type = np.object_ if dtype in ("string", "bytes") else np.dtype(dtype)
    with client.InferenceServerClient(f"127.0.0.1:{port}") as connected:
        tensor = client.InferInput("x", [len(values)], DATATYPE[dtype])
        tensor.set_data_from_numpy(np.array(values, numpy_type))
        return list(connected.infer(dtype, [tensor]).as_numpy("x"))


def through_binary_tensors(served: Served, dtype: str, values: list[Any]) -> list[Any]:
    return through_triton(tritonclient.http, served.port, dtype, values)


def through_grpc(served: Served, dtype: str, values: list[Any]) -> list[Any]:
    return through_triton(tritonclient.grpc, served.grpc_port, dtype, values)


def through_typed_grpc(served: Served, dtype: str, values: list[Any]) -> list[Any]:
    kind = {"float32": "fp32", "float64": "fp64", "string": "bytes", "bytes": "bytes", "bool": "bool"}.get(dtype)
    field = f"{kind or dtype.removesuffix('8').removesuffix('16').removesuffix('32')}_contents"
    tensor = pb.ModelInferRequest.InferInputTensor(name="x", datatype=DATATYPE[dtype], shape=[len(values)])
    getattr(tensor.contents, field).extend([it.encode() if isinstance(it, str) else it for it in values])
    with grpc.insecure_channel(f"127.0.0.1:{served.grpc_port}") as channel:
        answer = stub(channel, "ModelInfer")(pb.ModelInferRequest(model_name=dtype, inputs=[tensor]))
    return list(getattr(answer.outputs[0].contents, field))


def through_tensorflow_serving(served: Served, dtype: str, values: list[Any]) -> list[Any]:
    answer = httpx.post(f"{served.url}/v1/models/{dtype}:predict", json={"instances": values})
    return list(answer.raise_for_status().json()["predictions"])


def through_mlflow(served: Served, dtype: str, values: list[Any]) -> list[Any]:
    answer = httpx.post(f"{served.url}/models/{dtype}/invocations", json={"inputs": values})
    return list(answer.raise_for_status().json()["predictions"])


def through_torchserve(served: Served, dtype: str, values: list[Any]) -> list[Any]:
    return list(httpx.post(f"{served.url}/predictions/{dtype}", json=values).raise_for_status().json())


ROWS: tuple[Way, ...] = (through_tensorflow_serving, through_mlflow, through_torchserve)
BINARY: tuple[Way, ...] = (through_binary_tensors, through_grpc, through_typed_grpc)
EVERY_WAY = (through_json_tensors, *BINARY, *ROWS)


@pytest.mark.parametrize(
    ("dtype", "way"),
    # gRPC has no typed contents of FP16.
    [pair for pair in product(NUMBERS, EVERY_WAY) if pair != ("float16", through_typed_grpc)],
)
def test_every_number_comes_back_bit_by_bit(served: Served, dtype: str, way: Way) -> None:
    values = hardest(dtype)
    assert np.array(way(served, dtype, values), dtype).tobytes() == np.array(values, dtype).tobytes()


@pytest.mark.parametrize("way", EVERY_WAY)
def test_every_text_comes_back(served: Served, way: Way) -> None:
    texts = ["", 'é\0\n"\\', "\U0001f600"]
    assert [it.decode() if isinstance(it, bytes) else it for it in way(served, "string", texts)] == texts


@pytest.mark.parametrize("way", BINARY)
def test_any_bytes_come_back_where_they_are_binary(served: Served, way: Way) -> None:
    assert way(served, "bytes", [b"\xff\0", b""]) == [b"\xff\0", b""]


def test_any_bytes_come_back_in_base64_where_rows_are_json(served: Served) -> None:
    encoded: list[Any] = [{"b64": "/wA="}, {"b64": ""}]
    assert through_tensorflow_serving(served, "bytes", encoded) == encoded
    assert through_torchserve(served, "bytes", encoded) == encoded
    assert through_mlflow(served, "bytes", encoded) == ["/wA=", ""]


def test_a_float_of_32_bits_is_an_exact_double_in_tensors_and_short_in_rows(served: Served) -> None:
    assert through_json_tensors(served, "float32", [0.1]) == [float(np.float32(0.1))]
    assert [way(served, "float32", [0.1]) for way in ROWS] == [[0.1]] * 3


def test_what_is_not_finite_is_null_in_json_and_itself_in_binary(served: Served, client: httpx.Client) -> None:
    """JSON has no word for it, and strict readers would refuse the whole answer."""
    assert [way(served, "float32", [1e39, 0.5]) for way in (through_json_tensors, *ROWS)] == [[None, 0.5]] * 4
    assert through_binary_tensors(served, "float32", [np.inf, 0.5]) == [np.inf, 0.5]
    tensor = b'{"inputs":[{"name":"x","datatype":"FP64","shape":[3],"data":[NaN,Infinity,0.5]}]'
    answer = client.post("/v2/models/maybe/infer", content=tensor + b',"parameters":{"binary_data_output":true}}')
    start = int(answer.headers["inference-header-content-length"])
    np.testing.assert_array_equal(np.frombuffer(answer.content[start:]), [np.nan, np.inf, 0.5])
    answer = client.post("/v2/models/maybe/infer", content=tensor + b"}")
    assert answer.json()["outputs"][0]["data"] == [None, None, 0.5]


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/", {"status": "alive"}),
        ("/v2/health/live", {"live": True}),
        ("/v2/health/ready/", {"ready": True}),
        ("/v2/models/table/versions/1/ready", {"name": "table", "ready": True}),
        ("/ping", {"status": "Healthy"}),
        ("/health", {"status": "Healthy"}),
    ],
)
def test_health_is_told_as_each_protocols_clients_ask(client: httpx.Client, path: str, found: dict[str, Any]) -> None:
    assert client.get(path).raise_for_status().json() == found
    assert client.head(path).content == b""


def test_models_are_listed_as_kserve_lists_them(client: httpx.Client) -> None:
    for path in ("/v1/models", "/v2/models"):
        assert {"table", "image"} <= set(client.get(path).json()["models"])
    (described,) = client.get("/models/table").json()
    assert (described["modelName"], described["modelVersion"]) == ("table", "1")


def test_the_repository_index_takes_the_body_that_clients_send(client: httpx.Client) -> None:
    entry = {"name": "table", "version": "1", "state": "READY", "reason": ""}
    for body in (b"", b"{}", b'{"ready": true}'):
        assert entry in client.post("/v2/repository/index", content=body).json()
    assert client.post("/v2/repository/index", content=b"[").status_code == 400


@pytest.mark.parametrize("place", ["", "/versions/1", "/labels/champion"])
def test_a_label_of_tensorflow_serving_is_a_variant(client: httpx.Client, place: str) -> None:
    answer = client.post(f"/v1/models/table{place}:predict", json={"instances": [ROW]})
    assert answer.json() == {"predictions": [ANSWER]}
    assert client.get(f"/v1/models/table{place}").json()["model_version_status"][0]["version"] == "1"
    assert client.get(f"/v1/models/table{place}/metadata").json()["model_spec"]["name"] == "table"


@pytest.mark.parametrize(
    "path",
    ["/v2/models/table/infer/", "/v2/models/%74able/infer", "/v2%2Fmodels/table/infer", "/v2/models/table/infer?a=b"],
)
def test_a_path_may_be_written_in_other_ways(client: httpx.Client, path: str) -> None:
    tensors = [{"name": name, "shape": [1], "datatype": datatype, "data": [ROW[name]]} for name, datatype in TENSORS]
    assert client.post(path, json={"inputs": tensors}).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status", "sentence"),
    [
        ("POST", "/v2/models/nobody/infer", 404, "no such model: 'nobody'; served here: table"),
        ("POST", "/v1/models/table/versions/7:predict", 404, "table has no such version or operation; its versions"),
        ("POST", "/v1/models/table:classify", 404, "table has no such version or operation"),
        ("POST", "/v1/models/table/labels/nobody:predict", 404, "table has no such version or operation"),
        ("POST", "/predictions/table/7", 404, "table has no such version or operation"),
        ("POST", "/models/nobody/invocations", 404, "no such model: 'nobody'"),
        ("POST", "/invocations", 404, "there are several models, use /models/NAME/invocations"),
        ("GET", "/docsx", 404, "no such path: /docsx"),
        ("GET", "/v2/models/table/infer", 405, "takes POST, not GET"),
        ("DELETE", "/v1/models/table", 405, "takes GET, not DELETE"),
        ("GET", "/predictions/table", 405, "takes POST, not GET"),
        ("PUT", "/models/table/invocations", 405, "takes POST, not PUT"),
        ("POST", "/v2/models/table/infer", 400, "the body is not JSON"),
        ("POST", "/v1/models/table:predict", 400, "the body is not JSON"),
        ("POST", "/predictions/table", 400, "the body is not JSON"),
        ("POST", "/models/table/invocations", 400, "the body is not JSON"),
        ("POST", "/endpoints/table/invocations", 400, "the body is not JSON"),
    ],
)
def test_every_error_has_its_protocols_form(
    client: httpx.Client, method: str, path: str, status: int, sentence: str
) -> None:
    answer = client.request(method, path, content=b"{")
    keys = ["error"]
    if path.startswith("/predictions"):
        keys = ["code", "type", "message"]
    elif path.startswith(("/models", "/endpoints", "/invocations")):
        keys = ["error_code", "message"]
    assert (answer.status_code, list(answer.json())) == (status, keys)
    assert sentence in answer.json()[keys[-1]]
    assert ("allow" in answer.headers) == (status == 405)


def test_options_tells_the_methods_of_a_path(client: httpx.Client) -> None:
    paths = ("/", "/v2/models/table/infer/", "/predictions/table")
    answers = [client.options(path).raise_for_status() for path in paths]
    assert [it.headers["allow"] for it in answers] == ["GET, HEAD, OPTIONS", "POST, OPTIONS", "POST, PUT, OPTIONS"]


@pytest.mark.parametrize("kind", [tritonclient.http, tritonclient.grpc])
@pytest.mark.parametrize(
    ("call", "arguments"),
    [
        ("get_model_config", ("table",)),
        ("get_inference_statistics", ()),
        ("get_trace_settings", ()),
        ("get_log_settings", ()),
        ("get_system_shared_memory_status", ()),
        ("register_system_shared_memory", ("region", "/key", 8)),
        ("load_model", ("table",)),
        ("unload_model", ("table",)),
    ],
)
def test_what_only_triton_has_is_refused_at_once(served: Served, kind: Any, call: str, arguments: Any) -> None:
    port = served.port if kind is tritonclient.http else served.grpc_port
    with kind.InferenceServerClient(f"127.0.0.1:{port}") as client:
        begin = time.monotonic()
        with pytest.raises(InferenceServerException) as refused:
            getattr(client, call)(*arguments)
    assert refused.value.status() in ("404", "StatusCode.UNIMPLEMENTED")
    assert time.monotonic() - begin < 2


def test_tritons_streams_are_unimplemented(served: Served) -> None:
    answers: queue.Queue[Any] = queue.Queue()
    with tritonclient.grpc.InferenceServerClient(f"127.0.0.1:{served.grpc_port}") as client:
        client.start_stream(lambda result, error: answers.put((result, error)))
        result, error = answers.get(timeout=10)
        client.stop_stream()
    assert (result, error.status()) == (None, "StatusCode.UNIMPLEMENTED")


@pytest.mark.parametrize("kind", [tritonclient.http, tritonclient.grpc])
@pytest.mark.parametrize(
    "options",
    [
        {"sequence_id": 7, "sequence_start": True, "sequence_end": True},
        {"sequence_id": "seven"},
        {"priority": 2, "timeout": 5_000_000},
        {"parameters": {"mine": "a", "number": 1, "flag": True}},
        {"request_id": "ü\n" * 2_000},
        {"model_version": "1"},
    ],
)
def test_what_tritons_clients_may_add_to_a_request_does_no_harm(
    served: Served, kind: Any, options: dict[str, Any]
) -> None:
    port = served.port if kind is tritonclient.http else served.grpc_port
    with kind.InferenceServerClient(f"127.0.0.1:{port}") as client:
        tensor = kind.InferInput("x", [1], "FP64")
        tensor.set_data_from_numpy(np.ones(1))
        answer = client.infer("float64", [tensor], **options)
        found = answer.get_response()
        with pytest.raises(InferenceServerException, match="'classification' is not supported"):
            client.infer("float64", [tensor], outputs=[kind.InferRequestedOutput("x", class_count=2)])
    assert answer.as_numpy("x").tolist() == [1.0]
    identifier = found["id"] if isinstance(found, dict) else found.id
    assert identifier == options.get("request_id", identifier)


def test_mlflows_deployment_client(served: Served) -> None:
    client = get_deploy_client(served.url)
    assert client.predict(endpoint="table", inputs={"dataframe_records": [ROW]}) == {"predictions": [ANSWER]}
    with pytest.raises(HTTPError, match="no such model: 'nobody'"):
        client.predict(endpoint="nobody", inputs={"dataframe_records": [ROW]})


def test_a_server_of_one_model_takes_mlflows_short_path() -> None:
    with serving({"table": TABLE}) as alone:
        answer = httpx.post(f"{alone.url}/invocations", json={"dataframe_records": [ROW]})
        assert answer.json() == {"predictions": [ANSWER]}
        assert list(httpx.get(f"{alone.url}/invocations").json()) == ["error_code", "message"]


def test_curl_may_put_a_file(client: httpx.Client) -> None:
    """`curl -T image.png`."""
    assert client.put("/predictions/bytes", content=b"\xff\0").json() == {"b64": "/wA="}
    assert client.put("/predictions/table/1", content=orjson.dumps(ROW)).json() == ANSWER
