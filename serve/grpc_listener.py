"""A replica's own gRPC server: inference, health and reflection, on a port that replicas share."""

import asyncio
import time
from typing import Any

import grpc
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2

from serve import port_sockets
from serve.grpc_rpcs import SERVICE, InferenceBackend, InferenceRpcs, inference_handlers
from taxiway.errors import ConfigError
from taxiway.protocols import open_inference_pb2

_POLL_S = 0.02
_NOT_SERVING = health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.NOT_SERVING)


class GrpcListener:
    """Listens from `start` to `drain`, on the event loop that awaits them.

    Args:
        body_bytes: of one message; gRPC answers RESOURCE_EXHAUSTED to a larger one.
        connection_age_s: a client is told to leave an older connection and to make another, which may come to another
            replica: it sends everything on one, and would stay for ever. Draining relies on it.
    """

    def __init__(
        self, backend: InferenceBackend, host: str, port: int, body_bytes: int, connection_age_s: float = 5.0
    ) -> None:
        self._backend = backend
        self._address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._port = port
        self._health = _Health(backend)
        self._sockets: set[int] = set()
        self._server: grpc.aio.Server | None = None
        self._options = (
            ("grpc.so_reuseport", 1),
            ("grpc.max_receive_message_length", body_bytes),
            ("grpc.max_send_message_length", -1),
            ("grpc.max_connection_age_ms", int(connection_age_s * 1000)),
        )

    async def start(self) -> None:
        """Returns when connections are accepted.

        Raises:
            ConfigError: the port is taken by something that does not share it, or is not ours to take.
        """
        server = grpc.aio.server(options=self._options)
        server.add_generic_rpc_handlers((inference_handlers(_Servicer(self._backend)),))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        await self._health.set(SERVICE.full_name, health_pb2.HealthCheckResponse.SERVING)
        names = (SERVICE.full_name, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, server, pool=_described())
        others = port_sockets.listening(self._port)
        try:
            server.add_insecure_port(self._address)
        except RuntimeError as error:
            message = f"grpc port: can't listen on {self._address}; end the program that has it, or set another port"
            raise ConfigError(message) from error
        await server.start()
        self._sockets = port_sockets.listening(self._port) - others
        self._server = server

    async def drain(self, grace_s: float) -> None:
        """Refuses new connections, waits at most `grace_s` seconds until clients have left, then ends what is left.

        No RPC is lost when `grace_s` is larger than the age of a connection and the longest RPC together. gRPC's own
        stop is no way to drain: it cancels what arrives before the client hears of it.
        """
        server, self._server = self._server, None
        if server is None:
            return
        deadline = time.monotonic() + grace_s
        await self._health.enter_graceful_shutdown()
        for descriptor in self._sockets:
            port_sockets.stop_listening(descriptor)
        while port_sockets.connections(self._port) and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(_POLL_S)
        await server.stop(max(deadline - time.monotonic(), 0.0))


class _Servicer(InferenceRpcs):
    def __init__(self, backend: InferenceBackend) -> None:
        self.backend = backend


class _Health(health.aio.HealthServicer):  # type: ignore[name-defined, misc]
    """The standard health service: of the server, which is an empty name, and of the inference service."""

    def __init__(self, backend: InferenceBackend) -> None:
        super().__init__()
        self._backend = backend

    async def Check(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Not serving from the moment the backend drains, which is before the listener does, and while a model is
        missing."""
        if self._backend.draining:
            await self.enter_graceful_shutdown()
        found = await super().Check(request, context)
        return found if self._backend.not_ready is None else _NOT_SERVING


def _described() -> DescriptorPool:
    """What reflection tells: our messages are not in the default pool, where it would look."""
    pool = DescriptorPool()
    for file in (open_inference_pb2.DESCRIPTOR, health_pb2.DESCRIPTOR, reflection_pb2.DESCRIPTOR):
        pool.AddSerializedFile(file.serialized_pb)
    return pool
