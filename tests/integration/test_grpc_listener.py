"""The gRPC listener on a real port, asked by tritonclient and by plain gRPC."""

import asyncio
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, TypeVar

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
import uvloop
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from tritonclient.utils import InferenceServerException

from serve.caller import Caller
from serve.grpc_listener import GrpcListener
from serve.service import Decode
from taxiway.errors import (
    ConfigError,
    DeadlineExceeded,
    InvalidInput,
    ModelFailed,
    NotFound,
    Overloaded,
    PayloadTooLarge,
    TaxiwayError,
    Unavailable,
)
from taxiway.inference import InferRequest, InferResponse, ModelInterface, join
from taxiway.protocols import open_inference_pb2 as pb
from taxiway.signature import Column
from taxiway.telemetry.metrics import ServingMetrics
from tests.ports import free_port

BODY_BYTES = 1_000_000
SERVICE = "inference.GRPCInferenceService"
INPUTS = (
    Column(name="distance", dtype="float64"),
    Column(name="hour", dtype="int64"),
    Column(name="carrier", dtype="string"),
)
OUTPUTS = (Column(name="delay", dtype="float32"), Column(name="label", dtype="string"))
Done = TypeVar("Done")


@dataclass
class Backend:
    """Answers distance * 2 + hour and the carrier in capitals; `fail` and `hold` are what the next infer does."""

    draining: bool = False
    missing: str | None = None
    metrics: ServingMetrics = field(default_factory=ServingMetrics)
    fail: Exception | None = None
    hold: asyncio.Event | None = None
    cancelled: threading.Event = field(default_factory=threading.Event)
    callers: list[Caller] = field(default_factory=list)
    requests: list[InferRequest] = field(default_factory=list)

    @property
    def not_ready(self) -> str | None:
        return "this replica is going away" if self.draining else self.missing

    def endpoint(self, name: str) -> Any:
        return SimpleNamespace(label=name)

    async def is_ready(self, name: str, version: str | None) -> bool:
        try:
            self.known(name, version)
        except (NotFound, Unavailable):
            return False
        return not self.draining

    async def interface(self, name: str, version: str | None) -> ModelInterface:
        return self.known(name, version)

    def known(self, name: str, version: str | None) -> ModelInterface:
        if self.missing is not None:
            raise Unavailable(self.missing)
        if name != "flights" or version not in (None, "7"):
            raise NotFound(f"no such model: {name!r} {version}; served here: flights")
        inputs = {column.name: column for column in INPUTS}
        return ModelInterface(name, "7", "sklearn", inputs, OUTPUTS, max_rows=5_000)

    async def infer(self, name: str, version: str | None, decode: Decode, caller: Caller) -> InferResponse:
        request = decode(self.known(name, version))
        self.callers.append(caller)
        self.requests.append(request)
        if self.hold is not None:
            try:
                await asyncio.wait_for(self.hold.wait(), 30)
            except asyncio.CancelledError:
                self.cancelled.set()
                raise
        if self.fail is not None:
            raise self.fail
        columns = join([request.columns], self.known(name, version).inputs)
        delay = (columns["distance"] * 2 + columns["hour"]).astype(np.float32)
        label = np.array([carrier.upper() for carrier in columns["carrier"]], np.object_)
        outputs = {"delay": delay, "label": label}
        wanted = request.outputs or tuple(outputs)
        return InferResponse(name, "7", "champion", "id-1", {output: outputs[output] for output in wanted})


class Loop:
    """An event loop on its own thread, as an ingress replica has one."""

    def __init__(self) -> None:
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, Done]) -> Done:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(20)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@dataclass
class Served:
    backend: Backend
    address: str
    loop: Loop
    listener: GrpcListener


@pytest.fixture
def loop() -> Iterator[Loop]:
    running = Loop()
    yield running
    running.close()


@pytest.fixture
def served(loop: Loop) -> Iterator[Served]:
    port = free_port()
    backend = Backend()
    listener = GrpcListener(backend, "127.0.0.1", port, BODY_BYTES)
    loop.run(listener.start())
    yield Served(backend, f"127.0.0.1:{port}", loop, listener)
    loop.run(listener.drain(1.0))


