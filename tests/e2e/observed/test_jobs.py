"""What a scoring job and a retraining on a real Ray tell a collector of OTLP and a Pushgateway."""

from collections.abc import Sequence

import pytest

from taxiway.lineage import TRIGGER_TAG
from taxiway.registry import Registry
from tests.e2e.observed.conftest import Jobs
from tests.observed_application import Observed
from tests.observed_jobs import LOOKS, PIECES, REJECTED, ROWS, TRIALS, Ended
from tests.observed_models import BOX
from tests.otlp_receiver import Seen
from tests.prometheus import needs_prometheus
from tests.tiny_model import registry_settings

pytestmark = [pytest.mark.timeout(600), needs_prometheus]


def named(spans: Sequence[Seen], name: str) -> list[Seen]:
    return [span for span in spans if span.name == name]


def whole(spans: Sequence[Seen], job: Ended, name: str) -> Seen:
    """The job's own span, which goes on in its scheduler's trace and holds all others."""
    (found,) = named(spans, name)
    assert found.parent == job.parent
    assert found.error is None
    assert found.resource["service.name"] == f"taxiway-{name}"
    ids = {span.span_id for span in spans}
    assert all(span.parent in ids for span in spans if span is not found)
    assert all(found.start_ns <= span.start_ns <= span.end_ns <= found.end_ns for span in spans)
    return found


def test_a_drift_alarm_sets_off_a_retraining_that_answers_it(observed: Observed, jobs: Jobs) -> None:
    done = jobs.retraining
    assert done.status == 0, done.err
    (due,) = [line for line in done.out.splitlines() if line.startswith("retrain: due: ")]
    assert due.startswith(f"retrain: due: alarm of {BOX}: drift of champion version 1 in 2 windows: ")
    assert "inputs/size (PSI" in due
    registry = Registry(registry_settings(observed.folder))
    described = registry.describe(registry.resolve(f"models:/{BOX}/2"))
    assert described is not None
    assert described.tags[TRIGGER_TAG].startswith(f"alarm of {BOX}: drift of champion")
    assert list((observed.folder / "retrain" / BOX / "alarms").glob("*")) == []


def test_a_retraining_leaves_a_span_for_each_stage_trial_and_look(observed: Observed, jobs: Jobs) -> None:
    spans = jobs.retraining.spans(observed)
    root = whole(spans, jobs.retraining, "retrain")
    stages = [span.name for span in sorted(spans, key=lambda it: it.start_ns) if span.parent == root.span_id]
    assert stages == ["open", "labels", "features", "checks", "search", "refit", "judge", "register"]
    (search,) = named(spans, "search")
    trials, looks = named(spans, "trial"), named(spans, "look")
    assert {span.parent for span in trials} == {search.span_id}
    assert sorted(span.attributes["taxiway.trial"] for span in trials) == list(range(1, TRIALS + 1))
    for trial in trials:
        own = [look for look in looks if look.parent == trial.span_id]
        assert [it.attributes["taxiway.iterations"] for it in own] == [5 * (number + 1) for number in range(LOOKS)]
        assert all(trial.start_ns - 1e8 <= it.start_ns <= it.end_ns <= trial.end_ns for it in own)


def test_a_scoring_job_leaves_a_span_for_each_piece(observed: Observed, jobs: Jobs) -> None:
    assert jobs.scoring.status == 0, jobs.scoring.err
    spans = jobs.scoring.spans(observed)
    root = whole(spans, jobs.scoring, "batch")
    assert root.attributes["taxiway.rows"] == ROWS
    assert root.attributes["taxiway.model"] == "models:/delivery/1"
    pieces = named(spans, "piece")
    assert {span.parent for span in pieces} == {root.span_id}
    assert sorted(span.attributes["taxiway.piece"] for span in pieces) == list(range(PIECES))
    assert sum(span.attributes["taxiway.rows"] for span in pieces) == ROWS
    assert sum(span.attributes["taxiway.rows.rejected"] for span in pieces) == REJECTED
    (planning,), (closing,) = named(spans, "planning"), named(spans, "closing")
    assert planning.end_ns <= min(span.start_ns for span in pieces)
    assert max(span.end_ns for span in pieces) <= closing.end_ns
