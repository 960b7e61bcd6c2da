"""Terraform in tests: a copy of the modules with providers from a mirror, so that nothing is fetched.

`TERRAFORM_MIRROR` names a folder that `terraform providers mirror` has filled.
"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "cluster" / "terraform"


def run(*command: str, cwd: Path = FOLDER, env: dict[str, str] | None = None) -> str:
    """What it prints. Skips where the program is absent; fails with what it says."""
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    around = {name: value for name, value in os.environ.items() if name != "TF_CLI_CONFIG_FILE"} | (env or {})
    done = subprocess.run(command, cwd=cwd, env=around, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done.stdout


def initialised(folder: str, at: Path) -> Path:
    """A copy of cluster/terraform below `at`, where `folder` has its providers."""
    if shutil.which("terraform") is None:
        pytest.skip("terraform is not installed")
    mirror = os.environ.get("TERRAFORM_MIRROR", "")
    if not Path(mirror, "registry.terraform.io").is_dir():
        pytest.skip("TERRAFORM_MIRROR names no folder with providers")
    copied = at / "terraform"
    shutil.copytree(FOLDER, copied, ignore=shutil.ignore_patterns(".terraform*"))
    run("terraform", "init", "-backend=false", "-input=false", f"-plugin-dir={mirror}", cwd=copied / folder)
    return copied / folder
