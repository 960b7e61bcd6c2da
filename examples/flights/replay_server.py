"""The server of the replay: one that answers already, or `serve run` of its own until the replay ends."""

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from serve.settings import ListenerSettings, ServeSettings
from taxiway.errors import ConfigError, JobError
from taxiway.settings import home, parse, read_yaml

SERVE_FILE = "configs/flights/rollout.yaml"
_START_TIMEOUT_S = 300.0
_STOP_TIMEOUT_S = 60.0
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""A proxy of the environment is not for 127.0.0.1."""


def settings() -> tuple[str, ServeSettings]:
    """The application's name and its settings.

    Raises:
        ConfigError: the file can't be read.
    """
    application = read_yaml(SERVE_FILE)["applications"][0]
    return str(application["name"]), parse(application["args"], ServeSettings, f"{SERVE_FILE} args")


@contextmanager
def serving(port: int) -> Iterator[None]:
    """A server on the port; one that was started here is stopped again.

    Raises:
        JobError: it does not start; the message holds the end of its log.
    """
    url = f"http://127.0.0.1:{port}/v2/health/ready"
    if _answers(url):
        print(f"replay: port {port} answers; this server is used", flush=True)
        yield
        return
    log = home() / "serve.log"
    print(f"replay: serve run {SERVE_FILE} (log: {log}) ...", end=" ", flush=True)
    begun = time.monotonic()
    process = _start(port, log)
    try:
        _wait(process, url, log)
        print(f"ready after {time.monotonic() - begun:.0f} s", flush=True)
        yield
    finally:
        _stop(process)


def _start(port: int, log: Path) -> "subprocess.Popen[bytes]":
    # Ray makes its workers nice, and clients on the same machine would starve them.
    environment = {"RAY_worker_niceness": "0"} | os.environ
    with log.open("wb") as output:
        return subprocess.Popen(
            [Path(sys.executable).parent / "serve", "run", "--address", "local", _file(port)],
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def _file(port: int) -> str:
    """The file itself, or a copy with another port."""
    content = read_yaml(SERVE_FILE)
    listener = content["applications"][0]["args"]["listener"]
    if port == ListenerSettings.model_validate(listener).port:
        return SERVE_FILE
    listener["port"] = port
    path = home() / "rollout.yaml"
    path.write_text(yaml.safe_dump(content))
    return str(path)


def _wait(process: "subprocess.Popen[bytes]", url: str, log: Path) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while not _answers(url):
        told = log.read_text(errors="replace")
        if process.poll() is not None or "DEPLOY_FAILED" in told or time.monotonic() > deadline:
            end = "\n".join(told.splitlines()[-25:])
            raise JobError(f"{SERVE_FILE} is not served; mend what its log says and try again:\n{end}")
        time.sleep(0.5)


def _answers(url: str) -> bool:
    try:
        with _DIRECT.open(url, timeout=2):
            return True
    except (urllib.error.URLError, OSError):
        return False


def _stop(process: "subprocess.Popen[bytes]") -> None:
    """Ctrl-C; Ray ends what it has started. What still lives after a while is killed."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def check_home(folder: Path) -> None:
    """Makes the folder the home of this process and of those it starts.

    Raises:
        ConfigError: it is a file.
    """
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"--home {folder} is a file; name a folder")
    folder.mkdir(parents=True, exist_ok=True)
    os.environ["TAXIWAY_HOME"] = str(folder.resolve())
