"""What a rollout's page says of its answers, also of odd ones."""

import re
from xml.etree.ElementTree import tostring

import numpy as np
import pytest

from taxiway.markup import element
from taxiway.rollout.tally import Tally, of_answers, of_differences, of_requests
from taxiway.rollout_answers import answers
from taxiway.rollout_series import Look, Measured, look
from taxiway.rollout_sketch import sketch
from taxiway.rollout_sketch_plots import latency_curve, output_figure
from taxiway.signature import Array
from tests.outline import Outline
from tests.rollout_records import BEGAN, begun


def seen(champion: Tally, challenger: Tally = Tally(), copies: Tally = Tally()) -> Look:  # noqa: B008 - it is frozen
    told = {"sketch": sketch(0, champion, challenger, copies)}
    return look(begun(), BEGAN, Measured(champion, challenger, copies)).model_copy(update=told)


def page(one: Look) -> Outline:
    return Outline(tostring(element("main", *answers([one])), encoding="unicode", method="html"))


def texts(*values: str) -> Array:
    return np.array(values, dtype=object)


def test_of_many_labels_the_rarest_share_a_row_and_no_pair_is_lost() -> None:
    live = texts(*(f"label {number}" for number in range(20) for _ in range(number + 1)))
    copies = Tally(of_answers({}, {"kind": live})) + Tally(of_differences({"kind": live}, {"kind": np.roll(live, 1)}))
    text = page(seen(Tally(), Tally(), copies)).text
    matrix = text[text.index("what the copy said.") :].partition("No row")[0]
    assert matrix.count("others") == 2
    counts = re.findall(r"(?<!label )\b\d+\b", matrix)
    assert sum(map(int, counts)) == len(live)


def test_labels_with_markup_and_formulas_are_shown_as_they_are() -> None:
    live = texts("<b>$\\frac$</b>", "&amp;")
    copies = Tally(of_answers({}, {"kind": live})) + Tally(of_differences({"kind": live}, {"kind": live[::-1]}))
    found = page(seen(copies, Tally(), copies))
    assert "&amp; · 1 <b>$\\frac$</b> 1 ·" in found.text
    assert "b" not in found.tags


@pytest.mark.parametrize("numbers", [[-1e9, 0.0, 1e9], [0.0], [-0.5, -0.25], [1e300, 5e-324]])
def test_numbers_of_any_size_are_drawn(numbers: list[float]) -> None:
    tally = Tally(of_answers({}, {"n": np.array(numbers)}))
    assert "Output n" in page(seen(tally, tally)).attributes["alt"]


def test_of_nothing_there_is_no_picture() -> None:
    assert output_figure("n", {"champion": None, "challenger": None, "copies": None}) is None
    assert latency_curve({"champion": None, "challenger": None, "copies": None}) is None
    assert answers([]) == []


def test_an_answer_slower_than_every_bucket_is_drawn() -> None:
    assert (
        "Latency: how many answers took longer"
        in page(seen(Tally(of_requests(["ok", "ok"], np.array([0.01, 1e6]))))).attributes["alt"]
    )


def test_columns_whose_shares_lie_furthest_apart_come_first() -> None:
    def side(missing: dict[str, int]) -> Tally:
        return Tally({"rows": 100.0} | {f"missing/{name}": float(count) for name, count in missing.items()})

    same = {f"c{number:02}": 50 for number in range(15)}
    found = page(seen(side(same | {"apart": 1, "rare": 2}), side(same | {"apart": 9, "rare": 2}))).text
    assert re.search(r"champion challenger apart 1.00% 9.00% c00 50.00% 50.00% c01", found)
    assert "2 more columns are missing less." in found
    assert "rare" not in found


def test_classes_get_bars_and_the_matrix_of_labels_and_a_rank_correlation() -> None:
    live = np.array([3, 3, 7, 7, 7])
    copy = np.array([3, 7, 7, 7, 7])
    copies = Tally(of_answers({}, {"kind": copy})) + Tally(of_differences({"kind": live}, {"kind": copy}))
    one = seen(Tally(of_answers({}, {"kind": live})), Tally(), copies)
    assert one.sketch is not None
    assert one.sketch.champion.outputs["kind"].bins == {"3": 2, "7": 3}
    assert one.sketch.champion.outputs["kind"].mean is None
    text = page(one).text
    assert "columns what the copy said. 7 3 7 3 · 3 1 1" in text
    assert f"0.6124 {one.sketch.apart['kind'].ranks.estimate:.4f}" in text  # type: ignore[union-attr]


def test_pairs_that_came_too_late_for_a_name_are_told_and_not_drawn() -> None:
    copies = Tally(of_answers({}, {"k": texts("a")})) + Tally(
        {"difference/k/n": 7.0, "difference/k/sum": 1.0, "difference/k/pair/a→b": 4.0, "difference/k/pair/(other)": 3.0}
    )
    text = page(seen(Tally(), Tally(), copies)).text
    assert "3 rows of pairs that came late are not in it. a b a · 4 b · ·" in text


def test_a_rank_correlation_in_cells_shows_its_ends() -> None:
    random = np.random.default_rng(1)
    live = random.normal(size=5_000)
    copies = Tally(of_answers({}, {"p": live})) + Tally(
        of_differences({"p": live}, {"p": live + random.normal(size=5_000)})
    )
    assert re.search(r" 0\.6\d+ \(0\.[3-6]\d+ to 0\.[6-9]\d+\)", page(seen(Tally(), Tally(), copies)).text)
