"""What the benchmark of many models computes."""

from collections import OrderedDict

import numpy as np
import pytest

from benchmarks.scale.zipf import hit_rate, zipf


def test_the_second_model_of_a_zipf_distribution_is_asked_half_as_often() -> None:
    shares = zipf(100, 1.0)
    assert shares.sum() == pytest.approx(1)
    assert shares[0] == pytest.approx(2 * shares[1])
    assert zipf(4, 0.0) == pytest.approx([0.25] * 4)


@pytest.mark.parametrize(("exponent", "kept"), [(0.0, 50), (0.8, 20), (1.0, 100), (1.2, 10)])
def test_the_hit_rate_is_that_of_a_list_that_is_played(exponent: float, kept: int) -> None:
    shares, here, hits = zipf(400, exponent), OrderedDict[int, None](), 0
    asked = np.random.default_rng(0).choice(400, 40_000, p=shares).tolist()
    for number, model in enumerate(asked):
        hits += model in here and number >= 10_000
        here[model] = None
        here.move_to_end(model)
        if len(here) > kept:
            here.popitem(last=False)
    assert hit_rate(shares, kept) == pytest.approx(hits / 30_000, abs=0.01)


def test_a_list_that_holds_all_always_hits() -> None:
    assert hit_rate(zipf(10, 1.0), 10) == 1
