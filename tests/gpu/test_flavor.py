"""PyTorch models on a GPU in this process: answers, precision, threads, and memory."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serve.dedicated import DedicatedModel
from serve.settings import RunSettings
from taxiway.errors import PackageError
from taxiway.flavors import torch as flavor
from taxiway.flavors.inputs import inputs_of
from taxiway.package import ModelPackage, load_package
from taxiway.registry import Registry
from taxiway.settings import RegistrySettings
from taxiway.telemetry.process import usage

torch = pytest.importorskip("torch")
models = pytest.importorskip("tests.gpu.models")

EXACT = 1e-5
"""fp32 keeps 24 bits: sums of some hundred products come this near. TF32 keeps 11, and comes to 3e-4."""
REDUCED = {"fp16": 5e-3, "bf16": 3e-2}
"""11 and 8 bits, through four layers."""
BALLAST = 64 << 20


def on_gpu(module: Any, precision: Any = "fp32") -> Any:
    return flavor.ask(module.cuda().eval(), inputs_of(models.SIGNATURE.inputs), precision)


@pytest.fixture(scope="module")
def loaded(home: Path) -> Any:
    registry = Registry(RegistrySettings())
    _, predictor = load_package(registry.fetch(registry.resolve("models:/digits@champion")))
    return predictor


@pytest.mark.parametrize("rows", [1, 33, 1_000])
def test_fp32_answers_what_a_cpu_answers(loaded: Any, rows: int) -> None:
    inputs = models.images(rows, rows)
    found = loaded.predict({"image": inputs})
    assert found["on_gpu"].all()
    assert models.distance(found["logits"], models.exact(models.Digits(), inputs)) < EXACT


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_reduced_precision_is_reduced_and_near(home: Path, precision: Any) -> None:
    registry, inputs = Registry(RegistrySettings()), models.images(500, 5)
    folder = registry.fetch(registry.resolve("models:/digits@champion"))
    _, predictor = load_package(folder, device="cuda", precision=precision)
    found = predictor.predict({"image": inputs})
    assert found["logits"].dtype == np.float32
    away = models.distance(found["logits"], models.exact(models.Digits(), inputs))
    assert EXACT < away < REDUCED[precision]


def test_a_tuple_of_any_types_comes_as_it_is() -> None:
    class Parts(torch.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.tensor(2.0))

        def forward(self, image: Any) -> Any:
            flat = image.flatten(1) * self.weight
            return flat, (flat.argmax(1), flat > 1), flat.bfloat16(), image.new_ones(len(image)).cpu()

    inputs = models.images(40, 2)
    scaled, (places, large), rounded, ones = on_gpu(Parts())({"image": inputs})
    flat = inputs.reshape(40, 64) * np.float32(2)
    np.testing.assert_array_equal(scaled, flat)
    np.testing.assert_array_equal(places, flat.argmax(1))
    np.testing.assert_array_equal(large, flat > 1)
    np.testing.assert_allclose(rounded, flat, rtol=2**-8)
    assert rounded.dtype == ones.dtype == np.float32


def test_threads_get_their_own_answers_and_keep_them(loaded: Any) -> None:
    """Answers lie in pinned memory that PyTorch lends out again: as long as somebody holds it, to nobody."""
    batches = [models.images(1 + seed % 50, seed) for seed in range(400)]
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda batch: loaded.predict({"image": batch})["logits"], batches))
    expected = np.split(models.exact(models.Digits(), np.concatenate(batches)), np.cumsum([*map(len, batches)])[:-1])
    assert max(map(models.distance, answers, expected)) < EXACT


def test_memory_of_versions_that_went_is_there_for_others(home: Path) -> None:
    versions = [models.register("heavy", seed, BALLAST) for seed in range(4)]
    replica = DedicatedModel(RegistrySettings(), RunSettings(device="cuda"), str(home))
    columns, held = {"image": models.images(8)}, []
    for version in versions:
        replica.prepare(version)
        replica.predict(version, columns)
        held.append(usage().gpu_bytes)
    assert held[1] - held[0] == pytest.approx(BALLAST, rel=0.1)
    # Two are kept, and the one that went is not held back: neither by Python nor by PyTorch's allocator.
    assert held[2] <= held[1] + BALLAST // 8
    assert held[3] <= held[1] + BALLAST // 8


def test_a_gpu_that_is_not_there_is_named(home: Path) -> None:
    registry = Registry(RegistrySettings())
    folder = registry.fetch(registry.resolve("models:/digits@champion"))
    with pytest.raises(PackageError, match=r"device: cuda:7 is asked for, and this process sees \d of them"):
        load_package(folder, device="cuda:7")


def test_auto_takes_the_gpu_and_cpu_does_not(home: Path) -> None:
    registry = Registry(RegistrySettings())
    folder = registry.fetch(registry.resolve("models:/digits@champion"))
    columns = {"image": models.images(3)}
    packages: dict[str, tuple[ModelPackage, Any]] = {it: load_package(folder, device=it) for it in ("auto", "cpu")}
    assert {it: found.predict(columns)["on_gpu"].tolist() for it, (_, found) in packages.items()} == {
        "auto": [1, 1, 1],
        "cpu": [0, 0, 0],
    }
