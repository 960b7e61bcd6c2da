"""A model version as the driver takes it out of the registry once, and hands it to the actors without one."""

import hashlib
import io
import tarfile
from dataclasses import dataclass
from pathlib import Path

from ray import cloudpickle

from batch.model import ScoringModel
from taxiway.errors import RegistryError
from taxiway.package import ModelPackage, load_package
from taxiway.registry import ModelVersion, Registry
from taxiway.scoring import Predictor

_CHUNK = 1 << 20
_ON_CPU = ("sklearn", "xgboost", "lightgbm")


@dataclass(frozen=True)
class CarriedModel:
    """What travels to an actor: a predictor as it is, or where it belongs to a device the files to load it from."""

    pickled: bytes | None
    archive: bytes | None


@dataclass(frozen=True)
class PinnedModel:
    """A version whose files can't change any more under the job."""

    model: ScoringModel
    package: ModelPackage
    carried: CarriedModel


def pin(registry: Registry, version: ModelVersion, digest: str | None = None) -> PinnedModel:
    """Reads a version's files.

    Args:
        digest: what they were when the run began; None when it begins now.

    Raises:
        RegistryError: they can't be had, or are others now.
        PackageError: they can't be used.
    """
    folder = registry.fetch(version)
    try:
        return _pinned(version, folder, digest)
    finally:
        registry.release(folder)


def _pinned(version: ModelVersion, folder: Path, digest: str | None) -> PinnedModel:
    found = digest_of(folder)
    if digest and found != digest:
        raise RegistryError(
            f"{version.uri} has other files than when the run began (SHA-256 {found[:12]}, then {digest[:12]}); "
            "--restart begins anew with these"
        )
    package, predictor = load_package(folder, device="cpu")  # a GPU is the actors'
    model = ScoringModel(version.name, version.version, package.signature, package.features, found)
    return PinnedModel(model, package, _carried(package, predictor, folder))


def digest_of(folder: Path) -> str:
    """SHA-256 over the names and contents of all files of a folder."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(f"{path.relative_to(folder).as_posix()}\0{path.stat().st_size}\0".encode())
        with path.open("rb") as source:
            while chunk := source.read(_CHUNK):
                digest.update(chunk)
    return digest.hexdigest()


def _carried(package: ModelPackage, predictor: Predictor, folder: Path) -> CarriedModel:
    if package.flavor in _ON_CPU:
        try:
            return CarriedModel(cloudpickle.dumps(predictor), None)
        except Exception:  # noqa: BLE001 - a model that can't be pickled is loaded from its files
            return CarriedModel(None, _archive(folder))
    return CarriedModel(None, _archive(folder))


def _archive(folder: Path) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        archive.add(folder, arcname=".")
    return target.getvalue()
