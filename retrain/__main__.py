"""`python -m retrain CONFIG`: from labels to a registered model version that has passed its gate, or was rejected."""

import argparse
import functools
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from retrain.checks import check
from retrain.cluster import connected
from retrain.due import situation
from retrain.features import join_features, open_features
from retrain.judgement import judgement
from retrain.labels import read_labels
from retrain.model import layout
from retrain.plots import draw
from retrain.publish import REJECTED, Candidate, hand_over, log_account, register, signature_of
from retrain.relative import absolute, time_zone
from retrain.report import Stages, findings_lines, rows_line, say, summary
from retrain.revision import code_revision
from retrain.search import Look, best_look, search
from retrain.seeds import by_seeds
from retrain.settings import RetrainSettings, load_retraining
from retrain.source import LabelsFile, forget_others, labels_file, source_findings
from retrain.trainers.choice import open_trainer
from retrain.trainers.contract import FittedModel
from retrain.triggers import Alarm, answer_alarms, decide, raise_alarm
from retrain.unfinished import Retraining, can_go_on, retraining
from retrain.windows import search_data, split
from taxiway.environment import environment
from taxiway.errors import ConfigError, JobError, RegistryAway, TaxiwayError, TryLater
from taxiway.registry import CHAMPION, Registry
from taxiway.telemetry.job_trace import traced_job
from taxiway.telemetry.retraining import GATEWAY, push_retraining

