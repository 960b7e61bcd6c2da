"""What a retraining stores of its training data's own drift."""

from dataclasses import replace

import numpy as np

from retrain.trainers.boosting import Boosting
from retrain.usual import usual_of
from taxiway.drift.calibration import DAY_S
from taxiway.package import ModelPackage
from taxiway.profile import profile
from taxiway.signature import Column, Signature
from tests.toy_examples import INPUTS, examples, toy_layout

DAYS, ROWS = 10, 500
SPEED = (Column(name="speed", dtype="float64"),)


def test_a_column_that_goes_with_the_days_has_a_threshold_of_its_own_and_the_package_keeps_it() -> None:
    plain = examples(DAYS * ROWS, seed=1)
    day = np.repeat(np.arange(DAYS), ROWS)
    moments = np.datetime64("2026-01-01", "us") + (np.arange(DAYS * ROWS) * DAY_S / ROWS * 1e6).astype(
        "timedelta64[us]"
    )
    train = replace(
        plain, moments=moments, columns=plain.columns | {"speed": plain.columns["speed"] + 150.0 * (day % 3)}
    )
    fitted = Boosting().final(train, toy_layout(), dict(Boosting().space().defaults), 5, seed=0)
    signature = Signature(inputs=INPUTS, outputs=(Column(name="p", dtype="float64"),))
    reference = profile(train.columns, signature, SPEED, {"p": fitted.predict(train.columns)})
    (found,) = usual_of(reference, fitted, train, "p")
    assert (found.window_s, found.windows) == (DAY_S, DAYS)
    assert "features/speed" in found.effects
    assert not {"inputs/x", "inputs/size", "inputs/kind"} & set(found.effects)
    package = ModelPackage(signature=signature, reference_profile=reference, usual_drift=(found,))
    assert ModelPackage.model_validate_json(package.model_dump_json()) == package
