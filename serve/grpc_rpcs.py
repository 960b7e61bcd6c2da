"""The RPCs of the Open Inference Protocol over one backend, for our own gRPC listener and for Ray Serve's."""

# ruff: noqa: N802 - the methods are named as the RPCs

import logging
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Protocol
from urllib.parse import quote, unquote

import grpc

from serve.caller import Caller, code_of, safe_message
from serve.service import Decode
from serve.tracing import log_fields, trace_of
from taxiway import __version__
from taxiway.errors import NotFound, TaxiwayError, Unavailable
from taxiway.inference import InferRequest, InferResponse, ModelInterface
from taxiway.protocols import open_inference_grpc as codec
from taxiway.protocols import open_inference_pb2 as pb
from taxiway.telemetry.metrics import ServingMetrics

_log = logging.getLogger(__name__)

SERVICE = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"]
STATUS: Mapping[int, grpc.StatusCode] = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    404: grpc.StatusCode.NOT_FOUND,
    405: grpc.StatusCode.UNIMPLEMENTED,
    408: grpc.StatusCode.DEADLINE_EXCEEDED,
    # What gRPC itself answers to a message that is too large; so it never means "too many requests" here.
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    # The code that clients retry by default.
    429: grpc.StatusCode.UNAVAILABLE,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}
"""The gRPC code of each HTTP status that our errors carry; every other is INTERNAL."""
_RETRY_AFTER_MS = 1_000
_DETAILS_BYTES = 4_000


class Labelled(Protocol):
    """What metrics call an endpoint."""

    @property
    def label(self) -> str: ...


class InferenceBackend(Protocol):
    """What answers behind the RPCs. All of it runs on the server's event loop."""

    draining: bool
    metrics: ServingMetrics

    @property
    def not_ready(self) -> str | None:
        """Why no new request should come here."""

    def endpoint(self, name: str) -> Labelled:
        """Raises NotFound."""

    async def is_ready(self, name: str, version: str | None) -> bool:
        """Whether a model answers, or would when it is asked for."""

    async def interface(self, name: str, version: str | None) -> ModelInterface:
        """Raises NotFound, or Unavailable while nothing is loaded."""

    async def infer(self, name: str, version: str | None, decode: Decode, caller: Caller) -> InferResponse:
        """Raises a TaxiwayError; cancelling it cancels the work."""


class RpcContext(Protocol):
    """What the contexts of grpc.aio and of Ray Serve have in common."""

    def invocation_metadata(self) -> Any: ...
    def peer(self) -> str: ...
    def set_code(self, code: grpc.StatusCode) -> None: ...
    def set_details(self, details: str) -> None: ...
    def set_trailing_metadata(self, trailing_metadata: list[tuple[str, str]]) -> None: ...


class InferenceRpcs:
    """One method for each RPC of `inference.GRPCInferenceService`; a request is the bytes of its message.

    A servicer for grpc.aio, and a base class for a Ray Serve deployment: Serve calls the method of the RPC's name
    and passes its own context as `grpc_context`. Errors become a status, never an exception.
    """

    backend: InferenceBackend

    async def ServerLive(self, request: bytes, grpc_context: RpcContext) -> pb.ServerLiveResponse:
        return pb.ServerLiveResponse(live=True)

    async def ServerReady(self, request: bytes, grpc_context: RpcContext) -> pb.ServerReadyResponse:
        return pb.ServerReadyResponse(ready=self.backend.not_ready is None)

    async def ModelReady(self, request: bytes, grpc_context: RpcContext) -> pb.ModelReadyResponse:
        """A model that is not here is not ready, as with Triton: one may ask for it until it is there."""
        with _Status(grpc_context):
            asked = codec.parse(pb.ModelReadyRequest, request)
            return pb.ModelReadyResponse(ready=await self.backend.is_ready(asked.name, asked.version or None))
        return pb.ModelReadyResponse(ready=False)

    async def ServerMetadata(self, request: bytes, grpc_context: RpcContext) -> pb.ServerMetadataResponse:
        return codec.server_metadata(__version__)

    async def ModelMetadata(self, request: bytes, grpc_context: RpcContext) -> pb.ModelMetadataResponse:
        with _Status(grpc_context):
            asked = codec.parse(pb.ModelMetadataRequest, request)
            interface = await self.backend.interface(asked.name, asked.version or None)
            return codec.model_metadata(interface, [interface.version])
        return pb.ModelMetadataResponse()

    async def ModelInfer(self, request: bytes, grpc_context: RpcContext) -> pb.ModelInferResponse:
        with _Status(grpc_context) as status:
            message = codec.parse(pb.ModelInferRequest, request)
            decode = _Decode(message)
            response = await self.backend.infer(
                message.model_name, message.model_version or None, decode, _caller(grpc_context)
            )
            status.fields = log_fields(response)
            grpc_context.set_trailing_metadata(_served_by(response))
            began = time.monotonic()
            encoded = codec.encode(decode.request, response)
            self._took(response, time.monotonic() - began)
            return encoded
        return pb.ModelInferResponse()

    def _took(self, response: InferResponse, encode_s: float) -> None:
        with suppress(NotFound):  # a model of a multiplexed endpoint may have made room for another meanwhile
            label = self.backend.endpoint(response.model_name).label
            self.backend.metrics.phase(label, response.variant, "encode", encode_s)


