"""Starts a server in a process group of its own and ends it with everything that it has started."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

_STOP_TIMEOUT_S = 40.0
_PORT_TIMEOUT_S = 15.0
# Ray Serve says so and goes on running.
_GIVEN_UP = ("DEPLOY_FAILED", "Exception importing application")
# As a machine of its own would run it: Ray makes its workers nice, and numpy's threads fight over the cores.
ENVIRONMENT = {
    "RAY_worker_niceness": "0",
    "OMP_NUM_THREADS": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_raylet_start_wait_time_s": "120",
}


class StartFailed(Exception):
    """The server did not start; the message is one line on why."""


@dataclass(frozen=True)
class Running:
    """A server that answers."""

    pid: int
    port: int
    started_s: float


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(
    command: Sequence[str],
    port: int,
    environment: Mapping[str, str],
    log: Path,
    answers: Callable[[], bool],
    timeout_s: float,
) -> Iterator[Running]:
    """A server from its first answer on.

    Raises:
        StartFailed: it ended, or did not answer in time.
    """
    started = time.monotonic()
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            env={**os.environ, **ENVIRONMENT, **environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _wait(process, log, answers, started + timeout_s)
        yield Running(process.pid, port, time.monotonic() - started)
    finally:
        _stop(process)
        _wait_until_free(port)


def _wait(process: subprocess.Popen[bytes], log: Path, answers: Callable[[], bool], deadline: float) -> None:
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise StartFailed(f"ended with status {process.returncode}: {last_line(log)}")
        if answers():
            return
        if any(sign in log.read_text(errors="replace") for sign in _GIVEN_UP):
            raise StartFailed(f"can't be deployed: {last_line(log)}")
        time.sleep(0.3)
    raise StartFailed(f"no right answer in time: {last_line(log)}")


def last_line(log: Path) -> str:
    """The last line that says something, for a table's cell."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip(" ─│╰╯-=")]
    return lines[-1][:160].replace("|", "/") if lines else "it said nothing"


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Ctrl-C; what still lives after a while, the whole family, is killed."""
    family = _family(process.pid)
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_STOP_TIMEOUT_S)
    _, alive = psutil.wait_procs(family, timeout=3)
    for member in alive:
        # psutil looks at the start time first: an id that was given to somebody else is left alone.
        with suppress(psutil.Error):
            member.kill()
    psutil.wait_procs(alive, timeout=5)
    process.wait(5)


def _family(pid: int) -> list[psutil.Process]:
    try:
        parent = psutil.Process(pid)
        return [parent, *parent.children(recursive=True)]
    except psutil.Error:
        return []


def _wait_until_free(port: int) -> None:
    deadline = time.monotonic() + _PORT_TIMEOUT_S
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                return
        time.sleep(0.2)
    raise RuntimeError(f"port {port} is still taken after the server was ended")
