"""Threads for the nodes of graphs: a call that is late is left behind, calls to other processes run at once."""

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from contextvars import copy_context
from queue import SimpleQueue
from typing import Any, TypeVar

from taxiway.errors import DeadlineExceeded, VariantUnavailable

T = TypeVar("T")
_LATE_CALLS = 2
_Call = tuple[Callable[[], Any], "Future[Any]"]


class NodeThreads:
    """Runs calls on threads that are kept for the next call.

    The threads are daemons: a model that never returns must not keep a replica from ending, as the
    threads of a ThreadPoolExecutor do.

    Args:
        late_calls: of one node that may still run after their time; over it the node is not called.
    """

    def __init__(self, late_calls: int = _LATE_CALLS) -> None:
        self._late_calls = late_calls
        self._late: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._idle: list[SimpleQueue[_Call]] = []

    def run_with_timeout(self, node: str, call: Callable[[], T], timeout_s: float, /) -> T:
        """
        Raises:
            DeadlineExceeded: the call took longer; its result will be dropped.
            VariantUnavailable: too many calls of this node are late already.
        """
        if self._late[node] >= self._late_calls:
            raise VariantUnavailable(f"{self._late[node]} late calls of the node {node!r} have not ended yet")
        future = self._submit(call)
        if not wait([future], timeout_s).done:
            with self._lock:
                self._late[node] += 1
            future.add_done_callback(lambda _: self._ended(node))
            raise DeadlineExceeded(f"the node {node!r} did not answer within {timeout_s:g} s")
        return future.result()

    def map_parallel(self, calls: Sequence[Callable[[], T]], /) -> list[T]:
        """The results in order; the last call runs on the caller's own thread. All have ended when one has raised."""
        futures = [self._submit(call) for call in calls[:-1]]
        try:
            last = [call() for call in calls[-1:]]
        finally:
            wait(futures)
        return [future.result() for future in futures] + last

    def _submit(self, call: Callable[[], T]) -> "Future[T]":
        future: Future[T] = Future()
        try:
            calls = self._idle.pop()
        except IndexError:
            calls = SimpleQueue()
            threading.Thread(target=self._work, args=(calls,), name="node", daemon=True).start()
        context = copy_context()
        calls.put((lambda: context.run(call), future))
        return future

    def _work(self, calls: "SimpleQueue[_Call]") -> None:
        while True:
            self._answer(calls, *calls.get())

    def _answer(self, calls: "SimpleQueue[_Call]", call: Callable[[], Any], future: "Future[Any]") -> None:
        try:
            result = call()
        except BaseException as error:  # noqa: BLE001 - whoever waits gets it
            self._idle.append(calls)
            future.set_exception(error)
        else:
            self._idle.append(calls)
            future.set_result(result)

    def _ended(self, node: str) -> None:
        with self._lock:
            self._late[node] -= 1
