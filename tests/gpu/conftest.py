"""Tests of what a GPU does: `make test-gpu`. They are skipped where PyTorch finds none."""

from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(autouse=True, scope="session")
def _gpu() -> None:
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("PyTorch finds no GPU here")


@pytest.fixture(scope="session")
def home(_gpu: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """TAXIWAY_HOME, with the digits' network registered as its champion."""
    from tests.gpu.models import register

    folder = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("TAXIWAY_HOME", str(folder))
        register("digits")
        yield folder
