"""How a replica stands: versions, shares, counts, objectives, freshness. Answered as JSON and as a page."""

import asyncio
import hmac
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import orjson

from serve.http import GET, Handler, Route
from serve.http_protocol import Answer, Cancel, HttpRequest, Respond
from serve.later import Later
from serve.live import Live
from serve.multiplexed import Multiplexed
from serve.progress import AskProgress, Told
from serve.service import Service
from serve.status_facts import (
    EndpointStatus,
    MultiplexedStatus,
    Status,
    all_of,
    counted,
    endpoint_status,
    view_status,
)
from taxiway import __version__
from taxiway.telemetry.process import Usage, usage
from taxiway.telemetry.recent import Key, Recent, Seen

WINDOW_S = 300.0
BUDGET_WINDOW_S = 3_600.0
ASK_EVERY_S = 5.0
_PATIENCE_S = 2.0
_HTML = ((b"content-type", b"text/html; charset=utf-8"), (b"cache-control", b"no-store"))
_JSON = ((b"content-type", b"application/json"), (b"cache-control", b"no-store"))


@dataclass(frozen=True)
class Observed:
    """A replica, as far as its status looks at it; on the event loop.

    Args:
        feature_views: how fresh they are.
    """

    application: str
    service: Service
    live: Live
    recent: Recent
    feature_views: Callable[[], Mapping[str, Any]]
    multiplexed: Sequence[Multiplexed] = ()
    ask: Callable[[], Usage] = usage
    started: float = 0.0
    clock: Callable[[], float] = time.monotonic

    def status(self, told: Mapping[str, Told]) -> Status:
        """How it is now.

        Args:
            told: of endpoints that have it, what the registry and the controller say.
        """
        why, views = self.service.not_ready, self.feature_views()
        lately, window_s = self.recent.last(WINDOW_S), self.recent.covered_s(WINDOW_S)
        return Status(
            application=self.application,
            release=__version__,
            ready=why is None,
            reason=why,
            ongoing=self.service.ongoing,
            up_s=self.clock() - self.started,
            memory_bytes=self.ask().memory_bytes,
            window_s=window_s,
            budget_window_s=self.recent.covered_s(BUDGET_WINDOW_S),
            endpoints=self._endpoints(told, lately, window_s),
            multiplexed=tuple(
                MultiplexedStatus(it.name, counted(all_of(lately, it.name), window_s), it.facts())
                for it in self.multiplexed
            ),
            feature_views=tuple(view_status(name, view) for name, view in views.items()),
        )

    def _endpoints(
        self, told: Mapping[str, Told], lately: Mapping[Key, Seen], window_s: float
    ) -> tuple[EndpointStatus, ...]:
        long = self.recent.last(BUDGET_WINDOW_S)
        return tuple(
            endpoint_status(
                endpoint, partial(self.live.is_loading, name), lately, long, window_s, told.get(name, Told())
            )
            for name, endpoint in self.service.endpoints.items()
        )


class StatusPages:
    """The routes `/status` and `/status.json`.

    What the registry and the controller say is asked on a thread, at most every `ASK_EVERY_S` seconds however many
    people look, and never twice at once; while they hang, the page has what they said last.

    Args:
        token: what a request must bring; None: it is for everybody.
    """

    def __init__(
        self, observed: Observed, ask: AskProgress, token: str | None, patience_s: float = _PATIENCE_S
    ) -> None:
        self._observed, self._ask, self._token, self._patience_s = observed, ask, token, patience_s
        self._told: Mapping[str, Told] = {}
        self._asking: asyncio.Future[Mapping[str, Told]] | None = None
        self._asked_at = 0.0
        self._later = Later()

    def routes(self) -> Mapping[str, Route]:
        return {"/status": Route(GET, self._handler(_page)), "/status.json": Route(GET, self._handler(_json))}

    def _handler(self, make: Callable[[Status], Answer]) -> Handler:
        def handler(request: HttpRequest, respond: Respond) -> Cancel | None:
            if refusal := self._refusal(request.headers):
                respond(refusal)
                return None
            return self._later(self._answer(make), request.path, respond)

        return handler

    def _refusal(self, headers: Mapping[bytes, bytes]) -> Answer | None:
        if self._token is None:
            return None
        scheme, _, given = headers.get(b"authorization", b"").partition(b" ")
        if scheme.lower() != b"bearer":
            told = orjson.dumps({"error": "the status needs the header Authorization: Bearer TOKEN"})
            return Answer(401, told, (*_JSON, (b"www-authenticate", b"Bearer")))
        if not hmac.compare_digest(given.strip(), self._token.encode()):
            return Answer(403, orjson.dumps({"error": "this is not the admin token"}), _JSON)
        return None

    async def _answer(self, make: Callable[[Status], Answer]) -> Answer:
        status = self._observed.status(await self._progress())
        return await asyncio.to_thread(make, status)

    async def _progress(self) -> Mapping[str, Told]:
        now = time.monotonic()
        if self._asking is None or (self._asking.done() and now - self._asked_at > ASK_EVERY_S):
            self._asked_at = now
            self._asking = asyncio.get_running_loop().run_in_executor(None, self._ask)
        if not self._asking.done():
            await asyncio.wait({self._asking}, timeout=self._patience_s)
        if self._asking.done():
            self._told = self._asking.result()
        return self._told


def _json(status: Status) -> Answer:
    return Answer(200, orjson.dumps(status), _JSON)


def _page(status: Status) -> Answer:
    from serve.status_page import page  # its markup imports matplotlib: replicas that are never asked stay without it

    return Answer(200, page(status).encode(), _HTML)
