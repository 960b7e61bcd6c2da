"""A virtual environment for each family of peers, made once with pinned versions."""

import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from taxiway.settings import home

_MODEL = [f"scikit-learn=={version('scikit-learn')}", f"numpy=={version('numpy')}", f"joblib=={version('joblib')}"]
_ASGI = ["uvicorn==0.54.0", "uvloop==0.23.0", "httptools==0.9.0", "orjson==3.13.0"]
ENVIRONMENTS: dict[str, list[str]] = {
    "plain": [*_MODEL, *_ASGI, "fastapi==0.165.0"],
    "mlflow": [*_MODEL, f"mlflow=={version('mlflow')}"],
    "mlserver": [*_MODEL, "mlserver==1.7.1", "mlserver-sklearn==1.7.1"],
    "bentoml": [*_MODEL, "bentoml==1.4.39"],
    "litserve": [*_MODEL, "litserve==0.2.19"],
    "ray": [*_MODEL, f"ray[serve]=={version('ray')}", "uvloop==0.23.0", "orjson==3.13.0"],
}
# Nothing here needs them; what would pull in gigabytes fails to resolve instead.
_NEVER = ("torch", "tensorflow", "nvidia-cuda-runtime-cu12", "nvidia-cublas-cu12", "nvidia-cublas")
_TIMEOUT_S = 900.0


class InstallFailed(Exception):
    """An environment can't be made; the message is pip's last line."""


def programs(name: str) -> Path:
    """The folder of the environment's programs; the environment is made when it is not there.

    Raises:
        InstallFailed: the packages can't be had.
    """
    folder = home() / "bench" / "venvs" / name
    wanted = "\n".join(ENVIRONMENTS[name])
    done = folder / "installed.txt"
    if not done.is_file() or done.read_text() != wanted:
        print(f"  installing {', '.join(ENVIRONMENTS[name])}", flush=True)
        _install(folder, ENVIRONMENTS[name])
        done.write_text(wanted)
    return folder / "bin"


def _install(folder: Path, packages: list[str]) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    _call([sys.executable, "-m", "venv", str(folder), *(["--without-pip"] if shutil.which("uv") else [])])
    constraints = folder / "never.txt"
    constraints.write_text("\n".join(f"{name}==0" for name in _NEVER))
    python = str(folder / "bin" / "python")
    install = ["uv", "pip", "install", "--python", python] if shutil.which("uv") else [python, "-m", "pip", "install"]
    _call([*install, "--quiet", "--only-binary", ":all:", "--constraint", str(constraints), *packages])


def _call(command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        raise InstallFailed(f"not done within {_TIMEOUT_S:.0f} s") from None
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if "ERROR" in line] or done.stderr.strip().splitlines()
        raise InstallFailed(lines[0][:160].replace("|", "/") if lines else "pip failed")
