"""What an ingress replica answers over HTTP: one table of paths, filled anew when the models change."""

import logging
import re
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial

import orjson

from serve.caller import Caller, code_of, safe_message
from serve.endpoint import VERSION_HEADER, Endpoint
from serve.http_protocol import Answer, Cancel, Header, HttpRequest, Respond
from serve.service import Service
from serve.tracing import log_fields, trace_of
from taxiway import __version__
from taxiway.errors import (
    Draining,
    MethodNotAllowed,
    NotFound,
    RequestError,
    TaxiwayError,
    Unavailable,
)
from taxiway.inference import InferRequest, InferResponse, ModelInterface
from taxiway.protocols import content_encoding, error_form, mlflow_scoring, open_inference, tf_serving, torchserve

_log = logging.getLogger(__name__)

_TEXT: tuple[Header, ...] = ((b"content-type", b"text/plain; charset=utf-8"),)
_RETRY: Header = (b"retry-after", b"1")
Methods = tuple[str, ...]
GET: Methods = ("GET", "HEAD")
POST: Methods = ("POST",)
UPLOAD: Methods = ("POST", "PUT")
"""`curl -T` puts."""
ANY: Methods = ()
NO_ENDPOINT = "-"
EXTENSIONS = (*open_inference.EXTENSIONS, "model_repository")
MLFLOW_VERSION = b"3.17.2"
_NAMED_MODEL = re.compile(r"/(?:v1/models|v2/models|models|endpoints|predictions)/([^/:]+)")


@dataclass(frozen=True)
class Codec:
    """One wire protocol: bytes to a request, a response to bytes. Errors are written by path (`error_form`).

    `name` is a label of metrics.
    """

    name: str
    decode: Callable[[bytes, Mapping[bytes, bytes], ModelInterface], InferRequest]
    encode: Callable[[InferRequest, InferResponse], tuple[bytes, tuple[Header, ...]]]


OPEN_INFERENCE = Codec("open_inference", open_inference.decode, open_inference.encode)
TF_SERVING = Codec("tf_serving", tf_serving.decode, tf_serving.encode)
MLFLOW = Codec("mlflow", mlflow_scoring.decode, mlflow_scoring.encode)
TORCHSERVE = Codec("torchserve", torchserve.decode, torchserve.encode)

Handler = Callable[[HttpRequest, Respond], "Cancel | None"]


@dataclass(frozen=True, slots=True)
class Route:
    """What answers on one path, with some methods."""

    methods: Methods
    handler: Handler


