"""Podman for tests: images, private networks, and containers as strict as the chart's pods, which end with the test."""

import os
import resource
import shutil
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

RESTRICTED = (
    "--read-only", "--read-only-tmpfs=false", "--cap-drop=ALL", "--security-opt=no-new-privileges",
    "--user=1000:1000", "--tmpfs=/tmp:rw,exec,mode=1777", "--shm-size=1g", "--no-healthcheck",
)  # fmt: skip
"""What the level `restricted` of Kubernetes asks, and a root that can't be written. Podman needs systemd to ask for
health by itself; here the tests ask."""
_WITHOUT_SYSTEMD = """\
[containers]
default_ulimits = ["nofile={files}:{files}", "nproc=20000:20000"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
[network]
network_backend = "netavark"
"""
"""Podman's settings where there is no systemd; they do elsewhere too."""
_FILES = 65_536
_POLL_S = 0.2


def podman(*arguments: str, timeout_s: float = 120.0, check: bool = True) -> str:
    """What it prints; errors are the test's.

    Raises:
        AssertionError: it failed, with what it said.
    """
    done = subprocess.run([_program(), *arguments], capture_output=True, text=True, timeout=timeout_s, env=_settings())
    assert not check or done.returncode == 0, f"podman {' '.join(arguments)}\n{(done.stdout + done.stderr)[-6000:]}"
    return done.stdout.strip()


@cache
def _program() -> str:
    program = shutil.which("podman")
    if program is None:
        pytest.skip(
            "podman is not installed: on Debian, apt install podman runc netavark aardvark-dns iptables debootstrap"
        )
    return program


@cache
def _settings() -> dict[str, str]:
    if "CONTAINERS_CONF" in os.environ:
        return dict(os.environ)
    path = Path(tempfile.mkdtemp(prefix="podman-")) / "containers.conf"
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    path.write_text(_WITHOUT_SYSTEMD.format(files=hard if 0 < hard < _FILES else _FILES))
    return os.environ | {"CONTAINERS_CONF": str(path)}


def run(image: str, *command: str, options: tuple[str, ...] = RESTRICTED, timeout_s: float = 300.0) -> str:
    """A container that ends by itself: what it prints."""
    return podman("run", "--rm", *options, image, *command, timeout_s=timeout_s)


@dataclass(frozen=True)
class Container:
    """One that runs."""

    name: str
    started: float

    def exec(self, *command: str, timeout_s: float = 300.0) -> str:
        return podman("exec", self.name, *command, timeout_s=timeout_s)

    def status_of(self, *command: str) -> int:
        """The exit status of a command in it."""
        done = subprocess.run([_program(), "exec", self.name, *command], capture_output=True, env=_settings())
        return done.returncode

    @property
    def address(self) -> str:
        """Its IP address, which this machine reaches."""
        found = podman("inspect", "--format", "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}", self.name)
        return found.split()[0]

    @property
    def running(self) -> bool:
        return podman("inspect", "--format", "{{.State.Running}}", self.name) == "true"

    def log(self) -> str:
        done = subprocess.run([_program(), "logs", self.name], capture_output=True, text=True, env=_settings())
        return (done.stdout + done.stderr)[-8000:]

    def wait_for(self, fact: Callable[[], bool], within_s: float) -> float:
        """Seconds from the container's start to when the fact holds.

        Raises:
            AssertionError: the container ended, or the time is over; with the end of its log.
        """
        end = time.monotonic() + within_s
        while not fact():
            assert self.running, f"{self.name} has ended\n{self.log()}"
            assert time.monotonic() < end, f"{self.name}: not in {within_s} s\n{self.log()}"
            time.sleep(_POLL_S)
        return time.monotonic() - self.started


@contextmanager
def container(image: str, *command: str, options: tuple[str, ...], name: str = "") -> Iterator[Container]:
    """Runs it in the background, and removes it at the end."""
    name = name or f"taxiway-{uuid.uuid4().hex[:8]}"
    started = time.monotonic()
    podman("run", "--detach", "--name", name, *options, image, *command)
    try:
        yield Container(name, started)
    finally:
        podman("rm", "--force", "--time", "0", "--ignore", name, check=False)


@contextmanager
def private_network() -> Iterator[str]:
    """A network in which containers find each other by name, and nobody else."""
    name = f"taxiway-{uuid.uuid4().hex[:8]}"
    podman("network", "create", "--internal", name)
    try:
        yield name
    finally:
        podman("network", "rm", "--force", name, check=False)


def open_to_everybody(folder: Path) -> None:
    """The container's user is not the one who made the files."""
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o777 if path.is_dir() else 0o666)
