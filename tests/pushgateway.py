"""A Pushgateway as far as clients and Prometheus see one: groups by URL; PUT replaces a group, POST its metrics of the
same name."""

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote_plus

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

Group = tuple[tuple[str, str], ...]


@dataclass
class Pushed:
    """What the gateway holds and was asked.

    Attributes:
        groups: of each group the samples of every metric.
        logins: the Authorization headers.
        answer: the status that it gives; other than 200 it keeps nothing.
    """

    url: str = ""
    answer: int = 200
    groups: dict[Group, dict[str, list[Sample]]] = field(default_factory=dict)
    logins: list[str | None] = field(default_factory=list)

    @property
    def address(self) -> str:
        return self.url.removeprefix("http://")

    def exposition(self) -> str:
        """What is scraped: every sample with the labels of its group."""
        return "".join(
            f"{_line(sample, dict(group))}\n"
            for group, metrics in list(self.groups.items())
            for samples in metrics.values()
            for sample in samples
        )

    def value(self, name: str, **labels: str) -> float:
        """Of the one sample with this name and these labels in the one group."""
        ((_, metrics),) = self.groups.items()
        (found,) = [sample.value for sample in metrics[name] if sample.labels == labels]
        return float(found)


@contextmanager
def pushgateway() -> Iterator[Pushed]:
    pushed = Pushed()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(pushed))
    pushed.url = f"http://127.0.0.1:{server.server_port}"
    serving = threading.Thread(target=server.serve_forever, daemon=True)
    serving.start()
    try:
        yield pushed
    finally:
        server.shutdown()
        server.server_close()
        serving.join()


def _handler(pushed: Pushed) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = pushed.exposition().encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_PUT(self) -> None:
            self._keep(replace=True)

        def do_POST(self) -> None:
            self._keep(replace=False)

        def _keep(self, replace: bool) -> None:
            pushed.logins.append(self.headers["Authorization"])
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            if pushed.answer == 200:
                group = _group(self.path)
                before = {} if replace else pushed.groups.get(group, {})
                pushed.groups[group] = before | _parsed(body)
            self.send_response(pushed.answer)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    return Handler


def _parsed(body: str) -> dict[str, list[Sample]]:
    metrics: dict[str, list[Sample]] = {}
    for family in text_string_to_metric_families(body):
        assert family.documentation, f"{family.name} has no description"
        assert family.name not in metrics, f"{family.name} stands there twice"
        metrics[family.name] = list(family.samples)
    return metrics


def _line(sample: Sample, group: dict[str, str]) -> str:
    labels = ", ".join(f"{name}={json.dumps(value)}" for name, value in (group | sample.labels).items())
    return f"{sample.name}{{{labels}}} {sample.value}"


def _group(path: str) -> Group:
    head, *parts = path.strip("/").split("/")
    assert head == "metrics"
    assert len(parts) % 2 == 0
    labels = {}
    for name, value in zip(parts[::2], parts[1::2], strict=True):
        if name.endswith("@base64"):
            labels[name.removesuffix("@base64")] = base64.urlsafe_b64decode(value).decode()
        else:
            labels[name] = unquote_plus(value)
    return tuple(sorted(labels.items()))
