"""GPUs as far as there need be none: the files of docs/gpu.md, which device is taken, what is asked of PyTorch."""

import sys
from datetime import UTC, datetime
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from batch.settings import ScoreSettings
from retrain.settings import load_retraining
from retrain.trainers.choice import open_trainer
from serve.settings import ServeSettings
from taxiway.errors import PackageError
from taxiway.flavors import torch as flavor
from taxiway.settings import load, parse, read_yaml
from taxiway.telemetry.process import usage

ROOT = Path(__file__).parents[2]
FILES = ROOT / "configs" / "gpu"


def test_two_replicas_of_the_served_variant_fill_a_gpu_and_the_ingress_takes_none() -> None:
    (application,) = read_yaml(FILES / "serve.yaml")["applications"]
    settings = parse(application["args"], ServeSettings, "args")
    (variant,) = settings.endpoints[0].all_variants
    assert variant.placement == "dedicated"
    assert variant.dedicated.replicas * variant.dedicated.gpus == 1
    assert (variant.device, settings.ingress.gpus) == ("cuda", 0)


def test_actors_of_the_scoring_job_share_a_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TAXIWAY_HOME", str(tmp_path))
    assert load(FILES / "score.yaml", ScoreSettings).gpus == 0.5


def test_trials_share_a_gpu_and_the_last_fit_has_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    monkeypatch.setenv("TAXIWAY_HOME", str(tmp_path))
    settings = load_retraining(FILES / "retrain.yaml", datetime(2026, 1, 1, tzinfo=UTC))
    trainer: Any = open_trainer(settings.trainer, settings.task)
    assert (settings.search.gpus, trainer.options.gpus, trainer.options.workers) == (0.25, 1, 1)


def test_the_guide_names_files_that_are_there() -> None:
    text = (ROOT / "docs" / "gpu.md").read_text()
    for path in FILES.iterdir():
        assert f"configs/gpu/{path.name}" in text


@pytest.mark.parametrize(
    ("device", "gpus", "found"),
    [("auto", 0, "cpu"), ("auto", 1, "cuda"), ("cpu", 1, "cpu"), ("cuda", 1, "cuda"), ("cuda:1", 2, "cuda:1")],
)
def test_a_device_that_is_there_is_taken(device: str, gpus: int, found: str) -> None:
    assert str(flavor._device(machine(gpus), device)) == found


@pytest.mark.parametrize(
    ("device", "gpus", "message"),
    [
        ("cuda", 0, "device: cuda is asked for, and PyTorch finds no GPU here; say cpu or auto, or .* gpus"),
        ("cuda:7", 1, "device: cuda:7 is asked for, and this process sees 1 of them, .* say cuda"),
        ("cuda:2", 2, "cuda:2 is asked for, and this process sees 2"),
    ],
)
def test_a_device_that_is_not_there_is_refused(device: str, gpus: int, message: str) -> None:
    with pytest.raises(PackageError, match=message):
        flavor._device(machine(gpus), device)


def machine(gpus: int) -> Any:
    """PyTorch on a machine with so many GPUs."""
    torch = pytest.importorskip("torch")
    cuda = SimpleNamespace(is_available=lambda: gpus > 0, device_count=lambda: gpus)
    return SimpleNamespace(cuda=cuda, device=torch.device)


def test_a_pytorch_that_is_being_imported_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes seconds, on one thread, while another looks once a second."""
    begun = ModuleType("torch")
    begun.__spec__ = ModuleSpec("torch", None)
    monkeypatch.setattr(begun.__spec__, "_initializing", True, raising=False)
    monkeypatch.setitem(sys.modules, "torch", begun)
    assert usage().gpu_bytes == 0