def tensors(rows: int = 2, kind: Any = triton) -> list[Any]:
    values = {
        "distance": (np.arange(rows, dtype=np.float64), "FP64"),
        "hour": (np.full(rows, 5, np.int64), "INT64"),
        "carrier": (np.array(["aa", "\u00fc"] * rows, np.object_)[:rows], "BYTES"),
    }
    found = []
    for name, (array, datatype) in values.items():
        found.append(kind.InferInput(name, list(array.shape), datatype))
        found[-1].set_data_from_numpy(array)
    return found


def test_tritonclient_asks_for_health_readiness_and_metadata(served: Served) -> None:
    with triton.InferenceServerClient(served.address) as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("flights")
        assert client.is_model_ready("flights", "7")
        assert not client.is_model_ready("flights", "8")
        assert not client.is_model_ready("trains")
        assert client.get_server_metadata().name == "taxiway"
        metadata = client.get_model_metadata("flights", as_json=True)
    assert metadata["versions"] == ["7"]
    assert metadata["platform"] == "sklearn"
    assert [tensor["name"] for tensor in metadata["inputs"]] == ["distance", "hour", "carrier"]
    assert metadata["outputs"] == [
        {"name": "delay", "datatype": "FP32", "shape": ["-1"]},
        {"name": "label", "datatype": "BYTES", "shape": ["-1"]},
    ]


def test_tritonclient_infers_with_raw_tensors(served: Served) -> None:
    with triton.InferenceServerClient(served.address) as client:
        result = client.infer("flights", tensors(), model_version="7", request_id="mine")
        assert result.as_numpy("delay").tolist() == [5.0, 7.0]
        assert result.as_numpy("delay").dtype == np.float32
        assert [value.decode() for value in result.as_numpy("label")] == ["AA", "\u00dc"]
        response = result.get_response()
        assert (response.id, response.model_name, response.model_version) == ("mine", "flights", "7")
        assert response.parameters["prediction_id"].string_param == "id-1"
        only_label = client.infer("flights", tensors(), outputs=[triton.InferRequestedOutput("label")])
        assert only_label.as_numpy("delay") is None


def test_tritonclient_infers_asynchronously(served: Served) -> None:
    async def many() -> list[Any]:
        async with triton_aio.InferenceServerClient(served.address) as client:
            assert await client.is_server_ready()
            asked = [client.infer("flights", tensors(rows, triton_aio)) for rows in range(1, 20)]
            return await asyncio.gather(*asked)

    for rows, result in enumerate(asyncio.run(many()), start=1):
        assert result.as_numpy("delay").tolist() == [2.0 * row + 5 for row in range(rows)]


def infer_with(served: Served, **sent: Any) -> pb.ModelInferResponse:
    with grpc.insecure_channel(served.address) as channel:
        return stub(channel, "ModelInfer")(request(), **sent)


def stub(channel: Any, name: str) -> Any:
    method = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods_by_name[name]
    return channel.unary_unary(
        f"/{SERVICE}/{name}",
        request_serializer=getattr(pb, method.input_type.name).SerializeToString,
        response_deserializer=getattr(pb, method.output_type.name).FromString,
    )


def request(**changes: Any) -> pb.ModelInferRequest:
    tensor = pb.ModelInferRequest.InferInputTensor
    contents = pb.InferTensorContents
    inputs = [
        tensor(name="distance", datatype="FP64", shape=[1], contents=contents(fp64_contents=[1.5])),
        tensor(name="hour", datatype="INT64", shape=[1], contents=contents(int64_contents=[2])),
        tensor(name="carrier", datatype="BYTES", shape=[1], contents=contents(bytes_contents=[b"ua"])),
    ]
    return pb.ModelInferRequest(**{"model_name": "flights", "inputs": inputs} | changes)


def test_typed_contents_are_answered_with_typed_contents(served: Served) -> None:
    response = infer_with(served)
    assert list(response.outputs[0].contents.fp32_contents) == [5.0]
    assert list(response.outputs[1].contents.bytes_contents) == [b"UA"]
    assert not response.raw_output_contents
    assert response.id == "id-1"


