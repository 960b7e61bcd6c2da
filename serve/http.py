"""What an ingress replica answers over HTTP: one table of paths, filled anew when the models change."""

import logging
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import orjson

from serve.endpoint import VERSION_HEADER, Endpoint
from serve.http_protocol import Answer, Cancel, Header, HttpRequest, Respond
from serve.service import Caller, Service, code_of, safe_message
from serve.variant import Slot
from taxiway import __version__
from taxiway.errors import (
    Draining,
    MalformedRequest,
    MethodNotAllowed,
    NotFound,
    PayloadTooLarge,
    RequestError,
    TaxiwayError,
    Unavailable,
)
from taxiway.inference import InferRequest, InferResponse, ModelInterface
from taxiway.protocols import mlflow_scoring, open_inference, tf_serving, torchserve

_log = logging.getLogger(__name__)

_TEXT: tuple[Header, ...] = ((b"content-type", b"text/plain; charset=utf-8"),)
_RETRY: Header = (b"retry-after", b"1")
ANY = "*"
NO_ENDPOINT = "-"
EXTENSIONS = (*open_inference.EXTENSIONS, "model_repository")
MLFLOW_VERSION = b"3.17.2"


@dataclass(frozen=True)
class Codec:
    """One wire protocol: bytes to a request, a response to bytes, an error to what its clients expect."""

    decode: Callable[[bytes, Mapping[bytes, bytes], ModelInterface], InferRequest]
    encode: Callable[[InferRequest, InferResponse], tuple[bytes, tuple[Header, ...]]]
    encode_error: Callable[[TaxiwayError], bytes]


OPEN_INFERENCE = Codec(open_inference.decode, open_inference.encode, open_inference.encode_error)
TF_SERVING = Codec(tf_serving.decode, tf_serving.encode, tf_serving.encode_error)
MLFLOW = Codec(mlflow_scoring.decode, mlflow_scoring.encode, mlflow_scoring.encode_error)
TORCHSERVE = Codec(torchserve.decode, torchserve.encode, torchserve.encode_error)

Handler = Callable[[HttpRequest, Respond], "Cancel | None"]


@dataclass(frozen=True, slots=True)
class Route:
    """What answers on one path, with one method."""

    method: str
    handler: Handler
    codec: Codec = OPEN_INFERENCE