class HttpApplication:
    """Routes are looked up by their whole path: there are few, and they change only with the models.

    Attributes:
        others: asked for what answers on a path that is not in the table.
        instead: answer in the place of routes of its own, from the next `refresh` on.
    """

    def __init__(self, application: str, service: Service, body_bytes: int, people: Mapping[str, Route]) -> None:
        self._application = application
        self._service = service
        self._body_bytes = body_bytes
        self._people = people
        self.others: Callable[[str], Route | None] = lambda _: None
        self.instead: dict[str, Route] = {}
        self.refresh()

    def refresh(self) -> None:
        """Takes the models that are loaded now into the table; on the event loop."""
        routes = self._server_routes()
        endpoints = list(self._service.endpoints.values())
        for endpoint in endpoints:
            routes |= self.endpoint_routes(endpoint)
        if len(endpoints) == 1:
            routes["/invocations"] = Route(POST, partial(self._infer, MLFLOW, endpoints[0], None))
        self._routes = routes | self.instead

    def __call__(self, request: HttpRequest, respond: Respond) -> "Cancel | None":
        route = self._routes.get(request.path) or self.others(request.path) or self._similar(request.path)
        return self.answer(route, request, respond)

    def answer(self, route: Route | None, request: HttpRequest, respond: Respond) -> "Cancel | None":
        """What a route answers, or why there is nothing."""
        if route is None:
            self._refuse(self._not_found(request.path), request, respond)
        elif request.method not in route.methods and route.methods is not ANY:
            self._other_method(route, request, respond)
        else:
            try:
                return route.handler(request, respond)
            except TaxiwayError as error:
                respond(error_answer(error, request.path))
            except Exception:  # noqa: BLE001 - a bug of ours fails this request, not the server
                _log.exception("answering %s failed", request.path)
                respond(error_answer(TaxiwayError("internal error"), request.path))
        return None

    def _similar(self, path: str) -> Route | None:
        """A path with a slash too many, or one of the pages for people: documentation and administration."""
        route = self._routes.get(path[:-1]) if path.endswith("/") else None
        if route is not None:
            return route
        pages = self._people.items()
        return next(
            (page for start, page in pages if path == start or (start[-1] == "/" and path.startswith(start))), None
        )

    def _other_method(self, route: Route, request: HttpRequest, respond: Respond) -> None:
        allow = (b"allow", ", ".join((*route.methods, "OPTIONS")).encode())
        if request.method == "OPTIONS":
            respond(Answer(200, b"", (allow,)))
            return
        error = MethodNotAllowed(f"{request.path[:200]} takes {route.methods[0]}, not {request.method}")
        self._refuse(error, request, respond, allow)

    def _refuse(self, error: RequestError, request: HttpRequest, respond: Respond, *headers: Header) -> None:
        self.refused(error)
        answer = error_answer(error, request.path)
        respond(Answer(answer.status, answer.body, (*answer.headers, *headers)))

    def refused(self, error: RequestError) -> None:
        """Counts what no endpoint has seen."""
        self._service.metrics.request(NO_ENDPOINT, "-", error.code, 0.0)

    def _infer(
        self, codec: Codec, endpoint: Endpoint, version: str | None, request: HttpRequest, respond: Respond
    ) -> "Cancel | None":
        def answered(outcome: "InferResponse | TaxiwayError") -> None:
            if isinstance(outcome, TaxiwayError):
                respond(error_answer(outcome, request.path))
                return
            try:
                began = time.monotonic()
                body, headers = codec.encode(call.request, outcome)
            except TaxiwayError as error:
                respond(error_answer(error, request.path))
            except Exception:  # noqa: BLE001
                _log.exception("encoding an answer of %s failed", endpoint.name, extra=log_fields(outcome))
                respond(error_answer(TaxiwayError("internal error"), request.path))
            else:
                self._service.metrics.phase(endpoint.label, outcome.variant, "encode", time.monotonic() - began)
                respond(Answer(200, body, (*headers, *_answered_by(outcome))))

        def decode(interface: ModelInterface) -> InferRequest:
            body = self._decompressed(request) if b"content-encoding" in request.headers else request.body
            return codec.decode(body, request.headers, interface)

        caller = Caller(request.headers, request.client, protocol=codec.name)
        call = self._service.submit(endpoint, version, decode, caller, request.arrived, answered)
        return call.cancel

    def _decompressed(self, request: HttpRequest) -> bytes:
        return content_encoding.decompressed(request.body, request.headers[b"content-encoding"], self._body_bytes)

    def _server_routes(self) -> dict[str, Route]:
        models = orjson.dumps({"models": self._service.names()})
        constant = {
            "/": b'{"status":"alive"}',
            "/-/routes": orjson.dumps({"/": self._application}),
            "/v1/models": models,
            "/v2": open_inference.server_metadata(__version__, EXTENSIONS),
            "/v2/health/live": open_inference.server_live(True),
            "/v2/models": models,
        }
        return _constants(constant) | {
            "/-/healthz": Route(GET, self._healthz),
            "/-/status": Route(GET, lambda _, respond: respond(Answer(200, orjson.dumps(self._service.status())))),
            "/v2/health/ready": Route(GET, self._ready),
            "/v2/repository/index": Route(POST, self._repository_index),
            "/ping": Route(GET, self._ping),
            "/health": Route(GET, self._ping),
            "/version": Route(GET, _always(Answer(200, MLFLOW_VERSION, _TEXT))),
        }

    def endpoint_routes(self, endpoint: Endpoint) -> dict[str, Route]:
        """The paths of an endpoint as a whole and of each of its versions; TensorFlow's labels are our variants."""
        routes = self._model_routes(endpoint, endpoint.baseline.interface, None)
        routes[f"/endpoints/{endpoint.name}/invocations"] = Route(POST, partial(self._infer, MLFLOW, endpoint, None))
        for slot in endpoint.slots:
            routes |= self._model_routes(endpoint, slot.interface, slot.version)
            routes |= self._tensorflow_routes(endpoint, slot.interface, slot.version, f"/labels/{slot.variant}")
        return routes

    def _model_routes(self, endpoint: Endpoint, interface: ModelInterface, version: str | None) -> dict[str, Route]:
        suffix, slash_version = ("", "") if version is None else (f"/versions/{version}", f"/{version}")
        v2, model = f"/v2/models/{endpoint.name}{suffix}", f"/models/{endpoint.name}{slash_version}"
        gets = {
            v2: open_inference.model_metadata(interface, [slot.version for slot in endpoint.slots]),
            model: torchserve.describe(interface, True),
        }
        posts = {f"{v2}/infer": OPEN_INFERENCE, f"{model}/invocations": MLFLOW}
        routes = {path: Route(POST, partial(self._infer, codec, endpoint, version)) for path, codec in posts.items()}
        upload = Route(UPLOAD, partial(self._infer, TORCHSERVE, endpoint, version))
        routes[f"/predictions/{endpoint.name}{slash_version}"] = upload
        routes[f"{v2}/ready"] = Route(GET, partial(self._model_ready, endpoint))
        return _constants(gets) | routes | self._tensorflow_routes(endpoint, interface, version, suffix)

    def _tensorflow_routes(
        self, endpoint: Endpoint, interface: ModelInterface, version: str | None, suffix: str
    ) -> dict[str, Route]:
        path = f"/v1/models/{endpoint.name}{suffix}"
        versions = [slot.version for slot in endpoint.slots] if version is None else [version]
        gets = {
            path: tf_serving.model_status(endpoint.name, versions, True),
            f"{path}/metadata": tf_serving.model_metadata(interface),
        }
        return _constants(gets) | {f"{path}:predict": Route(POST, partial(self._infer, TF_SERVING, endpoint, version))}

    def _not_found(self, path: str) -> NotFound:
        served = f"served here: {', '.join(self._service.endpoints)}"
        named = _NAMED_MODEL.match(path)
        if path.rstrip("/") == "/invocations":
            return NotFound(f"there are several models, use /models/NAME/invocations; {served}")
        if named is None:
            return NotFound(f"no such path: {path[:200]}")
        endpoint = self._service.endpoints.get(named[1])
        if endpoint is None:
            return NotFound(f"no such model: {named[1][:80]!r}; {served}")
        versions = ", ".join(slot.version for slot in endpoint.slots)
        has_not = f"{endpoint.name} has no such version or operation"
        return NotFound(f"{path[:200]}: {has_not}; its versions now: {versions}; {served}")

    def _healthz(self, _: HttpRequest, respond: Respond) -> None:
        """As Serve's proxy answers it, so that KubeRay's probes work unchanged."""
        if self._service.draining:
            respond(Answer(503, b"This node is being drained.", _TEXT))
        elif why := self._service.not_ready:
            respond(Answer(503, why.encode(), _TEXT))
        else:
            respond(Answer(200, b"success", _TEXT))

    def _ready(self, _: HttpRequest, respond: Respond) -> None:
        self._check_ready()
        respond(Answer(200, open_inference.server_ready(True)))

    def _model_ready(self, endpoint: Endpoint, _: HttpRequest, respond: Respond) -> None:
        """While draining no model is ready here, though what has come is answered."""
        if self._service.draining:
            raise Draining("this replica is going away")
        respond(Answer(200, open_inference.model_ready(endpoint.name, True)))

    def _ping(self, _: HttpRequest, respond: Respond) -> None:
        """MLflow's clients look at the status, TorchServe's at the body too."""
        self._check_ready()
        respond(Answer(200, torchserve.ping()))

    def _check_ready(self) -> None:
        """Raises Unavailable while no new request should come here."""
        if self._service.draining:
            raise Draining("this replica is going away")
        if why := self._service.not_ready:
            raise Unavailable(why)

    def _repository_index(self, request: HttpRequest, respond: Respond) -> None:
        only_ready = open_inference.wants_only_ready(request.body)
        entries = self.repository_entries()
        respond(
            Answer(200, open_inference.repository_index(it for it in entries if not only_ready or it[2] == "READY"))
        )

    def repository_entries(self) -> Iterable[tuple[str, str, str, str]]:
        """Name, version, state and the reason for the state of each variant."""
        for endpoint in self._service.endpoints.values():
            for variant in endpoint.variants.values():
                if variant.slot is not None:
                    yield endpoint.name, variant.slot.version, "READY", ""
                else:
                    yield endpoint.name, "", "UNAVAILABLE", f"{variant.name}: {variant.error or 'not loaded yet'}"


