"""A rollout as one page for people: what was decided and why, what was seen, and how each check went."""

import logging
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from xml.etree.ElementTree import Element

from taxiway.errors import TaxiwayError
from taxiway.markup import Child, document, element, picture, section, table
from taxiway.rollout.state import Event, RolloutState
from taxiway.rollout_answers import answers
from taxiway.rollout_plots import draw
from taxiway.rollout_series import Answers, CheckLook, Look, read_series, series_path, steps_of
from taxiway.rollout_told import Seen, added, decision, last_moment, lasting, seen, seen_in, spans
from taxiway.rollout_truth import Compared, Truth, figures, read_truth

_log = logging.getLogger(__name__)

_SIGNS = {"promoted": "good", "rolled_back": "bad", "passed": "good", "failed": "bad"}
_HOW_TO_READ = (
    "A band holds the true figure the whole time with the probability that its legend names, however often one "
    "looks. A check passes when its whole band lies on the good side of the border, and fails when all of it lies "
    "beyond. Each step counts anew, and so do the bands."
)


def report_of(state: RolloutState, folder: Path, location: str | None, now: datetime) -> str:
    """The page of a rollout with all that can be found of it; what can't be read is left out, and the page says so.

    Args:
        folder: of the series, `${TAXIWAY_HOME}/rollouts`.
        location: of the prediction log.
    """
    try:
        series = read_series(series_path(folder, state.application, state.endpoint, state.id))
    except OSError as error:
        _log.warning("the series of rollout %s can't be read: %s", state.id, error)
        series = ()
    try:
        return report(state, series, read_truth(location, state, now) if location else None)
    except (TaxiwayError, OSError, ValueError) as error:
        _log.warning("the ground truth of rollout %s can't be read: %s", state.id, error)
        return report(state, series, unknown="The ground truth could not be read.")


def report(state: RolloutState, series: Sequence[Look], truth: Truth | None = None, unknown: str = "") -> str:
    """A whole HTML document; its plots are pictures inside it.

    Args:
        series: as `rollout_series.read_series` finds it; without one the page has what the registry knows.
        truth: None where nothing is known of it; `unknown` then says why.
    """
    title = f"Rollout of {state.model}, version {state.challenger_version}"
    pictures = [picture(name, figure) for name, figure in draw(state.plan, series).items()]
    return document(
        title,
        element("h1", title),
        element("p", _about(state, series), class_="muted"),
        _decision(state, series),
        _key_figures(state, series, truth),
        section("Steps", _steps(state, series)),
        section("Over time", element("p", _HOW_TO_READ, class_="muted"), element("div", *pictures, class_="plots"))
        if pictures
        else section("Over time", element("p", "No series was recorded on this machine.", class_="muted")),
        *_answers(series),
        section("Checks, at the last look", *_checks(state, series)),
        section("Ground truth", *_truth(state, truth, unknown)),
        section("Events", _events(state.events)),
    )


def _about(state: RolloutState, series: Sequence[Look]) -> str:
    began = state.events[0].by if state.events and state.events[0].what == "started" else None
    started = f", started by {began}" if began else ""
    until = last_moment(state, series)
    lasted = lasting((until - state.began).total_seconds())
    end = f"to {_moment(until)}" if state.is_over else f"as of {_moment(until)}"
    return (
        f"Endpoint {state.endpoint} of {state.application}, against version {state.champion_version}{started}. "
        f"{_moment(state.began)} {end} UTC, {lasted}. Rollout {state.id}."
    )


def _decision(state: RolloutState, series: Sequence[Look]) -> Element:
    sign = _SIGNS.get(str(state.outcome), "")
    return element(
        "section",
        element("p", element("strong", decision(state), class_=sign or None)),
        element("p", _what_was_seen(state, seen(series)), class_="muted") if series else None,
        class_=f"verdict {sign}".strip(),
    )


