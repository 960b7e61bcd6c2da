"""How a retraining ended, in a Pushgateway."""

from taxiway.telemetry.retraining import push_retraining
from tests.pushgateway import pushgateway


def test_a_failure_leaves_the_moment_of_the_last_success() -> None:
    with pushgateway() as pushed:
        push_retraining(pushed.url, "delay", 100.0, 0)
        push_retraining(pushed.url, "delay", 200.0, 1)
        assert [*pushed.groups] == [(("job", "taxiway_retraining"), ("model", "delay"))]
        assert pushed.value("taxiway_retraining_last_success_timestamp_seconds") == 100
        assert pushed.value("taxiway_retraining_last_run_timestamp_seconds") == 200
        assert pushed.value("taxiway_retraining_last_run_exit_status") == 1


def test_a_gateway_that_is_away_fails_nothing() -> None:
    push_retraining("http://127.0.0.1:1", "delay", 100.0, 0)
