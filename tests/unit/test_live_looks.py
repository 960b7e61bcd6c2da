"""How often a replica looks at the registry."""

import threading
import time
from typing import Any

from serve.endpoint import Endpoint
from serve.live import Live
from serve.settings import EndpointSettings
from taxiway.registry import LiveModel

SECONDS = 1.0


class SlowRegistry:
    """Takes as much CPU for one model as others for hundreds. A look sets `asked` when it begins, `told` at its end."""

    def __init__(self, cpu_s: float) -> None:
        self._cpu_s = cpu_s
        self.looks = 0
        self.asked, self.told = threading.Event(), threading.Event()

    def live_of(self, names: set[str]) -> dict[str, LiveModel]:
        self.asked.set()
        end = time.thread_time() + self._cpu_s
        while time.thread_time() < end:
            pass
        self.looks += 1
        self.told.set()
        return {name: LiveModel({}, {}) for name in names}


def following(cpu_s: float, poll_s: float) -> tuple[Live, SlowRegistry]:
    registry = SlowRegistry(cpu_s)
    endpoint = Endpoint(EndpointSettings(name="parcel", model="models:/parcel/1"), 30.0)

    def nothing(*_: Any) -> Any:
        raise RuntimeError("nothing is loaded here")

    live = Live("tests", registry, [endpoint], nothing, nothing, lambda *_: None, poll_s)  # type: ignore[arg-type]
    live.follow(lambda function, *arguments: function(*arguments))
    return live, registry


def test_looking_takes_a_tenth_of_a_core_at_most() -> None:
    live, registry = following(cpu_s=0.03, poll_s=0.05)
    time.sleep(SECONDS)
    live.stop()
    assert 1 <= registry.looks <= SECONDS / (0.03 / 0.1) + 1


def test_who_wakes_it_does_not_wait() -> None:
    live, registry = following(cpu_s=0.2, poll_s=0.2)
    assert registry.told.wait(30)
    time.sleep(0.1)
    registry.asked.clear()
    live.wake()
    assert registry.asked.wait(1.0), "by itself it would have looked after two seconds"
    live.stop()
