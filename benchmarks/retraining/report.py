"""The Markdown page: wall time beside the plain script, where a search's time goes, what checkpoints cost."""

import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from statistics import mean, median
from typing import Any

from benchmarks.retraining.measure import Run, Search, common_looks
from benchmarks.retraining.trainer import Account, account, gaps

AIM = 1.5
CORES = os.cpu_count() or 1
_PARTS = {
    "useful_s": "learning, and predicting the validation window",
    "scoring_s": "log loss and AUC of these predictions",
    "between_looks_s": "a trial waits for the word to go on (report, decision, checkpoint)",
    "between_trials_s": "a process waits for its next trial",
    "ends_s": "a core without a trial, between the first's begin and the last's end",
    "around_s": "before the first trial and after the last (Ray's start and end, imports)",
}


@dataclass(frozen=True)
class Results:
    """Attributes:
    peer, own: the rounds, the same number of each.
    searches: with checkpoints and without.
    facts: of the material: rows, and the seconds of Feast's join.
    """

    peer: Sequence[Run]
    own: Sequence[Run]
    searches: Sequence[Search]
    facts: Mapping[str, Any]
    trials: int

    @property
    def ratio(self) -> float:
        """Wall time of a retraining over the script's: the median over rounds."""
        return median(own.wall_s / peer.wall_s for peer, own in zip(self.peer, self.own, strict=True))

    @property
    def fitted_ratio(self) -> float:
        """Likewise, without what comes after the last fit: there the two do different work."""
        return median(own.fitted_s / peer.fitted_s for peer, own in zip(self.peer, self.own, strict=True))


@dataclass(frozen=True)
class CheckpointCost:
    """Seconds that a trial waits longer at each look, and the share of the search that these are."""

    each_s: float
    share: float


def checkpoint_cost(with_them: Sequence[Search], without: Sequence[Search], places: int) -> CheckpointCost:
    """From the pauses between two looks of a trial, which owe nothing to how many looks a search has had.

    Args:
        places: trials at a time.
    """
    pauses = [gap for search in with_them for gap in gaps(search.steps)]
    each_s = mean(pauses) - mean(gap for search in without for gap in gaps(search.steps))
    return CheckpointCost(each_s, each_s * len(pauses) / (places * sum(search.search_s for search in with_them)))


def fastest(runs: Iterable[Run]) -> Run:
    return min(runs, key=lambda run: run.wall_s)


