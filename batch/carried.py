"""In an actor: a model out of what the driver has sent."""

import atexit
import io
import pickle
import shutil
import tarfile
import tempfile
from pathlib import Path

from taxiway.scoring import Predictor


def unpack(pickled: bytes | None, archive: bytes | None) -> Predictor:
    """Raises PackageError when the files can't be used here."""
    if pickled is not None:
        predictor: Predictor = pickle.loads(pickled)
        return predictor
    from taxiway.package import load_package  # brings MLflow, which takes seconds

    folder = Path(tempfile.mkdtemp(prefix="taxiway-model-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)  # a model may read its files later
    with tarfile.open(fileobj=io.BytesIO(archive or b"")) as files:
        files.extractall(folder, filter="data")
    _, predictor = load_package(folder)
    return predictor
