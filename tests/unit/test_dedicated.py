"""Asking a dedicated variant, with a handle that behaves as Ray Serve's does."""

import threading
import time
from concurrent.futures import Future, wait
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from ray.exceptions import RayTaskError
from ray.serve._private.common import DeploymentID
from ray.serve.exceptions import DeploymentUnavailableError

from serve.dedicated import RemotePredictor
from taxiway.errors import VariantUnavailable
from taxiway.registry import ModelVersion

ONE = {"x": np.ones(1)}


class Response:
    def __init__(self, future: "Future[Any]") -> None:
        self._future = future

    def result(self, timeout_s: float) -> Any:
        if not wait([self._future], timeout_s).done:
            raise TimeoutError
        return self._future.result()

    def cancel(self) -> None:
        self._future.cancel()


class Handle:
    """A call waits for a replica without end; a broadcast says at once that there is none."""

    def __init__(self, call_s: float = 0.0) -> None:
        self.call_s = call_s
        self.there = threading.Event()
        self.there.set()
        self.predict = SimpleNamespace(remote=lambda version, columns: self._call(lambda: {"p": columns["x"] * 2}))
        self.prepare = SimpleNamespace(remote=lambda version: self._call(lambda: "package"))

    def broadcast(self, method: str, version: ModelVersion) -> Any:
        def results(**_: Any) -> list[str]:
            if not self.there.is_set():
                raise DeploymentUnavailableError(DeploymentID("remote", "tests"))
            return ["package"]

        return SimpleNamespace(results=results)

    def _call(self, answer: Any) -> Response:
        future: Future[Any] = Future()

        def run() -> None:
            self.there.wait(20)
            time.sleep(self.call_s)
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(answer())
                except Exception as error:  # noqa: BLE001
                    future.set_exception(error)

        threading.Thread(target=run, daemon=True).start()
        return Response(future)


def remote(handle: Handle, patience_s: float | None = 0.0) -> RemotePredictor:
    return RemotePredictor(handle, ModelVersion("parcel", "1", ""), patience_s)


def test_a_slow_model_is_waited_for_while_it_has_a_replica() -> None:
    assert remote(Handle(call_s=1.0)).predict(ONE)["p"] == 2


def test_without_a_replica_calls_are_refused_at_once_until_one_is_back() -> None:
    handle = Handle()
    predictor = remote(handle)
    handle.there.clear()
    begin = time.monotonic()
    for _ in range(20):
        with pytest.raises(VariantUnavailable):
            predictor.predict(ONE)
    assert time.monotonic() - begin < 1.0
    handle.there.set()
    deadline = time.monotonic() + 10
    while True:
        try:
            assert predictor.predict(ONE)["p"] == 2
        except VariantUnavailable:
            assert time.monotonic() < deadline
        else:
            return


def test_a_variant_that_may_be_at_zero_is_waited_for() -> None:
    handle = Handle()
    handle.there.clear()
    threading.Timer(0.6, handle.there.set).start()
    assert remote(handle, patience_s=None).predict(ONE)["p"] == 2


def test_a_models_own_time_out_is_its_error_and_no_missing_replica() -> None:
    handle = Handle()
    raised = RayTaskError("predict", "traceback", TimeoutError("the model's own")).as_instanceof_cause()

    def predict(version: ModelVersion, columns: Any) -> Response:
        future: Future[Any] = Future()
        future.set_exception(raised)
        return Response(future)

    handle.predict = SimpleNamespace(remote=predict)
    with pytest.raises(TimeoutError, match="the model's own"):
        remote(handle).predict(ONE)