def write(results: Results) -> str:
    """The page."""
    parts = [
        "# A retraining beside a plain script: measured by `python -m benchmarks.retraining`",
        _setting(results),
        _rounds(results),
        _stages(results),
        _search(results),
        _account(results),
        _checkpoints(results.searches),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _setting(results: Results) -> str:
    facts = results.facts
    libraries = ", ".join(f"{name} {version(name)}" for name in ("scikit-learn", "joblib", "ray", "mlflow", "feast"))
    return (
        f"{CORES} cores ({platform.machine()}), Python {platform.python_version()}, {libraries}. "
        f"`configs/flights/retrain.yaml` with {results.trials} trials: {facts['learn_rows']:,} rows to learn from, "
        f"{facts['validate_rows']:,} to judge trials, {facts['evaluate_rows']:,} to evaluate. The script reads rows "
        "that have their features already, fits the same parameters with the same seed by joblib, two trials at a "
        "time, gives a trial up by the same rule of patience, fits again on all rows with scikit-learn's own number "
        "of threads, and evaluates the AUC with as many bootstrap samples. It has no ASHA, and nothing of checks, "
        "champion, gate, report and registry. The script and a retraining take turns; a retraining of one trial goes "
        "before and is the champion of the others. At every look that both have had, the log loss is the same. "
        f"Feast's own join of the features of {facts['asked_rows']:,} rows takes {facts['feast_s']:.1f} s and is not "
        "in the script's time; the retraining's own join is in its time. *Others* is the share of the machine's CPU "
        "time that went to other processes."
    )


def _rounds(results: Results) -> str:
    lines = [
        (
            str(number),
            f"{peer.wall_s:.1f}",
            f"{own.wall_s:.1f}",
            f"{own.wall_s / peer.wall_s:.2f}",
            f"{peer.cpu_s:.0f}",
            f"{own.cpu_s:.0f}",
            f"{peer.others:.0%}, {own.others:.0%}",
        )
        for number, (peer, own) in enumerate(zip(results.peer, results.own, strict=True), start=1)
    ]
    head = ("round", "script s", "taxiway s", "ratio", "script CPU s", "taxiway CPU s", "others")
    told = (
        f"Ratio of wall time: {results.ratio:.2f} (aim: at most {AIM}). Without what comes after the last fit: "
        f"{results.fitted_ratio:.2f}; there the script takes a bootstrap of scikit-learn's AUC, the retraining all "
        "of its judgement and registration."
    )
    return f"{_table('Wall time', head, lines)}\n\n{told}"


def _stages(results: Results) -> str:
    peer, own = fastest(results.peer), fastest(results.own)
    # What the script calls otherwise: it reads what a retraining reads and joins, evaluates what that judges.
    names = {"read": "labels", "evaluate": "judge"}
    script = {"start": peer.start_s, **{names.get(name, name): spent for name, spent in peer.seconds.items()}}
    ours = {"start": own.start_s, **own.seconds}
    lines = [(name, f"{script[name]:.1f}" if name in script else "", f"{spent:.1f}") for name, spent in ours.items()]
    return _table("By stage, the fastest run of each", ("stage", "script s", "taxiway s"), lines)


def _search(results: Results) -> str:
    lines = []
    for name, run in (("script", fastest(results.peer)), ("taxiway", fastest(results.own))):
        search_s, best = run.seconds["search"], min(look.log_loss for look in run.looks)
        per_thousand = search_s * CORES / run.iterations * 1_000
        told = f"{run.iterations:,}", f"{search_s:.1f}", f"{per_thousand:.1f}", f"{best:.4f}", f"{run.auc:.4f}"
        lines.append((name, str(len(run.looks)), *told))
    head = ("", "looks", "trees", "search s", "core seconds for 1,000 trees", "best log loss", "AUC of the last fit")
    same = common_looks(fastest(results.peer), fastest(results.own))
    return f"{_table('The search', head, lines)}\n\n{same} looks are common to both."


def _account(results: Results) -> str:
    own = fastest(results.own)
    if not own.steps:
        return ""
    found = account(own.steps, own.seconds["search"], CORES)
    lines = [_part(name, told, found) for name, told in _PARTS.items()]
    shares = ", ".join(f"{account(it.steps, it.seconds['search'], CORES).useful_share:.0%}" for it in results.own)
    told = f"Useful share of the search's core seconds, by round: {shares}."
    return f"{_table('Where the core seconds of the search go', ('core s', 'share', 'for what'), lines)}\n\n{told}"


def _part(name: str, told: str, found: Account) -> tuple[str, str, str]:
    seconds: float = getattr(found, name)
    return f"{seconds:.1f}", f"{seconds / found.total_s:.1%}", told


def _checkpoints(searches: Sequence[Search]) -> str:
    without = [search for search in searches if not search.checkpoint_every]
    with_them = [search for search in searches if search.checkpoint_every]
    if not (without and with_them):
        return ""
    lines = [_checkpoint_line(search) for search in searches]
    cost = checkpoint_cost(with_them, without, CORES)
    told = (
        f"A checkpoint holds a trial up by {cost.each_s * 1_000:.0f} ms, which is {cost.share:.1%} of the search. "
        "Searches differ in how many looks ASHA lets trials have: compare the pauses rather than the seconds."
    )
    head = (
        "checkpoint",
        "search s",
        "looks",
        "core s a look",
        "pause between looks, mean ms",
        "median ms",
        "saving ms",
    )
    return f"{_table('What a checkpoint at each look costs', head, lines)}\n\n{told}"


def _checkpoint_line(search: Search) -> tuple[str, ...]:
    pauses = gaps(search.steps)
    saved = [step.saved_s for step in search.steps if step.saved_s]
    return (
        {0: "none", 1: "each look"}.get(search.checkpoint_every, f"each {search.checkpoint_every} looks"),
        f"{search.search_s:.1f}",
        str(len(search.steps)),
        f"{search.search_s * CORES / len(search.steps):.2f}",
        f"{mean(pauses) * 1_000:.0f}",
        f"{median(pauses) * 1_000:.0f}",
        f"{mean(saved) * 1_000:.0f}" if saved else "",
    )


def _table(title: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([f"## {title}", "", f"| {' | '.join(head)} |", "|---" * len(head) + "|", *lines])