def _constants(bodies: Mapping[str, bytes]) -> dict[str, Route]:
    return {path: Route(GET, _always(Answer(200, body))) for path, body in bodies.items()}


def _always(answer: Answer) -> Handler:
    def handler(_: HttpRequest, respond: Respond) -> None:
        respond(answer)

    return handler


def _answered_by(response: InferResponse) -> tuple[Header, ...]:
    return (
        (VERSION_HEADER, response.model_version.encode()),
        (b"taxiway-variant", response.variant.encode()),
        (b"taxiway-prediction-id", response.prediction_id.encode()),
        *_traced(response),
    )


def _traced(answered: InferResponse | TaxiwayError) -> tuple[Header, ...]:
    """Where the request leaves a trace: its id, and the span in the form of W3C's `traceresponse`."""
    kept = trace_of(answered)
    if kept is None:
        return ()
    return (b"traceresponse", kept.response_header.encode()), (b"taxiway-trace-id", kept.trace_id.encode())


def error_answer(error: TaxiwayError, path: str = "") -> Answer:
    """An error in the form of the path's protocol; its code stands in the header `taxiway-error`."""
    shown = error if safe_message(error) == str(error) else TaxiwayError(safe_message(error))
    headers: tuple[Header, ...] = (
        (b"content-type", b"application/json"),
        (b"taxiway-error", code_of(error).encode()),
    )
    headers += _traced(error)
    if isinstance(error, Unavailable):
        headers += (_RETRY,)
    return Answer(error.status, error_form.encode_error(path, shown), headers)
