"""The challenger fitted again by further seeds; each fit is kept when it is done."""

from collections.abc import Callable

from retrain.dataset import Dataset
from retrain.model import one_thread
from retrain.settings import SearchSettings
from retrain.stability import Stability, further_seeds, stability
from retrain.tasks import Answers
from retrain.trainers.contract import FittedModel
from retrain.unfinished import Retraining


def by_seeds(
    run: Retraining,
    search: SearchSettings,
    challenger: FittedModel,
    fit: Callable[[int], FittedModel],
    examples: Dataset,
) -> Stability:
    """
    Args:
        search: `seeds` of two or more.
        fit: the challenger's fit, by a seed.
        examples: the held-out rows.
    """

    def answers(model: FittedModel) -> Answers:
        with one_thread():
            return model.predict({column.name: examples.columns[column.name] for column in model.inputs})

    def kept(seed: int) -> Answers:
        return run.keep(f"seed-{seed}", lambda: answers(fit(seed)))

    further = further_seeds(search.seed, search.seeds)
    given = [answers(challenger), *map(kept, further)]
    return stability(examples.labels, (search.seed, *further), given, challenger.task)