class HttpApplication:
    """Routes are looked up by their whole path: there are few, and they change only with the models."""

    def __init__(self, application: str, service: Service, body_bytes: int, people: Mapping[str, Route]) -> None:
        self._application = application
        self._service = service
        self._body_bytes = body_bytes
        self._people = people
        self.refresh()

    def refresh(self) -> None:
        """Takes the models that are loaded now into the table; on the event loop."""
        routes = self._server_routes()
        endpoints = list(self._service.endpoints.values())
        for endpoint in endpoints:
            routes |= self._endpoint_routes(endpoint)
        if len(endpoints) == 1:
            routes["/invocations"] = Route("POST", partial(self._infer, MLFLOW, endpoints[0], None), MLFLOW)
        self._routes = routes

    def __call__(self, request: HttpRequest, respond: Respond) -> "Cancel | None":
        codec = OPEN_INFERENCE
        try:
            route = self._route(request)
            codec = route.codec
            return route.handler(request, respond)
        except TaxiwayError as error:
            respond(error_answer(error, codec))
        except Exception:  # noqa: BLE001 - a bug of ours fails this request, not the server
            _log.exception("answering %s failed", request.path)
            respond(error_answer(TaxiwayError("internal error"), codec))
        return None

    def _route(self, request: HttpRequest) -> Route:
        route = self._routes.get(request.path) or self._by_prefix(request.path)
        error: RequestError
        if route is None:
            error = self._not_found(request.path)
        elif route.method not in (request.method, ANY) and (request.method, route.method) != ("HEAD", "GET"):
            error = MethodNotAllowed(f"{request.path[:200]} takes {route.method}, not {request.method}")
        else:
            return route
        self.refused(error)
        raise error

    def refused(self, error: RequestError) -> None:
        """Counts what no endpoint has seen."""
        self._service.metrics.request(NO_ENDPOINT, "-", error.code, 0.0)

    def _infer(
        self, codec: Codec, endpoint: Endpoint, version: str | None, request: HttpRequest, respond: Respond
    ) -> "Cancel | None":
        def answered(outcome: "InferResponse | TaxiwayError") -> None:
            if isinstance(outcome, TaxiwayError):
                respond(error_answer(outcome, codec))
                return
            try:
                body, headers = codec.encode(call.request, outcome)
            except TaxiwayError as error:
                respond(error_answer(error, codec))
            except Exception:  # noqa: BLE001
                _log.exception("encoding an answer of %s failed", endpoint.name)
                respond(error_answer(TaxiwayError("internal error"), codec))
            else:
                respond(Answer(200, body, (*headers, *_answered_by(outcome))))

        def decode(interface: ModelInterface) -> InferRequest:
            body = _decompressed(request, self._body_bytes) if b"content-encoding" in request.headers else request.body
            return codec.decode(body, request.headers, interface)

        caller = Caller(request.headers, request.client)
        call = self._service.submit(endpoint, version, decode, caller, request.arrived, answered)
        return call.cancel

    def _server_routes(self) -> dict[str, Route]:
        metadata = Answer(200, open_inference.server_metadata(__version__, EXTENSIONS))
        return {
            "/-/healthz": Route("GET", self._healthz),
            "/-/routes": Route("GET", _always(Answer(200, orjson.dumps({"/": self._application})))),
            "/-/status": Route("GET", lambda _, respond: respond(Answer(200, orjson.dumps(self._service.status())))),
            "/v2": Route("GET", _always(metadata)),
            "/v2/": Route("GET", _always(metadata)),
            "/v2/health/live": Route("GET", _always(Answer(200, b'{"live":true}'))),
            "/v2/health/ready": Route("GET", self._ready),
            "/v2/repository/index": Route("POST", self._repository_index),
            "/ping": Route("GET", self._ping),
            "/version": Route("GET", _always(Answer(200, MLFLOW_VERSION, _TEXT))),
        }

    def _endpoint_routes(self, endpoint: Endpoint) -> dict[str, Route]:
        routes = self._model_routes(endpoint, None)
        for slot in endpoint.slots:
            routes |= self._model_routes(endpoint, slot)
        return routes

    def _model_routes(self, endpoint: Endpoint, slot: Slot | None) -> dict[str, Route]:
        """The paths of an endpoint as a whole (`slot` None) or of one of its versions."""
        version = None if slot is None else slot.version
        interface = endpoint.baseline.interface if slot is None else slot.interface
        versions = [found.version for found in endpoint.slots]
        suffix = "" if version is None else f"/versions/{version}"
        v1, v2 = f"/v1/models/{endpoint.name}{suffix}", f"/v2/models/{endpoint.name}{suffix}"
        slash_version = "" if version is None else f"/{version}"
        gets = {
            v2: open_inference.model_metadata(interface, versions),
            f"{v2}/ready": open_inference.model_ready(endpoint.name, True),
            v1: tf_serving.model_status(interface, True),
            f"{v1}/metadata": tf_serving.model_metadata(interface),
        }
        posts = {
            f"{v2}/infer": OPEN_INFERENCE,
            f"{v1}:predict": TF_SERVING,
            f"/predictions/{endpoint.name}{slash_version}": TORCHSERVE,
            f"/models/{endpoint.name}{slash_version}/invocations": MLFLOW,
        }
        return {path: Route("GET", _always(Answer(200, body))) for path, body in gets.items()} | {
            path: Route("POST", partial(self._infer, codec, endpoint, version), codec) for path, codec in posts.items()
        }

    def _by_prefix(self, path: str) -> Route | None:
        """The pages for people: documentation and administration."""
        return next((route for prefix, route in self._people.items() if path.startswith(prefix)), None)

    def _not_found(self, path: str) -> NotFound:
        served = ", ".join(self._service.endpoints)
        if path == "/invocations":
            return NotFound(f"there are several models: use /models/NAME/invocations with one of {served}")
        if path.startswith(("/v1/models/", "/v2/models/", "/models/", "/predictions/")):
            return NotFound(f"{path[:200]}: no such model, version or operation; served here: {served}")
        return NotFound(f"no such path: {path[:200]}")

    def _healthz(self, _: HttpRequest, respond: Respond) -> None:
        """As Serve's proxy answers it, so that KubeRay's probes work unchanged."""
        draining = Answer(503, b"This node is being drained.", _TEXT)
        respond(draining if self._service.draining else Answer(200, b"success", _TEXT))

    def _ready(self, _: HttpRequest, respond: Respond) -> None:
        if self._service.draining:
            raise Draining("this replica is going away")
        respond(Answer(200, b'{"ready":true}'))

    def _ping(self, _: HttpRequest, respond: Respond) -> None:
        """MLflow's clients look at the status, TorchServe's at the body too."""
        if self._service.draining:
            raise Draining("this replica is going away")
        respond(Answer(200, torchserve.ping()))

    def _repository_index(self, _: HttpRequest, respond: Respond) -> None:
        entries = [
            (endpoint.name, slot.version, "READY", "")
            for endpoint in self._service.endpoints.values()
            for slot in endpoint.slots
        ]
        respond(Answer(200, open_inference.repository_index(entries)))


def _always(answer: Answer) -> Handler:
    def handler(_: HttpRequest, respond: Respond) -> None:
        respond(answer)

    return handler


def _answered_by(response: InferResponse) -> tuple[Header, ...]:
    return (
        (VERSION_HEADER, response.model_version.encode()),
        (b"taxiway-variant", response.variant.encode()),
        (b"taxiway-prediction-id", response.prediction_id.encode()),
    )


def error_answer(error: TaxiwayError, codec: Codec = OPEN_INFERENCE) -> Answer:
    """An error in the form of a protocol; its code stands in the header `taxiway-error`."""
    shown = error if safe_message(error) == str(error) else TaxiwayError(safe_message(error))
    headers: tuple[Header, ...] = (
        (b"content-type", b"application/json"),
        (b"taxiway-error", code_of(error).encode()),
    )
    if isinstance(error, Unavailable):
        headers += (_RETRY,)
    return Answer(error.status, codec.encode_error(shown), headers)


def _decompressed(request: HttpRequest, body_bytes: int) -> bytes:
    encoding = request.headers[b"content-encoding"].lower()
    if encoding == b"identity":
        return request.body
    if encoding not in (b"gzip", b"x-gzip", b"deflate"):
        shown = encoding.decode("latin-1")[:20]
        raise MalformedRequest(f"content-encoding {shown} is not supported; send gzip, deflate or plain bytes")
    decompressor = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32 if encoding != b"deflate" else zlib.MAX_WBITS)
    try:
        body = decompressor.decompress(request.body, body_bytes)
    except zlib.error as error:
        raise MalformedRequest(f"the body is not {encoding.decode()}: {error}") from None
    if decompressor.unconsumed_tail:
        raise PayloadTooLarge(f"the body has more than {body_bytes} bytes after decompression")
    if not decompressor.eof:
        raise MalformedRequest(f"the {encoding.decode()} body is cut off")
    return body
