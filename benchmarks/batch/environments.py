"""The virtual environment of the Spark peers, made once with pinned versions."""

import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from taxiway.settings import home

_SAME = ("scikit-learn", "numpy", "joblib", "pandas", "pyarrow", "mlflow")
SPARK = [*(f"{name}=={version(name)}" for name in _SAME), "pyspark==4.2.1"]
_TIMEOUT_S = 1_200.0


class InstallFailed(Exception):
    """The environment can't be made; the message is the installer's first error."""


def spark_programs() -> Path:
    """The folder of the environment's programs; the environment is made when it is not there.

    Raises:
        InstallFailed: the packages can't be had, or there is no Java.
    """
    if shutil.which("java") is None:
        raise InstallFailed("there is no `java` on the PATH: Spark needs Java 17 or later")
    folder = home() / "bench" / "venvs" / "spark"
    done, wanted = folder / "installed.txt", "\n".join(SPARK)
    if not done.is_file() or done.read_text() != wanted:
        print(f"  installing {', '.join(SPARK)}", flush=True)
        _install(folder)
        done.write_text(wanted)
    return folder / "bin"


def _install(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    uv, python = shutil.which("uv"), str(folder / "bin" / "python")
    _call([sys.executable, "-m", "venv", str(folder), *(["--without-pip"] if uv else [])])
    # pip compiles what it installs; without that each of Spark's Python processes starts seconds later.
    with_uv = [uv, "pip", "install", "--compile-bytecode", "--python", python]
    install = with_uv if uv else [python, "-m", "pip", "install"]
    # PySpark comes as a source archive with the jars in it; nothing else is built here.
    _call([*install, "--quiet", "--only-binary", ":all:", "--no-binary", "pyspark", *SPARK])


def _call(command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        raise InstallFailed(f"not done within {_TIMEOUT_S:.0f} s") from None
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if "ERROR" in line] or done.stderr.strip().splitlines()
        raise InstallFailed(lines[0][:160].replace("|", "/") if lines else "the installer failed")
