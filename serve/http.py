"""The ASGI application of an ingress replica: routes, bodies, errors. No framework: this is the hot path."""

import logging
import time
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

import orjson

from serve.endpoint import Endpoint
from serve.prediction_id import new_prediction_id
from serve.settings import LimitSettings
from taxiway import __version__
from taxiway.errors import (
    Draining,
    InvalidInput,
    MalformedRequest,
    MethodNotAllowed,
    NotFound,
    PayloadTooLarge,
    TaxiwayError,
    Unavailable,
)
from taxiway.protocols import open_inference
from taxiway.telemetry.metrics import ServingMetrics

_log = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Header = tuple[bytes, bytes]

_JSON: Header = (b"content-type", b"application/json")
_TEXT: Header = (b"content-type", b"text/plain; charset=utf-8")
_CLOSE: Header = (b"connection", b"close")
_RETRY: Header = (b"retry-after", b"1")
NO_ENDPOINT = "-"


@dataclass(frozen=True, slots=True)
class Answer:
    """A status, a body and the headers that are not the same for every answer."""

    status: int
    body: bytes
    headers: tuple[Header, ...] = (_JSON,)


Handler = Callable[[bytes], Awaitable[Answer]]


@dataclass(frozen=True, slots=True)
class Route:
    """What answers on one path, with one method."""

    method: str
    handler: Handler
    endpoint: str = NO_ENDPOINT


class HttpApplication:
    """Routes are looked up by their whole path: there are few, and they change only with the models."""

    def __init__(
        self, application: str, endpoints: list[Endpoint], limits: LimitSettings, metrics: ServingMetrics
    ) -> None:
        self._application = application
        self._limits = limits
        self._metrics = metrics
        self._served = ", ".join(endpoint.name for endpoint in endpoints)
        self._routes = self._server_routes()
        for endpoint in endpoints:
            self._routes |= self._model_routes(endpoint)
        self.draining = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        start = time.perf_counter()
        route = self._routes.get(scope["path"])
        try:
            answer, code = await self._answer(route, scope, receive), "ok"
        except TaxiwayError as error:
            answer, code = _error_answer(error), _code(error)
        except Exception:  # noqa: BLE001 - a bug of ours fails this request, not the server
            _log.exception("answering %s failed", scope["path"])
            code = "internal"
            answer = Answer(
                500, open_inference.encode_error("internal error"), (_JSON, (b"taxiway-error", b"internal"))
            )
        await self._send(send, answer, answer.status == 413)
        self._metrics.request(route.endpoint if route else NO_ENDPOINT, code, time.perf_counter() - start)

    async def _answer(self, route: Route | None, scope: Scope, receive: Receive) -> Answer:
        if route is None:
            raise self._not_found(scope["path"])
        if scope["method"] != route.method and not (scope["method"] == "HEAD" and route.method == "GET"):
            raise MethodNotAllowed(f"{scope['path']} takes {route.method}, not {scope['method'][:20]}")
        body = await self._read(scope, receive) if route.method == "POST" else b""
        return await route.handler(body)

    async def _read(self, scope: Scope, receive: Receive) -> bytes:
        limit = self._limits.body_bytes
        for name, value in scope["headers"]:
            if name == b"content-length" and int(value) > limit:
                raise PayloadTooLarge(f"the body has {int(value)} bytes, at most {limit} are taken")
            if name == b"content-encoding" and value != b"identity":
                raise MalformedRequest(
                    f"content-encoding {value.decode('latin-1')[:20]} is not supported; send plain JSON"
                )
            if name == b"inference-header-content-length":
                raise MalformedRequest("binary tensors are not supported; send JSON tensors")
        chunks, size = [], 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise MalformedRequest("the client went away before the body was complete")
            chunk = message.get("body", b"")
            size += len(chunk)
            if size > limit:
                raise PayloadTooLarge(f"the body has more than {limit} bytes")
            chunks.append(chunk)
            if not message.get("more_body", False):
                return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    async def _send(self, send: Send, answer: Answer, close: bool) -> None:
        headers = [*answer.headers, (b"content-length", str(len(answer.body)).encode())]
        if close or self.draining:
            headers.append(_CLOSE)
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": answer.body})

    def _not_found(self, path: str) -> NotFound:
        if path.startswith("/v2/models/"):
            return NotFound(f"{path[:200]}: no such model, version or operation; served here: {self._served}")
        return NotFound(f"no such path: {path[:200]}")

    def _server_routes(self) -> dict[str, Route]:
        metadata = Answer(200, open_inference.server_metadata(__version__))
        return {
            "/-/healthz": Route("GET", self._healthz),
            "/-/routes": Route("GET", _always(Answer(200, orjson.dumps({"/": self._application})))),
            "/v2": Route("GET", _always(metadata)),
            "/v2/": Route("GET", _always(metadata)),
            "/v2/health/live": Route("GET", _always(Answer(200, b'{"live":true}'))),
            "/v2/health/ready": Route("GET", self._ready),
        }

    def _model_routes(self, endpoint: Endpoint) -> dict[str, Route]:
        model, name = endpoint.model, endpoint.name
        signature = model.package.signature
        metadata = open_inference.model_metadata(
            name, model.version.version, model.package.flavor, signature.inputs, signature.outputs
        )
        operations = {
            "": ("GET", _always(Answer(200, metadata))),
            "/ready": ("GET", _always(Answer(200, open_inference.model_ready(name, True)))),
            "/infer": ("POST", self._infer(endpoint)),
        }
        return {
            prefix + operation: Route(method, handler, name)
            for prefix in (f"/v2/models/{name}", f"/v2/models/{name}/versions/{model.version.version}")
            for operation, (method, handler) in operations.items()
        }

    def _infer(self, endpoint: Endpoint) -> Handler:
        model_name, version = endpoint.name, endpoint.model.version.version
        served_by = (_JSON, (b"taxiway-model-version", version.encode()))

        async def infer(body: bytes) -> Answer:
            request = open_inference.decode_request(body, endpoint.inputs, endpoint.outputs, self._limits.rows)
            outputs = await endpoint.infer(request)
            prediction = new_prediction_id()
            encoded = open_inference.encode_response(
                model_name,
                version,
                prediction if request.id is None else request.id,
                prediction,
                outputs,
                request.outputs,
            )
            return Answer(200, encoded, (*served_by, (b"taxiway-prediction-id", prediction.encode())))

        return infer

    async def _healthz(self, _: bytes) -> Answer:
        """As Serve's proxy answers it, so that KubeRay's probes work unchanged."""
        if self.draining:
            return Answer(503, b"This node is being drained.", (_TEXT,))
        return Answer(200, b"success", (_TEXT,))

    async def _ready(self, _: bytes) -> Answer:
        if self.draining:
            raise Draining("this replica is going away")
        return Answer(200, b'{"ready":true}')


def _always(answer: Answer) -> Handler:
    async def handler(_: bytes) -> Answer:
        return answer

    return handler


def _code(error: TaxiwayError) -> str:
    return error.reject_code if isinstance(error, InvalidInput) else error.code


def _error_answer(error: TaxiwayError) -> Answer:
    message = str(error) if error.status != 500 or error.code == "model_failed" else "internal error"
    headers: tuple[Header, ...] = (_JSON, (b"taxiway-error", _code(error).encode()))
    if isinstance(error, Unavailable):
        headers += (_RETRY,)
    return Answer(error.status, open_inference.encode_error(message), headers)