def test_the_answer_names_prediction_version_and_variant_in_its_trailing_metadata(served: Served) -> None:
    with grpc.insecure_channel(served.address) as channel:
        _, call = stub(channel, "ModelInfer").with_call(request(), metadata=(("user", "ada"), ("key-bin", b"\xff\x00")))
        trailing = dict(call.trailing_metadata())
    assert trailing["taxiway-prediction-id"] == "id-1"
    assert trailing["taxiway-model-version"] == "7"
    assert trailing["taxiway-variant"] == "champion"
    [caller] = served.backend.callers
    assert (caller.headers[b"user"], caller.headers[b"key-bin"]) == (b"ada", b"\xff\x00")
    assert caller.address == "127.0.0.1"


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (InvalidInput("wrong_type", "hour", "got nothing"), grpc.StatusCode.INVALID_ARGUMENT, "wrong_type"),
        (NotFound("no such version"), grpc.StatusCode.NOT_FOUND, "not_found"),
        (PayloadTooLarge("too many rows"), grpc.StatusCode.RESOURCE_EXHAUSTED, "payload_too_large"),
        (Overloaded("the queue is full"), grpc.StatusCode.UNAVAILABLE, "overloaded"),
        (DeadlineExceeded("the time is over"), grpc.StatusCode.DEADLINE_EXCEEDED, "deadline_exceeded"),
        (ModelFailed("the model failed"), grpc.StatusCode.INTERNAL, "model_failed"),
    ],
)
def test_an_error_has_its_grpc_status(served: Served, error: TaxiwayError, status: Any, code: str) -> None:
    served.backend.fail = error
    with pytest.raises(grpc.RpcError) as raised:
        infer_with(served)
    assert raised.value.code() == status
    assert raised.value.details() == str(error)
    assert dict(raised.value.trailing_metadata())["taxiway-error"] == code


def test_a_bug_is_answered_without_its_details(served: Served) -> None:
    served.backend.fail = KeyError("/secret/path")
    with pytest.raises(grpc.RpcError) as raised:
        infer_with(served)
    assert (raised.value.code(), raised.value.details()) == (grpc.StatusCode.INTERNAL, "internal error")


def test_a_long_error_text_is_cut_so_that_it_fits_into_the_trailers(served: Served) -> None:
    served.backend.fail = NotFound("\u4e16" * 10_000)
    with pytest.raises(grpc.RpcError) as raised:
        infer_with(served)
    assert raised.value.code() == grpc.StatusCode.NOT_FOUND
    assert set(raised.value.details()) == {"\u4e16"}


def test_tritonclient_shows_the_status_of_a_request_that_does_not_fit(served: Served) -> None:
    with triton.InferenceServerClient(served.address) as client:
        with pytest.raises(InferenceServerException, match="served here: flights") as unknown:
            client.infer("trains", tensors())
        assert unknown.value.status() == "StatusCode.NOT_FOUND"
        odd = triton.InferInput("speed", [1], "FP32")
        odd.set_data_from_numpy(np.ones(1, np.float32))
        with pytest.raises(InferenceServerException, match="no such input") as misnamed:
            client.infer("flights", [*tensors(1), odd])
        assert misnamed.value.status() == "StatusCode.INVALID_ARGUMENT"
        with pytest.raises(InferenceServerException, match="at most 5000") as large:
            client.infer("flights", tensors(6_000))
        assert large.value.status() == "StatusCode.RESOURCE_EXHAUSTED"


@pytest.mark.parametrize("compression", [grpc.Compression.NoCompression, grpc.Compression.Gzip])
def test_a_message_over_the_limit_is_refused_before_it_is_read(served: Served, compression: Any) -> None:
    with (
        grpc.insecure_channel(served.address, compression=compression) as channel,
        pytest.raises(grpc.RpcError) as raised,
    ):
        stub(channel, "ModelInfer")(request(inputs=[], raw_input_contents=[bytes(BODY_BYTES)]))
    assert raised.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert served.backend.requests == []


