"""Which examples may be used for what: learning, judging trials, the final evaluation."""

from dataclasses import dataclass

from retrain.dataset import Dataset
from retrain.model import Layout
from retrain.settings import RetrainSettings
from retrain.trainers.contract import SearchData
from taxiway.errors import JobError


@dataclass(frozen=True)
class Windows:
    """`learn` and `validate` judge trials; the last fit learns from both, `train`; `evaluate` chooses nothing."""

    train: Dataset
    learn: Dataset
    validate: Dataset
    evaluate: Dataset


def split(examples: Dataset, settings: RetrainSettings) -> Windows:
    """
    Raises:
        JobError: a window's labels don't suffice for the task: rows of one class are missing, say.
    """
    windows = Windows(
        train=examples.between(settings.train.start, settings.train.end),
        learn=examples.between(settings.train.start, settings.validate_from),
        validate=examples.between(settings.validate_from, settings.train.end),
        evaluate=examples.between(settings.evaluate.start, settings.evaluate.end),
    )
    spans = {
        "train, before validate_from": windows.learn,
        "validate_from": windows.validate,
        "evaluate": windows.evaluate,
    }
    for key, part in spans.items():
        if missing := settings.learning_task.lacks(part.labels, to_learn=part is windows.learn):
            raise JobError(f"{key}: the window has {len(part)} usable rows, and {missing}")
    return windows


def search_data(windows: Windows, layout: Layout) -> SearchData:
    """The two windows of the search, encoded once: the encoder learns nothing from data."""
    encoder = layout.encoder()
    return SearchData(
        inputs=encoder.transform(windows.learn.columns),
        labels=windows.learn.labels,
        validation_inputs=encoder.transform(windows.validate.columns),
        validation_labels=windows.validate.labels,
        layout=layout,
    )
