"""Models that are loaded when they are asked for: the ones that were asked for last are kept."""

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from taxiway.errors import NotFound, Overloaded, TaxiwayError, Unavailable

_log = logging.getLogger(__name__)

M = TypeVar("M")
Load = Callable[[str, M | None], M]
Done = Callable[[M | TaxiwayError], None]

_REMEMBERED = 1_000
"""Names that could not be loaded."""
RETRY_S = 5.0
"""A name that could not be loaded is refused for so long without another try."""


@dataclass(frozen=True)
class CacheRules:
    """
    Args:
        kept: models in memory.
        loads: at once; the others wait for a thread.
        waiting: requests that may wait for loads.
        follow_s: a model that is asked for after it is looked up again.
    """

    kept: int
    loads: int
    waiting: int
    follow_s: float


class Watch(Protocol):
    """What is told of loads, on the event loop."""

    def loaded(self, outcome: str, seconds: float) -> None:
        """`outcome` is loaded, current (it was looked up and had not changed), unknown or failed."""

    def evicted(self) -> None: ...

    def keeps(self, models: int) -> None: ...


@dataclass
class _Kept(Generic[M]):
    model: M
    looked_up: float


@dataclass
class CacheCounts:
    """Since the start. A miss waits for a load, with others where one has begun; `current` are looks that found no
    newer version, `unknown` names that the registry does not have."""

    hits: int = 0
    misses: int = 0
    evictions: int = 0
    loaded: int = 0
    current: int = 0
    unknown: int = 0
    failed: int = 0


class ModelCache(Generic[M]):
    """Least recently used by count. Everything but `load` runs on one event loop.

    Of several requests for a model that is not here one begins to load it, and all wait. A model that is evicted still
    answers what it was asked.

    Args:
        load: the model of a name, on a thread. It is given the one that is kept, or None, and gives the same back
            where that is current. Raises NotFound where there is none, another TaxiwayError where it can't be had.
        clock: monotonic seconds.
    """

    def __init__(
        self, load: Load[M], rules: CacheRules, watch: Watch, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._load, self._rules, self._watch, self._clock = load, rules, watch, clock
        self._executor = ThreadPoolExecutor(rules.loads, "load model")
        self._kept: OrderedDict[str, _Kept[M]] = OrderedDict()
        self._failed: OrderedDict[str, tuple[TaxiwayError, float]] = OrderedDict()
        self._loading: dict[str, Future[M]] = {}
        self._waiting: dict[str, dict[object, Done[M]]] = {}
        self.counts = CacheCounts()

    @property
    def names(self) -> list[str]:
        """Those that are kept, the one that was asked for longest ago first."""
        return list(self._kept)

    @property
    def loading(self) -> list[str]:
        """Those that are not kept and being loaded, or wait for a thread."""
        return [name for name in self._loading if name not in self._kept]

    def peek(self, name: str) -> M | None:
        """The model if it is kept; that somebody looks does not keep it longer."""
        found = self._kept.get(name)
        return None if found is None else found.model

    def refusal(self, name: str) -> TaxiwayError | None:
        """Why a name could not be loaded a moment ago."""
        error, at = self._failed.get(name, (None, 0.0))
        return error if self._clock() - at < RETRY_S else None

    def refuse(self, name: str) -> None:
        """Raises a copy of that error: one that is kept must not collect the frames of all who get it."""
        if (failed := self.refusal(name)) is not None:
            raise type(failed)(*failed.args)

    def refusals(self) -> dict[str, TaxiwayError]:
        """All of them, the last one first."""
        found = {name: self.refusal(name) for name in reversed(self._failed)}
        return {name: error for name, error in found.items() if error is not None}

    def get(self, name: str) -> M | None:
        """The model if it is kept: asked for now, and looked up beside that when the last time was long ago."""
        found = self._kept.get(name)
        if found is None:
            return None
        self.counts.hits += 1
        self._kept.move_to_end(name)
        if name not in self._loading and self._clock() - found.looked_up > self._rules.follow_s:
            self._begin(name, found.model)
        return found.model

    def wait(self, name: str, done: Done[M]) -> Callable[[], None]:
        """Loads a model that is not kept; `done` gets it, or the error, once, unless what this returns is called first.

        Raises:
            Overloaded: too many wait already.
            TaxiwayError: it could not be loaded a moment ago.
        """
        self.refuse(name)
        if sum(map(len, self._waiting.values())) >= self._rules.waiting:
            raise Overloaded("too many requests wait for models to be loaded; try again later")
        self.counts.misses += 1
        waiter = object()
        self._waiting.setdefault(name, {})[waiter] = done
        if name not in self._loading:
            self._begin(name, None)
        return lambda: self._leave(name, waiter)

    def stop(self) -> None:
        """Loads that have begun end by themselves, and nobody is told."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _leave(self, name: str, waiter: object) -> None:
        waiting = self._waiting.get(name, {})
        waiting.pop(waiter, None)
        if not waiting and name not in self._kept and name in self._loading and self._loading[name].cancel():
            # Nobody waits any more, and no thread had begun.
            del self._loading[name]
            self._waiting.pop(name, None)

    def _begin(self, name: str, kept: M | None) -> None:
        loop, began = asyncio.get_running_loop(), self._clock()

        def ended(future: "Future[M]") -> None:
            if not future.cancelled():
                with suppress(RuntimeError):  # the loop is closed: nobody is served any more
                    loop.call_soon_threadsafe(self._ended, name, future, began)

        self._loading[name] = self._executor.submit(self._load, name, kept)
        self._loading[name].add_done_callback(ended)

    def _ended(self, name: str, future: "Future[M]", began: float) -> None:
        del self._loading[name]
        error = future.exception()
        if error is not None and not isinstance(error, TaxiwayError):
            _log.error("loading %s failed", name, exc_info=error)
            error, error.__cause__ = Unavailable(f"{name} can't be loaded now"), error
        outcome = self._failure(name, error) if error is not None else self._success(name, future.result())
        setattr(self.counts, outcome, getattr(self.counts, outcome) + 1)
        self._watch.loaded(outcome, self._clock() - began)
        self._watch.keeps(len(self._kept))
        for done in list(self._waiting.pop(name, {}).values()):
            try:
                done(error if error is not None else future.result())
            except Exception:  # noqa: BLE001 - one answer that can't be sent must not keep the others waiting
                _log.exception("answering after loading %s failed", name)

    def _success(self, name: str, model: M) -> str:
        before = self._kept.get(name)
        if before is not None and before.model is model:
            before.looked_up = self._clock()
            return "current"
        self._failed.pop(name, None)
        self._kept[name] = _Kept(model, self._clock())
        while len(self._kept) > self._rules.kept:
            self._kept.popitem(last=False)
            self.counts.evictions += 1
            self._watch.evicted()
        return "loaded"

    def _failure(self, name: str, error: TaxiwayError) -> str:
        is_unknown = isinstance(error, NotFound)
        if name in self._kept and not is_unknown:
            self._kept[name].looked_up = self._clock()  # what is here stays
            return "failed"
        self._kept.pop(name, None)
        _forget_frames(error)
        self._failed[name] = error, self._clock()
        self._failed.move_to_end(name)
        while len(self._failed) > _REMEMBERED:
            self._failed.popitem(last=False)
        return "unknown" if is_unknown else "failed"


def _forget_frames(error: BaseException) -> None:
    """Of an error that is kept: its frames hold all that was half loaded."""
    told: BaseException | None = error
    while told is not None:
        told.__traceback__ = None
        told = told.__cause__ or told.__context__
