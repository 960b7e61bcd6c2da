"""The kinds of outputs, by their URI."""

from contextlib import AbstractContextManager
from typing import Protocol

from batch.inputs.storage import is_remote
from batch.output.local import LocalOutput
from batch.output.objects import ObjectOutput
from batch.output.workspace import Workspace
from taxiway.errors import ConfigError


class Output(Protocol):
    """Where a job's result is going to be; the modules of the two kinds say what their readers can rely on."""

    def workspace(self, job_id: str) -> Workspace:
        """Where a run writes until it is published."""

    def check(self, source: str) -> None:
        """Raises ConfigError when the output can't be used with this input."""

    def finished(self) -> bytes | None:
        """The manifest of the run that readers see; None while there is none."""

    def free_bytes(self) -> int | None:
        """None where nobody knows."""

    def hold(self, who: str) -> AbstractContextManager[None]:
        """Keeps other jobs away; raises OutputHeld when one is there."""

    def check_held(self) -> None:
        """Raises OutputHeld when it is held no longer."""

    def discard(self, job_id: str) -> None:
        """Throws an unfinished run away."""

    def publish(self, workspace: Workspace, manifest: bytes, overwrite: bool) -> None:
        """Makes a complete run the one that readers see."""

    def keep_quarantine(self, workspace: Workspace, manifest: bytes) -> str:
        """Of a run that fails because of it; returns where it is."""


def open_output(output: str) -> Output:
    """Raises ConfigError for a place where nothing can be written."""
    if output.startswith("s3://"):
        return ObjectOutput(output)
    if is_remote(output):
        scheme = output.partition("://")[0]
        raise ConfigError(f"output: {scheme}:// can't be written to; give a local folder or an s3:// prefix")
    return LocalOutput(output)
