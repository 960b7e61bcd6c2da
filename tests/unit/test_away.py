"""Calls while somebody is known to be dead: refused at once, until they are back."""

import threading
import time

import pytest

from serve.away import Away
from taxiway.errors import VariantUnavailable


def refused(away: Away) -> bool:
    try:
        away.check()
    except VariantUnavailable:
        return True
    return False


def test_calls_are_refused_from_the_loss_until_they_are_back() -> None:
    back = threading.Event()
    away = Away(lambda: back.wait(10), patience_s=0.0)
    assert not refused(away)
    away.lost()
    assert refused(away)
    back.set()
    deadline = time.monotonic() + 10
    while refused(away):
        assert time.monotonic() < deadline
    away.lost()
    deadline = time.monotonic() + 10
    while refused(away):
        assert time.monotonic() < deadline


def test_only_one_asks_whether_they_are_back() -> None:
    back, asked = threading.Event(), []

    def ask() -> None:
        asked.append(1)
        back.wait(10)

    away = Away(ask, patience_s=0.0)
    threads = [threading.Thread(target=away.lost) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert refused(away)
    back.set()
    assert asked == [1]


def test_a_call_waits_for_another_replica_and_then_passes() -> None:
    away = Away(lambda: time.sleep(0.05), patience_s=10.0)
    away.lost()
    away.check()


def test_patience_counts_from_the_loss_and_not_from_the_call() -> None:
    away = Away(lambda: threading.Event().wait(10), patience_s=0.2)
    away.lost()
    with pytest.raises(VariantUnavailable, match="not back yet; try again"):
        away.check()
    begin = time.monotonic()
    assert refused(away)
    assert time.monotonic() - begin < 0.1


def test_when_asking_fails_the_next_call_finds_out() -> None:
    def ask() -> None:
        raise VariantUnavailable("died again")

    away = Away(ask, patience_s=10.0)
    away.lost()
    away.check()
