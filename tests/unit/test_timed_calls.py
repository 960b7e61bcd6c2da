"""A call that hangs costs its caller one wait, and nothing after it came back."""

import threading
import time

import pytest

from taxiway.timed_calls import Overdue, TimedCalls


def test_a_call_gives_back_what_it_returns_or_raises() -> None:
    calls = TimedCalls(timeout_s=30.0)
    assert calls(lambda: 3) == 3
    with pytest.raises(ZeroDivisionError):
        calls(lambda: 1 / 0)


def test_a_timeout_that_the_call_itself_raises_is_not_ours() -> None:
    def times_out() -> None:
        raise TimeoutError("the socket's own")

    calls = TimedCalls(timeout_s=30.0)
    with pytest.raises(TimeoutError, match="the socket's own"):
        calls(times_out)
    assert calls(lambda: 3) == 3


def test_while_a_call_hangs_others_are_refused_at_once_and_served_when_it_is_back() -> None:
    calls, back = TimedCalls(timeout_s=0.5), threading.Event()
    with pytest.raises(Overdue, match=r"no answer within 0\.5 s"):
        calls(back.wait)
    start = time.monotonic()
    with pytest.raises(Overdue, match="has not come back"):
        calls(lambda: 3)
    assert time.monotonic() - start < 0.4
    back.set()
    assert _eventually(calls) == 3


def test_a_call_that_never_comes_back_is_left_alone_after_a_while() -> None:
    calls, never = TimedCalls(timeout_s=0.05, patience_s=0.1), threading.Event()
    with pytest.raises(Overdue):
        calls(never.wait)
    assert _eventually(calls) == 3
    never.set()


def _eventually(calls: TimedCalls) -> int:
    deadline = time.monotonic() + 5
    while True:
        try:
            return calls(lambda: 3)
        except Overdue:
            assert time.monotonic() < deadline
            time.sleep(0.01)
