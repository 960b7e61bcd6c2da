"""A scoring job in one process, without Ray and without a registry: the real stages on real files."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from batch.events import Totals
from batch.finish import finish
from batch.inputs.tables import find_input
from batch.manifest import Manifest
from batch.model import ScoringModel
from batch.output.outputs import open_output
from batch.pieces import PieceResult
from batch.plan import describe_inputs, make_plan, reading_of
from batch.resume import Unfinished, begin, unfinished
from batch.run_plan import PinnedVersion, RunPlan
from batch.scorer import PieceScorer, ScorerSpec
from batch.settings import ScoreSettings
from taxiway.feature_binding import FeatureBinding, FeatureViewBinding
from taxiway.settings import FeatureStoreSettings
from taxiway.signature import Array, Column, Columns, Signature

SIGNATURE = Signature(
    inputs=(
        Column(name="color", dtype="string", categories=("red", "blue")),
        Column(name="count", dtype="int64", minimum=0),
        Column(name="weight", dtype="float64", nullable=True),
    ),
    outputs=(Column(name="score", dtype="float64"),),
)
WEATHER = FeatureViewBinding(name="weather", entity_keys=("place",), columns=("wind",))
Results = list[PieceResult]


class Sums:
    """Says count plus wind, and fails over 13."""

    def __init__(self, plus: float = 0.0) -> None:
        self._plus = plus

    def predict(self, columns: Columns) -> dict[str, Array]:
        if (columns["count"] == 13).any():
            raise RuntimeError("thirteen")
        return {"score": columns["count"] + self._plus + columns.get("wind", np.zeros(len(columns["count"])))}


def wind(views: Any, columns: Columns, moments: Array) -> dict[str, Array]:
    known = np.array([place != "nowhere" for place in columns["place"]])
    return {"wind": np.where(known, moments.astype("datetime64[h]").astype(np.int64) % 24, np.nan)}


class Job:
    """A job in a folder, piece after piece in this process."""

    def __init__(self, folder: Path, with_features: bool = False, **settings: Any) -> None:
        self.folder = folder / "input"
        self.folder.mkdir(exist_ok=True)
        binding = FeatureBinding(service="s", views=(WEATHER,)) if with_features else None
        self.model = ScoringModel("sums", "3", SIGNATURE, binding, "d" * 64)
        store = FeatureStoreSettings(repository="unused") if with_features else None
        paths = {"input": str(self.folder), "output": str(folder / "output")}
        keys = {"model": "models:/sums@champion", "feature_store": store, **paths, **settings}
        self.settings = ScoreSettings(**keys)

    @property
    def models(self) -> tuple[ScoringModel, ...]:
        if self.settings.compare is None:
            return (self.model,)
        return (self.model, ScoringModel("sums", "4", SIGNATURE, self.model.features, "e" * 64))

    def write(self, name: str, columns: dict[str, Any], **options: Any) -> None:
        path = self.folder / f"{name}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table(columns), path, **options)

    def plan(self) -> RunPlan:
        listing = find_input(self.settings.input, self.settings.input_format)
        inputs = describe_inputs(listing, self.models, self.settings)
        versions = [
            PinnedVersion(asked="models:/sums@champion", name=model.name, version=model.version, digest=model.digest)
            for model in self.models
        ]
        return make_plan("job", time.time(), inputs, versions, self.settings)

    def scorer(self, plan: RunPlan) -> PieceScorer:
        compared = self.models[1] if len(self.models) > 1 else None
        workspace = open_output(self.settings.output).workspace("job")
        reading = reading_of(plan, self.settings)
        spec = ScorerSpec(self.settings, self.model, compared, plan.schema_of_parts, reading, workspace, "")
        return PieceScorer(spec, [Sums(), Sums(100.0)], wind)

    def run(self, spoil: Callable[[Path, Results], Results] = lambda _, results: results) -> Manifest:
        plan, output = self.plan(), open_output(self.settings.output)
        output.check(self.settings.input)
        with output.hold("a test"):
            scorer, workspace = self.scorer(plan), output.workspace("job")
            results = spoil(Path(workspace.store.root), [scorer.score(piece) for piece in plan.pieces])
            total = Totals()
            for result in results:
                total = total.plus(result)
            return finish(
                plan, results, output, workspace, self.settings, total.scores, datetime.now(UTC), {"scoring": 1.0}
            )

    def go_on(self, restart: bool = False) -> tuple[Unfinished, Manifest]:
        """As the job does: begins, or goes on with what an earlier attempt has left; returns what that was."""
        output = open_output(self.settings.output)
        listing = find_input(self.settings.input, self.settings.input_format)
        with output.hold("a test"):
            found = unfinished(output, self.settings, listing, restart) or begin(output, self.plan())
            plan, workspace = found.plan, output.workspace("job")
            done = {result.piece for result in found.before}
            scorer = self.scorer(plan)
            results = [*found.before, *(scorer.score(piece) for piece in plan.pieces if piece.number not in done)]
            scores: dict[str, Any] = {}
            return found, finish(
                plan, results, output, workspace, self.settings, scores, datetime.now(UTC), {}, len(done)
            )

    @property
    def output(self) -> Path:
        return Path(self.settings.output)

    def scores(self) -> dict[str, list[Any]]:
        return dict(ds.dataset(self.output, partitioning="hive").to_table().to_pydict())

    def quarantine(self) -> list[dict[str, Any]]:
        return list(ds.dataset(self.output / "_quarantine").to_table().to_pylist())
