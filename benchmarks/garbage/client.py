"""A client that sends what no client should: by HTTP and gRPC, in frames that are right and in none at all."""

import json
import random
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import grpc
import numpy as np

from benchmarks.serving.model import COLUMNS, NAME
from taxiway.protocols import open_inference_pb2 as pb

_ALPHABET = "abcdefghijklmnopqrstuvwxyzäßZ0159%./: {}[]\"'\\\t"
_HEADERS = (
    "taxiway-model-version",
    "taxiway-timeout-ms",
    "content-encoding",
    "content-type",
    "traceparent",
    "inference-header-content-length",
    "host",
    "accept",
)
_PATHS = ("/v2/models/{}/infer", "/v2/models/{}/feedback", "/invocations", "/v1/models/{}:predict", "/predictions/{}")
_SERVICE = "inference.GRPCInferenceService"


class Garbage:
    """Requests of one thread, drawn with a seed.

    Args:
        rate: requests a second at most.

    Attributes:
        sent: by the status line's code, or by what became of the connection.
    """

    def __init__(self, port: int, grpc_port: int, rate: float, seed: int) -> None:
        self._port, self._grpc_port, self._pause_s = port, grpc_port, 1 / rate
        self._chance = random.Random(seed)
        self._stop = threading.Event()
        self.sent: Counter[str] = Counter()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(30)

    def _run(self) -> None:
        kinds: list[tuple[Callable[[], str], int]] = [
            (self._http, 80),
            (self._bytes, 8),
            (self._half, 4),
            (self._rpc, 8),
        ]
        while not self._stop.is_set():
            begin = time.monotonic()
            (kind,) = self._chance.choices([kind for kind, _ in kinds], [weight for _, weight in kinds])
            try:
                self.sent[kind()] += 1
            except OSError as error:
                self.sent[type(error).__name__] += 1
            self._stop.wait(max(self._pause_s - (time.monotonic() - begin), 0.0))

    def _word(self, most: int = 40) -> str:
        return "".join(self._chance.choices(_ALPHABET, k=self._chance.randrange(1, most)))

    def _http(self) -> str:
        path = self._chance.choice(_PATHS).format(NAME if self._chance.random() < 0.7 else self._word())
        if self._chance.random() < 0.1:
            path = f"/{self._word()}"
        method = self._chance.choice(["POST"] * 9 + ["GET", "PUT", "DELETE", "OPTIONS", self._word(8)])
        body = self._body()
        lines = [f"{method} {path.replace(' ', '')} HTTP/1.1", f"content-length: {len(body)}"]
        lines += [f"{name}: {self._word()}" for name in _HEADERS if self._chance.random() < 0.05]
        lines += [f"x-{self._chance.randrange(10**9)}: {self._word()}" for _ in range(self._chance.randrange(4))]
        head = "\r\n".join(lines).encode("latin-1", "replace") + b"\r\n\r\n"
        return self._exchange(head + body)

    def _body(self) -> bytes:
        kind = self._chance.randrange(7)
        if kind == 0:
            return self._chance.randbytes(self._chance.randrange(400))
        if kind == 1:
            return json.dumps({self._word(): self._word() for _ in range(9)}).encode()
        if kind == 2:
            label = {"prediction_id": self._word(), "label": self._chance.random(), self._word(): 1}
            return json.dumps({"labels": [label]}).encode()
        asked: list[dict[str, Any]] = [
            {"name": name, "shape": [1], "datatype": "FP64", "data": [self._number()]} for name in COLUMNS
        ]
        if kind == 3:
            asked[self._chance.randrange(len(asked))]["name"] = self._word()
        if kind == 4:
            broken = asked[self._chance.randrange(len(asked))]
            values: list[Any] = [None, [], {}, -1, self._word(), [[[1]]]]
            broken[self._chance.choice(list(broken))] = self._chance.choice(values)
        text = json.dumps({"id": self._word(), "inputs": asked}).encode()
        return text[: self._chance.randrange(len(text))] if kind == 5 else text

    def _number(self) -> float:
        odd = (-1.0, 1e308, np.nan, np.inf)
        return self._chance.gauss(0, 1e3) if self._chance.random() < 0.97 else self._chance.choice(odd)

    def _bytes(self) -> str:
        return self._exchange(self._chance.randbytes(self._chance.randrange(1, 2_000)))

    def _half(self) -> str:
        """A request that never ends: the client goes away."""
        with socket.create_connection(("127.0.0.1", self._port), 10) as connection:
            connection.sendall(b"POST /v2/models/x/infer HTTP/1.1\r\ncontent-length: 1000\r\n\r\n{")
        return "left"

    def _exchange(self, sent: bytes) -> str:
        with socket.create_connection(("127.0.0.1", self._port), 10) as connection:
            connection.settimeout(5)
            connection.sendall(sent)
            with suppress(TimeoutError):
                head = connection.recv(4_096)
                return head[9:12].decode("latin-1") if head.startswith(b"HTTP/1.1 ") else "closed"
        return "no answer"

    def _rpc(self) -> str:
        with grpc.insecure_channel(f"127.0.0.1:{self._grpc_port}") as channel:
            method = "ModelInfer" if self._chance.random() < 0.5 else str(self._chance.randrange(10**9))
            message = pb.ModelInferRequest(model_name=self._word(), id=self._word()).SerializeToString()
            body = message if self._chance.random() < 0.5 else self._chance.randbytes(50)
            try:
                channel.unary_unary(f"/{_SERVICE}/{method}", None, None)(body, timeout=10)
            except grpc.RpcError as error:
                return str(error.code().name)
        return "rpc"
