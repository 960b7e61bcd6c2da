"""CPU time and memory of a process and of all that it has started, from /proc."""

import os
import signal
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Process:
    """A process id may be given again; with the moment of its start it may not."""

    pid: int
    started: int


class Family:
    """The process `root`, which nobody has waited for yet, and whom it starts.

    Once a member, always a member, for parents die first; who has died keeps the CPU time last seen.
    """

    def __init__(self, root: int) -> None:
        self.root = root
        self._cpu_s = {process: cpu_s for process, _, cpu_s in _processes() if process.pid == root}
        self._alive = set(self._cpu_s)

    @property
    def cpu_s(self) -> float:
        return sum(self._cpu_s.values())

    def look(self) -> None:
        """Finds new members and what all of them have used."""
        seen = {process.pid: (process, parent, cpu_s) for process, parent, cpu_s in _processes()}
        known = [pid for pid, (process, _, _) in seen.items() if process in self._cpu_s]
        members = with_descendants(known, {pid: parent for pid, (_, parent, _) in seen.items()})
        self._cpu_s |= {seen[pid][0]: seen[pid][2] for pid in members}
        self._alive = {seen[pid][0] for pid in members}

    def pss_mb(self) -> float:
        """Proportional set size: a page that several share counts in part for each of them."""
        return sum(_pss_kb(process.pid) for process in self._alive) / 1024

    def end(self) -> None:
        """Kills who is still there."""
        self.look()
        for process in self._alive:
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)


def with_descendants(pids: Iterable[int], parents: Mapping[int, int]) -> list[int]:
    """`pids`, their children, and so on, each once; `parents` names the parent of every process."""
    children: dict[int, list[int]] = {}
    for pid, parent in parents.items():
        children.setdefault(parent, []).append(pid)
    found = dict.fromkeys(pids)
    waiting = list(found)
    while waiting:
        new = [child for child in children.get(waiting.pop(), ()) if child not in found]
        found |= dict.fromkeys(new)
        waiting += new
    return list(found)


def busy_s() -> float:
    """Seconds that all cores together have worked since the machine's start; what a hypervisor took counts too."""
    user, nice, system, _, _, *rest = map(int, Path("/proc/stat").read_text().partition("\n")[0].split()[1:9])
    return (user + nice + system + sum(rest)) / _TICKS_PER_S


def _processes() -> Iterator[tuple[Process, int, float]]:
    """Each process with its parent's id and the CPU seconds that it has used itself."""
    for file in Path("/proc").glob("[0-9]*/stat"):
        try:
            # "pid (name) state parent …", and a name may hold spaces and brackets; the order is that of proc(5).
            fields = file.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        ticks = int(fields[11]) + int(fields[12])
        yield Process(int(file.parent.name), int(fields[19])), int(fields[1]), ticks / _TICKS_PER_S


def _pss_kb(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)
