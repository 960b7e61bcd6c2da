"""What a registry may stand on, each a process of its own: a PostgreSQL, and an MLflow server in front of it."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

_START_TIMEOUT_S = 120.0
_POSTGRES_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "max_connections": "60",
    "shared_buffers": "32MB",
    "fsync": "off",  # what a test loses, nobody misses
}


class Server(ABC):
    """A process and its children, at one port however often it is started.

    Args:
        user: of the system; None: the present one.
    """

    def __init__(self, log: Path, environment: Mapping[str, str] | None = None, user: str | None = None) -> None:
        self.port = _free_port()
        self._log, self._user = log, user
        self._environment = {**os.environ, **(environment or {})}
        self._process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def _command(self) -> list[str]: ...

    @abstractmethod
    def _answers(self) -> bool: ...

    @property
    def output(self) -> str:
        return self._log.read_text(errors="replace")

    def start(self) -> None:
        """Returns when it answers."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command(),
                env=self._environment,
                cwd="/",
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                **as_user(self._user),
            )
        deadline = time.monotonic() + _START_TIMEOUT_S
        while not self._answers():
            assert self._process.poll() is None, self.output[-5000:]
            assert time.monotonic() < deadline, self.output[-5000:]
            time.sleep(0.05)

    def kill(self) -> None:
        """Without a chance to finish anything; nothing of it is left."""
        self._signal(signal.SIGKILL)

    @contextmanager
    def suspended(self) -> Iterator[None]:
        """It keeps its connections, takes new ones and answers nothing; afterwards it goes on with what it was sent."""
        self._signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)
            if number in (signal.SIGKILL, signal.SIGQUIT):
                self._process.wait(30)


class Postgres(Server):
    """A PostgreSQL with an empty database.

    Args:
        folder: of `user`, who must not be root.
        programs: where its executables are.
    """

    def __init__(self, folder: Path, programs: Path, user: str | None) -> None:
        super().__init__(folder / "postgres.log", user=user)
        self._folder, self._programs = folder, programs

    @property
    def uri(self) -> str:
        """Its password is not asked for; nobody is to show it either."""
        return f"postgresql+psycopg://postgres:secret@127.0.0.1:{self.port}/postgres"

    def initialize(self) -> None:
        """Makes its folder of data."""
        program = str(self._programs / "initdb")
        subprocess.run(
            [program, "-A", "trust", "-N", "-U", "postgres", "-E", "UTF8", "-D", str(self._data)],
            cwd="/",
            check=True,
            capture_output=True,
            **as_user(self._user),
        )

    def kill(self) -> None:
        """Its `immediate` shutdown: a crash, from which it recovers as it starts."""
        self._signal(signal.SIGQUIT)

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    def _command(self) -> list[str]:
        settings = {**_POSTGRES_SETTINGS, "port": str(self.port), "unix_socket_directories": str(self._folder)}
        options = [part for key, value in settings.items() for part in ("-c", f"{key}={value}")]
        return [str(self._programs / "postgres"), "-D", str(self._data), *options]

    def _answers(self) -> bool:
        asked = [str(self._programs / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        return subprocess.run(asked).returncode == 0


class MlflowServer(Server):
    """`mlflow server` with one worker.

    Args:
        database: its backend store.
        artifacts: the storage that it hands artifacts out of and takes them for.
    """

    def __init__(self, log: Path, database: str, artifacts: str, environment: Mapping[str, str]) -> None:
        super().__init__(log, {**environment, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"})
        self.uri = f"http://127.0.0.1:{self.port}"
        self._database, self._artifacts = database, artifacts

    def _command(self) -> list[str]:
        server = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port)]
        stores = ["--backend-store-uri", self._database, "--artifacts-destination", self._artifacts]
        return [*server, *stores, "--workers", "1"]

    def _answers(self) -> bool:
        with suppress(httpx.HTTPError):
            return httpx.get(f"{self.uri}/health", timeout=2).status_code == 200
        return False


@contextmanager
def running_postgres() -> Iterator[Postgres]:
    """Skips the test where PostgreSQL or its driver is not installed."""
    pytest.importorskip("psycopg", reason="needs PostgreSQL's driver: pip install 'psycopg[binary]'")
    programs = _postgres_programs()
    if programs is None:
        pytest.skip("needs initdb: apt-get install postgresql")
    user = _unprivileged()
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))  # pytest's own folders are closed to other users
    if user is not None:
        shutil.chown(folder, user)
    postgres = Postgres(folder, programs, user)
    try:
        postgres.initialize()
        postgres.start()
        yield postgres
    finally:
        postgres.kill()
        shutil.rmtree(folder)


@contextmanager
def running(server: Server) -> Iterator[None]:
    """It is killed at the end."""
    try:
        server.start()
        yield
    finally:
        server.kill()


def as_user(name: str | None) -> dict[str, Any]:
    """Arguments of `subprocess` to run as somebody else."""
    return {} if name is None else {"user": name, "group": pwd.getpwnam(name).pw_gid, "extra_groups": []}


def _postgres_programs() -> Path | None:
    """The newest; Debian does not lay `initdb` on the PATH."""
    on_path = shutil.which("initdb")
    found = [Path(on_path)] if on_path else sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return found[-1].resolve().parent if found else None


def _unprivileged() -> str | None:
    """PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return None
    return "postgres" if any(it.pw_name == "postgres" for it in pwd.getpwall()) else "nobody"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
