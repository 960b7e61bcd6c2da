"""The rules of a real Prometheus, while nothing is wrong."""

import pytest

from tests.integration.test_variants import eventually
from tests.observed_application import Observed
from tests.prometheus import needs_prometheus

pytestmark = [pytest.mark.timeout(600), needs_prometheus]


def test_rules_are_evaluated_without_an_error_and_no_alert_is_raised(observed: Observed) -> None:
    scraped = observed.prometheus
    eventually(lambda: all(rule["health"] == "ok" for group in scraped.rules() for rule in group["rules"]), 60)
    eventually(lambda: bool(scraped.query("endpoint:taxiway_requests:rate5m")), 60)
    assert scraped.query('ALERTS{alertstate="firing"}') == []
