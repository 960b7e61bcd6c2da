"""An output below an S3 prefix. There is no rename: the manifest is what publishes.

Parts are written where they stay, in a folder with the job's id. `_manifest.json` names the files of the one
complete run, and `_SUCCESS` follows it. What a reader can rely on:

- The files that `_manifest.json` names are complete, and they are never changed. Before the first run is
  published there is no manifest.
- Replacing a run replaces the manifest in one step; then the old run's files are deleted. A reader that
  still has the old list finds files missing; it never reads new rows in the place of old ones.
- A reader that lists the prefix instead sees parts of a run that is under way. What begins with `_` is not data.
"""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from batch.inputs.storage import below, locate
from batch.output.lease import Lease
from batch.output.local import MANIFEST, SUCCESS
from batch.output.store import Store
from batch.output.workspace import QUARANTINE, RUN, Workspace
from taxiway.errors import ConfigError


class ObjectOutput:
    """An S3 prefix."""

    def __init__(self, output: str) -> None:
        self.uri = output
        self._store = Store(output)
        self._lease: Lease | None = None

    def __str__(self) -> str:
        return self.uri.partition("?")[0]

    def workspace(self, job_id: str) -> Workspace:
        return Workspace(self._store, job_id, f"{job_id}/", f"{QUARANTINE}/{job_id}/")

    def check(self, source: str) -> None:
        """Refuses to touch the job's own input and what is no finished run.

        Raises:
            ConfigError: the output is in use, or can't be read.
        """
        if source.startswith("s3://"):
            mine, origin = f"{locate(self.uri)[1]}/", f"{locate(source)[1]}/"
            if mine.startswith(origin) or origin.startswith(mine):
                raise ConfigError(f"output: {self} and the input lie in one another; give another prefix")
        try:
            names = self._store.sizes()
        except OSError as error:
            raise ConfigError(f"output: {self} can't be read: {error}") from error
        known = any(name.startswith((MANIFEST, f"{RUN}/", f"{QUARANTINE}/")) for name in names)
        if names and not known:
            raise ConfigError(f"output: {self} holds files that are no scoring job's; give another prefix")

    def finished(self) -> bytes | None:
        """The manifest of the run that readers see; None while there is none."""
        return self._store.read(MANIFEST) if self._store.read(SUCCESS) is not None else None

    def free_bytes(self) -> int | None:
        return None

    @contextmanager
    def hold(self, who: str) -> Iterator[None]:
        """Keeps other jobs away from the output as long as it takes.

        Raises:
            OutputHeld: another one has it.
            ConfigError: this user can't write there.
        """
        self._lease = Lease(below(self.uri, f"{RUN}/lease.json"), who)
        with self._lease.held():
            yield

    def check_held(self) -> None:
        """Raises OutputHeld when the lease was lost."""
        if self._lease is not None:
            self._lease.check()

    def discard(self, job_id: str) -> None:
        """Throws an unfinished run away, and keeps the lease."""
        folders = (f"{RUN}/{job_id}", f"{QUARANTINE}/{job_id}", job_id)
        self._store.delete([name for folder in folders for name in self._store.sizes(folder)])
        self._store.delete([f"{RUN}/plan.json"])

    def publish(self, workspace: Workspace, manifest: bytes, overwrite: bool) -> None:
        """Writes the manifest, which is the publication; then removes what it replaces.

        Raises:
            ConfigError: another run was published meanwhile.
        """
        before = self.finished()
        if before is not None and not overwrite and workspace.job_id.encode() not in before:
            raise ConfigError(f"output: another run has been published in {self} meanwhile; nothing was published")
        self._store.write(MANIFEST, manifest)
        self._store.write(SUCCESS, workspace.job_id.encode())
        keep = (workspace.parts, workspace.quarantine, f"{RUN}/lease.json", MANIFEST, SUCCESS)
        self._store.delete([name for name in self._store.sizes() if not name.startswith(keep)])

    def keep_quarantine(self, workspace: Workspace, manifest: bytes) -> str:
        """Leaves the quarantine of a job that fails, with its manifest, and removes its parts."""
        self._store.write(f"{workspace.quarantine}{MANIFEST}", manifest)
        folders = (f"{RUN}/{workspace.job_id}", workspace.job_id)
        self._store.delete([name for folder in folders for name in self._store.sizes(folder)])
        self._store.delete([f"{RUN}/plan.json"])
        return below(str(self), workspace.quarantine.rstrip("/"))


def this_job(job_id: str) -> str:
    """Who holds an output, for those who are refused."""
    return f"job {job_id} on {socket.gethostname()}, process {os.getpid()}"
