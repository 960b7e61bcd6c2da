"""What a thread or a task is at: the parts of it that are timed, and the trace that its log lines belong to.

Nothing here knows OpenTelemetry. Who asks several threads for one piece of work runs each in a copy of its context
(`contextvars.copy_context`): then they all add to it.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar, Token
from dataclasses import dataclass, replace

from taxiway.errors import TaxiwayError

Attributes = Mapping[str, str | int | float | bool]
MOST = 100
"""Parts side by side; more are only made when a batch is answered request by request."""
NONE: Attributes = {}


@dataclass(slots=True)
class Part:
    """Something that has taken a while; `begin` and `end` are of the clock of whoever tells it.

    Args:
        parts: what has taken a while within it.
        error: why it failed; None when it did not.
    """

    name: str
    begin: float
    end: float
    attributes: Attributes
    parts: list["Part"]
    error: str | None = None


class Work:
    """A batch, a call from another process, or a job.

    Args:
        trace_id: 32 hexadecimal digits; None where it has no trace.

    Attributes:
        parts: those that have ended, on the monotonic clock.
        logged: whether a line with the trace's id has been written meanwhile.
    """

    __slots__ = ("logged", "parts", "trace_id")

    def __init__(self, trace_id: str | None = None) -> None:
        self.trace_id = trace_id
        self.parts: list[Part] = []
        self.logged = False

    def identity(self) -> str | None:
        """The trace's id, also where it is drawn only when somebody asks."""
        return self.trace_id


_Here = tuple[Work, list[Part]]
_here: ContextVar[_Here | None] = ContextVar("work", default=None)


def begin(work: Work) -> None:
    """From now on this context is at `work`, until `end`."""
    _here.set((work, work.parts))


def end() -> Work | None:
    """What this context was at; now it is at nothing."""
    here = _here.get()
    if here is None:
        return None
    _here.set(None)
    return here[0]


def current() -> Work | None:
    here = _here.get()
    return None if here is None else here[0]


@contextmanager
def doing(work: Work) -> Iterator[Work]:
    """What runs inside belongs to `work`."""
    token = _here.set((work, work.parts))
    try:
        yield work
    finally:
        _here.reset(token)


def add(parts: Sequence[Part]) -> None:
    """Parts that somebody else has measured for what runs here; on the monotonic clock of this process."""
    here = _here.get()
    if here is not None:
        here[1].extend(parts[: MOST - len(here[1])])


class part:  # noqa: N801 - used as a function, like those of contextlib
    """What runs inside is a part of the work at hand; where there is none, nothing is measured."""

    __slots__ = ("_attributes", "_begin", "_inner", "_name", "_outer", "_token")

    def __init__(self, name: str, attributes: Attributes = NONE) -> None:
        self._name, self._attributes = name, attributes

    def __enter__(self) -> None:
        self._outer = here = _here.get()
        if here is not None:
            self._inner: list[Part] = []
            self._token: Token[_Here | None] = _here.set((here[0], self._inner))
            self._begin = time.monotonic()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if self._outer is None:
            return
        _here.reset(self._token)
        siblings = self._outer[1]
        if len(siblings) < MOST:
            reason = None if error is None else reason_of(error)
            siblings.append(Part(self._name, self._begin, time.monotonic(), self._attributes, self._inner, reason))


def node(name: str) -> part:
    """One call of a node of a graph."""
    return part(f"node {name}")


def reason_of(error: BaseException) -> str:
    """What a span says of a failure: a code or a class, never a message, in which values may stand."""
    return error.code if isinstance(error, TaxiwayError) else type(error).__name__


def shifted(parts: Sequence[Part], seconds: float) -> list[Part]:
    """The same parts by another clock."""
    return [
        replace(it, begin=it.begin + seconds, end=it.end + seconds, parts=shifted(it.parts, seconds)) for it in parts
    ]
