"""How long a batch reads features and how long its model takes, told to the metrics."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from serve.loading import Loaded
from taxiway.feature_binding import FeatureViewBinding
from taxiway.scoring import Predictor, ReadFeatures
from taxiway.signature import Array, Columns

ObservePhase = Callable[[str, float], None]
ObserveUnknown = Callable[[str, int], None]


class _Timed:
    """A predictor that tells how long it took, also when it fails."""

    def __init__(self, predictor: Predictor, observe: ObservePhase) -> None:
        self._predictor, self._observe = predictor, observe

    def predict(self, columns: Columns) -> dict[str, Array]:
        begin = time.perf_counter()
        try:
            return self._predictor.predict(columns)
        finally:
            self._observe("inference", time.perf_counter() - begin)


def timed(loaded: Loaded, observe: ObservePhase) -> Loaded:
    """The same model; `observe` gets `inference` and the seconds of each call."""
    return replace(loaded, predictor=_Timed(loaded.predictor, observe))


def timed_reads(read: ReadFeatures, observe: ObservePhase, observe_unknown: ObserveUnknown) -> ReadFeatures:
    """The same reading; `observe` gets `features` and the seconds of each, `observe_unknown` rows without features."""

    def reading(views: Sequence[FeatureViewBinding], columns: Columns) -> dict[str, Array]:
        begin = time.perf_counter()
        try:
            found = read(views, columns)
        finally:
            observe("features", time.perf_counter() - begin)
        for view in views:
            if rows := int(view.unknown(found).sum()):
                observe_unknown(view.name, rows)
        return found

    return reading
