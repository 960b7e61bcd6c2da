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

from serve.dedicated import Computed, RemotePredictor
from serve.settings import CostSettings
from serve.used import Place, Used
from taxiway.errors import VariantUnavailable
from taxiway.registry import ModelVersion
from taxiway.telemetry.metrics import CostMetrics
from taxiway.telemetry.process import Usage
from taxiway.telemetry.serving import VARIANT
from taxiway.telemetry.settings import LogSettings
from taxiway.telemetry.work import Part, Work, doing, part
from tests.heard import Heard

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
        self.trace_ids: list[str | None] = []
        self.there = threading.Event()
        self.there.set()
        self.predict = SimpleNamespace(
            remote=lambda version, columns, trace_id: self._call(lambda: self._answer(columns, trace_id))
        )
        self.prepare = SimpleNamespace(remote=lambda version: self._call(lambda: "package"))

    def _answer(self, columns: Any, trace_id: str | None) -> Computed:
        self.trace_ids.append(trace_id)
        begun = time.time()
        parts = [Part("replica", begun, begun, {}, [Part("load", begun, begun, {}, [])])]
        return Computed({"p": columns["x"] * 2}, parts, logged=True)

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

    def predict(version: ModelVersion, columns: Any, trace_id: str | None) -> Response:
        future: Future[Any] = Future()
        future.set_exception(raised)
        return Response(future)

    handle.predict = SimpleNamespace(remote=predict)
    with pytest.raises(TimeoutError, match="the model's own"):
        remote(handle).predict(ONE)


def test_a_call_takes_the_trace_along_and_brings_back_what_was_done_for_it() -> None:
    handle = Handle()
    predictor = remote(handle)
    with doing(Work("0af7651916cd43dd8448eb211c80319c")) as work, part("inference"):
        predictor.predict(ONE)
    assert handle.trace_ids == ["0af7651916cd43dd8448eb211c80319c"]
    (inference,) = work.parts
    (replica,) = inference.parts
    assert (replica.name, [it.name for it in replica.parts]) == ("replica", ["load"])
    assert inference.begin - 0.005 <= replica.begin <= replica.end <= inference.end + 0.005
    assert work.logged


def test_without_a_trace_a_call_takes_none_along() -> None:
    handle = Handle()
    remote(handle).predict(ONE)
    assert handle.trace_ids == [None]


def test_all_that_a_dedicated_replica_uses_is_its_variants() -> None:
    metrics = CostMetrics()
    heard = {name: Heard(VARIANT) for name in metrics.counters}
    metrics.counters = heard
    cpu_s, at = iter([2.0, 3.5, 3.5]), iter([10.0, 14.0, 15.0])
    prices = CostSettings(cpu_second=0.1, gpu_second=2.0)
    place = Place("delay", "big", 0.5, prices, LogSettings())
    used = Used(place, metrics, lambda: Usage(next(cpu_s), 0, 0), lambda: next(at))
    used.look()
    used.look()
    tags = {"endpoint": "delay", "variant": "big"}
    assert heard["cpu"].of(**tags) == 1.5
    assert heard["gpu"].of(**tags) == 2.5
    assert heard["cost"].of(**tags) == pytest.approx(0.1 * 1.5 + 2.0 * 2.5)