def _what_was_seen(state: RolloutState, found: Seen) -> str:
    live = found.champion + found.challenger
    share = f" ({found.challenger / live:.1%} of {live:,})" if live else ""
    copies = f", and {found.copies:,} copies that nobody saw" if found.copies else ""
    return (
        f"While it was measured, version {state.challenger_version} answered {_many(found.challenger)}{share}{copies}."
    )


def _many(requests: int) -> str:
    return "no live request" if not requests else f"{requests:,} live request{'' if requests == 1 else 's'}"


def _key_figures(state: RolloutState, series: Sequence[Look], truth: Truth | None) -> Element:
    lasted_s = (last_moment(state, series) - state.began).total_seconds()
    told = [("lasted", lasting(lasted_s), f"step {state.step + 1} of {len(state.plan.steps)}")]
    groups = steps_of(series)
    if groups:
        last = groups[-1][-1]
        found = seen(series)
        told.append(("live answers", f"{found.challenger:,}", "by the challenger"))
        told.append(("copies", f"{found.copies:,}", "answered by the challenger"))
        told += _latency_figure(last)
    told += _truth_figures(truth)
    boxes = [
        element("div", element("dt", name), element("dd", value), element("dd", note, class_="note"))
        for name, value, note in told
    ]
    return element("dl", *boxes, class_="figures")


def _latency_figure(last: Look) -> list[tuple[str, str, str]]:
    champion, challenger = last.champion, last.challenger
    if champion is None or challenger is None or champion.p99_ms is None or challenger.p99_ms is None:
        return []
    return [("p99, last step", _ms(challenger.p99_ms), f"champion {_ms(champion.p99_ms)}")]


def _truth_figures(truth: Truth | None) -> list[tuple[str, str, str]]:
    """The first figure of the challenger beside the champion's, on the same rows if there are any."""
    for compared in () if truth is None else (truth.paired, truth.live):
        challenger, champion = figures(compared.challenger), figures(compared.champion)
        both = [name for name in challenger if name != "rows" and name in champion]
        if both and challenger["rows"]:
            return [(both[0], f"{challenger[both[0]]:.4f}", f"champion {champion[both[0]]:.4f}")]
    return []


def _steps(state: RolloutState, series: Sequence[Look]) -> Element:
    groups = steps_of(series)
    rows: list[list[Child]] = []
    for number, (step, span) in enumerate(zip(state.plan.steps, spans(state, series), strict=True)):
        mine = [group[-1] for group in groups if group[-1].step == number]
        until = span.ended or last_moment(state, series)
        lasted = lasting((until - span.began).total_seconds()) if span.began else ""
        rows.append([f"{number + 1}", step.shares, _when(span.began), lasted, *_counts(mine)])
        rows[-1].append(_how(state, number))
    head = ["step", "challenger gets", "from (UTC)", "lasted", "champion", "challenger", "copies", "faults", "ended"]
    return table(head, rows, numbers={4, 5, 6, 7})


def _counts(looks: Sequence[Look]) -> list[str]:
    """Requests of each, then errors of champion and challenger."""
    if not looks:
        return [""] * 4
    found = added([seen_in(one) for one in looks])
    champion = sum(one.champion.faults for one in looks if one.champion)
    others = [side for one in looks for side in (one.challenger, one.copies) if side]
    return [*(f"{it:,}" for it in found), f"{champion:,} / {sum(side.faults for side in others):,}"]


def _how(state: RolloutState, step: int) -> Child:
    if step > state.step:
        return element("span", "not reached", class_="muted")
    if step < state.step:
        moves = [event for event in state.events if event.what == "step"]
        return moves[step].told.rpartition("; step ")[0] if len(moves) == state.step else "went on"
    what = str(state.outcome or state.phase)
    return element("span", what.replace("_", " "), class_=_SIGNS.get(what))


def _answers(series: Sequence[Look]) -> list[Element]:
    found = answers(series)
    return [section("Answers", *found)] if found else []


