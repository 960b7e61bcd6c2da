import json
import subprocess
from pathlib import Path

import pytest

from retrain.revision import code_revision, file_revision

JOB = {
    "RAY_JOB_CONFIG_JSON_ENV_VAR": json.dumps(
        {"runtime_env": {"working_dir": "gcs://_ray_pkg_0123456789abcdef.zip"}, "metadata": {}}
    )
}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "train.py").write_text("x = 1\n")
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false"]
    for command in (["init", "--quiet"], ["add", "."], [*identity, "commit", "--quiet", "-m", "first"]):
        subprocess.run(["git", "-C", str(tmp_path), *command], check=True)
    return tmp_path


def test_a_clean_checkout_is_its_commit(checkout: Path) -> None:
    head = subprocess.run(["git", "-C", str(checkout), "rev-parse", "HEAD"], capture_output=True, text=True).stdout
    assert code_revision(checkout, JOB) == head.strip()


@pytest.mark.parametrize("name", ["train.py", "new.py"])
def test_a_changed_or_new_file_makes_it_dirty(checkout: Path, name: str) -> None:
    (checkout / name).write_text("x = 2\n")
    assert code_revision(checkout, {}).endswith("-dirty")


def test_a_folder_inside_somebody_elses_checkout_is_not_taken_for_it(checkout: Path) -> None:
    installed = checkout / "venv" / "retrain"
    installed.mkdir(parents=True)
    assert code_revision(installed, {}) == "unknown"


def test_a_ray_job_is_known_by_its_uploaded_working_directory(tmp_path: Path) -> None:
    assert code_revision(tmp_path, JOB) == "working-dir-0123456789abcdef"


def test_in_an_image_it_is_what_the_image_was_built_of(tmp_path: Path) -> None:
    assert code_revision(tmp_path, {"TAXIWAY_REVISION": "abc"}) == "abc"
    assert code_revision(tmp_path, JOB | {"TAXIWAY_REVISION": "abc"}) == "working-dir-0123456789abcdef"


@pytest.mark.parametrize("config", ["{}", "not json", '{"runtime_env": null}', '{"runtime_env": {"pip": []}}'])
def test_without_either_it_is_unknown(tmp_path: Path, config: str) -> None:
    assert code_revision(tmp_path, {"RAY_JOB_CONFIG_JSON_ENV_VAR": config}) == "unknown"


def test_a_files_revision_is_dirty_when_the_file_itself_has_changed(checkout: Path) -> None:
    clean = code_revision(checkout, {})
    (checkout / "new.py").write_text("y = 2\n")
    assert file_revision(checkout / "train.py") == clean
    assert file_revision(checkout / "new.py") == f"{clean}-dirty"
    (checkout / "train.py").write_text("x = 3\n")
    assert file_revision(checkout / "train.py") == f"{clean}-dirty"
