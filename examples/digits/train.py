"""`python -m examples.digits.train`: learns on one or several workers, judges, registers."""

import argparse
import logging
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import mlflow
from mlflow.exceptions import MlflowException

from examples.digits.data import CLASSES, Labelled, read_digits, split
from examples.digits.network import Judgement, classifier, confusion_table, judge, probabilities, task
from retrain.distributed import Workers, learn
from retrain.revision import code_revision
from taxiway.errors import RegistryError, TaxiwayError
from taxiway.flavors.library import library
from taxiway.package import Lineage, ModelPackage, log_package
from taxiway.profile import profile
from taxiway.promotion import challenge, promote
from taxiway.registry import CHALLENGER, CHAMPION, ModelVersion, Registry
from taxiway.settings import RegistrySettings
from taxiway.signature import Column, Signature

MODEL = "digits"
SIGNATURE = Signature(
    inputs=(Column(name="image", dtype="float32", shape=(1, 8, 8), description="0 is paper, 1 is ink"),),
    outputs=(Column(name="probabilities", dtype="float32", shape=(CLASSES,)),),
)
_BY = "examples.digits.train"


def main(arguments: Sequence[str] | None = None) -> int:
    """Learns, judges on images that were held out, and registers: the first version is the champion."""
    given, start = _parser().parse_args(arguments), time.monotonic()
    for name in ("alembic", "mlflow", "ray"):
        logging.getLogger(name).setLevel(logging.ERROR)
    train, evaluate = split(read_digits(), given.seed)
    workers = Workers(given.workers, given.cpus, given.gpus)
    try:
        learned = learn(task(train, given.epochs, given.seed), workers)
        module = classifier(learned.state)
        judged = judge(probabilities(module, evaluate.images), evaluate.digits)
        parameters = {"epochs": given.epochs, "seed": given.seed, "workers": given.workers}
        registered, alias = publish(Registry(RegistrySettings()), module, train, evaluate, judged, parameters)
    except TaxiwayError as error:
        print(f"digits: {error}", file=sys.stderr)
        return 1
    print(_summary(judged, learned.losses))
    print(f"digits: {registered.uri} as {alias}, {time.monotonic() - start:.1f} s, workers: {given.workers}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m examples.digits.train", description="Learn to read digits.")
    parser.add_argument("--workers", type=int, default=1, help="processes that learn together")
    parser.add_argument("--cpus", type=float, default=1.0, help="of each worker")
    parser.add_argument("--gpus", type=int, default=0, help="of each worker")
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--seed", type=int, default=0, help="of the split and of the fit")
    return parser


def _summary(judged: Judgement, losses: Sequence[float]) -> str:
    return (
        f"{confusion_table(judged.confusion)}\n"
        f"accuracy {judged.accuracy:.4f} (95%: {judged.accuracy_low:.4f} to {judged.accuracy_high:.4f}) and log loss "
        f"{judged.log_loss:.4f} on {judged.rows} held-out images; while learning the loss went from {losses[0]:.3f} "
        f"to {losses[-1]:.3f} in {len(losses)} epochs"
    )


def publish(
    registry: Registry,
    module: Any,
    train: Labelled,
    evaluate: Labelled,
    judged: Judgement,
    parameters: dict[str, Any],
) -> tuple[ModelVersion, str]:
    """Registers a module that answers probabilities, as the first champion or as challenger.

    Raises:
        RegistryError: MLflow refuses something or does not answer.
    """
    tags = {"data_digest": train.digest, "code_revision": code_revision()}
    try:
        with mlflow.start_run(experiment_id=registry.experiment(MODEL), tags=tags) as run:
            mlflow.log_params(parameters)
            mlflow.log_metrics(judged.metrics)
            mlflow.log_text(confusion_table(judged.confusion), "confusion.txt")
            lineage = Lineage(
                **tags, data_rows=len(train), run_id=run.info.run_id, parameters=parameters, metrics=judged.metrics
            )
            version = library("torch").__version__.partition("+")[0]
            uri = log_package(module, _package(module, evaluate, lineage), {"torch": version})
        registered = registry.register(MODEL, uri, run.info.run_id, tags)
    except MlflowException as error:
        raise RegistryError(f"the model could not be registered: {error.message}") from error
    alias = CHAMPION if registry.alias(MODEL, CHAMPION) is None else CHALLENGER
    hand_over = promote if alias == CHAMPION else challenge
    hand_over(registry, registered, _BY, "learned from scikit-learn's digits", datetime.now(UTC))
    return registered, alias


def _package(module: Any, evaluate: Labelled, lineage: Lineage) -> ModelPackage:
    answers = {"probabilities": probabilities(module, evaluate.images)}
    return ModelPackage(
        flavor="torch",
        signature=SIGNATURE,
        output_kind="tensor",
        lineage=lineage,
        reference_profile=profile({"image": evaluate.images}, SIGNATURE, (), answers),
    )


if __name__ == "__main__":
    sys.exit(main())