def _checks(state: RolloutState, series: Sequence[Look]) -> list[Child]:
    judged = [one for one in series if one.checks]
    if not judged:
        sentences = [element("li", sentence) for sentence in state.findings]
        return [element("ul", *sentences) if sentences else element("p", "Nothing was measured yet.", class_="muted")]
    last = judged[-1]
    rows: list[list[Child]] = [
        [
            it.check,
            element("span", it.state.replace("_", " "), class_=_SIGNS.get(it.state, "muted")),
            _figure(it.estimate),
            _interval(it),
            f"{it.threshold:.4g}",
            f"{it.n:,}",
            it.unit,
        ]
        for it in last.checks
    ]
    note = f"In step {last.step + 1}, {_moment(last.at)} UTC; challenger minus champion, where two are compared."
    head = ["check", "state", "estimate", "interval", "border", "rows", "of what"]
    return [table(head, rows, numbers={2, 3, 4, 5}), element("p", note, class_="muted"), _sides(last)]


def _sides(last: Look) -> Element:
    told: Mapping[str, Answers | None] = {
        "champion": last.champion,
        "challenger, live": last.challenger,
        "challenger, copies": last.copies,
    }
    rows = [
        [name, f"{it.requests:,}", f"{it.faults:,}", _some(it.slow), _ms(it.p50_ms), _ms(it.p99_ms)]
        for name, it in told.items()
        if it is not None and it.requests
    ]
    head = ["since the step began", "requests", "faults", "slow", "median", "p99"]
    return table(head, rows, numbers={1, 2, 3, 4, 5})


def _truth(state: RolloutState, truth: Truth | None, unknown: str) -> list[Child]:
    if truth is None:
        told = "The plan judges no quality." if state.plan.checks.quality is None else "No answer has a label yet."
        return [element("p", unknown or told, class_="muted")]
    parts: list[Child] = []
    for title, compared in (("The same rows", truth.paired), ("Live answers, of different requests", truth.live)):
        if figures(compared.champion)["rows"] or figures(compared.challenger)["rows"]:
            parts += [element("h3", title), _compared(state, compared)]
    note = (
        f"{truth.labels:,} labels, {truth.corrections:,} corrected later, {truth.unmatched:,} about no logged answer."
    )
    return [*parts, element("p", f"{note} These are figures to look at; the check of quality decides.", class_="muted")]


def _compared(state: RolloutState, compared: Compared) -> Element:
    champion, challenger = figures(compared.champion), figures(compared.challenger)
    rows: list[list[Child]] = []
    for name in dict.fromkeys((*challenger, *champion)):
        one, other = challenger.get(name), champion.get(name)
        both = one is not None and other is not None and name != "rows"
        apart = f"{one - other:+.4f}" if both and one is not None and other is not None else ""
        rows.append([name, _number(name, one), _number(name, other), apart])
    head = ["", f"version {state.challenger_version}", f"version {state.champion_version}", "difference"]
    return table(head, rows, numbers={1, 2, 3})


def _events(events: Sequence[Event]) -> Element:
    rows: list[list[Child]] = [
        [_when(event.at), event.what.replace("_", " "), event.by, event.told] for event in events
    ]
    return table(["at (UTC)", "what", "by", "told"], rows)


def _number(name: str, value: float | None) -> str:
    return "" if value is None else f"{int(value):,}" if name == "rows" else f"{value:.4f}"


def _interval(it: CheckLook) -> str:
    if it.estimate is None:
        return ""
    return f"{'-∞' if it.low is None else _figure(it.low)} to {'∞' if it.high is None else _figure(it.high)}"


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _some(value: int | None) -> str:
    return "" if value is None else f"{value:,}"


def _ms(value: float | None) -> str:
    return "" if value is None else f"{value:.3g} ms"


def _when(at: datetime | None) -> Child:
    return "" if at is None else element("span", _moment(at), class_="moment")


def _moment(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")
