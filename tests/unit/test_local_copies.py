"""Copies of artifacts that lie elsewhere go with what was loaded from them, and with their process."""

import gc
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from taxiway.errors import RegistryError
from taxiway.local_copies import LocalCopies

_KILLED_IN_THE_MIDDLE = """
import sys, time
from pathlib import Path
from taxiway.local_copies import LocalCopies
with LocalCopies(Path(sys.argv[1])).making() as folder:
    (folder / "MLmodel").write_text("flavors: {")
    print(folder, flush=True)
    time.sleep(60)
"""


class Model:
    """What was loaded from a copy."""


def copied(copies: LocalCopies) -> Path:
    with copies.making() as folder:
        (folder / "MLmodel").write_text("flavors: {}")
    return folder


def folders(root: Path) -> list[Path]:
    return [it for it in root.iterdir() if it.is_dir()]


def test_a_copy_is_there_as_long_as_what_was_loaded_from_it(tmp_path: Path) -> None:
    copies, models = LocalCopies(tmp_path), [Model(), Model()]
    kept = [copied(copies) for _ in models]
    for model, folder in zip(models, kept, strict=True):
        copies.keep_for(model, folder)
    del model, models[0]
    gc.collect()
    assert [folder.exists() for folder in kept] == [False, True]


def test_what_is_no_copy_is_never_removed(tmp_path: Path) -> None:
    copies, model, own = LocalCopies(tmp_path / "copies"), Model(), tmp_path / "artifacts"
    own.mkdir()
    copies.keep_for(model, own)
    copied(copies)
    copies.keep_for(model, own)
    copies.drop(own)
    del model
    gc.collect()
    assert own.is_dir()


def test_a_copy_that_fails_leaves_nothing(tmp_path: Path) -> None:
    copies = LocalCopies(tmp_path)

    def fail() -> None:
        with copies.making() as folder:
            (folder / "model.pkl").write_bytes(b"half")
            raise OSError("no space")

    with pytest.raises(OSError, match="no space"):
        fail()
    (own,) = folders(tmp_path)
    assert folders(own) == []


def test_what_a_killed_process_has_half_written_is_removed_by_the_next_and_of_the_living_nothing(
    tmp_path: Path,
) -> None:
    living = LocalCopies(tmp_path)
    whole = copied(living)
    with subprocess.Popen(
        [sys.executable, "-c", _KILLED_IN_THE_MIDDLE, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as dying:
        assert dying.stdout is not None
        half = Path(dying.stdout.readline().strip())
        assert half.is_dir()
        LocalCopies(tmp_path)._opened()
        assert half.is_dir(), "its process lives"
        os.kill(dying.pid, signal.SIGKILL)
    third = copied(LocalCopies(tmp_path))
    assert not half.parent.exists()
    assert whole.is_dir()
    assert third.parent != whole.parent


def test_a_folder_that_others_may_write_into_is_refused(tmp_path: Path) -> None:
    root = tmp_path / "copies"
    root.mkdir()
    root.chmod(0o777)
    with pytest.raises(RegistryError, match="others may write"):
        copied(LocalCopies(root))


def test_when_its_process_ends_a_copy_is_gone(tmp_path: Path) -> None:
    program = _KILLED_IN_THE_MIDDLE.replace("time.sleep(60)", "pass")
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True, stdout=subprocess.DEVNULL)
    assert folders(tmp_path) == []
