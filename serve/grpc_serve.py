"""What Ray Serve's own gRPC port needs to reach an ingress deployment, instead of our listener.

A serve file names `serve.grpc_serve.add_GRPCInferenceServiceServicer_to_server` in
`grpc_options.grpc_servicer_functions`, and the deployment inherits from `ServeRpcs`. Serve does not pass on a caller's
deadline, only that the caller has gone.
"""

# ruff: noqa: N802 - the names are gRPC's

from contextlib import suppress
from typing import Any

import grpc
from google.protobuf import descriptor_pool
from grpc_health.v1 import health, health_pb2

from serve.grpc_rpcs import SERVICE, InferenceRpcs, RpcContext, inference_handlers
from taxiway.errors import PayloadTooLarge
from taxiway.protocols import open_inference_pb2

SERVICER_FUNCTION = "serve.grpc_serve.add_GRPCInferenceServiceServicer_to_server"

_Status = health_pb2.HealthCheckResponse


class ServeRpcs(InferenceRpcs):
    """The RPCs of the inference service and of the standard health service, but for its Watch."""

    body_bytes: int | None = None
    """Of one inference request. Serve's own port takes up to 2 GiB."""

    async def ModelInfer(self, request: bytes, grpc_context: RpcContext) -> open_inference_pb2.ModelInferResponse:
        if self.body_bytes is not None and len(request) > self.body_bytes:
            grpc_context.set_code(grpc.StatusCode.RESOURCE_EXHAUSTED)
            grpc_context.set_details(f"the message has {len(request)} bytes, at most {self.body_bytes} are taken")
            grpc_context.set_trailing_metadata([("taxiway-error", PayloadTooLarge.code)])
            return open_inference_pb2.ModelInferResponse()
        return await super().ModelInfer(request, grpc_context)

    async def Check(self, request: bytes, grpc_context: RpcContext) -> health_pb2.HealthCheckResponse:
        if health_pb2.HealthCheckRequest.FromString(request).service not in ("", SERVICE.full_name):
            grpc_context.set_code(grpc.StatusCode.NOT_FOUND)
        ready = self.backend.not_ready is None
        return _Status(status=_Status.SERVING if ready else _Status.NOT_SERVING)


def add_GRPCInferenceServiceServicer_to_server(servicer: Any, server: Any) -> None:
    """Serve calls this in its proxies and puts its own handlers into the place of ours."""
    server.add_generic_rpc_handlers((inference_handlers(servicer),))
    check = grpc.unary_unary_rpc_method_handler(servicer.Check, response_serializer=_Status.SerializeToString)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(health.SERVICE_NAME, {"Check": check}),))
    # Serve's reflection knows no other pool. TypeError: somebody else has registered the service there.
    with suppress(TypeError):
        descriptor_pool.Default().AddSerializedFile(open_inference_pb2.DESCRIPTOR.serialized_pb)
