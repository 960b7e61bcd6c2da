"""What a retraining says while it runs and at its end."""

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from retrain.checks import Finding
from retrain.judgement import Judgement
from retrain.search import Look
from retrain.windows import Windows
from taxiway.registry import ModelVersion


@dataclass
class Stages:
    """Announces stages and keeps the wall time of each, in seconds and in order."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        say(f"{name} ...")
        start = time.perf_counter()
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
    evaluation, comparison, verdict = judged.comparison.challenger, judged.comparison, judged.verdict
    lines = {
        "registered": f"{version.uri} as {outcome}",
        "parameters": f"trial {best.trial}, {best.iterations} iterations, "
        + ", ".join(f"{name} {_shown(value)}" for name, value in best.parameters.items()),
        "AUC": f"{evaluation.auc:.4f} (95%: {evaluation.auc_low:.4f} to {evaluation.auc_high:.4f})",
        "average precision": f"{evaluation.average_precision:.4f} (base rate {evaluation.base_rate:.4f})",
        "log loss": f"{evaluation.log_loss:.4f}",
        "Brier score": f"{evaluation.brier:.4f}",
        "calibration error": f"{evaluation.calibration_error:.4f} ({len(evaluation.calibration)} equally full bins)",
    }
    if worst := evaluation.worst_slice:
        lines["worst slice"] = f"{worst.column} {worst.value}: AUC {worst.auc:.4f}, {worst.rows:,} rows"
    if judged.champion and (difference := comparison.auc.difference):
        lines["beside champion"] = (
            f"version {judged.champion.version}, AUC {difference.value:+.4f} "
            f"({comparison.confidence:.0%}: {difference.low:+.4f} to {difference.high:+.4f})"
        )
    if spread := judged.stability:
        lines["over seeds"] = (
            f"AUC {min(spread.auc):.4f} to {max(spread.auc):.4f} in {len(spread.seeds)} fits, "
            f"probabilities differ by {spread.probability_difference:.4f}"
        )
    lines["one row"] = f"{judged.latency.p50_ms:.2f} ms, p99 {judged.latency.p99_ms:.2f} ms; {judged.model_mb:.2f} MB"
    lines["gate"] = "passed" if verdict.passed else f"not passed: {'; '.join(verdict.reasons)}"
    stages = ", ".join(f"{name} {spent:.1f}" for name, spent in seconds.items())
    lines["wall time"] = f"{sum(seconds.values()):.1f} s ({stages})"
    width = max(map(len, lines))
    return "\n".join(["", *(f"{name:<{width}}  {value}" for name, value in lines.items())])


def _shown(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, int | float) else str(value)
