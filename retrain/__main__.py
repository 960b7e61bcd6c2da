"""`python -m retrain CONFIG`: from labels to a registered model version."""

import argparse
import logging
import sys
from collections.abc import Sequence

from retrain.cluster import connected
from retrain.evaluate import evaluate
from retrain.features import join_features, open_features
from retrain.labels import read_labels
from retrain.model import layout, predict, refit
from retrain.plots import draw
from retrain.publish import Candidate, publish
from retrain.report import Stages, rows_line, say, summary
from retrain.revision import code_revision
from retrain.search import best_look, search
from retrain.settings import RetrainSettings
from retrain.windows import search_data, split
from taxiway.errors import ConfigError, TaxiwayError
from taxiway.registry import CHAMPION, Registry
from taxiway.settings import load


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 2: the configuration can't be used; 1: the retraining could not go on."""
    parser = argparse.ArgumentParser(prog="python -m retrain", description="Train, evaluate and register a model.")
    parser.add_argument("config", help="a YAML file, such as configs/flights/retrain.yaml")
    config = parser.parse_args(arguments).config
    for library in ("alembic", "mlflow", "ray"):
        logging.getLogger(library).setLevel(logging.ERROR)
    try:
        retrain(load(config, RetrainSettings))
    except TaxiwayError as error:
        print(f"retrain: {error}", file=sys.stderr)
        return 2 if isinstance(error, ConfigError) else 1
    return 0


def retrain(settings: RetrainSettings) -> None:
    stages = Stages()
    with stages("open"):
        registry = Registry(settings.registry)
        registry.alias(settings.model, CHAMPION)  # now rather than after the search, if it does not answer
        binding, history = open_features(settings)
    with stages("labels"):
        read = read_labels(settings)
    with stages("features"):
        examples, unknown = join_features(read.examples, binding, history)
    windows = split(examples, settings)
    say(rows_line(windows, read.without_label, read.set_aside + unknown))
    matrix = layout(settings.inputs, binding.columns if binding else ())
    with stages("search"), connected():
        looks = search(search_data(windows, matrix), settings.search)
    best = best_look(looks)
    with stages("refit"):
        pipeline = refit(windows.train, matrix, best.parameters, best.iterations, settings.search.seed)
    with stages("evaluate"):
        probabilities = predict(pipeline, windows.evaluate)
        slice_columns = {name: windows.evaluate.columns[name] for name in settings.slices}
        evaluation = evaluate(windows.evaluate.labels, probabilities, slice_columns, settings.search.seed)
        figures = draw(windows.evaluate.labels, probabilities, evaluation, settings.model)
    with stages("register"):
        revision = code_revision()
        candidate = Candidate(pipeline, binding, windows, looks, best, evaluation, figures, revision)
        version, alias = publish(registry, settings, candidate)
    print(summary(version, alias, best, evaluation, stages.seconds))


if __name__ == "__main__":
    sys.exit(main())
