"""What the operating system and the GPU say of this process."""

import sys
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TypeVar

import psutil

K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True)
class Usage:
    """CPU time since the start, resident memory, and GPU memory that PyTorch holds: 0 where it has no GPU."""

    cpu_s: float
    memory_bytes: int
    gpu_bytes: int


def usage() -> Usage:
    """How it is now; takes some 50 microseconds."""
    process = _this()
    with process.oneshot():
        times = process.cpu_times()
        return Usage(times.user + times.system, process.memory_info().rss, _gpu_bytes())


def shared(total: float, by: Mapping[K, float], rest: K) -> dict[K, float]:
    """`total` in proportion to `by`; all of it for `rest` where nobody did anything."""
    whole = sum(by.values())
    if whole <= 0:
        return {rest: total}
    return {key: total * part / whole for key, part in by.items() if part > 0}


@cache
def _this() -> psutil.Process:
    return psutil.Process()


def _gpu_bytes() -> int:
    """Of a PyTorch that somebody has imported and that uses a GPU: asking must not begin to use one."""
    torch = sys.modules.get("torch")
    # Another thread may be importing it, which takes seconds: until then its parts are not there.
    if torch is None or getattr(torch.__spec__, "_initializing", False) or not torch.cuda.is_initialized():
        return 0
    return int(sum(torch.cuda.memory_reserved(device) for device in range(torch.cuda.device_count())))
