"""Which code trains: the git revision, the package of a Ray job, or what the image was built of."""

import json
import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

UNKNOWN = "unknown"
_JOB_CONFIG = "RAY_JOB_CONFIG_JSON_ENV_VAR"
_OF_IMAGE = "TAXIWAY_REVISION"
_UPLOADED = re.compile(r"_ray_pkg_([0-9a-f]+)")


def code_revision(root: Path = Path(__file__).parents[1], environment: Mapping[str, str] = os.environ) -> str:
    """The commit at `root` (`-dirty` with changes), else `working-dir-HASH` in a Ray job, else the image's."""
    return git_revision(root) or working_dir_revision(environment) or environment.get(_OF_IMAGE) or UNKNOWN


def git_revision(root: Path) -> str | None:
    # Not any folder above: an installed package may lie inside somebody else's checkout.
    if not (root / ".git").exists():
        return None
    head, changes = _git(root, "rev-parse", "HEAD"), _git(root, "status", "--porcelain")
    if not head:
        return None
    return f"{head}-dirty" if changes else head


def file_revision(path: Path) -> str | None:
    """The commit of the checkout that a file lies in, `-dirty` where the file is not as committed; None without git."""
    head = _git(path.parent, "rev-parse", "HEAD")
    if not head:
        return None
    return f"{head}-dirty" if _git(path.parent, "status", "--porcelain", "--", path.name) else head


def working_dir_revision(environment: Mapping[str, str]) -> str | None:
    """The hash in the URI of the working directory that `ray job submit --working-dir` has uploaded."""
    try:
        runtime = json.loads(environment.get(_JOB_CONFIG, "{}")).get("runtime_env") or {}
    except ValueError:
        return None
    found = _UPLOADED.search(str(runtime.get("working_dir", "")))
    return f"working-dir-{found[1]}" if found else None


def _git(root: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
