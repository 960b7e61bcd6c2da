"""The page about a rollout: it is HTML, it says what was decided, and no text of anybody breaks it."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from taxiway.rollout.observations import Counts
from taxiway.rollout.progress import Facts, command, decide, moved_to
from taxiway.rollout.quality import BinaryQuality
from taxiway.rollout.state import RolloutState
from taxiway.rollout.verdict import Verdict
from taxiway.rollout_report import report, report_of
from taxiway.rollout_series import Look, read_series, series_path
from taxiway.rollout_told import decision, lasting, seen, spans
from taxiway.rollout_truth import Compared, Truth
from tests.outline import Outline
from tests.rollout_records import ALIASES, BEGAN, PLAN, after, begun, recorded

HOSTILE = "</style></title><script>alert('\"&')</script><img src=x onerror=alert(1)>\nb\udc80"
CHAMPION = BinaryQuality.of([0, 1, 0, 1], [0.2, 0.4, 0.6, 0.7])
CHALLENGER = BinaryQuality.of([0, 1, 0, 1], [0.1, 0.6, 0.4, 0.9])
TRUTH = Truth(Compared(CHAMPION, CHALLENGER), Compared(CHAMPION, CHALLENGER), 1_234, 5, 6)


Recorded = tuple[RolloutState, tuple[Look, ...], Path]


@pytest.fixture(scope="module")
def rolled_back(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    """The second step fails by its errors."""
    folder = tmp_path_factory.mktemp("rollouts")
    state = recorded(folder, lambda step: 0.2 if step == 1 else 0.001, every_s=60)
    return state, read_series(series_path(folder, "flights", "delay", state.id)), folder


@pytest.fixture(scope="module")
def page(rolled_back: Recorded) -> Outline:
    state, series, _ = rolled_back
    return Outline(report(state, series, TRUTH))


def test_the_decision_and_its_reason_stand_on_top(rolled_back: Recorded, page: Outline) -> None:
    state = rolled_back[0]
    assert (state.outcome, state.step) == ("rolled_back", 1)
    told = "Version 4 went back in step 2 of 3, version 3 stays champion: errors: "
    assert decision(state).startswith(told)
    assert page.text.index(told) < page.text.index("Steps")


def test_every_check_has_its_sequence_and_the_page_needs_nothing_from_elsewhere(page: Outline) -> None:
    for title in ("Shares of the traffic", "errors", "slow", "quality", "disagreement", "Latency", "Mean loss"):
        assert title in page.text
    assert len(page.sources) == page.tags.count("img") >= 8
    assert all(source.startswith("data:image/png;base64,") for source in page.sources)
    assert "script" not in page.tags


def test_what_was_seen_is_counted_over_all_steps(rolled_back: Recorded, page: Outline) -> None:
    _state, series, _ = rolled_back
    last_of_step = [[one for one in series if one.step == step and one.champion][-1] for step in (0, 1)]
    found = seen(series)
    assert found.copies == last_of_step[0].copies.requests  # type: ignore[union-attr]
    assert found.challenger == last_of_step[1].challenger.requests > 0  # type: ignore[union-attr]
    assert f"answered {found.challenger:,} live request" in page.text
    assert f"and {found.copies:,} copies that nobody saw" in page.text


def test_steps_have_their_times_and_the_last_one_was_not_reached(rolled_back: Recorded, page: Outline) -> None:
    state, series, _ = rolled_back
    first, second, third = spans(state, series)
    assert first.began == BEGAN
    assert first.ended == second.began == after(300)
    assert second.ended == state.ended
    assert (third.began, third.ended) == (None, None)
    assert "not reached" in page.text


def test_a_step_that_was_begun_anew_after_a_pause_keeps_its_beginning() -> None:
    paused = command(begun(), "pause", after(60), "ann", "")
    resumed = command(paused, "resume", after(90), "ann", "")
    assert resumed.step_began == after(90)
    assert spans(resumed, ())[0].began == BEGAN


def test_ground_truth_shows_both_versions_and_their_difference(page: Outline) -> None:
    assert "1,234 labels, 5 corrected later, 6 about no logged answer." in page.text
    assert "AUC 1.0000 0.7500 +0.2500" in page.text
    assert "The same rows" in page.text


def test_of_several_classes_there_is_the_share_of_right_answers() -> None:
    truth = Truth(Compared(Counts(10, 7), Counts(10, 8)), Compared(Counts(), Counts()), 20, 0, 0)
    text = Outline(report(begun(), (), truth)).text
    assert "right answers 0.8000 0.7000 +0.1000" in text
    assert "The same rows" not in text


def test_without_a_series_the_page_has_what_the_registry_knows() -> None:
    text = Outline(report(begun(), ())).text
    assert "Nothing is decided: step 1 of 3 is under way." in text
    assert "No series was recorded on this machine." in text
    assert "No answer has a label yet." in text


def test_texts_of_others_are_shown_and_not_obeyed(rolled_back: Recorded) -> None:
    _, series, _ = rolled_back
    told = moved_to(begun(), after(9), HOSTILE, HOSTILE, by=HOSTILE, phase="ended", outcome="aborted", reason=HOSTILE)
    state = told.model_copy(update={"model": HOSTILE, "endpoint": HOSTILE, "findings": (HOSTILE,), "ended": after(9)})
    for looks in (series, ()):
        page = report(state, looks, None, HOSTILE)
        assert page.encode()
        found = Outline(page)
        assert not {"script", "a", "iframe"} & set(found.tags)
        assert "<script>alert" in found.text
        assert "onerror" not in " ".join(found.sources)


def test_where_it_stands_is_one_sentence() -> None:
    state = begun()
    well = Verdict("successful", True, (), ("fine",))
    onward = decide(state, Facts(ALIASES, well), after(400))
    assert onward is not None
    assert decision(onward) == "Nothing is decided: step 2 of 3 is under way."
    assert decision(command(state, "pause", after(5), "ann", "lunch")) == "Paused in step 1 of 3: lunch."
    promoting = command(state, "promote", after(5), "ann", "in a hurry.")
    assert decision(promoting).startswith("Decided: version 4 has become champion; this is being carried out: in a h")
    done = decide(promoting, Facts(ALIASES, settled=True), after(6))
    assert done is not None
    assert decision(done) == "Version 4 has become champion: in a hurry."


def test_what_can_not_be_read_is_left_out_and_the_page_says_so(rolled_back: Recorded, tmp_path: Path) -> None:
    state, _series, folder = rolled_back
    now = datetime(2026, 3, 2, tzinfo=UTC)
    assert "No answer has a label yet." in report_of(state, folder, str(tmp_path), now)
    assert "The ground truth could not be read." in report_of(state, folder, "ftp://somewhere", now)
    (tmp_path / "flights" / f"delay-{state.id}.jsonl").mkdir(parents=True)
    assert "No series was recorded" in report_of(state, tmp_path, None, now)


@pytest.mark.parametrize(("seconds", "told"), [(40.9, "40 s"), (200, "3 min 20 s"), (7_500, "2 h 05 min")])
def test_times_are_told_as_people_do(seconds: float, told: str) -> None:
    assert lasting(timedelta(seconds=seconds).total_seconds()) == told


def test_a_plan_that_judges_no_quality_says_so() -> None:
    plan = PLAN.model_copy(update={"checks": PLAN.checks.model_copy(update={"quality": None})})
    assert "The plan judges no quality." in report(begun(plan), ())


def test_an_output_whose_name_looks_like_a_formula_is_drawn(rolled_back: Recorded) -> None:
    state, series, _ = rolled_back
    renamed = [
        one.model_copy(update={"apart": {rf"{name}$\frac$": it for name, it in one.apart.items()}}) for one in series
    ]
    assert "Disagreement of copies" in Outline(report(state, renamed)).text


def test_answers_of_both_versions_are_shown(page: Outline) -> None:
    for title in ("Output p", "Output late", "Latency: how many answers took longer"):
        assert title in page.attributes["alt"]
    assert "Copies beside live answers, step 1" in page.text
    assert "late: rows are what was answered live, columns what the copy said. no yes no" in page.text


def test_figures_of_copies_are_those_of_the_shadow_step(rolled_back: Recorded, page: Outline) -> None:
    series = rolled_back[1]
    one = [it.sketch for it in series if it.sketch and it.sketch.step == 0][-1]
    looked = [it for it in series if it.step == 0 and it.champion][-1]
    pairs = one.apart["late"].pairs
    assert sum(pairs.values()) == one.apart["late"].n == looked.apart["late"].n
    assert f"no {pairs['no→no']:,} {pairs['no→yes']:,} yes {pairs['yes→no']:,} {pairs['yes→yes']:,}" in page.text
    assert f"p {one.apart['p'].n:,} {looked.apart['p'].mean:.4g}" in page.text


def test_missing_inputs_stand_there_as_shares(rolled_back: Recorded, page: Outline) -> None:
    last = [it.sketch for it in rolled_back[1] if it.sketch][-1]
    shares = [side.missing["wind"] / side.rows for side in (last.champion, last.challenger)]
    assert all(share == pytest.approx(0.1, abs=0.03) for share in shares)
    assert f"wind {shares[0]:.2%} {shares[1]:.2%}" in page.text
