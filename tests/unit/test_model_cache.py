"""Which models are kept, and what becomes of requests for those that are not."""

import asyncio
import threading
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serve.model_cache import RETRY_S, CacheCounts, CacheRules, ModelCache
from taxiway.errors import NotFound, Overloaded, TaxiwayError, Unavailable


class Registry:
    """Loads `NAME@VERSION`; names that begin with `no` are unknown. `gate` is open unless a test closes it."""

    def __init__(self) -> None:
        self.version = 1
        self.away = False
        self.gone: set[str] = set()
        self.gate = threading.Event()
        self.gate.set()
        self.loads: Counter[str] = Counter()
        self.now = self.most = 0
        self.lock = threading.Lock()

    def load(self, name: str, kept: str | None) -> str:
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)
        self.gate.wait(5)
        with self.lock:
            self.now -= 1
            self.loads[name] += 1
        if name == "broken":
            raise ZeroDivisionError
        if self.away:
            raise Unavailable("away")
        if name.startswith("no") or name in self.gone:
            raise NotFound(f"no such model: {name}")
        found = f"{name}@{self.version}"
        return kept if kept == found else found


class Watch:
    def __init__(self) -> None:
        self.outcomes: list[str] = []
        self.evictions = self.models = 0

    def loaded(self, outcome: str, seconds: float) -> None:
        self.outcomes.append(outcome)

    def evicted(self) -> None:
        self.evictions += 1

    def keeps(self, models: int) -> None:
        self.models = models


class Running:
    """A cache on the running loop, with a clock that a test moves."""

    def __init__(self, **rules: Any) -> None:
        self.registry, self.watch, self.clock = Registry(), Watch(), 0.0
        defaults: dict[str, Any] = {"kept": 2, "loads": 2, "waiting": 10, "follow_s": 10.0}
        rules_ = CacheRules(**defaults | rules)
        self.cache: ModelCache[str] = ModelCache(self.registry.load, rules_, self.watch, lambda: self.clock)

    async def ask(self, name: str) -> str:
        if (kept := self.cache.get(name)) is not None:
            return kept
        future = asyncio.get_running_loop().create_future()
        self.cache.wait(name, future.set_result)
        found: str | TaxiwayError = await asyncio.wait_for(future, 5)
        if isinstance(found, TaxiwayError):
            raise found
        return found

    async def until(self, fact: Callable[[], bool]) -> None:
        async with asyncio.timeout(5):
            while not fact():  # noqa: ASYNC110
                await asyncio.sleep(0.001)


def run(test: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(test())  # type: ignore[arg-type]


def test_the_model_that_was_asked_for_longest_ago_makes_room() -> None:
    async def test() -> None:
        it = Running(kept=2)
        for name in ("a", "b", "a", "c"):
            await it.ask(name)
        assert it.cache.names == ["a", "c"]
        assert (it.watch.evictions, it.watch.models) == (1, 2)
        assert it.registry.loads == {"a": 1, "b": 1, "c": 1}

    run(test)


def test_what_became_of_requests_and_loads_is_counted() -> None:
    async def test() -> None:
        it = Running(kept=1)
        for name in ("a", "a", "b", "nobody", "broken", "a"):
            with suppress(TaxiwayError):
                await it.ask(name)
        assert it.cache.counts == CacheCounts(hits=1, misses=5, evictions=2, loaded=3, unknown=1, failed=1)
        with pytest.raises(NotFound):
            await it.ask("nobody")
        assert it.cache.counts.misses == 5, "it was refused without a load"

    run(test)


def test_who_only_looks_does_not_keep_a_model_longer() -> None:
    async def test() -> None:
        it = Running(kept=2)
        for name in ("a", "b"):
            await it.ask(name)
        assert it.cache.peek("a") == "a@1"
        assert it.cache.peek("c") is None
        await it.ask("c")
        assert it.cache.names == ["b", "c"]
        assert it.cache.counts.hits == 0

    run(test)


def test_why_a_model_could_not_be_loaded_is_remembered_for_a_while_and_nothing_of_the_model() -> None:
    async def test() -> None:
        it = Running()
        for name in ("nobody", "broken"):
            with suppress(TaxiwayError):
                await it.ask(name)
        assert list(it.cache.refusals()) == ["broken", "nobody"]
        error = it.cache.refusal("broken")
        assert error is not None
        assert isinstance(error.__cause__, ZeroDivisionError)
        assert error.__cause__.__traceback__ is None
        it.clock = RETRY_S + 0.1
        assert it.cache.refusals() == {}

    run(test)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.sampled_from("abcdef"), max_size=40), st.integers(1, 6))
