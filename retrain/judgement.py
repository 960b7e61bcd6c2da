"""A challenger beside the champion on the held-out rows, and what the gate says of it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ray import cloudpickle

from retrain.champion import Champion, champion_on
from retrain.compare import Comparison, Latency, compare, measure_latency
from retrain.dataset import Dataset
from retrain.gate import Evidence, Verdict, judge
from retrain.importance import Importance, importance
from retrain.model import layout, one_thread
from retrain.settings import RetrainSettings
from retrain.stability import Stability
from retrain.tasks import Answers
from retrain.trainers.contract import FittedModel
from taxiway.registry import ModelVersion, Registry
from taxiway.signature import Columns, Signature

if TYPE_CHECKING:
    from taxiway.features import HistoricalFeatures

_LATENCY_ROWS = 4_096


@dataclass(frozen=True)
class Judgement:
    """Attributes:
    answers: the challenger's, to each held-out row.
    champion: whom it was compared with; None when there is none.
    model_mb: of the pickled model, in millions of bytes.
    stability: None where no further seed was fitted.
    """

    answers: Answers
    comparison: Comparison
    verdict: Verdict
    champion: ModelVersion | None
    importances: list[Importance]
    latency: Latency
    champion_latency: Latency | None
    model_mb: float
    stability: Stability | None = None


def judgement(
    settings: RetrainSettings,
    registry: Registry,
    signature: Signature,
    fitted: FittedModel,
    examples: Dataset,
    history: "HistoricalFeatures | None",
    stability: Stability | None = None,
) -> Judgement:
    """Both models on the same rows; a champion that can't answer them fails the gate, since nothing can be compared.

    Args:
        examples: the held-out rows.

    Raises:
        RegistryError, PackageError: the champion can't be loaded.
        JobError: the models can't be compared on these rows.
    """
    task = fitted.task
    champion = champion_on(registry, settings.model, examples, history, task, signature.outputs[0])
    columns = {column.name: examples.columns[column.name] for column in fitted.inputs}
    with one_thread():
        answers = fitted.predict(columns)
        names = layout(fitted.inputs, ()).columns
        importances = importance(fitted.predict, columns, examples.labels, names, settings.search.seed, task=task)
        latency = measure_latency(fitted.asked(), _some(columns))
        champion_latency = _latency_of(champion, examples)
    comparison = compare(
        examples.labels,
        answers,
        champion.answers if champion else None,
        {name: examples.columns[name] for name in settings.slices},
        task=task,
        seed=settings.search.seed,
        samples=settings.gate.samples,
        confidence=settings.gate.confidence,
    )
    model_mb = len(cloudpickle.dumps(fitted.model)) / 1e6
    its_signature = champion.model.package.signature if champion else None
    verdict = judge(settings.gate, Evidence(comparison, signature, its_signature, latency, model_mb, stability))
    if champion and champion.obstacle:
        verdict = verdict.model_copy(update={"passed": False, "reasons": (*verdict.reasons, champion.obstacle)})
    version = champion.model.version if champion else None
    return Judgement(answers, comparison, verdict, version, importances, latency, champion_latency, model_mb, stability)


def _latency_of(champion: Champion | None, examples: Dataset) -> Latency | None:
    if champion is None or not set(champion.columns) <= set(examples.columns):
        return None
    columns = {name: examples.columns[name] for name in champion.columns}
    return measure_latency(champion.model.predictor.predict, _some(columns))


def _some(columns: Columns) -> Columns:
    return {name: values[:_LATENCY_ROWS] for name, values in columns.items()}
