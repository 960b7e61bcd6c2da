"""One endpoint in a replica's memory: a loaded model, its features and the gatherer in front of it."""

from collections.abc import Callable
from functools import cached_property

from serve.batching import Gatherer, Outputs
from serve.settings import LimitSettings
from taxiway.protocols.open_inference import InferRequest
from taxiway.registry import LoadedModel
from taxiway.scoring import ReadFeatures, Scored, score
from taxiway.signature import Column, Columns


class Endpoint:
    """A public route and the model version that answers on it.

    Args:
        read_features: reads what a request does not bring; never called for a model without a feature service.
    """

    def __init__(
        self,
        name: str,
        model: LoadedModel,
        read_features: ReadFeatures,
        limits: LimitSettings,
        observe_batch: Callable[[int], None],
    ) -> None:
        self.name = name
        self.model = model
        self._read_features = read_features
        self._gatherer = Gatherer(self._score, limits.batch_rows, limits.queue_rows, observe_batch)

    @cached_property
    def inputs(self) -> dict[str, Column]:
        """Every column that a request may bring; those of the feature store are optional."""
        return {column.name: column for column in self.model.package.model_columns}

    @cached_property
    def outputs(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.model.package.signature.outputs)

    async def infer(self, request: InferRequest) -> Outputs:
        """The outputs of a request's rows; raises as `Gatherer.submit` does."""
        return await self._gatherer.submit(request.columns, request.rows)

    def _score(self, columns: Columns) -> Scored:
        package = self.model.package
        return score(columns, package.signature, package.features, self._read_features, self.model.predictor)