def test_it_keeps_what_a_least_recently_used_list_keeps(asked: list[str], kept: int) -> None:
    async def test() -> None:
        it, expected, loads = Running(kept=kept), list[str](), 0
        for name in asked:
            assert await it.ask(name) == f"{name}@1"
            loads += name not in expected
            expected = [*(other for other in expected if other != name), name][-kept:]
        assert it.cache.names == expected
        assert it.registry.loads.total() == loads == it.watch.outcomes.count("loaded")

    run(test)


def test_of_requests_that_come_together_one_loads_and_all_are_answered() -> None:
    async def test() -> None:
        it = Running()
        it.registry.gate.clear()
        asking = [asyncio.ensure_future(it.ask("a")) for _ in range(5)]
        await asyncio.sleep(0)
        it.registry.gate.set()
        assert await asyncio.gather(*asking) == ["a@1"] * 5
        assert it.registry.loads == {"a": 1}

    run(test)


def test_no_more_are_loaded_at_once_than_may_be() -> None:
    async def test() -> None:
        it = Running(kept=9, loads=2)
        it.registry.gate.clear()
        asking = [asyncio.ensure_future(it.ask(name)) for name in "abcdef"]
        await it.until(lambda: it.registry.now == 2)
        it.registry.gate.set()
        await asyncio.gather(*asking)
        assert it.registry.most == 2

    run(test)


def test_more_requests_than_may_wait_are_refused() -> None:
    async def test() -> None:
        it = Running(waiting=2)
        it.registry.gate.clear()
        asking = [asyncio.ensure_future(it.ask(name)) for name in "aa"]
        await asyncio.sleep(0)
        with pytest.raises(Overloaded):
            await it.ask("b")
        it.registry.gate.set()
        assert await asyncio.gather(*asking) == ["a@1", "a@1"]
        assert await it.ask("b") == "b@1"

    run(test)


def test_an_unknown_name_is_not_looked_up_again_for_a_while() -> None:
    async def test() -> None:
        it = Running()
        for _ in range(3):
            with pytest.raises(NotFound, match="no such model: nobody"):
                await it.ask("nobody")
        assert it.registry.loads == {"nobody": 1}
        it.clock += RETRY_S
        with pytest.raises(NotFound):
            await it.ask("nobody")
        assert it.registry.loads == {"nobody": 2}
        assert it.watch.outcomes == ["unknown", "unknown"]
        assert it.cache.names == []

    run(test)


def test_a_moved_alias_is_loaded_beside_the_model_that_answers_meanwhile() -> None:
    async def test() -> None:
        it = Running(follow_s=10)
        await it.ask("a")
        it.registry.version = 2
        it.clock = 9.0
        assert await it.ask("a") == "a@1"
        it.clock = 11.0
        assert await it.ask("a") == "a@1"
        await it.until(lambda: len(it.watch.outcomes) == 2)
        assert await it.ask("a") == "a@2"
        assert it.watch.outcomes == ["loaded", "loaded"]
        it.clock = 22.0
        await it.ask("a")
        await it.until(lambda: len(it.watch.outcomes) == 3)
        assert it.watch.outcomes[-1] == "current"

    run(test)


def test_a_registry_that_is_away_leaves_what_is_kept_and_a_model_that_is_gone_goes() -> None:
    async def test() -> None:
        it = Running(follow_s=10)
        await it.ask("a")
        it.clock, it.registry.away = 11.0, True
        await it.ask("a")
        await it.until(lambda: it.watch.outcomes == ["loaded", "failed"])
        assert await it.ask("a") == "a@1"
        it.clock, it.registry.away, it.registry.gone = 22.0, False, {"a"}
        await it.ask("a")
        await it.until(lambda: it.cache.names == [])
        with pytest.raises(NotFound):
            await it.ask("a")

    run(test)


def test_a_request_that_goes_before_its_load_has_begun_takes_the_load_with_it() -> None:
    async def test() -> None:
        it = Running(loads=1)
        it.registry.gate.clear()
        first = asyncio.ensure_future(it.ask("a"))
        await it.until(lambda: it.registry.now == 1)
        leave = it.cache.wait("b", lambda _: None)
        leave()
        it.registry.gate.set()
        await first
        assert await it.ask("c") == "c@1"
        assert it.registry.loads == {"a": 1, "c": 1}

    run(test)


def test_an_author_s_code_that_fails_is_told_as_unavailable() -> None:
    async def test() -> None:
        it = Running()
        with pytest.raises(Unavailable, match="broken can't be loaded now"):
            await it.ask("broken")

    run(test)
