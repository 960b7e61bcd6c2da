import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from retrain.breaking import breaking_changes
from retrain.compare import Comparison, Estimate, Latency, compare
from retrain.gate import Evidence, GateSettings, RuleResult, Verdict, judge
from retrain.stability import Stability
from taxiway.errors import InvalidInput
from taxiway.signature import Column, Signature

ANSWER = Column(name="p", dtype="float64")


def signature(*inputs: Column, outputs: tuple[Column, ...] = (ANSWER,)) -> Signature:
    return Signature(inputs=inputs or (Column(name="x", dtype="float64"),), outputs=outputs)


def comparison(loss_of_skill: float = 0.0, champion: bool = True, slices: bool = False) -> Comparison:
    """A champion that is honest, and a challenger that sees the truth through so much noise."""
    random = np.random.default_rng(0)
    logit = random.normal(-1, 1.2, 6_000)
    probabilities = 1 / (1 + np.exp(-logit))
    labels = (random.random(6_000) < probabilities).astype(np.int64)
    noisy = 1 / (1 + np.exp(-(logit + random.normal(0, 1, 6_000) * loss_of_skill)))
    columns = {"carrier": np.array(["AA", "DL", "UA"] * 2_000)} if slices else {}
    return compare(labels, noisy, probabilities if champion else None, columns, samples=200)


def evidence(found: Comparison, champion: bool = True) -> Evidence:
    return Evidence(found, signature(), signature() if champion else None)


def rule(verdict: Verdict, name: str) -> RuleResult:
    return next(it for it in verdict.rules if it.rule == name)


EQUAL, WORSE, ALONE = comparison(), comparison(1.5, slices=True), comparison(champion=False)


def test_an_equal_challenger_passes_what_is_set_by_default() -> None:
    verdict = judge(GateSettings(), evidence(EQUAL))
    assert verdict.passed
    assert verdict.reasons == ()
    assert [it.rule for it in verdict.rules if it.passed is None] == [
        "max_slice_auc_loss",
        "max_p99_ms",
        "max_model_mb",
        "max_auc_spread",
    ]


def test_a_worse_challenger_fails_with_the_figures_in_the_reason() -> None:
    verdict = judge(GateSettings(), evidence(WORSE))
    assert not verdict.passed
    gain = rule(verdict, "min_auc_gain")
    assert WORSE.auc.difference is not None
    assert (gain.passed, gain.measured, gain.allowed) == (False, WORSE.auc.difference.low, -0.005)
    assert gain.sentence in verdict.reasons
    assert f"the AUC differs from the champion's by {WORSE.auc.difference.value:+.4f} (95% interval" in gain.sentence
    assert "is not above the -0.005 required" in gain.sentence


def test_the_first_model_is_judged_by_itself_and_the_verdict_says_so() -> None:
    verdict = judge(GateSettings(), evidence(ALONE, champion=False))
    assert verdict.passed
    for name in ("min_auc_gain", "max_log_loss_increase", "max_slice_auc_loss"):
        assert rule(verdict, name).passed is None
        assert rule(verdict, name).sentence == "there are no answers of a champion to compare with"
    assert rule(verdict, "signature").passed is None
    assert rule(verdict, "signature").sentence == "there is no champion to compare with"
    assert rule(verdict, "min_auc").passed is True


def test_the_first_model_can_fail_too() -> None:
    verdict = judge(GateSettings(min_auc=0.99), evidence(ALONE, champion=False))
    assert not verdict.passed
    assert verdict.reasons[0].startswith("the AUC is 0.")
    assert verdict.reasons[0].endswith("less than the required 0.99")


def with_difference(metric: str, difference: Estimate) -> Comparison:
    metrics = (replace(it, difference=difference) if it.metric == metric else it for it in EQUAL.metrics)
    return replace(EQUAL, metrics=tuple(metrics))


def gain_of(low: float, high: float) -> Evidence:
    difference = Estimate((low + high) / 2, low, high)
    return evidence(with_difference("auc", difference))


