"""A retraining that may be killed at any moment: what of it is done, and who does it."""

import fcntl
import hashlib
import os
import pickle
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from retrain.settings import RetrainSettings
from retrain.source import LabelsFile
from taxiway.errors import JobError, TryLater
from taxiway.settings import Settings, home

T = TypeVar("T")
Labels = Callable[[], LabelsFile]
_STATE = "run.json"
_BEGAN = "%Y%m%dT%H%M%S"


class RunState(Settings):
    """What a run has pinned at its start.

    Attributes:
        run_id: the tag `taxiway.retraining` of its MLflow run and of the version that it registers.
        began: UTC; relative windows are counted from here, also when the run goes on a day later.
        trigger: what set it off.
        pinned: a digest of config file, code and labels; a run of another one can't go on.
    """

    run_id: str
    began: datetime
    trigger: str
    pinned: str


@dataclass(frozen=True)
class Retraining:
    """A run in its folder. Stages are kept in files: the folder is this user's, nobody else writes to it."""

    state: RunState
    folder: Path
    resumed: bool

    def keep(self, stage: str, make: Callable[[], T]) -> T:
        """What a stage gives, made once: when the run goes on it is read.

        Raises:
            JobError: it can't be written.
        """
        path = self.folder / f"{stage}.pickle"
        if path.exists():
            found: T = pickle.loads(path.read_bytes())
            return found
        value = make()
        try:
            _write(path, pickle.dumps(value, protocol=5))
        except OSError as error:
            raise JobError(f"{self.folder} can't be written: {error.strerror}") from error
        return value

    def stages_done(self) -> list[str]:
        found = sorted(self.folder.glob("*.pickle"), key=lambda path: path.stat().st_mtime_ns)
        return [path.stem for path in found]


@contextmanager
def retraining(
    settings: RetrainSettings,
    source: str,
    code: str,
    labels: Labels,
    now: datetime,
    trigger: str,
    restart: bool = False,
) -> Iterator[Retraining]:
    """The run of this model that was not finished, or a new one; when the block ends well its folder goes.

    Args:
        source: the text of the config file, relative moments as they stand there.
        code: the revision; values of one are not read by another.
        labels: the file that is read; of another one a run begins anew.
        restart: throws the unfinished one away.

    Raises:
        TryLater: a retraining of the model is under way.
        JobError: the folder can't be used.
        ConfigError: the labels can't be had.
    """
    root = home() / "retrain" / settings.model
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise JobError(f"{root} can't be made: {error.strerror}") from error
    with _alone(root, settings.model):
        run = _gone_on(root, settings, source, code, labels, now) if not restart else None
        run = run or _begun(root, _pinned(source, code, labels()), now, trigger)
        yield run
        shutil.rmtree(run.folder, ignore_errors=True)


def can_go_on(settings: RetrainSettings, source: str, code: str, labels: Labels, now: datetime) -> bool:
    """Whether there is a killed run that `retraining` would go on with; the labels are not asked for without one."""
    return _gone_on(home() / "retrain" / settings.model, settings, source, code, labels, now) is not None


def began_of(run_id: str) -> datetime | None:
    """When a run began, to the second (UTC), by its id; None for an id of another make."""
    try:
        return datetime.strptime(run_id.partition("-")[0], _BEGAN).replace(tzinfo=UTC)
    except ValueError:
        return None


def _gone_on(
    root: Path, settings: RetrainSettings, source: str, code: str, labels: Labels, now: datetime
) -> Retraining | None:
    state = _state(root / "unfinished")
    if state is None or state.pinned != _pinned(source, code, labels()):
        return None
    recent = now - state.began < timedelta(hours=settings.resume_h)
    return Retraining(state, root / "unfinished", resumed=True) if recent else None


def _begun(root: Path, pinned: str, now: datetime, trigger: str) -> Retraining:
    shutil.rmtree(root / "unfinished", ignore_errors=True)
    run_id = f"{now.astimezone(UTC):{_BEGAN}}-{secrets.token_hex(4)}"
    state = RunState(run_id=run_id, began=now, trigger=trigger, pinned=pinned)
    (root / "unfinished").mkdir()
    _write(root / "unfinished" / _STATE, state.model_dump_json().encode())
    return Retraining(state, root / "unfinished", resumed=False)


def _state(folder: Path) -> RunState | None:
    try:
        return RunState.model_validate_json((folder / _STATE).read_text())
    except (OSError, ValidationError):
        return None


def _pinned(source: str, code: str, labels: LabelsFile) -> str:
    """What is read twice must be the same."""
    return hashlib.sha256(f"{source}\0{code}\0{labels.identity}".encode()).hexdigest()


@contextmanager
def _alone(root: Path, model: str) -> Iterator[None]:
    """The lock ends with the process, however that ends."""
    with (root / "lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise TryLater(f"a retraining of {model!r} is under way: {lock.read().strip()}") from None
        lock.truncate(0)
        lock.write(f"process {os.getpid()} on {os.uname().nodename}")
        lock.flush()
        yield


def _write(path: Path, content: bytes) -> None:
    """Whole or not at all, also when the machine dies."""
    unfinished = path.with_suffix(".unfinished")
    with unfinished.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)