def inference_handlers(servicer: InferenceRpcs) -> "grpc.GenericRpcHandler[Any, Any]":
    """What protoc's add_…_to_server would register, but that messages are parsed where errors become a status."""
    methods = {
        method.name: grpc.unary_unary_rpc_method_handler(
            getattr(servicer, method.name),
            response_serializer=getattr(pb, method.output_type.name).SerializeToString,
        )
        for method in SERVICE.methods
    }
    return grpc.method_handlers_generic_handler(SERVICE.full_name, methods)


class _Decode:
    """Reads a message for the model that it is routed to, and remembers it for the answer."""

    request: InferRequest

    def __init__(self, message: pb.ModelInferRequest) -> None:
        self._message = message

    def __call__(self, model: ModelInterface) -> InferRequest:
        self.request = codec.decode(self._message, model)
        return self.request


class _Status:
    """Turns what is raised inside into the RPC's status; the message that is returned then is not sent."""

    def __init__(self, context: RpcContext) -> None:
        self._context = context
        self.fields: dict[str, str] = {}

    def __enter__(self) -> "_Status":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> bool:
        if isinstance(error, TaxiwayError):
            _refuse(self._context, error)
        elif isinstance(error, Exception):
            # A bug of ours fails this request, not the server.
            _log.error("answering an RPC failed", exc_info=error, extra=self.fields)
            _refuse(self._context, TaxiwayError("internal error"))
        return isinstance(error, Exception)


def _refuse(context: RpcContext, error: TaxiwayError) -> None:
    trailing = [("taxiway-error", code_of(error)), *_traced(error)]
    if isinstance(error, Unavailable):
        trailing.append(("grpc-retry-pushback-ms", str(_RETRY_AFTER_MS)))
    context.set_code(STATUS.get(error.status, grpc.StatusCode.INTERNAL))
    context.set_details(_short(safe_message(error)))
    context.set_trailing_metadata(trailing)


def _short(message: str) -> str:
    """A client refuses more than 8 KiB of trailers, and what is not ASCII takes three bytes for one."""
    while len(quote(message)) > _DETAILS_BYTES:
        message = message[: len(message) * 3 // 4]
    return message


def _served_by(response: InferResponse) -> list[tuple[str, str]]:
    return [
        ("taxiway-prediction-id", response.prediction_id),
        ("taxiway-model-version", response.model_version),
        ("taxiway-variant", response.variant),
        *_traced(response),
    ]


def _traced(answered: InferResponse | TaxiwayError) -> list[tuple[str, str]]:
    kept = trace_of(answered)
    return [] if kept is None else [("traceresponse", kept.response_header), ("taxiway-trace-id", kept.trace_id)]


def _caller(context: RpcContext) -> Caller:
    """Of metadata that is sent twice the last value. Ray Serve's context does not know the deadline."""
    headers = {
        name.encode(): value if isinstance(value, bytes) else value.encode()
        for name, value in context.invocation_metadata()
    }
    # `ipv4:10.0.0.7:41234` or `ipv6:%5B::1%5D:41234`
    address = unquote(context.peer()).partition(":")[2].rpartition(":")[0].strip("[]")
    remaining = getattr(context, "time_remaining", None)
    return Caller(headers, address, None if remaining is None else remaining())
