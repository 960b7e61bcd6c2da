"""What the controller exports of experiments, declared once; Ray's agent exposes it with the prefix `ray_`."""

from ray.util.metrics import Gauge

from taxiway.rollout.experiment_state import ExperimentState
from taxiway.rollout.readout import Readout


class ExperimentMetrics:
    """Labels: endpoint, and variant (of the deployed file)."""

    def __init__(self) -> None:
        variant = ("endpoint", "variant")
        self._running = Gauge("taxiway_experiment_running", "1 while there is one, else 0.", ("endpoint",))
        self._weight = Gauge("taxiway_experiment_weight_ratio", "Share of the requests that it gets.", variant)
        self._mean = Gauge("taxiway_experiment_metric", "Mean of the metric that is compared.", variant)
        self._low = Gauge(
            "taxiway_experiment_difference_low", "Lower end of its mean minus the control's, always valid.", variant
        )
        self._high = Gauge("taxiway_experiment_difference_high", "Upper end of the same.", variant)
        self._best = Gauge("taxiway_experiment_best_probability", "How likely it is the best.", variant)

    def seen(self, state: ExperimentState, readout: Readout | None) -> None:
        """An experiment as it is after a look."""
        self._running.set(0 if state.is_over else 1, {"endpoint": state.endpoint})
        if readout is None or readout.id != state.id:
            return
        for arm in readout.arms:
            tags = {"endpoint": state.endpoint, "variant": arm.variant}
            self._weight.set(arm.weight / 100.0, tags)
            figures = ((self._mean, arm.mean), (self._low, arm.low), (self._high, arm.high), (self._best, arm.best))
            for gauge, value in figures:
                if value is not None:
                    gauge.set(value, tags)
