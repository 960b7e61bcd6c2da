"""Elasticsearch's `_bulk`: what is sent, what the answer means, and when the same is sent again.

Every item of an answer has a status of its own: 429 and 503 are tried again, alone; 409 means that the document is
there already; any other refusal would come again, so the document is a dead letter.
"""

import base64
import http.client
import json
import random
import ssl
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit

from taxiway.errors import ConfigError, JobError, TryLater
from taxiway.telemetry.elastic.documents import Document

_AGAIN = frozenset({429, 502, 503, 504})
_FILTER = "filter_path=errors,items.*.status,items.*.error.type,items.*.error.reason"
Sleep = Callable[[float], None]


@dataclass(frozen=True)
class DeadLetter:
    """A document that Elasticsearch does not take, and why."""

    document: Document
    status: int
    kind: str
    reason: str


@dataclass
class Outcome:
    """What became of some documents."""

    created: int = 0
    present: int = 0
    dead: list[DeadLetter] = field(default_factory=list)
    again: list[Document] = field(default_factory=list)


@dataclass(frozen=True)
class Patience:
    """Waits double from `first_s` to `longest_s`, drawn evenly from zero to that ("full jitter", Brooker 2015)."""

    first_s: float = 0.5
    longest_s: float = 30.0
    give_up_s: float = 300.0


class Bulk:
    """Sends documents over one connection. For one thread.

    Args:
        url: `https://[USER:PASSWORD@]HOST[:PORT][/PREFIX]`.
        api_key: Elasticsearch's, encoded; instead of a password.
        ca: a file of certificates that are trusted; None: the system's.

    Raises:
        ConfigError: the URL is none.
    """

    def __init__(
        self,
        url: str,
        api_key: str | None = None,
        ca: str | None = None,
        patience: Patience = Patience(),
        timeout_s: float = 60.0,
        sleep: Sleep = time.sleep,
        draw: Callable[[], float] = random.random,
    ) -> None:
        split = urlsplit(url)
        if split.scheme not in ("http", "https") or not split.hostname:
            raise ConfigError("the URL of Elasticsearch begins with http:// or https:// and has a host")
        self._path = f"{split.path.rstrip('/')}/_bulk?{_FILTER}"
        self._where = f"{split.scheme}://{split.hostname}:{split.port or 9200}"
        self._headers = {"content-type": "application/x-ndjson", **_login(split.username, split.password, api_key)}
        address = split.hostname, split.port or 9200
        self._connection = (
            http.client.HTTPSConnection(*address, timeout=timeout_s, context=ssl.create_default_context(cafile=ca))
            if split.scheme == "https"
            else http.client.HTTPConnection(*address, timeout=timeout_s)
        )
        self._patience, self._sleep, self._draw = patience, sleep, draw

    def send(self, documents: Sequence[Document]) -> Outcome:
        """Returns when each document is there or is a dead letter.

        Raises:
            TryLater: Elasticsearch is away or too busy, for `give_up_s` together.
            ConfigError: it refuses the login or knows no `_bulk`.
        """
        total, left, waits = Outcome(), list(documents), self._waits()
        while left:
            done, why = self._once(left)
            total.created += done.created
            total.present += done.present
            total.dead += done.dead
            left = done.again
            if done.created or done.present:
                waits = self._waits()
            if left:
                wait_s = next(waits, None)
                if wait_s is None:
                    raise TryLater(f"{self._where}: {why}; {len(left)} documents were not taken, try again later")
                self._sleep(wait_s)
        return total

    def close(self) -> None:
        self._connection.close()

    def _waits(self) -> Iterator[float]:
        waited, bound = 0.0, self._patience.first_s
        while waited < self._patience.give_up_s:
            wait_s = bound * self._draw()
            waited += max(wait_s, self._patience.first_s / 10)
            bound = min(2 * bound, self._patience.longest_s)
            yield wait_s

    def _once(self, documents: list[Document]) -> tuple[Outcome, str]:
        """One request, or two where one is too large; and why something is left."""
        try:
            status, answer = self._ask(b"".join(it.lines() for it in documents))
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            return Outcome(again=documents), f"{type(error).__name__}: {error}"
        if status == 413:
            return self._halves(documents)
        if status in _AGAIN:
            return Outcome(again=documents), f"status {status}"
        if status != 200:
            raise ConfigError(
                f"{self._where}: answers {status} to _bulk; check URL, login and rights: {answer[:300]!r}"
            )
        return sorted_out(documents, _items(answer)), "too busy"

    def _halves(self, documents: list[Document]) -> tuple[Outcome, str]:
        if len(documents) == 1:
            return Outcome(dead=[DeadLetter(documents[0], 413, "too_large", "larger than http.max_content_length")]), ""
        middle = len(documents) // 2
        (one, why), (other, also) = self._once(documents[:middle]), self._once(documents[middle:])
        both = Outcome(one.created + other.created, one.present + other.present, one.dead + other.dead)
        both.again = one.again + other.again
        return both, why or also

    def _ask(self, body: bytes) -> tuple[int, bytes]:
        self._connection.request("POST", self._path, body, self._headers)
        response = self._connection.getresponse()
        return response.status, response.read()


def sorted_out(documents: Sequence[Document], items: Sequence[Mapping[str, Any]]) -> Outcome:
    """What the items of an answer say of the documents, in their order.

    Raises:
        JobError: the answer is about other documents.
    """
    if len(items) != len(documents):
        raise JobError(f"Elasticsearch was sent {len(documents)} documents and answers about {len(items)}")
    outcome = Outcome()
    for document, item in zip(documents, items, strict=True):
        (told,) = item.values()
        status, error = int(told["status"]), told.get("error") or {}
        if status in (200, 201):
            outcome.created += 1
        elif status == 409:
            outcome.present += 1
        elif status in _AGAIN:
            outcome.again.append(document)
        else:
            outcome.dead.append(DeadLetter(document, status, str(error.get("type")), str(error.get("reason"))))
    return outcome


def _items(answer: bytes) -> Sequence[Mapping[str, Any]]:
    try:
        items: Sequence[Mapping[str, Any]] = json.loads(answer)["items"]
    except (ValueError, KeyError, TypeError) as error:
        raise JobError(f"the answer to _bulk is not Elasticsearch's: {answer[:200]!r}") from error
    return items


def _login(user: str | None, password: str | None, api_key: str | None) -> dict[str, str]:
    if api_key:
        return {"authorization": f"ApiKey {api_key}"}
    if user is None:
        return {}
    pair = f"{unquote(user)}:{unquote(password or '')}".encode()
    return {"authorization": f"Basic {base64.b64encode(pair).decode()}"}