def test_bytes_that_are_no_message_fail_alone(served: Served) -> None:
    with grpc.insecure_channel(served.address) as channel:
        with pytest.raises(grpc.RpcError) as raised:
            channel.unary_unary(f"/{SERVICE}/ModelInfer")(b"\xff\xff\xff")
        assert raised.value.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert stub(channel, "ModelInfer")(request()).id == "id-1"


def test_the_deadline_and_the_parameter_timeout_reach_the_backend(served: Served) -> None:
    assert infer_with(served).id == "id-1"
    assert served.backend.callers[-1].timeout_s is None
    parameters = {"timeout": pb.InferParameter(int64_param=2_000_000)}
    with grpc.insecure_channel(served.address) as channel:
        stub(channel, "ModelInfer")(request(parameters=parameters), timeout=10.0)
    assert served.backend.callers[-1].timeout_s == pytest.approx(10.0, abs=1.0)
    assert served.backend.requests[-1].timeout_s == 2.0


def test_a_deadline_that_passes_cancels_the_work(served: Served) -> None:
    served.backend.hold = asyncio.Event()
    with pytest.raises(grpc.RpcError) as raised:
        infer_with(served, timeout=0.3)
    assert raised.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert served.backend.cancelled.wait(5)


def test_a_client_that_cancels_cancels_the_work(served: Served) -> None:
    served.backend.hold = asyncio.Event()
    with grpc.insecure_channel(served.address) as channel:
        call = stub(channel, "ModelInfer").future(request())
        wait_until(lambda: len(served.backend.requests) == 1)
        call.cancel()
        assert served.backend.cancelled.wait(5)


def wait_until(true: Callable[[], bool]) -> None:
    for _ in range(500):
        if true():
            return
        threading.Event().wait(0.01)
    raise AssertionError("it did not come true within 5 s")


def test_health_is_told_for_each_service_and_ends_with_draining(served: Served) -> None:
    with grpc.insecure_channel(served.address) as channel:
        health = health_pb2_grpc.HealthStub(channel)

        def status(service: str) -> int:
            return int(health.Check(health_pb2.HealthCheckRequest(service=service)).status)

        assert status("") == status(SERVICE) == health_pb2.HealthCheckResponse.SERVING
        with pytest.raises(grpc.RpcError) as raised:
            status("other.Service")
        assert raised.value.code() == grpc.StatusCode.NOT_FOUND
        served.backend.draining = True
        assert status("") == status(SERVICE) == health_pb2.HealthCheckResponse.NOT_SERVING
        with triton.InferenceServerClient(served.address) as client:
            assert client.is_server_live()
            assert not client.is_server_ready()
            assert not client.is_model_ready("flights")


def test_nothing_is_ready_while_a_model_is_missing_and_everything_afterwards(served: Served) -> None:
    with grpc.insecure_channel(served.address) as channel, triton.InferenceServerClient(served.address) as client:
        health = health_pb2_grpc.HealthStub(channel)
        for missing in ("flights: no model is loaded yet", None):
            served.backend.missing = missing
            is_ready = missing is None
            expected = (
                health_pb2.HealthCheckResponse.SERVING if is_ready else health_pb2.HealthCheckResponse.NOT_SERVING
            )
            assert health.Check(health_pb2.HealthCheckRequest()).status == expected
            assert client.is_server_live()
            assert (client.is_server_ready(), client.is_model_ready("flights")) == (is_ready, is_ready)


def test_the_writing_of_an_answer_is_a_phase(served: Served) -> None:
    infer_with(served)
    metrics = served.backend.metrics
    metrics.flush()
    assert metrics.histograms["phases"].series() == [("flights", "champion", "encode")]
    assert 0 < metrics.histograms["phases"].total(("flights", "champion", "encode")) < 1


