"""Calls that are waited for only so long: a store that hangs must not hang the event loop."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")
_Calls = SimpleQueue[tuple[Callable[[], Any], Future[Any]] | None]


class TimedCalls:
    """Makes calls one after another on a thread of its own, and waits `timeout_s` for each.

    While an overdue call still runs, others are refused at once: a store that hangs costs one wait, not one
    for every call. A call that is overdue for `patience_s` is left alone with its thread, and a new one begins.
    """

    def __init__(self, timeout_s: float, patience_s: float = 10.0) -> None:
        self._timeout_s = timeout_s
        self._patience_s = patience_s
        self._overdue: Future[Any] | None = None
        self._patient_until_s = 0.0
        self._calls = _start()

    def __call__(self, call: Callable[[], T]) -> T:
        """What `call` returns or raises.

        Raises:
            Overdue: it takes too long, or an earlier one still does.
        """
        self._refuse_while_overdue()
        answer: Future[T] = Future()
        self._calls.put((call, answer))
        try:
            return answer.result(self._timeout_s)
        except TimeoutError:
            if answer.done():  # the call itself has raised it
                return answer.result()
            self._overdue = answer
            self._patient_until_s = time.monotonic() + self._patience_s
            raise Overdue(f"no answer within {self._timeout_s:g} s") from None

    def _refuse_while_overdue(self) -> None:
        if self._overdue is None:
            return
        if not self._overdue.done():
            if time.monotonic() < self._patient_until_s:
                raise Overdue("an earlier call has not come back yet")
            self._calls.put(None)
            self._calls = _start()
        self._overdue = None


class Overdue(Exception):
    """Raise when a call takes too long; it may still be running."""


def _start() -> _Calls:
    calls: _Calls = SimpleQueue()
    # A daemon: a call that hangs must not keep the process from ending.
    threading.Thread(target=_work, args=(calls,), name="timed-calls", daemon=True).start()
    return calls


def _work(calls: _Calls) -> None:
    while (next_call := calls.get()) is not None:
        call, answer = next_call
        try:
            answer.set_result(call())
        except BaseException as error:  # noqa: BLE001 - it belongs to the caller
            answer.set_exception(error)
        del call, answer, next_call
