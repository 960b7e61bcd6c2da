"""The labels file of a retraining, wherever its config file says that it lies; and what DVC knows of it."""

import os
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from retrain.checks import CheckSettings, Finding
from retrain.dvc_fetch import fetch, shown
from retrain.dvc_files import Tracked, md5_of, tracked
from retrain.labels_settings import DvcSettings
from retrain.settings import RetrainSettings
from taxiway.settings import home


@dataclass(frozen=True)
class LabelsFile:
    """A file that can be read, and where it comes from.

    Attributes:
        path: for pyarrow.
        identity: changes when the content may have changed.
        facts: for the lineage: its path; of a file that DVC tracks repo, path inside it, the rev that was asked
            for, the commit that was found, md5, and `md5_on_disk` where that differs.
        fetched: whether it is a copy that Taxiway has made.
    """

    path: str
    identity: str
    facts: dict[str, str] = field(default_factory=dict)
    fetched: bool = False

    @property
    def has_changed(self) -> bool:
        """Whether it is another one than DVC has recorded."""
        return "md5_on_disk" in self.facts


def labels_file(settings: RetrainSettings) -> LabelsFile:
    """
    Raises:
        ConfigError: DVC can't give the file, or its own files can't be read.
    """
    labels = settings.labels
    if labels.dvc is not None:
        return _fetched(labels.dvc, home() / "retrain" / settings.model / "labels")
    path = str(labels.path)
    known = tracked(Path(path)) if "://" not in path else None
    return _plain(path, known)


def source_findings(labels: LabelsFile, checks: CheckSettings) -> list[Finding]:
    """Nothing, or that the file is not the one that DVC has recorded."""
    severity = checks.severity.get("labels_changed", "warning")
    if not labels.has_changed or severity == "off":
        return []
    told = (
        f"{labels.path} has MD5 {labels.facts['md5_on_disk']}, and DVC has recorded {labels.facts['md5']}; "
        "`dvc add` it, so that the lineage names what was learned from"
    )
    return [Finding(severity, "labels_changed", None, 1.0, 0.0, told)]


def forget_others(labels: LabelsFile) -> None:
    """Deletes copies from before this one; a later one may be another process's."""
    path = Path(labels.path)
    if not labels.fetched:
        return
    for other in path.parent.iterdir():
        with suppress(FileNotFoundError):  # what another process fetches is renamed at its end
            if other.stat().st_mtime < path.stat().st_mtime:
                other.unlink()


def _fetched(source: DvcSettings, folder: Path) -> LabelsFile:
    found = fetch(source, folder)
    facts = {"repo": shown(source.repo), "path": source.path, "md5": found.md5}
    facts |= {"rev": source.rev} if source.rev else {}
    facts |= {"commit": found.commit} if found.commit else {}
    return LabelsFile(str(found.path), f"{facts['repo']} {source.path} {found.md5}", facts, fetched=True)


def _plain(path: str, known: Tracked | None) -> LabelsFile:
    seen = _seen(path)
    if known is None:
        return LabelsFile(path, seen, {"path": path})
    facts = {"repo": str(known.repo), "path": known.path, "md5": known.md5}
    facts |= {"commit": known.commit} if known.commit else {}
    if Path(path).is_file() and (found := md5_of(Path(path))) != known.md5:
        facts["md5_on_disk"] = found
    return LabelsFile(path, f"{seen} {known.repo} {known.path} {known.md5}", facts)


def _seen(path: str) -> str:
    """A file counts by size and time of change."""
    try:
        found = os.stat(path)  # noqa: PTH116 - may be a URI, which is then not looked at
    except OSError:
        return ""
    return f"{found.st_size} {found.st_mtime_ns}"
