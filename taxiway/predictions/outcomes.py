"""What an experiment compares: the loss or the value of each variant's live answers, from labelled predictions."""

from collections.abc import Mapping
from datetime import datetime

import numpy as np
import pyarrow as pa

from taxiway.predictions.join import label_window
from taxiway.predictions.losses import records_of, row_losses
from taxiway.rollout.experiment import LossMetric, ValueMetric
from taxiway.rollout.observations import Moments, Values

_COLUMNS = ("variant", "version", "kind", "output.*")


def read_outcomes(
    location: str,
    endpoint: str,
    start: datetime,
    end: datetime,
    metric: LossMetric | ValueMetric,
    versions: Mapping[str, str],
) -> dict[str, Moments]:
    """The metric of each variant, over answers made in [start, end) that have ground truth by now.

    Read anew each time, as `losses.read_losses` is.

    Args:
        versions: variant -> the version that takes part.

    Raises:
        ConfigError: the output that is judged is not in the log.
        OSError: the log can't be read.
    """
    table = label_window(location, endpoint, start, end, end, _COLUMNS).table
    return outcomes_of(table, metric, versions)


def outcomes_of(table: pa.Table, metric: LossMetric | ValueMetric, versions: Mapping[str, str]) -> dict[str, Moments]:
    """As `read_outcomes`, of labelled predictions.

    Raises:
        ConfigError: as `read_outcomes`.
    """
    if not table.num_rows:
        return dict.fromkeys(versions, Moments())
    table = table.append_column("outcome", pa.array(_rows(table, metric)))
    found = {}
    for variant, version in versions.items():
        values = np.asarray(records_of(table, variant, version, "live")["outcome"].to_numpy(), np.float64)
        found[variant] = Moments.of(values[np.isfinite(values)])
    return found


def _rows(table: pa.Table, metric: LossMetric | ValueMetric) -> Values:
    if isinstance(metric, LossMetric):
        return row_losses(table, metric.quality)
    values = np.asarray(table["value"].cast(pa.float64()).to_numpy(), np.float64)
    lowest = -np.inf if metric.lowest is None else metric.lowest
    return np.clip(values, lowest, np.inf if metric.highest is None else metric.highest)
