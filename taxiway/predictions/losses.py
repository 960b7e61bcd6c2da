"""What labelled predictions say of two versions: the loss of each row, by version and in pairs."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from taxiway.errors import ConfigError
from taxiway.predictions.join import label_window
from taxiway.predictions.record import Kind
from taxiway.rollout.judge_step import Losses
from taxiway.rollout.observations import Moments, Values
from taxiway.rollout.plan import QualitySettings
from taxiway.rollout.quality import log_losses

_COLUMNS = ("variant", "version", "kind", "output.*")


@dataclass(frozen=True)
class Versions:
    """Who is compared: variants and the versions behind them."""

    champion: tuple[str, str]
    challenger: tuple[str, str]


def read_losses(
    location: str, endpoint: str, start: datetime, end: datetime, settings: QualitySettings, versions: Versions
) -> Losses:
    """The losses of all answers that were made in [start, end) and have ground truth by now.

    Read anew each time, from the log itself: nothing is counted twice, whoever died meanwhile, and a label that was
    corrected counts as it is now.

    Raises:
        ConfigError: the output that is judged is not in the log.
        OSError: the log can't be read.
    """
    return losses_of(label_window(location, endpoint, start, end, end, _COLUMNS).table, settings, versions)


def losses_of(table: pa.Table, settings: QualitySettings, versions: Versions) -> Losses:
    """As `read_losses`, of labelled predictions.

    Raises:
        ConfigError: as `read_losses`.
    """
    if not table.num_rows:
        return Losses()
    table = table.append_column("loss", pa.array(row_losses(table, settings)))
    table = table.filter(pc.is_finite(table["loss"]))
    table = table.select(["variant", "version", "kind", "prediction_id", "row", "loss"])
    champion, challenger = (records_of(table, *who, "live") for who in (versions.champion, versions.challenger))
    copies = records_of(table, *versions.challenger, "shadow")
    pairs = champion.join(copies, ["prediction_id", "row"], join_type="inner", right_suffix=" of the copy")
    differences = _numbers(pairs, "loss of the copy") - _numbers(pairs, "loss")
    return Losses(
        Moments.of(_numbers(champion, "loss")), Moments.of(_numbers(challenger, "loss")), Moments.of(differences)
    )


def records_of(table: pa.Table, variant: str, version: str, kind: Kind) -> pa.Table:
    """Those of one version of a variant."""
    wanted: Any = (pc.field("variant") == variant) & (pc.field("version") == version) & (pc.field("kind") == kind)
    return table.filter(wanted)


def _numbers(table: pa.Table, column: str) -> Values:
    return np.asarray(table[column].to_numpy(), np.float64)


def row_losses(table: pa.Table, settings: QualitySettings) -> Values:
    """Of each row, clipped; NaN where label or answer is missing or of another kind than the task's."""
    answers = answers_of(table, settings.output)
    if settings.task == "classes":
        found = wrong(table, answers)
    else:
        labels, numbers = label_numbers(table), np.asarray(answers.to_numpy(zero_copy_only=False), np.float64)
        if settings.task == "binary":
            usable = np.isin(labels, (0.0, 1.0)) & (numbers >= 0) & (numbers <= 1)
            found = np.full(len(labels), np.nan)
            found[usable] = log_losses(labels[usable], numbers[usable])
        else:
            found = np.square(labels - numbers)
    return np.asarray(np.minimum(found, settings.largest_loss), np.float64)


def answers_of(table: pa.Table, output: str | None) -> Any:
    """The column of the output that is judged.

    Raises:
        ConfigError: it is not in the log, or has to be named.
    """
    outputs = [name.removeprefix("output.") for name in table.column_names if name.startswith("output.")]
    if output is None and len(outputs) > 1:
        raise ConfigError(f"rollout.checks.quality.output: say which of {', '.join(outputs)} is judged")
    name = outputs[0] if output is None and outputs else output
    if name not in outputs:
        raise ConfigError(f"rollout.checks.quality.output: the log has no output {name!r}, only {', '.join(outputs)}")
    return table[f"output.{name}"].combine_chunks()


def label_numbers(table: pa.Table) -> Values:
    return np.asarray(table["label_number"].cast(pa.float64()).to_numpy(), np.float64)


def wrong(table: pa.Table, answers: Any) -> Values:
    """1 where the answered class is not the true one, NaN where one of them is missing.

    Of probabilities the answer is the likeliest class's position.
    """
    if pa.types.is_list(answers.type) or pa.types.is_fixed_size_list(answers.type):
        chosen = [None if row is None else float(np.argmax(row)) for row in answers.to_pylist()]
        labels: list[Any] = label_numbers(table).tolist()
    elif pa.types.is_string(answers.type) or pa.types.is_large_string(answers.type):
        chosen, labels = answers.to_pylist(), table["label_text"].to_pylist()
    else:
        chosen, labels = (
            [None if it is None else float(it) for it in answers.to_pylist()],
            label_numbers(table).tolist(),
        )
    missing = [one is None or other is None or other != other for one, other in zip(chosen, labels, strict=True)]
    differs = np.array([float(one != other) for one, other in zip(chosen, labels, strict=True)])
    return np.where(missing, np.nan, differs)
