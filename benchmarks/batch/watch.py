"""Runs a command to its end and watches the time to its first row, CPU time and memory."""

import math
import os
import select
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.batch.family import Family, busy_s
from benchmarks.processes import last_line

_LOOK_S = 0.1
_CPU_EVERY_S = 0.25
_MEMORY_EVERY_S = 0.5
# Reading the memory of large processes takes its time on the same cores: at most this share of one.
_MEMORY_SHARE = 0.02
_PARQUET = b"PAR1"


class CommandFailed(Exception):
    """It ended with an error, or did not end; the message is one line on why."""


@dataclass(frozen=True)
class Seen:
    """One command from its start to its end; times in seconds, memory as the highest PSS of all its processes.

    `others` is the share of the machine's CPU time that processes of somebody else, and the watch, took meanwhile.
    """

    wall_s: float
    first_row_s: float
    cpu_s: float
    peak_mb: float
    others: float


def watch(command: Sequence[str], environment: Mapping[str, str], folder: Path, log: Path, timeout_s: float) -> Seen:
    """Runs the command; the first row is scored when `folder` holds a file `first-row` or data in a Parquet file.

    Raises:
        CommandFailed: its exit status was not 0, or it did not end in time.
    """
    with log.open("wb") as output:
        started = time.monotonic()
        process = subprocess.Popen(
            command,
            env={**environment, "FIRST_ROW": str(folder / "first-row")},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        family = Family(process.pid)
        try:
            seen, process.returncode = _to_the_end(family, started, folder, timeout_s)
        finally:
            family.end()
            process.wait()
    if process.returncode:
        raise CommandFailed(f"ended with status {process.returncode}: {last_line(log)}")
    return seen


def _to_the_end(family: Family, started: float, folder: Path, timeout_s: float) -> tuple[Seen, int]:
    first_row_s, peak_mb = float("nan"), 0.0
    look_at_cpu = look_at_memory = started
    busy_before_s = busy_s()
    ended = os.pidfd_open(family.root)
    try:
        while not select.select([ended], [], [], _LOOK_S)[0]:
            now = time.monotonic()
            if now - started > timeout_s:
                raise CommandFailed(f"not done within {timeout_s:.0f} s")
            if math.isnan(first_row_s) and has_first_row(folder):
                first_row_s = now - started
            if now >= look_at_cpu:
                family.look()
                look_at_cpu = now + _CPU_EVERY_S
            if now >= look_at_memory:
                peak_mb = max(peak_mb, family.pss_mb())
                look_at_memory = now + max(_MEMORY_EVERY_S, (time.monotonic() - now) / _MEMORY_SHARE)
    finally:
        os.close(ended)
    wall_s = time.monotonic() - started
    if math.isnan(first_row_s) and has_first_row(folder):
        first_row_s = wall_s
    _, status, usage = os.wait4(family.root, 0)
    family.look()
    # The kernel's own count lacks what nobody has waited for, ours what died between two looks.
    cpu_s = max(family.cpu_s, usage.ru_utime + usage.ru_stime)
    others = max(busy_s() - busy_before_s - cpu_s, 0.0) / (wall_s * (os.cpu_count() or 1))
    return Seen(wall_s, first_row_s, cpu_s, peak_mb, others), os.waitstatus_to_exitcode(status)


def has_first_row(folder: Path) -> bool:
    """Whether some program has said so, or a Parquet file below `folder` holds more than its first four bytes."""
    for place, _, names in os.walk(folder):
        for name in names:
            if name == "first-row" or _holds_data(Path(place, name)):
                return True
    return False


def _holds_data(file: Path) -> bool:
    try:
        with file.open("rb") as opened:
            return opened.read(4) == _PARQUET and len(opened.read(1)) == 1
    except OSError:
        return False