@pytest.mark.parametrize(
    ("low", "allowed", "passes"),
    [
        (0.001, 0.0, True),
        (-0.001, 0.0, False),
        (0.0, 0.0, False),
        (-0.004, -0.005, True),
        (-0.006, -0.005, False),
        (0.009, 0.01, False),
    ],
)
def test_the_lower_end_of_the_gain_must_be_above_what_is_required(low: float, allowed: float, passes: bool) -> None:
    verdict = judge(GateSettings(min_auc_gain=allowed), gain_of(low, 0.05))
    assert rule(verdict, "min_auc_gain").passed is passes
    assert verdict.passed is passes


@pytest.mark.parametrize(("allowed", "passes"), [(0.021, True), (0.019, False), (None, None)])
def test_a_model_that_hangs_on_its_seed_fails(allowed: float | None, passes: bool | None) -> None:
    found = Stability((0, 1, 2), {"auc": (0.71, 0.70, 0.72), "log_loss": (0.5, 0.5, 0.5)}, answer_difference=0.1)
    verdict = judge(GateSettings(max_auc_spread=allowed), replace(evidence(EQUAL), stability=found))
    assert rule(verdict, "max_auc_spread").passed is passes
    if passes is False:
        assert verdict.reasons == ("the AUC's range over 3 seeds is 0.02, more than the 0.019 allowed",)


def test_a_spread_that_nobody_measured_fails() -> None:
    verdict = judge(GateSettings(max_auc_spread=0.1), evidence(EQUAL))
    assert verdict.reasons == ("the AUC's range over several seeds was not measured and must be at most 0.1",)


@given(lows=st.tuples(st.floats(-0.5, 0.5), st.floats(-0.5, 0.5)), allowed=st.floats(-0.5, 0.5))
def test_a_larger_gain_never_fails_where_a_smaller_one_passes(lows: tuple[float, float], allowed: float) -> None:
    smaller, larger = (judge(GateSettings(min_auc_gain=allowed), gain_of(low, 0.5)).passed for low in sorted(lows))
    assert larger >= smaller


def test_the_upper_end_of_the_log_loss_must_be_below_what_is_allowed() -> None:
    for high, passes in ((0.004, True), (0.006, False)):
        found = with_difference("log_loss", Estimate(0.0, -0.01, high))
        assert rule(judge(GateSettings(), evidence(found)), "max_log_loss_increase").passed is passes


def test_every_slice_that_lost_too_much_is_named() -> None:
    settings = GateSettings(max_slice_auc_loss=0.01)
    found = rule(judge(settings, evidence(WORSE)), "max_slice_auc_loss")
    assert found.passed is False
    for carrier in ("AA", "DL", "UA"):
        assert f"carrier {carrier} (" in found.sentence
    assert WORSE.largest_loss is not None
    assert WORSE.largest_loss.difference is not None
    assert found.measured == -WORSE.largest_loss.difference.value


def test_slices_that_are_too_small_are_not_judged() -> None:
    found = rule(
        judge(GateSettings(min_slice_rows=2_001, max_slice_auc_loss=0.0), evidence(WORSE)), "max_slice_auc_loss"
    )
    assert (found.passed, found.sentence) == (None, "no slice is large enough to be judged")


def test_a_slice_that_loses_little_passes() -> None:
    found = rule(judge(GateSettings(max_slice_auc_loss=0.5), evidence(WORSE)), "max_slice_auc_loss")
    assert found.passed is True
    assert found.sentence.startswith("in none of 3 slices is the AUC below the champion's by more than 0.5")


def test_a_badly_calibrated_challenger_fails() -> None:
    found = replace(EQUAL, challenger=replace(EQUAL.challenger, calibration_error=0.16))
    verdict = judge(GateSettings(), evidence(found))
    assert verdict.reasons == ("the calibration error is 0.16, more than the 0.1 allowed",)


