"""The present champion on the rows that judge a challenger."""

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from retrain.dataset import Dataset
from retrain.model import one_thread
from retrain.tasks import Answers, Task
from taxiway.errors import FeatureStoreFailed, InvalidInput
from taxiway.package import ModelPackage
from taxiway.registry import CHAMPION, LoadedModel, Registry
from taxiway.scoring import score
from taxiway.signature import Array, Column

if TYPE_CHECKING:
    from collections.abc import Sequence

    from taxiway.feature_binding import FeatureViewBinding
    from taxiway.features import HistoricalFeatures
    from taxiway.signature import Columns


@dataclass(frozen=True)
class Champion:
    """A loaded champion.

    Attributes:
        answers: to each held-out row, as the task has them; None when it can't answer them all.
        obstacle: why not; empty when it can.
    """

    model: LoadedModel
    answers: Answers | None
    obstacle: str = ""

    @property
    def columns(self) -> list[str]:
        return [column.name for column in self.model.package.model_columns]


def champion_on(
    registry: Registry,
    model: str,
    examples: Dataset,
    history: "HistoricalFeatures | None",
    task: Task,
    output: Column,
) -> Champion | None:
    """The champion and its answers; None while there is none.

    Features that it reads and the examples do not have are joined as of each example's moment.

    Args:
        output: the challenger's answer.

    Raises:
        RegistryError, PackageError: it can't be loaded.
    """
    version = registry.alias(model, CHAMPION)
    if version is None:
        return None
    loaded = registry.load(version)
    package = loaded.package
    if obstacle := _answers_otherwise(package, task, output):
        return Champion(loaded, None, obstacle)
    views = package.features.views if package.features else ()
    known = {column.name for column in package.model_columns} | {key for view in views for key in view.entity_keys}
    columns = {name: values for name, values in examples.columns.items() if name in known}

    def read(views: "Sequence[FeatureViewBinding]", keys: "Columns") -> dict[str, Array]:
        if history is None:
            raise FeatureStoreFailed("it reads features, and no feature store is configured")
        return history.read(views, keys, examples.moments)

    try:
        with one_thread():
            scored = score(columns, package.signature, package.features, read, loaded.predictor)
    except (InvalidInput, FeatureStoreFailed) as error:
        return Champion(loaded, None, f"the champion can't answer the held-out rows: {error}")
    if len(scored.rows) < len(examples):
        codes = Counter(str(reject.code) for reject in scored.rejects)
        told = ", ".join(sorted(codes))
        refused = len(examples) - len(scored.rows)
        return Champion(loaded, None, f"the champion refuses {refused:,} of the held-out rows ({told})")
    return Champion(loaded, np.asarray(scored.outputs[package.signature.outputs[0].name], np.float64))


def _answers_otherwise(package: ModelPackage, task: Task, output: Column) -> str:
    """Why answers of both can't be compared; empty when they can."""
    if package.output_kind != task.output_kind:
        return f"the champion answers a {package.output_kind}, not a {task.output_kind}"
    given = package.signature.outputs[0]
    if task.name == "classes" and (given.shape, given.description) != (output.shape, output.description):
        return f"the champion's answer is {given.description or list(given.shape)}, and this one's {output.description}"
    return ""
