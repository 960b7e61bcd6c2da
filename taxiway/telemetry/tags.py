"""Labels of Ray's metrics by value."""

from collections.abc import Sequence

from ray.util.metrics import Counter, Gauge


def tags(metric: Counter | Gauge, labels: Sequence[str]) -> dict[str, str]:
    """
    Args:
        labels: values, in the order in which the metric was declared with their names.
    """
    return dict(zip(metric._tag_keys, labels, strict=True))
