"""Those who ask about flights, at an even pace over a few kept connections, and who tells what became of them."""

import http.client
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import orjson

from examples.flights.replay_stream import Stream

_CONNECTIONS = 4
_TELL_EVERY_S = 0.25
_TIMEOUT_S = 30.0
_NO_ANSWER = 0


@dataclass(frozen=True, slots=True)
class Asked:
    """An answer as the client sees it.

    Args:
        at_s: when it came, in seconds since the clients began.
        status: HTTP's; 0 when the connection broke.
        version: the model version that answered; empty with an error, and so is the id.
    """

    position: int
    at_s: float
    seconds: float
    status: int
    version: str
    prediction_id: str


class Clients:
    """Ask about one flight after another until `stop`, or until there are no more.

    Args:
        per_s: requests a second; slower where the server or this machine is.
    """

    def __init__(self, stream: Stream, host: str, port: int, model: str, per_s: float) -> None:
        self._stream, self._host, self._port, self._model, self._per_s = stream, host, port, model, per_s
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._next = 0
        self._ids: dict[int, str] = {}
        self._dues = _by_landing(stream)
        self.began = time.monotonic()
        self.asked: list[Asked] = []
        self.labels = 0
        targets = [self._ask] * _CONNECTIONS + [self._tell]
        self._threads = [threading.Thread(target=self._connected, args=(it,), daemon=True) for it in targets]

    def start(self) -> None:
        self.began = time.monotonic()
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(_TIMEOUT_S)

    @property
    def has_ended(self) -> bool:
        """Whether all flights have been asked about."""
        return len(self.asked) >= len(self._stream)

    def seconds(self) -> float:
        return time.monotonic() - self.began

    def _connected(self, work: Callable[[http.client.HTTPConnection], None]) -> None:
        connection = http.client.HTTPConnection(self._host, self._port, timeout=_TIMEOUT_S)
        work(connection)
        connection.close()

    def _ask(self, connection: http.client.HTTPConnection) -> None:
        while (position := self._take()) is not None:
            begun = time.monotonic()
            status, headers = self._post(connection, "infer", self._stream.body(position))
            now = time.monotonic()
            version, identity = (headers.get(f"taxiway-{name}", "") for name in ("model-version", "prediction-id"))
            self._ids[position] = identity
            self.asked.append(Asked(position, now - self.began, now - begun, status, version, identity))

    def _take(self) -> int | None:
        """The next flight, when it is its turn."""
        with self._lock:
            position = self._next
            if position >= len(self._stream):
                return None
            wait_s = self.began + position / self._per_s - time.monotonic()
            if self._stop.wait(max(wait_s, 0.0)):
                return None
            self._next += 1
        return position

    def _tell(self, connection: http.client.HTTPConnection) -> None:
        while not self._stop.wait(_TELL_EVERY_S):
            due, self._dues = self._split(self._dues)
            told = [
                {"prediction_id": self._ids[it], "label": float(self._stream.labels[it])} for it in due if self._ids[it]
            ]
            if told and self._post(connection, "feedback", orjson.dumps({"labels": told}))[0] == 200:
                self.labels += len(told)

    def _split(self, dues: list[int]) -> tuple[list[int], list[int]]:
        """Whose label is known by now and whose answer is there, and the rest in its order."""
        position = self._next
        landed = next((at for at, it in enumerate(dues) if self._stream.landings[it] > position), len(dues))
        early = dues[:landed]
        waiting = [it for it in early if it not in self._ids]
        return [it for it in early if it in self._ids], waiting + dues[landed:]

    def _post(
        self, connection: http.client.HTTPConnection, call: str, body: bytes
    ) -> tuple[int, http.client.HTTPMessage]:
        path = f"/v2/models/{self._model}/{call}"
        try:
            connection.request("POST", path, body, {"content-type": "application/json"})
            response = connection.getresponse()
            response.read()
        except (http.client.HTTPException, OSError):
            with suppress(OSError):
                connection.close()  # the next request opens it again
            return _NO_ANSWER, http.client.HTTPMessage()
        return response.status, response.headers


def _by_landing(stream: Stream) -> list[int]:
    """The flights with a label in the order in which they become known."""
    order = np.argsort(stream.landings, kind="stable")
    return [int(it) for it in order if stream.landings[it] >= 0]
