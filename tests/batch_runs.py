"""`python -m batch` as a process of its own that need not import anything: it is forked from one that has."""

import multiprocessing
import os
import signal
import sys
import tempfile
from pathlib import Path

_PRELOADED = ["batch.__main__", "batch.pool", "batch.prepare"]


def without_rays_own(stderr: str) -> list[str]:
    """What a job has said itself: Ray 2.60 warns that the arguments of Ray Data's actors might be lost."""
    return [line for line in stderr.splitlines() if "core_worker.cc" not in line]


class Run:
    """A scoring job on its way; like `subprocess.Popen` as far as tests need it."""

    def __init__(self, arguments: list[str], environment: dict[str, str]) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(_PRELOADED)
        self._folder = Path(tempfile.mkdtemp(prefix="run-"))
        self._process = context.Process(target=_main, args=(arguments, environment, str(self._folder)), daemon=True)
        self._process.start()

    @property
    def pid(self) -> int:
        return self._process.pid or 0

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def kill(self) -> None:
        self._process.kill()

    def terminate(self) -> None:
        os.kill(self.pid, signal.SIGTERM)

    def communicate(self, timeout: float = 180.0) -> tuple[str, str]:
        """What it has said, when it has ended."""
        self._process.join(timeout)
        if self._process.is_alive():
            self._process.kill()
            raise TimeoutError(f"the job did not end in {timeout} s: {self._told()}")
        return self._told()

    def _told(self) -> tuple[str, str]:
        out, err = (self._folder / name for name in ("out", "err"))
        return (out.read_text() if out.exists() else "", err.read_text() if err.exists() else "")


def _main(arguments: list[str], environment: dict[str, str], folder: str) -> None:
    for number, name in ((1, "out"), (2, "err")):
        descriptor = os.open(Path(folder) / name, os.O_WRONLY | os.O_CREAT)
        os.dup2(descriptor, number)
    os.environ.clear()
    os.environ.update(environment)
    from batch.__main__ import main

    status = main(arguments)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