DONE, FAILED, NOT_USABLE, NOT_PASSED, TRY_LATER, INTERRUPTED = 0, 1, 2, 3, 75, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 2: the configuration can't be used; 3: the gate has rejected the new version; 75: the registry is
    away or another retraining of the model is under way, the same command may succeed later; 1: anything else."""
    given = _parser().parse_args(arguments)
    for library in ("alembic", "mlflow", "ray"):
        logging.getLogger(library).setLevel(logging.ERROR)
    try:
        with traced_job("retrain"):
            outcome = _run(given)
        return NOT_PASSED if outcome == REJECTED else DONE
    except TaxiwayError as error:
        print(f"retrain: {error}", file=sys.stderr)
        return _status(error)
    except KeyboardInterrupt:
        print("retrain: interrupted; the same command goes on", file=sys.stderr)
        return INTERRUPTED


def _run(given: argparse.Namespace) -> str | None:
    """What became of the new version; None when none was made."""
    now, code = given.now or datetime.now(UTC), code_revision()
    settings = load_retraining(given.config, now)
    if given.check:
        for line in _windows(settings):
            print(line)
        return None
    source = Path(given.config).read_text()
    if given.alarm is not None:
        raise_alarm(settings.model, Alarm(at=now, endpoint=given.endpoint, reason=given.alarm))
        return None
    trigger: str | None = given.trigger
    labels = functools.cache(lambda: labels_file(settings))
    if given.if_due and not can_go_on(settings, source, code, labels, now):
        known = situation(Registry(settings.registry), settings, labels, now)
        decision = decide(settings.triggers, known, time_zone(settings.time_zone))
        say(decision.sentence)
        trigger = decision.trigger
    if trigger is None:
        return None

    def work() -> str:
        with retraining(settings, source, code, labels, now, trigger, given.restart) as run:
            outcome = retrain(load_retraining(given.config, run.state.began), run, labels(), code)
            forget_others(labels())
            return outcome

    return _end_told(settings.model, work)


def _windows(settings: RetrainSettings) -> Iterator[str]:
    yield f"{settings.model}: labels of {settings.labels}"
    for name, window in (("train", settings.train), ("evaluate", settings.evaluate)):
        yield f"{name}: {window.start.isoformat()} to {window.end.isoformat()}"


def _end_told(model: str, work: Callable[[], str]) -> str:
    """The outcome of a retraining; how it ended is pushed where the environment names a Pushgateway."""
    status = FAILED
    try:
        outcome = work()
        status = NOT_PASSED if outcome == REJECTED else DONE
        return outcome
    except TaxiwayError as error:
        status = _status(error)
        raise
    finally:
        if gateway := os.environ.get(GATEWAY):
            push_retraining(gateway, model, time.time(), status)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m retrain", description="Train, evaluate, judge and register a model."
    )
    parser.add_argument("config", help="a YAML file, such as configs/flights/retrain.yaml")
    parser.add_argument("--if-due", action="store_true", help="only when an alarm, new rows or the clock ask for it")
    parser.add_argument("--alarm", metavar="REASON", help="leave an alarm for the next --if-due, and end")
    parser.add_argument("--endpoint", help="whom the alarm is about")
    parser.add_argument("--check", action="store_true", help="say what the file means now, and end")
    parser.add_argument("--restart", action="store_true", help="begin anew where a killed run could go on")
    parser.add_argument("--trigger", default="by hand", help="what set it off, for the lineage")
    parser.add_argument("--now", type=absolute, help="the date of the run (ISO 8601), for relative windows and labels")
    return parser


def _status(error: TaxiwayError) -> int:
    if isinstance(error, ConfigError):
        return NOT_USABLE
    return TRY_LATER if isinstance(error, TryLater | RegistryAway) else FAILED


def retrain(settings: RetrainSettings, run: Retraining, labels: LabelsFile, code: str) -> str:
    """The stages, each kept when it is done; returns what became of the new version."""
    if run.resumed:
        say(f"goes on with {run.state.run_id}; done before: {', '.join(run.stages_done()) or 'nothing'}")
    stages = Stages()
    with stages("open"):
        registry, trainer = Registry(settings.registry), open_trainer(settings.trainer, settings.task)
        registry.alias(settings.model, CHAMPION)  # now rather than after the search, if it does not answer
        binding, history = open_features(settings)
    with stages("labels"):
        read = run.keep("labels", lambda: read_labels(settings, run.state.began, labels.path))
    with stages("features"):
        examples, unknown = run.keep("features", lambda: join_features(read.examples, binding, history))
    windows = split(examples, settings)
    say(rows_line(windows, read.without_label, read.set_aside + unknown))
    with stages("checks"):
        span = (settings.train.start, settings.train.end)
        findings = check(windows.train, settings.checks, settings.inputs, span, settings.learning_task)
        findings += source_findings(labels, settings.checks)
        for line in findings_lines(findings):
            say(line)
        if errors := [it.sentence for it in findings if it.severity == "error"]:
            raise JobError(f"the training set can't be used: {'; '.join(errors)}")
    matrix = layout(settings.inputs, binding.columns if binding else (), settings.learning_task)

    def looked() -> list[Look]:
        with connected():
            return search(search_data(windows, matrix), settings.search, trainer, run.folder / "search")

    with stages("search"):
        looks = run.keep("looks", looked)
    best = best_look(looks)

    def refit(seed: int) -> FittedModel:
        fitted = trainer.final(windows.train, matrix, best.parameters, best.iterations, seed)
        return replace(fitted, task=matrix.task)  # a trainer of somebody's own need not repeat it

    with stages("refit"):
        fitted = run.keep("model", lambda: refit(settings.search.seed))
        made_with = run.keep("environment", environment)
    spread = None
    if settings.search.seeds > 1:
        with stages("seeds"):
            spread = by_seeds(run, settings.search, fitted, refit, windows.evaluate)
    with stages("judge"):
        signature = signature_of(settings)
        judged = run.keep(
            "judgement", lambda: judgement(settings, registry, signature, fitted, windows.evaluate, history, spread)
        )
        figures = draw(windows.evaluate.labels, judged.answers, judged.comparison, judged.importances, settings.model)
    with stages("register"):
        candidate = Candidate(
            run_id=run.state.run_id,
            trigger=run.state.trigger,
            fitted=fitted,
            features=binding,
            windows=windows,
            findings=findings,
            looks=looks,
            best=best,
            judgement=judged,
            figures=figures,
            code_revision=code,
            labels=labels,
            environment=made_with,
        )
        version = register(registry, settings, candidate)
        log_account(settings, candidate, version, run.state.began)
        outcome = hand_over(registry, settings, candidate, version, datetime.now(UTC))
        answer_alarms(settings.model, run.state.began)
    print(summary(version, outcome, best, judged, stages.seconds))
    return outcome


if __name__ == "__main__":
    sys.exit(main())
