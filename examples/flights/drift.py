"""`python -m examples.flights.drift`: a model that has learned until August, watched week by week until December.

It learns from four days of five, and the fifth days are its reference window: the same months, other flights. Every
week of the year is judged as a controller would judge it: with the thresholds that are set without being asked, with
those that the weeks until August have shown to be usual, and once more in an order of rows that knows no time.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr
from sklearn.metrics import log_loss, roc_auc_score

from examples.flights.drift_picture import picture, table
from examples.flights.quickstart import RETRAIN_FILE
from retrain.dataset import Dataset
from retrain.features import join_features, open_features
from retrain.labels import read_labels
from retrain.model import layout, one_thread
from retrain.publish import signature_of
from retrain.settings import RetrainSettings, WindowSettings, load_retraining
from retrain.trainers.choice import open_trainer
from taxiway.drift.calibration import usual
from taxiway.drift.counts import Counts, of_numbers, of_profile, of_rows
from taxiway.drift.judgement import WindowDrift, judge
from taxiway.drift.progress import DriftState, follow
from taxiway.drift.settings import DriftSettings, EffectSettings
from taxiway.errors import TaxiwayError
from taxiway.profile import Profile, profile
from taxiway.settings import home
from taxiway.signature import Array, Column, Signature

ITERATIONS = 100
HELD_OUT = 5
"""Every fifth day is kept from the model."""
_NEW_YORK = ZoneInfo("America/New_York")
BEGIN, KNOWN_UNTIL, END = (datetime(*day, tzinfo=_NEW_YORK) for day in ((2013, 1, 1), (2013, 9, 1), (2014, 1, 1)))
WEEK = timedelta(days=7)
_SPLITS, _ROWS = 30, 1_000
SETTINGS = DriftSettings()
ANY_SIZE = EffectSettings(psi=0, jensen_shannon=0, kolmogorov_smirnov=0, missing=0)


@dataclass(frozen=True)
class Answered:
    """Flights with what the model said of them: a probability for each."""

    flights: Dataset
    probabilities: NDArray[np.float64]

    def take(self, rows: slice | Array) -> "Answered":
        return Answered(self.flights.take(rows), self.probabilities[rows])


@dataclass(frozen=True)
class Reference:
    """The reference window of held out days."""

    profile: Profile
    counts: Counts
    output: str

    def judged(self, settings: DriftSettings, window: Answered, began: datetime, ended: datetime) -> WindowDrift:
        outputs = {self.output: window.probabilities}
        current = of_numbers(self.counts, of_rows(self.profile, window.flights.columns, outputs))
        return judge(settings, self.counts, current, began, ended)


@dataclass(frozen=True)
class Week:
    """A judged week, the columns under alarm after it, and how good the answers were."""

    window: WindowDrift
    raised: frozenset[str]
    auc: float
    loss: float
    late: float
    predicted: float

    @property
    def is_known(self) -> bool:
        """Of the months that the model has learned from."""
        return self.window.began < KNOWN_UNTIL


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m examples.flights.drift", description=__doc__)
    parser.add_argument("--picture", type=Path, help="where to write it; default: flights/drift.png in TAXIWAY_HOME")
    path = parser.parse_args(arguments).picture or home() / "flights" / "drift.png"
    try:
        settings = load_retraining(RETRAIN_FILE, datetime.now(UTC))
        year, features, held_out = answered(settings)
    except TaxiwayError as error:
        print(f"drift: {error}", file=sys.stderr)
        return 1
    signature = signature_of(settings)
    reference = reference_of(held_out, signature, features)
    plain = replayed(year, reference, SETTINGS)
    known = [week.window for week in plain if week.is_known]
    weeks = replayed(year, reference, SETTINGS.model_copy(update={"columns": usual(known, SETTINGS.effects)}))
    print(table(plain, weeks))
    print(f"\n{without_drift(held_out, signature, features)}\n{in_step(weeks)}")
    picture(weeks).savefig(path)
    print(f"\n{path}")
    return 0


def answered(settings: RetrainSettings) -> tuple[Answered, tuple[Column, ...], Answered]:
    """The year's flights, the store's columns, and of them the held out days until August."""
    spans = {
        "train": WindowSettings(start=BEGIN, end=KNOWN_UNTIL),
        "evaluate": WindowSettings(start=KNOWN_UNTIL, end=END),
    }
    whole = settings.model_copy(update=spans)
    binding, history = open_features(whole)
    flights, _ = join_features(read_labels(whole, datetime.now(UTC)).examples, binding, history)
    features = binding.optional_inputs if binding else ()
    flights = flights.between(BEGIN, END)
    matrix = layout(settings.inputs, binding.columns if binding else ())
    days = (flights.moments - flights.moments[0]).astype("timedelta64[D]").astype(np.int64)
    known = flights.moments < np.datetime64(KNOWN_UNTIL.astimezone(UTC).replace(tzinfo=None))
    trainer, learned = open_trainer(settings.trainer), flights.take(np.flatnonzero(known & (days % HELD_OUT != 0)))
    model = trainer.final(learned, matrix, trainer.space().defaults, ITERATIONS, settings.search.seed)
    with one_thread():
        said = model.predict({column.name: flights.columns[column.name] for column in model.inputs})
    year = Answered(flights, np.asarray(said, np.float64))
    return year, features, year.take(np.flatnonzero(known & (days % HELD_OUT == 0)))


def reference_of(window: Answered, signature: Signature, features: tuple[Column, ...]) -> Reference:
    output = signature.outputs[0].name
    found = profile(window.flights.columns, signature, features, {output: window.probabilities})
    return Reference(found, of_profile(found), output)


def replayed(year: Answered, reference: Reference, settings: DriftSettings) -> list[Week]:
    """Every whole week, one after the other."""
    state, weeks, begin = DriftState(began=BEGIN), [], BEGIN
    while begin + WEEK <= END:
        first, last = np.searchsorted(
            year.flights.moments,
            np.array([np.datetime64(it.astimezone(UTC).replace(tzinfo=None)) for it in (begin, begin + WEEK)]),
        )
        rows = year.take(slice(int(first), int(last)))
        window = reference.judged(settings, rows, begin, begin + WEEK)
        state = follow(state, window, settings).state
        weeks.append(_week(rows, window, frozenset(state.raised)))
        begin += WEEK
    return weeks


def _week(rows: Answered, window: WindowDrift, raised: frozenset[str]) -> Week:
    labels, said = rows.flights.labels, rows.probabilities
    auc, loss = float(roc_auc_score(labels, said)), float(log_loss(labels, said))
    return Week(window, raised, auc, loss, float(labels.mean()), float(said.mean()))


def without_drift(held_out: Answered, signature: Signature, features: tuple[Column, ...]) -> str:
    """Half of the reference window's rows, drawn by chance, against windows of the other half: nothing has drifted."""
    random = np.random.default_rng(0)
    any_size = SETTINGS.model_copy(update={"effects": ANY_SIZE})
    tries = alarmed = significant = 0
    for _ in range(_SPLITS):
        order = random.permutation(len(held_out.flights))
        half = len(order) // 2
        reference = reference_of(held_out.take(np.sort(order[:half])), signature, features)
        for begin in range(half, len(order) - _ROWS, _ROWS):
            window = held_out.take(order[begin : begin + _ROWS])
            tries += 1
            significant += bool(reference.judged(any_size, window, BEGIN, BEGIN).drifting)
            alarmed += bool(reference.judged(SETTINGS, window, BEGIN, BEGIN).drifting)
    return (
        f"without drift, {tries} windows of {_ROWS:,} rows: {significant / tries:.2%} with a significant column "
        f"(declared: at most {SETTINGS.alpha:.0%}), {alarmed / tries:.2%} with a drifting one"
    )


def in_step(weeks: Sequence[Week]) -> str:
    """Rank correlations over the weeks that the model has not seen."""
    unseen = [week for week in weeks if not week.is_known]
    inputs = [
        float(np.mean([it.psi for it in week.window.columns if it.group != "outputs" and it.psi is not None]))
        for week in unseen
    ]
    outputs = [max(it.psi or 0.0 for it in week.window.columns if it.group == "outputs") for week in unseen]
    told = [
        f"{name} of {what} {float(spearmanr(drift, value).statistic):+.2f}"
        for name, drift in (("inputs", inputs), ("the answer", outputs))
        for what, value in (
            ("log loss", [week.loss for week in unseen]),
            ("AUC", [week.auc for week in unseen]),
        )
    ]
    return f"rank correlation of the drift over {len(unseen)} weeks: {'; '.join(told)}"


if __name__ == "__main__":
    sys.exit(main())
