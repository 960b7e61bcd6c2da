"""An Elasticsearch as far as `_bulk` goes, and strict: what the real one refuses is refused here with its words."""

import json
import re
import threading
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

_INDEX = re.compile(r"[a-z0-9.][a-z0-9._-]{0,254}")
_TYPES = ("application/x-ndjson", "application/json", "application/json; charset=utf-8")
Item = dict[str, Any]


class BadRequest(Exception):
    """What the whole request is refused with."""


@dataclass
class Elastic:
    """What the server holds and was asked, and how it is to behave.

    Attributes:
        documents: by index and id.
        statuses: of the next requests as a whole; 200 when it is empty.
        busy: so many times the item of an id is answered with 429.
        refused: ids that are refused for good.
        most_bytes: of a request; more is a 413.
        login: what `Authorization` has to be; None: anything.
        bad: requests that no client may send.
    """

    port: int = 0
    documents: dict[str, dict[str, Any]] = field(default_factory=dict)
    statuses: deque[int] = field(default_factory=deque)
    busy: Counter[str] = field(default_factory=Counter)
    refused: set[str] = field(default_factory=set)
    most_bytes: int = 100 << 20
    login: str | None = None
    bad: list[str] = field(default_factory=list)
    requests: list[int] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ids(self) -> set[str]:
        return {name for index in self.documents.values() for name in index}

    def bulk(self, body: bytes, index: str | None) -> Item:
        """Raises BadRequest."""
        if not body.endswith(b"\n"):
            raise BadRequest("The bulk request must be terminated by a newline [\\n]")
        lines = body[:-1].split(b"\n")
        if len(lines) % 2:
            raise BadRequest("Malformed action/metadata line, expected a source after it")
        with self._lock:
            self.requests.append(len(lines) // 2)
            pairs = zip(lines[::2], lines[1::2], strict=True)
            items = [self._item(_parsed(action), _parsed(source), index) for action, source in pairs]
        return {"took": 1, "errors": any(it["create"]["status"] > 201 for it in items), "items": items}

    def _item(self, action: Item, source: Item, default: str | None) -> Item:
        if set(action) != {"create"}:
            raise BadRequest(f"expected create, found {sorted(action)}")
        about = action["create"]
        if unknown := set(about) - {"_index", "_id"}:
            raise BadRequest(f"Action/metadata line contains an unknown parameter {sorted(unknown)}")
        index, name = about.get("_index", default), str(about.get("_id", f"auto-{len(self.ids())}"))
        if index is None or not _INDEX.fullmatch(index):
            raise BadRequest(f"invalid index name [{index}]")
        status, kind = self._status(index, name)
        if status == 201:
            self.documents.setdefault(index, {})[name] = source
        error = {} if status == 201 else {"error": {"type": kind, "reason": f"{kind} of {name}"}}
        return {"create": {"_index": index, "_id": name, "status": status, **error}}

    def _status(self, index: str, name: str) -> tuple[int, str]:
        if self.busy[name] > 0:
            self.busy[name] -= 1
            return 429, "es_rejected_execution_exception"
        if name in self.refused:
            return 400, "document_parsing_exception"
        if name in self.documents.get(index, {}):
            return 409, "version_conflict_engine_exception"
        return 201, ""


@contextmanager
def elastic(port: int = 0) -> Iterator[Elastic]:
    held = Elastic()
    server = ThreadingHTTPServer(("127.0.0.1", port), _handler(held))
    held.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield held
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _handler(held: Elastic) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer(200, {"version": {"number": "8.9.0"}})

        def do_HEAD(self) -> None:
            self._answer(200, {})

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            path = urlsplit(self.path).path
            if held.login is not None and self.headers["Authorization"] != held.login:
                return self._answer(401, {"error": {"type": "security_exception"}})
            if len(body) > held.most_bytes:
                return self._answer(413, {})
            if held.statuses and (status := held.statuses.popleft()) != 200:
                return self._answer(status, {"error": {"type": "unavailable"}})
            try:
                if not path.endswith("/_bulk") or self.headers["Content-Type"] not in _TYPES:
                    raise BadRequest(f"{path} with {self.headers['Content-Type']}")
                answer = held.bulk(body, path.removesuffix("/_bulk").strip("/") or None)
            except BadRequest as error:
                held.bad.append(str(error))
                return self._answer(400, {"error": {"type": "illegal_argument_exception", "reason": str(error)}})
            return self._answer(200, answer)

        def _answer(self, status: int, content: Item) -> None:
            body = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("X-Elastic-Product", "Elasticsearch")
            if status == 401:
                self.send_header("WWW-Authenticate", 'Basic realm="security", charset="UTF-8"')
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    return Handler


def _parsed(line: bytes) -> Item:
    def refuse(word: str) -> None:
        raise BadRequest(f"Non-standard token '{word}'")

    try:
        found = json.loads(line, parse_constant=refuse)
    except ValueError as error:
        raise BadRequest(f"no JSON: {line[:100]!r}: {error}") from error
    if not isinstance(found, dict):
        raise BadRequest(f"no object: {line[:100]!r}")
    return found
