"""A run that is not published yet: its plan, its files, and a commit record for every piece that is done."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from pydantic import ValidationError

from batch.output.store import Store
from batch.pieces import PieceResult
from taxiway.storage import WRITING

QUARANTINE = "_quarantine"
RUN = "_run"
PLAN = f"{RUN}/plan.json"
_PART = re.compile(r"part-(\d+)-")


@dataclass(frozen=True)
class Workspace:
    """Where the actors of one run write. All names follow from the run and the piece: twice is as good as once.

    Attributes:
        parts: the folder of parts below the store's root, empty or ending with `/`.
        quarantine: that of the rows that were set aside, likewise.
    """

    store: Store
    job_id: str
    parts: str
    quarantine: str

    def part(self, piece: int, partition: str = "") -> str:
        return f"{self.parts}{partition}part-{piece:05d}-{self.job_id}.parquet"

    def quarantined(self, piece: int) -> str:
        return f"{self.quarantine}part-{piece:05d}-{self.job_id}.parquet"

    def commit(self, result: PieceResult) -> None:
        """Written last, at once: a piece with a commit record is done, one without has not happened."""
        self.store.write(f"{self._commits}piece-{result.piece:05d}.json", result.model_dump_json().encode())

    @property
    def _commits(self) -> str:
        return f"{RUN}/{self.job_id}/"

    def committed(self) -> Iterator[PieceResult]:
        """The records of pieces whose files are there in their full size."""
        sizes = self.store.sizes()
        names = sorted(name for name in sizes if name.startswith(self._commits) and name.endswith(".json"))
        for content in self.store.read_all([name for name in names if WRITING not in name]):
            try:
                result = PieceResult.model_validate_json(content or b"")
            except ValidationError:
                continue
            if all(sizes.get(file.path) == file.bytes for file in result.files_written):
                yield result

    def strays(self, known: set[str]) -> list[str]:
        """Files of parts and quarantine that are not among the known ones: half-written, or of another run."""
        folders = {self.parts, self.quarantine}
        found = {name for folder in folders for name in self.store.sizes(folder.rstrip("/"))}
        return sorted(name for name in found - known if not name.startswith((f"{RUN}/", "_manifest", "_SUCCESS")))

    @staticmethod
    def piece_of(path: str) -> str:
        """The number in a part's name, whoever has written it and however far."""
        found = _PART.search(path)
        return found[1] if found else path
