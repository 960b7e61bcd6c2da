import base64
import re
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache

import numpy as np
import pytest
from matplotlib.figure import Figure

from retrain.card import Account, Window, card, rules_of_column
from retrain.compare import Comparison, Latency, compare
from retrain.gate import Evidence, GateSettings, judge
from retrain.importance import Importance
from retrain.page import page
from retrain.plots import draw
from retrain.stability import Stability
from taxiway.signature import Column, Signature
from tests.outline import Outline

HOSTILE = "</style></title><script>alert('\"&')</script><img src=x onerror=alert(1)>|`*_\nb"
SIGNATURE = Signature(
    inputs=(
        Column(name="carrier", dtype="string", categories=("AA", "DL"), description="two letters"),
        Column(name="distance", dtype="float64", minimum=0, maximum=10_000, nullable=True),
    ),
    outputs=(Column(name="late_probability", dtype="float64"),),
)


def data() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    champion = random.beta(1.0, 3.0, 3_000)
    labels = (random.random(3_000) < champion).astype(np.int64)
    return labels, np.clip(champion + random.normal(0, 0.1, 3_000), 0.01, 0.99), champion


@cache
def compared(champion: bool, carrier: str) -> Comparison:
    labels, mine, theirs = data()
    carriers = np.where(np.arange(3_000) % 3 == 0, "AA", carrier)
    return compare(labels, mine, theirs if champion else None, {"carrier": carriers}, samples=100)


def account(champion: bool = True, carrier: str = "DL", settings: GateSettings | None = None) -> Account:
    found = compared(champion, carrier)
    evidence = Evidence(found, SIGNATURE, SIGNATURE if champion else None)
    start, middle, end = (datetime(2013, month, 1, tzinfo=UTC) for month in (1, 9, 11))
    return Account(
        model="flight-delay",
        version="7",
        champion_version="6" if champion else None,
        created=datetime(2013, 11, 2, 3, 4, tzinfo=UTC),
        label="late",
        signature=SIGNATURE,
        features=("plane_age", "route_delay"),
        windows=(
            Window("training", start, middle, 200_000, 0.21, "d1" * 32),
            Window("evaluation", middle, end, 3_000, 0.25, "e2" * 32),
        ),
        comparison=found,
        verdict=judge(settings or GateSettings(), evidence),
        parameters={"learning_rate": 0.1234567, "iterations": 150},
        code_revision="abc123-dirty",
        latency=Latency(p50_ms=0.5, p99_ms=1.25, calls=1_000, rows_per_s=123_456.0, batch_rows=4_096),
        model_mb=1.5,
        lineage={"MLflow run": "run-1"},
        intended_use="Warn passengers of *late* flights.",
        limits="New York only.",
    )


@cache
def figures() -> dict[str, Figure]:
    labels, mine, _ = data()
    return draw(labels, mine, account().comparison, [Importance("distance", 0.1, 0.05, 0.15)], "flight-delay")


@cache
def whole() -> str:
    return page(account(), figures())


def hostile() -> Account:
    column = Column(name=HOSTILE, dtype="string", categories=(HOSTILE,), description=HOSTILE)
    found = account(carrier=HOSTILE)
    return replace(
        found,
        model=HOSTILE,
        version=HOSTILE,
        champion_version=HOSTILE,
        label=HOSTILE,
        signature=Signature(inputs=(column,), outputs=(column,)),
        features=(HOSTILE,),
        windows=tuple(replace(it, name=HOSTILE, digest=HOSTILE) for it in found.windows),
        parameters={HOSTILE: HOSTILE},
        code_revision=HOSTILE,
        lineage={HOSTILE: HOSTILE},
        intended_use=HOSTILE,
        limits=HOSTILE,
    )


def test_the_page_says_what_a_person_wants_to_know() -> None:
    found = account()
    text = Outline(whole()).text
    assert found.comparison.auc.difference is not None
    for told in (
        "flight-delay, version 7",
        "beside champion (version 6)",
        "2013-11-02 03:04 UTC",
        f"{found.comparison.auc.challenger.value:.4f}",
        f"{found.comparison.auc.difference.value:+.4f} ({found.comparison.auc.difference.low:+.4f} to ",
        *[it.rule for it in found.verdict.rules],
        *[it.sentence for it in found.verdict.rules],
        "carrier DL",
        "200,000",
        "d1" * 32,
        "abc123-dirty",
        "run-1",
        "0.123457",
        "1.25 ms",
        "1.5 MB",
        "one of AA, DL",
        "plane_age, route_delay",
        "Warn passengers of *late* flights.",
        "ROC curve",
    ):
        assert told in text


def test_the_verdict_stands_at_the_top_with_its_reasons() -> None:
    found = account(settings=GateSettings(min_auc=0.999))
    text = Outline(page(found, {})).text
    assert "Gate failed: must not become champion" in text
    assert text.index(found.verdict.reasons[0]) < text.index("held-out rows")
    assert "Gate passed: may become champion" in Outline(page(account(settings=_lenient()), {})).text


def _lenient() -> GateSettings:
    return GateSettings(min_auc_gain=-1, max_log_loss_increase=1, max_slice_auc_loss=1, max_calibration_error=1)


def test_nothing_is_fetched_from_elsewhere_and_nothing_runs() -> None:
    markup = whole()
    found = Outline(markup)
    assert not {"script", "link", "iframe", "object", "embed", "form", "a"} & set(found.tags)
    assert found.tags.count("img") == 5
    assert all(source.startswith("data:image/png;base64,") for source in found.attributes["src"])
    assert not [name for name in found.attributes if name.startswith("on")]
    assert "url(" not in markup
    assert "@import" not in markup
    assert any("default-src 'none'" in content for content in found.attributes["content"])