def test_latency_and_size_are_held_against_their_limits() -> None:
    latency = Latency(p50_ms=1.0, p99_ms=3.0, calls=100, rows_per_s=1e5, batch_rows=4_096)
    measured = replace(evidence(EQUAL), latency=latency, model_mb=12.0)
    assert judge(GateSettings(max_p99_ms=3.0, max_model_mb=12.0), measured).passed
    verdict = judge(GateSettings(max_p99_ms=2.0, max_model_mb=10.0), measured)
    assert verdict.reasons == (
        "the 99th percentile of predicting one row is 3 ms, more than the 2 ms allowed",
        "the model's size is 12 MB, more than the 10 MB allowed",
    )


def test_what_should_hold_and_was_not_measured_has_failed() -> None:
    verdict = judge(GateSettings(max_p99_ms=2.0, max_model_mb=10.0), evidence(EQUAL))
    assert verdict.reasons == (
        "the 99th percentile of predicting one row was not measured and must be at most 2 ms",
        "the model's size was not measured and must be at most 10 MB",
    )


def test_rules_that_are_off_judge_nothing() -> None:
    settings = GateSettings(
        min_auc=None,
        min_auc_gain=None,
        max_log_loss_increase=None,
        max_slice_auc_loss=None,
        max_calibration_error=None,
        signature="any",
    )
    changed = replace(evidence(WORSE), signature=signature(Column(name="other", dtype="int64")))
    verdict = judge(settings, changed)
    assert verdict.passed
    assert {it.sentence for it in verdict.rules} == {"switched off"}


def test_a_broken_signature_fails_and_every_break_is_named() -> None:
    changed = replace(evidence(EQUAL), signature=signature(Column(name="y", dtype="int64")))
    verdict = judge(GateSettings(), changed)
    [reason] = verdict.reasons
    assert "input x is gone" in reason
    assert "input y is new and required" in reason


def test_intervals_of_another_confidence_are_refused() -> None:
    with pytest.raises(ValueError, match=r"hold 0.95 of the samples, the gate asks for 0.9"):
        judge(GateSettings(confidence=0.9), evidence(EQUAL))


def test_a_verdict_is_strict_json_and_comes_back_equal() -> None:
    verdict = judge(GateSettings(), evidence(WORSE))
    text = json.dumps(verdict.model_dump(mode="json"), allow_nan=False)
    assert Verdict.model_validate_json(text) == verdict


def test_an_unknown_rule_and_a_rule_out_of_its_range_are_refused() -> None:
    for wrong in ({"min_acu": 0.5}, {"min_auc": 1.5}, {"min_slice_rows": 10}, {"confidence": 1.0}):
        with pytest.raises(ValidationError):
            GateSettings(**wrong)  # type: ignore[arg-type]


NUMBER = Column(name="x", dtype="int64", minimum=0, maximum=10)
TEXT = Column(name="x", dtype="string", categories=("a", "b"))


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        (NUMBER, NUMBER.model_copy(update={"dtype": "float64"}), "was int64 and is float64"),
        (NUMBER, NUMBER.model_copy(update={"minimum": 1.0}), "must be at least 1, and was taken from 0"),
        (NUMBER, NUMBER.model_copy(update={"maximum": 9.0}), "must be at most 9, and was taken up to 10"),
        (TEXT, TEXT.model_copy(update={"categories": ("b", "c")}), "no longer takes a"),
        (Column(name="x", dtype="string"), TEXT, "took any string and takes listed categories only"),
        (Column(name="x", dtype="float32"), Column(name="x", dtype="float32", maximum=5), "taken up to inf"),
        (
            Column(name="x", dtype="string", nullable=True, required=True),
            Column(name="x", dtype="string"),
            "could be missing in a row and must have a value",
        ),
        (
            Column(name="x", dtype="string", nullable=True),
            Column(name="x", dtype="string", nullable=True, required=True),
            "could be left out and is required",
        ),
        (
            Column(name="x", dtype="float32", finite=False),
            Column(name="x", dtype="float32"),
            "could be infinite and must be finite",
        ),
        (
            Column(name="x", dtype="float32", shape=(-1, 4)),
            Column(name="x", dtype="float32", shape=(3, 4)),
            "had rows of shape [-1, 4] and has [3, 4]",
        ),
    ],
)
def test_an_input_that_takes_less_breaks_and_the_other_way_round_does_not(
    before: Column, after: Column, told: str
) -> None:
    [found] = breaking_changes(signature(before), signature(after))
    assert found.startswith("input x ")
    assert found.endswith(told)
    if before.dtype == after.dtype and "takes" not in told:
        assert breaking_changes(signature(after), signature(before)) == ()


