"""An S3 server on this machine (moto), and in front of it one that fails or dawdles as it is told."""

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import boto3
from moto.server import ThreadedMotoServer

ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}
BUCKET = "taxiway"


@dataclass
class Faults:
    """What the next requests meet: so many answers of 503, and a delay before each."""

    failures: int = 0
    delay_s: float = 0.0
    seen: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def fails(self) -> bool:
        with self.lock:
            self.failures -= 1
            return self.failures >= 0


@dataclass(frozen=True)
class S3:
    """Two endpoints of one store: a good one, and one with faults."""

    endpoint: str
    faulty_endpoint: str
    faults: Faults

    def uri(self, path: str, faulty: bool = False) -> str:
        endpoint = self.faulty_endpoint if faulty else self.endpoint
        return f"s3://{BUCKET}/{path}?endpoint_override={endpoint}&region=us-east-1"

    def put(self, key: str, content: bytes) -> None:
        self._client.put_object(Bucket=BUCKET, Key=key, Body=content)

    def keys(self, prefix: str) -> list[str]:
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
        return [found["Key"] for page in pages for found in page.get("Contents", ())]

    @property
    def _client(self):  # type: ignore[no-untyped-def]
        return boto3.client("s3", endpoint_url=self.endpoint)


@contextmanager
def running_s3() -> Iterator[S3]:
    """A store with one bucket; the environment must hold `ENVIRONMENT`."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    faults = Faults()
    proxy = ThreadingHTTPServer(("127.0.0.1", 0), _handler(host, port, faults))
    threading.Thread(target=proxy.serve_forever, daemon=True).start()
    try:
        s3 = S3(f"http://{host}:{port}", f"http://127.0.0.1:{proxy.server_address[1]}", faults)
        s3._client.create_bucket(Bucket=BUCKET)
        yield s3
    finally:
        proxy.shutdown()
        proxy.server_close()
        server.stop()


def _handler(host: str, port: int, faults: Faults) -> type[BaseHTTPRequestHandler]:
    class Proxy(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            """Tests read what they want to know from `Faults.seen`."""

        def _pass(self) -> None:
            body = self._body()
            faults.seen.append(f"{self.command} {self.path}")
            time.sleep(faults.delay_s)
            if faults.fails():
                self._answer(503, {}, b"<Error><Code>SlowDown</Code><Message>Please reduce</Message></Error>")
                return
            connection = HTTPConnection(host, port, timeout=30)
            headers = {name: value for name, value in self.headers.items() if name.lower() != "transfer-encoding"}
            connection.request(self.command, self.path, body, headers)
            answer = connection.getresponse()
            content = answer.read()
            self._answer(answer.status, dict(answer.getheaders()), content)
            connection.close()

        def _body(self) -> bytes:
            if "chunked" not in (self.headers.get("Transfer-Encoding") or ""):
                return self.rfile.read(int(self.headers.get("Content-Length") or 0))
            body = b""
            while size := int(self.rfile.readline().partition(b";")[0], 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return body

        def _answer(self, status: int, headers: dict[str, str], content: bytes) -> None:
            self.send_response_only(status)
            for name, value in headers.items():
                if name.lower() not in ("connection", "transfer-encoding", "content-length"):
                    self.send_header(name, value)
            length = headers.get("Content-Length") or headers.get("content-length")
            self.send_header("Content-Length", length if self.command == "HEAD" and length else str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _pass  # noqa: N815

    return Proxy


def credentials() -> None:
    os.environ.update(ENVIRONMENT)