def test_the_pictures_are_png() -> None:
    sources = Outline(whole()).attributes["src"]
    for source in sources:
        assert base64.b64decode(source.split(",", 1)[1], validate=True).startswith(b"\x89PNG")


def test_hostile_names_are_shown_and_not_obeyed() -> None:
    shown = Outline(page(hostile(), {HOSTILE: Figure()}))
    assert "script" not in shown.tags
    assert shown.tags.count("img") == 1
    assert shown.tags.count("style") == shown.tags.count("title") == 1
    assert set(Outline(whole()).attributes) == set(shown.attributes)
    assert " ".join(shown.words).count(HOSTILE) >= 15


def test_what_no_file_can_hold_does_not_stop_the_page() -> None:
    markup = page(replace(account(), code_revision="half \ud83d of a pair"), {})
    assert "half \\ud83d of a pair" in markup
    markup.encode("utf-8")


def test_without_a_champion_there_is_no_column_for_it() -> None:
    text = Outline(page(account(champion=False), {})).text
    assert "not compared with a champion" in text
    assert "not applicable" in text
    assert "champion's AUC" not in text
    assert "champion (version" not in text
    assert "champion's AUC" in Outline(page(account(), {})).text


def test_both_light_and_dark_colours_differ_enough_from_their_ground() -> None:
    markup = page(account(), {})
    themes = re.findall(r"--ground: (#\w{6}); --card: (#\w{6}); --text: (#\w{6}); --muted: (#\w{6})", markup)
    signs = re.findall(r"--good: (#\w{6}); --bad: (#\w{6})", markup)
    assert len(themes) == len(signs) == 2
    for (ground, ground_of_card, *texts), colours in zip(themes, signs, strict=True):
        for colour in (*texts, *colours):
            assert _contrast(colour, ground) >= 4.5
            assert _contrast(colour, ground_of_card) >= 4.5


def _contrast(one: str, other: str) -> float:
    """WCAG 2.1, relative luminance; 4.5 is what body text needs."""

    def luminance(colour: str) -> float:
        parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        red, green, blue = (it / 12.92 if it <= 0.04045 else ((it + 0.055) / 1.055) ** 2.4 for it in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_many_slices_fold() -> None:
    labels, mine, theirs = data()
    found = compare(labels, mine, theirs, {"x": np.arange(3_000) % 25}, samples=100)
    shown = Outline(page(replace(account(), comparison=found), {}))
    assert "5 smaller slices" in shown.text
    assert "details" in shown.tags
    for value in range(25):
        assert f"x {value}" in shown.words


def test_the_card_holds_what_a_reader_of_the_registry_needs() -> None:
    found = account()
    text = card(found)
    headings = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert headings == [
        "Intended use",
        "Limits",
        "Data",
        "Inputs and answer",
        "Metrics",
        "Slices",
        "Calibration",
        "Latency and size",
        "Verdict",
        "Training",
    ]
    auc = found.comparison.auc.challenger
    assert found.comparison.worst_slice is not None
    for told in (
        "# flight-delay, version 7\n",
        "Warn passengers of *late* flights.",
        "New York only.",
        f"| AUC | {auc.value:.4f} ({auc.low:.4f} to {auc.high:.4f}) |",
        f"lowest AUC: {found.comparison.worst_slice.name}",
        f"Expected calibration error {found.comparison.challenger.calibration_error:.4f}, the champion's ",
        "- code revision: abc123-dirty",
        f"- digest of training: {'d1' * 32}",
        r"- parameter learning\_rate: 0.123457",
        "| 200,000 | 21.00% |",
        "Label: late.",
    ):
        assert told in text


def test_every_row_of_a_cards_table_has_as_many_cells_as_its_head() -> None:
    for found in (account(), account(champion=False), hostile()):
        for block in re.findall(r"(?:^\|.*\|\n?)+", card(found), re.MULTILINE):
            widths = {len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}
            assert len(widths) == 1


def test_what_the_seed_changes_stands_in_page_and_card() -> None:
    found = Stability((7, 8), {"auc": (0.71, 0.69), "log_loss": (0.5, 0.54)}, answer_difference=0.0321)
    measured = replace(account(), stability=found)
    text = card(measured)
    assert "## Stability across seeds\n" in text
    assert "| AUC | 0.7000 | 0.0141 | 0.6900 | 0.7100 | 0.0200 |" in text
    assert r"| log loss (lower is better) | 0.5200 | 0.0283 | 0.5000 | 0.5400 | 0.0400 |" in text
    shown = Outline(page(measured, {})).text
    for told in ("Stability across seeds", "0.0141", "2 fits of the same rows", "differ by 0.0321 in the mean"):
        assert told in shown
    assert "Stability across seeds" not in Outline(page(account(), {})).text


def test_hostile_names_make_no_markup_in_the_card() -> None:
    text = card(replace(hostile(), intended_use="", limits=""))
    assert not re.search(r"(?<!\\)<", text)
    assert text.count("The settings say nothing about it.") == 2


@pytest.mark.parametrize("passes", [True, False])
def test_the_card_tells_the_verdict(passes: bool) -> None:
    settings = _lenient() if passes else GateSettings(min_auc=0.999)
    assert f"**{'may' if passes else 'must not'} become champion**" in card(account(settings=settings))


def test_the_rules_of_a_column_in_words() -> None:
    carrier, distance = SIGNATURE.inputs
    assert rules_of_column(carrier) == "one of AA, DL"
    assert rules_of_column(distance) == "at least 0, at most 10000, may be missing"