def test_reflection_describes_every_service(served: Served) -> None:
    with grpc.insecure_channel(served.address) as channel:
        reflected = ProtoReflectionDescriptorDatabase(channel)
        assert set(reflected.get_services()) == {
            SERVICE,
            "grpc.health.v1.Health",
            "grpc.reflection.v1alpha.ServerReflection",
        }
        pool = DescriptorPool(reflected)
        service = pool.FindServiceByName(SERVICE)
        assert [method.name for method in service.methods] == [
            "ServerLive",
            "ServerReady",
            "ModelReady",
            "ServerMetadata",
            "ModelMetadata",
            "ModelInfer",
        ]
        assert pool.FindServiceByName("grpc.health.v1.Health").methods_by_name["Check"].name == "Check"


def test_a_port_that_another_program_has_is_a_clear_error(loop: Loop) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        listener = GrpcListener(Backend(), "127.0.0.1", taken.getsockname()[1], BODY_BYTES)
        with pytest.raises(ConfigError, match="grpc port"):
            loop.run(listener.start())
        loop.run(listener.drain(0.1))


def test_draining_lets_the_request_in_flight_finish(served: Served) -> None:
    served.backend.hold = let_go = asyncio.Event()
    with grpc.insecure_channel(served.address) as channel:
        call = stub(channel, "ModelInfer").future(request())
        wait_until(lambda: len(served.backend.requests) == 1)

        async def drain() -> None:
            draining = asyncio.create_task(served.listener.drain(1.0))
            await asyncio.sleep(0.2)
            assert not draining.done()
            let_go.set()
            await draining

        served.loop.run(drain())
        assert call.result(5).id == "id-1"


def test_draining_ends_what_does_not_finish_within_its_grace(served: Served) -> None:
    served.backend.hold = asyncio.Event()
    with grpc.insecure_channel(served.address) as channel:
        call = stub(channel, "ModelInfer").future(request())
        wait_until(lambda: len(served.backend.requests) == 1)
        started = time.monotonic()
        served.loop.run(served.listener.drain(0.5))
        assert time.monotonic() - started < 3
        assert call.exception(5) is not None


def test_no_request_is_lost_when_a_listener_of_a_shared_port_drains() -> None:
    port, stop, lost = free_port(), threading.Event(), []
    staying, leaving = other_process(port), other_process(port)

    def ask() -> int:
        answered = 0
        with grpc.insecure_channel(f"127.0.0.1:{port}", options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
            infer = stub(channel, "ModelInfer")
            while not stop.is_set():
                try:
                    infer(request())
                    answered += 1
                except grpc.RpcError as error:
                    lost.append(error)
        return answered

    with ThreadPoolExecutor(8) as clients:
        answered = [clients.submit(ask) for _ in range(8)]
        threading.Event().wait(1.0)
        leaving.communicate("\n", timeout=20)
        threading.Event().wait(0.5)
        stop.set()
    assert all(count.result() for count in answered)
    assert lost == []
    assert leaving.returncode == 0
    staying.communicate("\n", timeout=20)


def other_process(port: int) -> "subprocess.Popen[str]":
    """A listener that drains when it reads a line."""
    program = f"from tests.integration.test_grpc_listener import listen_until_told; listen_until_told({port})"
    started = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert started.stdout is not None
    assert started.stdout.readline() == "listening\n"
    return started


def listen_until_told(port: int) -> None:
    loop = Loop()
    listener = GrpcListener(Backend(), "127.0.0.1", port, BODY_BYTES, connection_age_s=0.5)
    loop.run(listener.start())
    sys.stdout.write("listening\n")
    sys.stdout.flush()
    sys.stdin.readline()
    loop.run(listener.drain(10.0))
    loop.close()


def test_two_event_loops_of_a_process_can_both_serve(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    """Ray's worker runs grpc.aio on a loop of its own beside the listener's."""
    loop, port = Loop(), free_port()
    other = Served(Backend(), f"127.0.0.1:{port}", loop, GrpcListener(Backend(), "127.0.0.1", port, BODY_BYTES))
    loop.run(other.listener.start())
    with ThreadPoolExecutor(2) as clients:
        answered = list(clients.map(infer_with, [served, other] * 50))
    loop.run(other.listener.drain(10.0))
    loop.close()
    assert [response.id for response in answered] == ["id-1"] * 100
    assert infer_with(served).id == "id-1"
    assert caplog.records == []
