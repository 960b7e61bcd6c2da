"""A thousand registered models: some that were trained, each registered under many names."""

import json
from dataclasses import dataclass
from pathlib import Path

import mlflow
import numpy as np
import sklearn
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.pipeline import Pipeline

from benchmarks.serving.model import COLUMNS, OUTPUT, Matrix
from taxiway.encoder import ColumnEncoder
from taxiway.package import Lineage, ModelPackage, log_package
from taxiway.registry import CHAMPION, ModelVersion, Registry
from taxiway.settings import RegistrySettings, home
from taxiway.signature import Column, Signature

MODELS = 1_000
TRAINED = 10
"""Different ones: an answer of the wrong model is wrong, nine times of ten."""
_ROWS = 20_000
_ASKED = 400


@dataclass(frozen=True)
class Material:
    """Where the models lie, and rows to ask about with each trained model's own answers, of shape (TRAINED, rows)."""

    registry: RegistrySettings
    rows: Matrix
    expected: NDArray[np.float64]

    def answers(self, model: int) -> NDArray[np.float64]:
        return np.asarray(self.expected[model % TRAINED])


def name_of(model: int) -> str:
    return f"store-{model:04}"


def prepare() -> Material:
    """Trains and registers, once: later calls read what the first has written."""
    folder = home() / "bench" / "scale"
    settings = RegistrySettings(
        tracking_uri=f"sqlite:///{folder / 'mlflow.db'}", artifact_location=str(folder / "artifacts")
    )
    done, asked = folder / "prepared.json", folder / "asked.npz"
    made_by = {"scikit-learn": sklearn.__version__, "mlflow": mlflow.__version__, "models": MODELS}
    if not done.is_file() or json.loads(done.read_text()) != made_by:
        folder.mkdir(parents=True, exist_ok=True)
        _make(settings, asked)
        done.write_text(json.dumps(made_by))
    found = np.load(asked)
    return Material(settings, found["rows"], found["expected"])


def _make(settings: RegistrySettings, asked: Path) -> None:
    random = np.random.default_rng(0)
    rows = random.normal(size=(_ROWS + _ASKED, len(COLUMNS)))
    registry, expected = Registry(settings), []
    logged = []
    for number in range(TRAINED):
        late = rows @ random.normal(size=len(COLUMNS)) + random.normal(size=len(rows)) > 0
        model = HistGradientBoostingClassifier(max_iter=100, early_stopping=False, random_state=0)
        model.fit(rows[:_ROWS], late[:_ROWS])
        expected.append(model.predict_proba(rows[_ROWS:])[:, 1])
        logged.append(_log(registry, number, model))
    for number in range(MODELS):
        uri, run_id = logged[number % TRAINED]
        version: ModelVersion = registry.register(name_of(number), uri, run_id, {})
        registry.point(CHAMPION, version)
    np.savez(asked, rows=rows[_ROWS:], expected=np.array(expected))


def _log(registry: Registry, number: int, model: HistGradientBoostingClassifier) -> tuple[str, str]:
    """The URI of a logged package, and its run."""
    signature = Signature(
        inputs=tuple(Column(name=name, dtype="float64") for name in COLUMNS),
        outputs=(Column(name=OUTPUT, dtype="float64"),),
    )
    pipeline = Pipeline([("columns", ColumnEncoder(COLUMNS, {}).fit(None)), ("model", model)])
    with mlflow.start_run(experiment_id=registry.experiment("scale")) as run:
        lineage = Lineage(
            data_digest="0" * 64,
            data_rows=_ROWS,
            code_revision="benchmark",
            run_id=run.info.run_id,
            parameters={"number": number},
            metrics={},
        )
        package = ModelPackage(signature=signature, lineage=lineage)
        return log_package(pipeline, package, {"scikit-learn": sklearn.__version__}), str(run.info.run_id)
