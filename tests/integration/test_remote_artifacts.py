"""Models whose artifacts lie in S3: a copy on this machine's disk for each one in memory, and not one more."""

import asyncio
import gc
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import mlflow
import numpy as np
import pytest

from serve.ingress import Ingress
from serve.settings import MultiplexedSettings, ServeSettings
from taxiway.errors import PackageError, RegistryError
from taxiway.local_copies import local_copies
from taxiway.registry import ModelVersion, Registry
from taxiway.settings import RegistrySettings
from tests.faulty_s3 import BUCKET, ENVIRONMENT, S3, running_s3
from tests.tiny_model import parcels, register_fitted, train

STORES = ("store-1", "store-2", "store-3")
ROW = parcels(1)


@dataclass(frozen=True)
class Remote:
    s3: S3
    registry: Registry
    settings: RegistrySettings


@pytest.fixture(scope="module")
def remote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Remote]:
    folder = tmp_path_factory.mktemp("registry")
    quick = {"AWS_MAX_ATTEMPTS": "1", "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false"}
    with mock.patch.dict(os.environ, ENVIRONMENT | quick), running_s3() as s3:
        os.environ["MLFLOW_S3_ENDPOINT_URL"] = s3.faulty_endpoint
        settings = RegistrySettings(
            tracking_uri=f"sqlite:///{folder}/mlflow.db", artifact_location=f"s3://{BUCKET}/artifacts"
        )
        registry = Registry(settings)
        register_fitted(settings, train(), "champion", STORES[0])
        source = mlflow.MlflowClient(registry.tracking_uri).get_model_version(STORES[0], "1")
        for name in STORES[1:]:
            registry.point("champion", registry.register(name, str(source.source), str(source.run_id), {}))
        registry.register("nothing", f"s3://{BUCKET}/nothing", "", {})
        yield Remote(s3, registry, settings)


@pytest.fixture(autouse=True)
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where everything temporary lies."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    local_copies.cache_clear()
    yield tmp_path
    local_copies.cache_clear()


def copies(disk: Path) -> list[Path]:
    """Folders that hold files of a model, wherever they were left."""
    gc.collect()
    return sorted({path.parent for path in disk.rglob("MLmodel")})


def first(name: str) -> ModelVersion:
    return ModelVersion(name, "1", "")


def test_a_copy_goes_with_its_model(remote: Remote, disk: Path) -> None:
    models = [remote.registry.load(first(name)) for name in STORES]
    assert len(copies(disk)) == 3
    for left in (2, 1, 0):
        del models[0]
        assert len(copies(disk)) == left


def test_who_fetches_a_folder_releases_it(remote: Remote, disk: Path) -> None:
    folder = remote.registry.fetch(first("store-1"))
    assert (folder / "MLmodel").is_file()
    remote.registry.release(folder)
    assert not folder.exists()


def test_a_download_that_breaks_off_leaves_nothing(remote: Remote, disk: Path) -> None:
    remote.s3.faults.failures = 10_000
    try:
        with pytest.raises(RegistryError, match="can't be had"):
            remote.registry.fetch(first("store-1"))
    finally:
        remote.s3.faults.failures = 0
    assert [path for path in disk.rglob("*") if path.is_file() and path.name != "lock"] == []


def test_what_can_not_be_loaded_is_not_kept(remote: Remote, disk: Path) -> None:
    with pytest.raises(PackageError, match="no model that MLflow logged"):
        remote.registry.load(first("nothing"))
    (own,) = (it for it in (disk / f"taxiway-models-{os.getuid()}").iterdir() if it.is_dir())
    assert [it.name for it in own.iterdir()] == ["lock"]


def test_of_a_multiplexed_endpoint_there_are_as_many_copies_as_models_that_are_kept(remote: Remote, disk: Path) -> None:
    many = MultiplexedSettings(name="stores", models=("store-*",), kept=2)
    ingress = Ingress("tests", ServeSettings(multiplexed=(many,), registry=remote.settings))

    async def ask() -> list[float]:
        answers = []
        for name in (*STORES, STORES[0]):
            endpoint = await ingress.service.find(name)
            scored = endpoint.baseline.live._score({**ROW})
            answers.append(float(scored.outputs["probability"][0]))
            del endpoint
            assert len(copies(disk)) <= many.kept
        return answers

    answers = asyncio.run(ask())
    assert np.isfinite(answers).all()
    assert len(set(answers)) == 1
    assert len(copies(disk)) == many.kept
    ingress.drain()
