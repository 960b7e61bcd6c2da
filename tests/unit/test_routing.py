from bisect import bisect_right
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.stats import chi2

from taxiway.routing import RouteTable, Shadow, point

BASELINE = "baseline"
NAMES = ("a", "b", "c", "d", "e")
ARCS = {1: (100.0,), 2: (50.0, 50.0), 3: (25.0, 50.0, 25.0), 4: (25.0,) * 4, 5: (12.5, 25.0, 25.0, 25.0, 12.5)}
EPSILON = 1e-12
KEYS = [str(number).encode() for number in range(100_000)]
POINTS = [point(key, b"parcel") for key in KEYS]


@st.composite
def weights(draw: st.DrawFn, canaries: int | None = None) -> dict[str, float]:
    """Percent of a baseline and up to five canaries; zeros and whole shares are as likely as anything between."""
    count = canaries if canaries is not None else draw(st.integers(0, len(NAMES)))
    parts = draw(st.lists(st.integers(0, 1_000), min_size=count + 1, max_size=count + 1).filter(any))
    return {name: part * 100 / sum(parts) for name, part in zip((BASELINE, *NAMES[:count]), parts, strict=True)}


@st.composite
def changed(draw: st.DrawFn, table: dict[str, float], canary: str) -> dict[str, float]:
    """The same table with another division between the canary and the baseline."""
    both = table[canary] + table[BASELINE]
    share = draw(st.sampled_from([0.0, both]) | st.floats(0, both))
    return table | {canary: share, BASELINE: both - share}


def shares(table: RouteTable) -> dict[str, float]:
    """Exactly how much of the circle each variant has."""
    starts = [start for start, _ in table.segments]
    total: Counter[str] = Counter()
    for (start, name), end in zip(table.segments, [*starts[1:], 1.0], strict=True):
        total[name] += end - start  # type: ignore[assignment]
    return dict(total)


def flips(before: RouteTable, after: RouteTable) -> dict[tuple[str, str], float]:
    """How much of the circle goes from which variant to which other one, but for the rounding of weights."""
    starts = sorted({start for table in (before, after) for start, _ in table.segments})
    moved: Counter[tuple[str, str]] = Counter()
    for start, end in zip(starts, [*starts[1:], 1.0], strict=True):
        pair = before.choose(start), after.choose(start)
        if pair[0] != pair[1]:
            moved[pair] += end - start  # type: ignore[assignment]
    return {pair: share for pair, share in moved.items() if share > EPSILON}


@given(weights())
def test_each_variant_has_exactly_its_share_of_the_circle(table: dict[str, float]) -> None:
    found = shares(RouteTable(table))
    assert all(found.get(name, 0.0) == pytest.approx(share / 100, abs=EPSILON) for name, share in table.items())


@given(weights())
def test_a_weight_of_0_gets_nothing(table: dict[str, float]) -> None:
    assert all(table[name] > 0 for name in shares(RouteTable(table)))


@pytest.mark.parametrize("name", [BASELINE, *NAMES])
def test_a_weight_of_100_gets_everything(name: str) -> None:
    assert RouteTable({other: 100.0 * (other == name) for other in (BASELINE, *NAMES)}).segments == ((0.0, name),)


@given(weights())
def test_the_segments_begin_at_0_and_are_in_order(table: dict[str, float]) -> None:
    starts = [start for start, _ in RouteTable(table).segments]
    assert starts[0] == 0.0
    assert all(one < other for one, other in pairwise(starts))
    assert starts[-1] < 1.0


@pytest.mark.parametrize(
    "table",
    [
        {BASELINE: 99.0, "a": 1.0},
        {BASELINE: 10.0, "a": 60.0, "b": 30.0},
        {BASELINE: 33.4, "a": 33.3, "b": 33.3},
        {BASELINE: 5.0, "a": 70.0, "b": 5.0, "c": 5.0, "d": 5.0, "e": 10.0},
    ],
)
def test_the_shares_of_many_keys_are_those_of_the_table(table: dict[str, float]) -> None:
    route = RouteTable(table)
    found = Counter(map(route.choose, POINTS))
    statistic = sum(
        (found[name] - len(KEYS) * share / 100) ** 2 / (len(KEYS) * share / 100) for name, share in table.items()
    )
    assert statistic < chi2.ppf(0.999, len(table) - 1)


@given(st.data(), weights())
def test_a_key_in_a_canary_stays_in_it_as_the_canary_grows(data: st.DataObject, table: dict[str, float]) -> None:
    assume(len(table) > 1)
    canary = data.draw(st.sampled_from(sorted(set(table) - {BASELINE})))
    other = data.draw(changed(table, canary))
    smaller, larger = sorted((table, other), key=lambda found: found[canary])
    assert not [pair for pair in flips(RouteTable(smaller), RouteTable(larger)) if pair[0] == canary]


@given(st.data(), weights(canaries=2))
def test_with_two_canaries_a_change_against_the_baseline_flips_only_what_it_has_to(
    data: st.DataObject, table: dict[str, float]
) -> None:
    canary = data.draw(st.sampled_from(["a", "b"]))
    other = data.draw(changed(table, canary))
    moved = flips(RouteTable(table), RouteTable(other))
    assert set(moved) <= {(canary, BASELINE), (BASELINE, canary)}
    assert sum(moved.values()) == pytest.approx(abs(other[canary] - table[canary]) / 100, abs=EPSILON)


