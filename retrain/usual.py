"""How far a model's training data lay from its reference profile, week by week: what later drift is measured by."""

from retrain.dataset import Dataset
from retrain.model import one_thread
from retrain.trainers.contract import FittedModel
from taxiway.drift.calibration import usual_drift
from taxiway.drift.settings import UsualDrift
from taxiway.profile import Profile


def usual_of(reference: Profile, fitted: FittedModel, train: Dataset, output: str) -> tuple[UsualDrift, ...]:
    """
    Of the answers too much rather than too little: to rows that it has learned from the model is surer than to others.

    Raises:
        JobError: the rows are not of the profile's types.
    """
    columns = {column.name: train.columns[column.name] for column in fitted.inputs}
    with one_thread():
        answers = fitted.predict(columns)
    return usual_drift(reference, train.columns, {output: answers}, train.moments)