def test_a_limit_that_the_integer_type_has_anyway_is_no_narrowing() -> None:
    before = Column(name="x", dtype="uint8")
    assert (
        breaking_changes(signature(before), signature(before.model_copy(update={"minimum": 0, "maximum": 255}))) == ()
    )
    [found] = breaking_changes(signature(before), signature(before.model_copy(update={"maximum": 254})))
    assert found == "input x must be at most 254, and was taken up to 255"


def test_what_only_adds_does_not_break() -> None:
    before = signature(TEXT, outputs=(ANSWER, Column(name="q", dtype="int64")))
    more = TEXT.model_copy(update={"categories": ("b", "c", "a"), "nullable": True})
    optional = Column(name="new", dtype="float64", nullable=True)
    after = signature(more, optional, outputs=(*before.outputs, Column(name="r", dtype="int64")))
    assert breaking_changes(before, after) == ()


def test_another_order_of_inputs_breaks_rows_without_names() -> None:
    a, b, c = (Column(name=name, dtype="float64") for name in "abc")
    [found] = breaking_changes(signature(a, b), signature(b, a))
    assert "another order (b, a in place of a, b)" in found
    optional = c.model_copy(update={"nullable": True})
    assert breaking_changes(signature(a, b), signature(a, optional, b)) == ()


def test_changed_outputs_break() -> None:
    q = Column(name="q", dtype="int64")
    assert breaking_changes(signature(), signature(outputs=(q, ANSWER))) == (
        "a single output has become several, and TensorFlow Serving and MLflow answer with names then",
    )
    both = signature(outputs=(q, ANSWER))
    assert breaking_changes(both, signature()) == ("output q is gone",)
    retyped = signature(outputs=(q.model_copy(update={"dtype": "int32"}), ANSWER))
    assert breaking_changes(both, retyped) == ("output q was int64 and is int32",)
    reshaped = signature(outputs=(q, ANSWER.model_copy(update={"shape": (2,)})))
    assert breaking_changes(both, reshaped) == ("output p was float64 and is float64 [2]",)
    missing = signature(outputs=(q.model_copy(update={"nullable": True}), ANSWER))
    assert breaking_changes(both, missing) == ("output q may be missing in a row and had always a value",)


NUMBERS = st.builds(
    lambda low, high, nullable, required: Column(
        name="x", dtype="float64", minimum=low, maximum=high, nullable=nullable, required=required
    ),
    st.none() | st.integers(-3, 3),
    st.none() | st.integers(-3, 3),
    st.booleans(),
    st.none() | st.booleans(),
)


@given(before=NUMBERS, after=NUMBERS, values=st.lists(st.integers(-5, 5) | st.none(), max_size=5) | st.none())
def test_what_is_called_compatible_takes_whatever_the_champion_took(
    before: Column, after: Column, values: list[int | None] | None
) -> None:
    """`values` None: the request leaves the input out."""
    columns = {} if values is None else {"x": np.array(values, np.float64)}

    def takes(column: Column) -> bool:
        try:
            return not signature(column).rejects(columns)
        except InvalidInput:
            return False

    if not breaking_changes(signature(before), signature(after)):
        assert takes(after) or not takes(before)
