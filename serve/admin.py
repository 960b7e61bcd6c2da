"""Administration over HTTP: what is served, the traffic and rollouts of each endpoint, alarms about its models."""

import hmac
import logging
from http import HTTPStatus
from typing import Annotated, Any, Protocol

from fastapi import Depends, FastAPI, Header, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse
from fastapi.security import HTTPBearer
from pydantic import Field
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from taxiway.alarms import Details, RaisedAlarm, Reason
from taxiway.drift.progress import VariantDrift
from taxiway.errors import ConfigError, RegistryError, TaxiwayError
from taxiway.rollout.experiment_state import ExperimentState
from taxiway.rollout.plan import RolloutSettings
from taxiway.rollout.progress import Command
from taxiway.rollout.readout import Readout
from taxiway.rollout.state import RolloutState
from taxiway.settings import Settings
from taxiway.traffic import TrafficSettings, TrafficState, sentences

_log = logging.getLogger(__name__)

Version = Annotated[str, Query(pattern=r"^[0-9]{1,10}$")]
_OPEN_PATHS = ("/admin/docs", "/admin/openapi.json")


class AlarmCall(Settings):
    """What somebody has seen of an endpoint whose models are no longer right."""

    reason: Reason
    details: Details = Field(default_factory=dict, description="facts by name: numbers, texts, true, false or null")
    model: str | None = Field(default=None, description="one registered model behind the endpoint; null: all of them")


class RolloutCall(Settings):
    """What somebody asks of the rollout or the experiment that is under way."""

    reason: str = Field(default="", max_length=300, description="why; it is kept")


class StartCall(Settings):
    """A rollout of the present challenger."""

    plan: RolloutSettings | None = Field(default=None, description="instead of the endpoint's own")


class ExperimentAnswer(Settings):
    """An experiment, and what was last said of it."""

    state: ExperimentState
    readout: Readout | None


class AdminBackend(Protocol):
    """What administration asks of a replica. Raise `NotFound` for an endpoint, `ConfigError` for a variant or model."""

    def status(self) -> dict[str, Any]: ...

    async def traffic(self, endpoint: str) -> TrafficState: ...

    async def set_traffic(self, endpoint: str, traffic: TrafficSettings, by: str) -> TrafficState: ...

    async def reset_traffic(self, endpoint: str) -> TrafficState: ...

    async def raise_alarm(self, endpoint: str, call: AlarmCall, by: str) -> RaisedAlarm: ...

    async def rollout(self, endpoint: str) -> RolloutState | None: ...

    async def rollouts(self, endpoint: str) -> list[RolloutState]: ...

    async def rollout_report(self, endpoint: str, version: str | None) -> str: ...

    async def start_rollout(self, endpoint: str, plan: RolloutSettings | None, by: str) -> RolloutState: ...

    async def command_rollout(self, endpoint: str, command: Command, by: str, reason: str) -> RolloutState: ...

    async def experiment(self, endpoint: str) -> ExperimentAnswer | None: ...

    async def experiment_report(self, endpoint: str) -> str: ...

    async def stop_experiment(self, endpoint: str, by: str, reason: str) -> ExperimentState: ...

    async def drift(self, endpoint: str) -> list[VariantDrift]: ...


def admin_app(backend: AdminBackend, token: str) -> FastAPI:
    """The application below `/admin/`.

    Raises:
        ConfigError: the token is empty, which would let everybody in.
    """
    if not token.strip():
        raise ConfigError("admin.token is empty; give one, or leave the key out and there are no admin calls")
    app = FastAPI(
        title="Taxiway administration",
        openapi_url="/admin/openapi.json",
        docs_url="/admin/docs",
        redoc_url=None,
        dependencies=[Depends(HTTPBearer(auto_error=False))],  # for the documents; `_Authorized` decides
    )
    app.add_middleware(_Authorized, token=token)
    app.exception_handler(TaxiwayError)(_taxiway_error)
    app.exception_handler(RequestValidationError)(_invalid)
    app.exception_handler(HTTPException)(_http_error)
    app.exception_handler(Exception)(_internal)
    _add_routes(app, backend)
    _add_rollout_routes(app, backend)
    _add_experiment_routes(app, backend)
    _add_drift_route(app, backend)
    return app


def _add_routes(app: FastAPI, backend: AdminBackend) -> None:
    @app.get("/admin/status")
    async def status() -> dict[str, Any]:
        """What this replica serves."""
        return backend.status()

    @app.get("/admin/endpoints/{name}/traffic")
    async def traffic(name: str) -> TrafficState:
        """What is declared, what was set in its place, and which of them holds."""
        return await backend.traffic(name)

    @app.put("/admin/endpoints/{name}/traffic")
    async def set_traffic(
        name: str, traffic: TrafficSettings, request: Request, taxiway_by: str | None = Header(None, max_length=100)
    ) -> TrafficState:
        """Splits the traffic like this, until it is reset or another traffic is declared."""
        return await backend.set_traffic(name, traffic, taxiway_by or _caller(request))

    @app.delete("/admin/endpoints/{name}/traffic")
    async def reset_traffic(name: str) -> TrafficState:
        """Back to what is declared."""
        return await backend.reset_traffic(name)

    @app.post("/admin/endpoints/{name}/alarms", status_code=202)
    async def raise_alarm(
        name: str, call: AlarmCall, request: Request, taxiway_by: str | None = Header(None, max_length=100)
    ) -> RaisedAlarm:
        """Leaves an alarm for the next retraining that asks whether it is due."""
        return await backend.raise_alarm(name, call, taxiway_by or _caller(request))


