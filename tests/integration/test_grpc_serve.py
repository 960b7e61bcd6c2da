"""Ray Serve's gRPC server in front of a deployment's methods, without Ray: what its proxy and replica do between."""

import asyncio
import pickle
import subprocess
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import tritonclient.grpc.aio as triton
from grpc_health.v1 import health_pb2, health_pb2_grpc
from ray.serve._private.common import gRPCRequest
from ray.serve._private.grpc_util import enable_server_reflection, gRPCGenericServer
from ray.serve._private.utils import import_attr
from ray.serve.grpc_util import RayServegRPCContext

from serve.grpc_serve import ServeRpcs
from taxiway.errors import Overloaded
from tests.integration.test_grpc_listener import SERVICE, Backend, request, tensors

Handler = Callable[[Any, Any], Awaitable[bytes]]


class Deployment(ServeRpcs):
    def __init__(self) -> None:
        self.backend: Backend = Backend()


def routed_to(deployment: Deployment) -> Callable[..., Handler]:
    def factory(service_method: str, streaming_type: Any) -> Handler:
        async def unary_unary(received: Any, context: Any) -> bytes:
            sent = pickle.loads(pickle.dumps(gRPCRequest(user_request_proto=received)))
            passed = pickle.loads(pickle.dumps(RayServegRPCContext(context)))
            passed.set_trailing_metadata([("request_id", "serve-1")])
            method = getattr(deployment, service_method.split("/")[-1])
            response = await method(sent.user_request_proto, grpc_context=passed)
            pickle.loads(pickle.dumps(passed))._set_on_grpc_context(context)
            return bytes(response.SerializeToString())

        return unary_unary

    return factory


async def serving(deployment: Deployment, ask: Callable[[str], Awaitable[None]]) -> None:
    server = gRPCGenericServer(routed_to(deployment))
    import_attr("serve.grpc_serve.add_GRPCInferenceServiceServicer_to_server")(Deployment(), server)
    enable_server_reflection(server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        await ask(f"127.0.0.1:{port}")
    finally:
        await server.stop(None)


def test_a_deployment_answers_behind_serves_grpc_port() -> None:
    async def ask(address: str) -> None:
        async with triton.InferenceServerClient(address) as client:
            assert await client.is_server_ready()
            assert await client.is_model_ready("flights")
            result = await client.infer("flights", tensors(kind=triton), request_id="mine")
        assert result.as_numpy("delay").tolist() == [5.0, 7.0]

    asyncio.run(serving(Deployment(), ask))


def test_an_error_keeps_its_status_behind_serves_grpc_port() -> None:
    deployment = Deployment()
    deployment.backend.fail = Overloaded("the queue is full")

    async def ask(address: str) -> None:
        async with grpc.aio.insecure_channel(address) as channel:
            call = channel.unary_unary(f"/{SERVICE}/ModelInfer")(request().SerializeToString())
            assert (await call.code(), await call.details()) == (grpc.StatusCode.UNAVAILABLE, "the queue is full")
            trailing = dict(await call.trailing_metadata())
            assert (trailing["taxiway-error"], trailing["request_id"]) == ("overloaded", "serve-1")
            garbage = channel.unary_unary(f"/{SERVICE}/ModelInfer")(b"\xff")
            assert await garbage.code() == grpc.StatusCode.INVALID_ARGUMENT

    asyncio.run(serving(deployment, ask))


def test_health_is_told_behind_serves_grpc_port() -> None:
    deployment = Deployment()

    async def ask(address: str) -> None:
        async with grpc.aio.insecure_channel(address) as channel:
            health = health_pb2_grpc.HealthStub(channel)
            served = await health.Check(health_pb2.HealthCheckRequest(service=SERVICE))
            assert served.status == health_pb2.HealthCheckResponse.SERVING
            deployment.backend.draining = True
            drained = await health.Check(health_pb2.HealthCheckRequest())
            assert drained.status == health_pb2.HealthCheckResponse.NOT_SERVING

    asyncio.run(serving(deployment, ask))


def test_serves_reflection_describes_the_service() -> None:
    add = "import grpc, unittest.mock; from serve.grpc_serve import *"
    register = "add_GRPCInferenceServiceServicer_to_server(unittest.mock.Mock(), unittest.mock.Mock())"
    find = "print(descriptor_pool.Default().FindServiceByName(SERVICE.full_name).full_name)"
    # A process of its own: in this one tritonclient has registered the service.
    told = subprocess.run(
        [sys.executable, "-c", f"{add}; {register}; {find}"], capture_output=True, check=True, text=True
    )
    assert told.stdout.strip() == SERVICE