@given(st.data(), st.integers(1, 5))
def test_canaries_within_their_arcs_never_move_each_other(data: st.DataObject, count: int) -> None:
    before = {name: data.draw(st.floats(0, arc)) for name, arc in zip(NAMES, ARCS[count], strict=False)}
    canary = data.draw(st.sampled_from(sorted(before)))
    after = before | {canary: data.draw(st.floats(0, ARCS[count][NAMES.index(canary)]))}
    tables = [RouteTable({BASELINE: 100 - sum(canaries.values())} | canaries) for canaries in (before, after)]
    moved = flips(*tables)
    assert set(moved) <= {(canary, BASELINE), (BASELINE, canary)}
    assert sum(moved.values()) == pytest.approx(abs(after[canary] - before[canary]) / 100, abs=EPSILON)


@given(st.data())
def test_one_canary_beyond_its_arc_leaves_the_others_even_room_to_grow(data: st.DataObject) -> None:
    large = data.draw(st.floats(25, 100))
    room = min(25.0, (100 - large) / 3)
    before = {name: data.draw(st.floats(0, room)) for name in ("b", "c", "d")}
    canary = data.draw(st.sampled_from(sorted(before)))
    after = before | {canary: data.draw(st.floats(0, room))}
    tables = [
        RouteTable({BASELINE: max(0.0, 100 - large - sum(small.values())), "a": large} | small)
        for small in (before, after)
    ]
    assert set(flips(*tables)) <= {(canary, BASELINE), (BASELINE, canary)}


@given(st.data(), weights())
def test_a_change_of_one_canary_moves_no_key_that_another_has_in_its_own_arc(
    data: st.DataObject, table: dict[str, float]
) -> None:
    assume(len(table) > 2)
    canary = data.draw(st.sampled_from(sorted(set(table) - {BASELINE})))
    before, after = RouteTable(table), RouteTable(data.draw(changed(table, canary)))
    moved = {pair[0] for pair in flips(before, after)} - {canary, BASELINE}
    arcs = dict(zip(NAMES, ARCS[len(table) - 1], strict=False))
    assert all(table[name] > arcs[name] for name in moved)


@given(st.lists(st.floats(0, 12.5), min_size=1, max_size=4))
def test_a_canary_appended_with_weight_0_moves_nothing_that_fits_the_arcs(canaries: list[float]) -> None:
    table = dict(zip(NAMES, canaries, strict=False))
    table = {BASELINE: 100 - sum(table.values())} | table
    appended = table | {NAMES[len(canaries)]: 0.0}
    assert RouteTable(appended).segments == RouteTable(table).segments


def test_rounding_leaves_nothing_to_a_baseline_without_weight() -> None:
    assert BASELINE not in shares(RouteTable({BASELINE: 0.0, "a": 33.3333333, "b": 33.3333333, "c": 33.3333333}))
    assert BASELINE not in shares(RouteTable({BASELINE: 0.0, "a": 50.0000004, "b": 50.0000004}))


def test_a_point_is_the_same_everywhere_and_another_under_another_salt() -> None:
    assert point(b"customer-17", b"parcel") == 0.1127864972565209
    assert point(b"customer-17", b"parcel") != point(b"customer-17", b"letter")
    assert point(b"b", b"a") != point(b"", b"ab")


@given(st.binary(), st.binary(max_size=200))
def test_a_point_lies_on_the_circle(key: bytes, salt: bytes) -> None:
    assert 0.0 <= point(key, salt) < 1.0


def test_points_under_two_salts_are_independent() -> None:
    cells = Counter((int(one * 10), int(point(key, b"shadow") * 10)) for key, one in zip(KEYS, POINTS, strict=True))
    expected = len(KEYS) / 100
    statistic = sum((cells[row, column] - expected) ** 2 / expected for row in range(10) for column in range(10))
    assert statistic < chi2.ppf(0.999, 99)


def test_a_shadow_gets_its_share_whoever_answers() -> None:
    route = RouteTable({BASELINE: 80.0, "a": 20.0}, [Shadow("b", 30.0)])
    copied = Counter(
        route.choose(one) for key, one in zip(KEYS, POINTS, strict=True) if route.shadows_of(point(key, b"shadow"))
    )
    assert copied[BASELINE] == pytest.approx(24_000, abs=4 * (24_000 * 0.76) ** 0.5)
    assert copied["a"] == pytest.approx(6_000, abs=4 * (6_000 * 0.94) ** 0.5)


@given(st.dictionaries(st.sampled_from(NAMES), st.floats(0, 100)), st.floats(0, 1, exclude_max=True))
def test_every_shadow_with_a_larger_share_than_the_point_gets_a_copy(declared: dict[str, float], at: float) -> None:
    route = RouteTable({BASELINE: 100.0}, [Shadow(name, share) for name, share in declared.items()])
    assert route.shadows_of(at) == tuple(name for name, share in declared.items() if at < share / 100)


def test_who_answers_gets_no_copy_of_its_own_request() -> None:
    route = RouteTable({BASELINE: 90.0, "a": 10.0}, [Shadow("a", 100.0), Shadow("b", 100.0)])
    assert route.shadows_of(0.5, answered_by="a") == ("b",)
    assert route.shadows_of(0.5, answered_by=BASELINE) == ("a", "b")


def test_a_choice_is_the_segment_that_the_point_lies_in() -> None:
    route = RouteTable({BASELINE: 30.0, "a": 50.0, "b": 10.0, "c": 10.0})
    starts = [start for start, _ in route.segments]
    for at in (0.0, *starts, 0.999999):
        assert route.choose(at) == route.segments[bisect_right(starts, at) - 1][1]
    assert [route.choose(at) for at in (0.0, 0.25, 0.4, 0.5, 0.7, 0.9)] == ["a", "c", BASELINE, "b", BASELINE, "a"]