def _caller(request: Request) -> str:
    return f"admin call from {request.client.host if request.client else 'unknown'}"


def _add_rollout_routes(app: FastAPI, backend: AdminBackend) -> None:
    @app.get("/admin/endpoints/{name}/rollout")
    async def rollout(name: str) -> RolloutState | None:
        """The rollout that is under way, or the last one; null while there was none."""
        return await backend.rollout(name)

    @app.get("/admin/endpoints/{name}/rollout/report", response_class=HTMLResponse)
    async def report(name: str, version: Version | None = None) -> HTMLResponse:
        """A page about it, or about the rollout of a version."""
        return HTMLResponse(await backend.rollout_report(name, version))

    @app.get("/admin/endpoints/{name}/rollouts")
    async def rollouts(name: str) -> list[RolloutState]:
        """Every rollout of a version that is in the registry still, the oldest first."""
        return await backend.rollouts(name)

    @app.post("/admin/endpoints/{name}/rollout", status_code=201)
    async def start(
        name: str, call: StartCall, request: Request, taxiway_by: str | None = Header(None, max_length=100)
    ) -> RolloutState:
        """Rolls out the present challenger."""
        return await backend.start_rollout(name, call.plan, taxiway_by or _caller(request))

    @app.post("/admin/endpoints/{name}/rollout/{command}")
    async def act(
        name: str,
        command: Command,
        call: RolloutCall,
        request: Request,
        taxiway_by: str | None = Header(None, max_length=100),
    ) -> RolloutState:
        """Pauses, resumes, promotes or aborts it."""
        return await backend.command_rollout(name, command, taxiway_by or _caller(request), call.reason)


def _add_experiment_routes(app: FastAPI, backend: AdminBackend) -> None:
    @app.get("/admin/endpoints/{name}/experiment")
    async def experiment(name: str) -> ExperimentAnswer | None:
        """The experiment that is running, or the last one; null while there was none."""
        return await backend.experiment(name)

    @app.get("/admin/endpoints/{name}/experiment/report", response_class=HTMLResponse)
    async def report(name: str) -> HTMLResponse:
        """A page about it."""
        return HTMLResponse(await backend.experiment_report(name))

    @app.post("/admin/endpoints/{name}/experiment/stop")
    async def stop(
        name: str, call: RolloutCall, request: Request, taxiway_by: str | None = Header(None, max_length=100)
    ) -> ExperimentState:
        """Ends it; the traffic goes back to what is declared."""
        return await backend.stop_experiment(name, taxiway_by or _caller(request), call.reason)


def _add_drift_route(app: FastAPI, backend: AdminBackend) -> None:
    @app.get("/admin/endpoints/{name}/drift")
    async def drift(name: str) -> list[VariantDrift]:
        """Of each variant's versions the last windows, how far each column lay from the reference, and the alarms."""
        return await backend.drift(name)


class _Authorized:
    """Lets nobody in without the token, before a byte of the body is read."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._token = token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or (scope["type"] == "http" and scope["path"] in _OPEN_PATHS):
            await self._app(scope, receive, send)
            return
        given = [value for name, value in scope["headers"] if name == b"authorization"]
        scheme, _, token = given[0].partition(b" ") if len(given) == 1 else (b"", b"", b"")
        if scheme.lower() != b"bearer":
            refusal = _error(401, "admin calls need the header Authorization: Bearer TOKEN")
            refusal.headers["WWW-Authenticate"] = "Bearer"
            await refusal(scope, receive, send)
        elif not hmac.compare_digest(token.strip(), self._token):
            await _error(403, "this is not the admin token")(scope, receive, send)
        else:
            await self._app(scope, receive, send)


def _error(status: int, sentence: str) -> JSONResponse:
    return JSONResponse({"error": sentence}, status)


async def _taxiway_error(request: Request, error: TaxiwayError) -> JSONResponse:
    if isinstance(error, ConfigError) and request.method in ("PUT", "POST"):
        return _error(400, str(error))
    return _error(503 if isinstance(error, RegistryError) else error.status, str(error))


async def _invalid(_: Request, error: RequestValidationError) -> JSONResponse:
    entries = error.errors()
    if entries[0]["type"] == "json_invalid":
        return _error(400, f"the body is not JSON: {entries[0]['ctx']['error']}")
    # Without the first part of the location, which says `body`.
    return _error(400, sentences([entry | {"loc": entry["loc"][1:]} for entry in entries]))


async def _http_error(request: Request, error: HTTPException) -> JSONResponse:
    found = {404: f"no such path: {request.url.path[:200]}", 405: f"{request.method} is not possible here"}
    answer = _error(error.status_code, found.get(error.status_code) or HTTPStatus(error.status_code).phrase)
    answer.headers.update(error.headers or {})
    return answer


async def _internal(_: Request, error: Exception) -> JSONResponse:
    _log.error("an admin call failed", exc_info=error)
    return _error(500, "internal error")
