"""What a retraining says while it runs and at its end."""

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from retrain.card import about_rows, figure
from retrain.checks import Finding
from retrain.compare import Comparison
from retrain.evaluate import Evaluation
from retrain.judgement import Judgement
from retrain.search import Look
from retrain.tasks import METRICS
from retrain.windows import Windows
from taxiway.registry import ModelVersion
from taxiway.telemetry.job_trace import stage


@dataclass
class Stages:
    """Announces stages and keeps the wall time of each, in seconds and in order."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        say(f"{name} ...")
        start = time.perf_counter()
        with stage(name):
            yield
        self.seconds[name] = time.perf_counter() - start


def say(line: str) -> None:
    """Prints at once: a job's log is read while it runs."""
    print(f"retrain: {line}", flush=True)


def rows_line(windows: Windows, without_label: int, set_aside: Counter[str]) -> str:
    codes = ", ".join(f"{rows:,} {code}" for code, rows in sorted(set_aside.items()))
    return (
        f"{len(windows.train):,} rows to train on, the last {len(windows.validate):,} of them to judge trials; "
        f"{len(windows.evaluate):,} to evaluate; left out: {without_label:,} without label, "
        f"{set_aside.total():,} set aside{f' ({codes})' if codes else ''}"
    )


def findings_lines(findings: Sequence[Finding]) -> list[str]:
    return [f"{finding.severity}: {finding.sentence}" for finding in findings]


def summary(version: ModelVersion, outcome: str, best: Look, judged: Judgement, seconds: Mapping[str, float]) -> str:
    """The end of the job's output."""
    comparison, verdict = judged.comparison, judged.verdict
    lines = {
        "registered": f"{version.uri} as {outcome}",
        "parameters": f"trial {best.trial}, {best.iterations} iterations, "
        + ", ".join(f"{name} {_shown(value)}" for name, value in best.parameters.items()),
        **_figures(comparison),
    }
    primary = comparison.primary
    if worst := comparison.worst_slice:
        told = f"{primary.about.title} {figure(worst.challenger.score)}, {worst.challenger.rows:,} rows"
        lines["worst slice"] = f"{worst.name}: {told}"
    if judged.champion and (difference := primary.difference):
        lines["beside champion"] = (
            f"version {judged.champion.version}, {primary.about.title} {difference.value:+.4f} "
            f"({comparison.confidence:.0%}: {difference.low:+.4f} to {difference.high:+.4f})"
        )
    if spread := judged.stability:
        score, values = METRICS[comparison.task.score].title, spread.values[comparison.task.score]
        lines["over seeds"] = (
            f"{score} {min(values):.4f} to {max(values):.4f} in {len(spread.seeds)} fits, "
            f"{'probabilities' if spread.of_probabilities else 'answers'} differ by {spread.answer_difference:.4f}"
        )
    lines["one row"] = f"{judged.latency.p50_ms:.2f} ms, p99 {judged.latency.p99_ms:.2f} ms; {judged.model_mb:.2f} MB"
    lines["gate"] = "passed" if verdict.passed else f"not passed: {'; '.join(verdict.reasons)}"
    stages = ", ".join(f"{name} {spent:.1f}" for name, spent in seconds.items())
    lines["wall time"] = f"{sum(seconds.values()):.1f} s ({stages})"
    width = max(map(len, lines))
    return "\n".join(["", *(f"{name:<{width}}  {value}" for name, value in lines.items())])


def _figures(comparison: Comparison) -> dict[str, str]:
    evaluation = comparison.challenger
    if isinstance(evaluation, Evaluation):
        bins = f"{len(evaluation.calibration)} equally full bins"
        return {
            "AUC": f"{evaluation.auc:.4f} (95%: {evaluation.auc_low:.4f} to {evaluation.auc_high:.4f})",
            "average precision": f"{evaluation.average_precision:.4f} (base rate {evaluation.base_rate:.4f})",
            "log loss": f"{evaluation.log_loss:.4f}",
            "Brier score": f"{evaluation.brier:.4f}",
            "calibration error": f"{evaluation.calibration_error:.4f} ({bins})",
        }
    interval = f"{comparison.confidence:.0%}"
    told = {
        it.about.title: f"{it.challenger.value:.4f} ({interval}: {it.challenger.low:.4f} to {it.challenger.high:.4f})"
        for it in comparison.metrics
    }
    rows = {"held-out rows": f"{evaluation.rows:,}, {about_rows(comparison)}"}
    return rows | told | {name: f"{value:.4f}" for name, value in evaluation.further.items()}


def _shown(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, int | float) else str(value)
