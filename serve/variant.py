"""A variant of an endpoint in a replica's memory: the model version that answers now, until the next is loaded."""

from collections.abc import Callable, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

from serve.batching import BatchRules, Gatherer, Record
from serve.loading import Loaded, Versions
from serve.recording import Recorder, stream_of
from serve.tracing import Tracing
from taxiway.feature_binding import OnMissing
from taxiway.inference import ModelInterface
from taxiway.predictions.record import Source
from taxiway.rollout.tally import Stream
from taxiway.scoring import ReadFeatures, Scored, score
from taxiway.signature import Column, Columns

ObserveBatch = Callable[[int, float, float, float], None]


@dataclass(frozen=True)
class Slot:
    """One loaded model version (or graph of them) and the gatherers in front of it.

    Attributes:
        stream: under which live requests are counted; copies are counted under `shadow_stream`.
    """

    variant: str
    versions: Versions
    interface: ModelInterface
    live: Gatherer
    shadow: Gatherer
    stream: Stream
    shadow_stream: Stream

    @property
    def version(self) -> str:
        return self.interface.version

    @property
    def inputs(self) -> Mapping[str, Column]:
        return self.interface.inputs


class Variant:
    """A name that requests are routed to, and what answers for it. `error` is why the newest version does not."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.slot: Slot | None = None
        self.error: str | None = None


def make_slot(
    endpoint: str,
    variant: str,
    loaded: Loaded,
    read_features: ReadFeatures,
    on_failure: OnMissing,
    rules: BatchRules,
    shadow_rules: BatchRules,
    max_rows: int,
    observe: ObserveBatch,
    shadow_executor: Executor,
    recorder: Recorder | None,
    tracing: Tracing | None = None,
) -> Slot:
    """The slot of a model that has been loaded and warmed up."""
    predictor = loaded.predictor
    if tracing is not None:
        predictor, read_features = tracing.predictor(predictor), tracing.timed("features", read_features)

    def answer(columns: Columns) -> Scored:
        return score(columns, loaded.signature, loaded.features, read_features, predictor, on_failure)

    inputs = {column.name: column for column in loaded.inputs}
    interface = ModelInterface(endpoint, loaded.version, loaded.platform, inputs, loaded.signature.outputs, max_rows)
    threads = loaded.threads
    executor = ThreadPoolExecutor(threads, f"{endpoint}-{variant}") if threads else None
    source = Source(
        endpoint,
        variant,
        loaded.version,
        inputs=inputs,
        outputs={column.name: column for column in loaded.signature.outputs},
    )
    copies = replace(source, kind="shadow")
    live = Gatherer(answer, inputs, rules, observe, executor, max(threads, 1), _recording(recorder, source), tracing)
    # A shadow never computes on the loop and never shares a batch with live requests.
    shadow = Gatherer(
        answer,
        inputs,
        shadow_rules,
        lambda *_: None,
        shadow_executor,
        record=_recording(recorder, copies),
        tracing=tracing,
    )
    return Slot(variant, loaded.versions, interface, live, shadow, stream_of(source), stream_of(copies))


def _recording(recorder: Recorder | None, source: Source) -> Record | None:
    return None if recorder is None else partial(recorder.answers, source)
