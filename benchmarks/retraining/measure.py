"""Runs the plain script, retrainings and bare searches as commands, one at a time, and reads what they have said."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from benchmarks.batch.watch import Seen, watch
from benchmarks.retraining.peer import Look
from benchmarks.retraining.trainer import Step, read_steps
from taxiway.settings import home

CONFIG = Path("configs/flights/retrain.yaml")
_TIMEOUT_S = 3_600.0
# What the shell of the benchmark may have set must not decide for either side.
_NOT_INHERITED = ("OMP_NUM_THREADS", "PYTHONPATH", "RAY_ADDRESS", "RAY_worker_niceness", "TAXIWAY_HOME")
_WALL = re.compile(r"^wall time +[\d.]+ s \((.*)\)$", re.MULTILINE)
_AFTER_REFIT = ("evaluate", "seeds", "judge", "register")
_AUC = re.compile(r"^AUC +([\d.]+) ", re.MULTILINE)


@dataclass(frozen=True)
class Run:
    """One side's work from its command to its end.

    Attributes:
        seconds: wall time of each stage, in order; what is lacking to `wall_s` is Python's start, imports and end.
        others: the share of the machine's CPU time that other processes took.
        steps: of the search, where a clock was in it.
    """

    wall_s: float
    cpu_s: float
    others: float
    seconds: Mapping[str, float]
    looks: Sequence[Look]
    auc: float
    steps: Sequence[Step] = ()

    @property
    def iterations(self) -> int:
        """Of all trials."""
        return sum({look.trial: look.iterations for look in self.looks}.values())

    @property
    def start_s(self) -> float:
        return self.wall_s - sum(self.seconds.values())

    @property
    def fitted_s(self) -> float:
        """Wall time without what comes after the last fit."""
        return self.wall_s - sum(self.seconds.get(name, 0.0) for name in _AFTER_REFIT)


@dataclass(frozen=True)
class Search:
    """A bare search on a Ray that runs already; `checkpoint_every` looks, 0: never."""

    checkpoint_every: int
    search_s: float
    steps: Sequence[Step]


class Bench:
    """A folder with a TAXIWAY_HOME of its own, and config files that live in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "home"
        (self.home / "flights").mkdir(parents=True)
        inherited = {name: value for name, value in os.environ.items() if name not in _NOT_INHERITED}
        self.environment = {**inherited, "RAY_USAGE_STATS_ENABLED": "0", "TAXIWAY_HOME": str(self.home)}

    def prepare(self) -> None:
        """The flights as `examples.flights.prepare` leaves them: a copy of what is there, or made now."""
        source = home() / "flights"
        if not (source / "prepared").is_file():
            self._command("-m", "examples.flights.prepare")
            return
        shutil.copy2(source / "labels.parquet", self.home / "flights")
        shutil.copytree(source / "tables", self.home / "flights" / "tables")

    def config(self, name: str, search: Mapping[str, Any], steps: Path | None = None) -> Path:
        """The example's own config file with another search, and a clock in its trainer where `steps` is given."""
        settings = yaml.safe_load(CONFIG.read_text())
        settings["search"] = {**settings.get("search", {}), **search}
        if steps is not None:
            steps.mkdir()
            settings["trainer"] = {"class": "benchmarks.retraining.trainer:Timed", "options": {"folder": str(steps)}}
        path = self.folder / f"{name}.yaml"
        path.write_text(yaml.safe_dump(settings, sort_keys=False))
        return path

    def material(self, config: Path) -> dict[str, Any]:
        """Makes the files that `benchmarks.retraining.material` names; the facts that it has found."""
        self._command("-m", "benchmarks.retraining.material", str(config), str(self.folder))
        facts: dict[str, Any] = json.loads((self.folder / "facts.json").read_text())
        return facts

    def peer(self, name: str) -> Run:
        seen, log = self._watched(name, "-m", "benchmarks.retraining.peer", str(self.folder / "task.json"))
        done = json.loads(next(line for line in reversed(log.splitlines()) if line.startswith("{")))
        looks = [Look(**look) for look in done["looks"]]
        return Run(seen.wall_s, seen.cpu_s, seen.others, done["seconds"], looks, done["auc"])

    def retraining(self, name: str, search: Mapping[str, Any]) -> Run:
        steps = self.folder / f"{name}-steps"
        seen, log = self._watched(name, "-m", "retrain", str(self.config(name, search, steps)))
        found = read_steps(steps)
        return Run(seen.wall_s, seen.cpu_s, seen.others, stages(log), self._looks(), auc(log), found)

    def search(self, name: str, config: Path, every: int) -> Search:
        steps = self.folder / f"{name}-steps"
        steps.mkdir()
        words = "-m", "benchmarks.retraining.checkpoints", str(self.folder), str(every), str(steps), str(config)
        _, log = self._watched(name, *words)
        said = json.loads(next(line for line in reversed(log.splitlines()) if line.startswith("{")))
        return Search(every, said["search_s"], read_steps(steps))

    def _looks(self) -> list[Look]:
        """Of the last retraining, as its MLflow run keeps them."""
        kept = self.home.glob("artifacts/*/artifacts/trials.csv")
        with max(kept, key=lambda path: path.stat().st_mtime_ns).open() as file:
            rows = list(csv.DictReader(file))
        return [Look(int(row["trial"]), int(row["iterations"]), float(row["log_loss"])) for row in rows]

    def _watched(self, name: str, *words: str) -> tuple[Seen, str]:
        log = self.folder / f"{name}.log"
        empty = self.folder / "no-rows"
        empty.mkdir(exist_ok=True)
        command = [sys.executable, "-W", "ignore", *words]
        seen = watch(command, self.environment, empty, log, _TIMEOUT_S)
        os.sync()
        return seen, log.read_text(errors="replace")

    def _command(self, *words: str) -> None:
        subprocess.run([sys.executable, "-W", "ignore", *words], env=self.environment, check=True)


def stages(log: str) -> dict[str, float]:
    """Seconds by stage, from what a retraining says at its end.

    Raises:
        ValueError: it says nothing of them.
    """
    found = _WALL.search(log)
    if found is None:
        raise ValueError("the retraining's output has no line `wall time`")
    pairs = (part.rsplit(" ", 1) for part in found[1].split(", "))
    return {name: float(seconds) for name, seconds in pairs}


def auc(log: str) -> float:
    """Of the evaluation, likewise."""
    found = _AUC.search(log)
    if found is None:
        raise ValueError("the retraining's output has no line `AUC`")
    return float(found[1])


def common_looks(peer: Run, own: Run, tolerance: float = 1e-6) -> int:
    """How many looks both have had.

    Raises:
        ValueError: the log loss of one differs by more than `tolerance`: the two have done different work.
    """
    ours = {(look.trial, look.iterations): look.log_loss for look in own.looks}
    pairs = [(look, ours[look.trial, look.iterations]) for look in peer.looks if (look.trial, look.iterations) in ours]
    for look, log_loss in pairs:
        if abs(look.log_loss - log_loss) > tolerance:
            where = f"trial {look.trial} after {look.iterations} iterations"
            raise ValueError(f"{where}: log loss {look.log_loss:.9f} in the script, {log_loss:.9f} in the search")
    return len(pairs)
