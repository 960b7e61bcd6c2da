"""One Ray for everything that looks at a serving, and for the rollouts whose processes are killed in the end."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cluster.observability.generate import HERE
from taxiway.profile import Profile
from tests.e2e.observed.drifting import Drifted, drift_away
from tests.e2e.observed.killed import Versions, killed_application, registered
from tests.observed_application import Observed, application, asked
from tests.observed_jobs import Ended, retraining, scored
from tests.observed_models import register_all
from tests.otlp_receiver import Receiver, over_grpc
from tests.ports import free_port
from tests.prometheus import prometheus
from tests.pushgateway import pushgateway
from tests.serving_cluster import Cluster, serving


@dataclass(frozen=True)
class World:
    """The Ray with both applications.

    Attributes:
        reference: the reference profile of `box`.
        versions: of the models whose rollouts are killed.
        observing: what ends when the killing begins.
    """

    folder: Path
    cluster: Cluster
    collector: Receiver
    reference: Profile
    versions: Versions
    observing: ExitStack


@pytest.fixture(scope="package")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("home")
    versions, reference = registered(folder), register_all(folder)
    with over_grpc() as collector:
        applications = [
            killed_application(folder, free_port()),
            application(folder, free_port(), collector.endpoint),
        ]
        serve_file: dict[str, Any] = {"proxy_location": "Disabled", "applications": applications}
        with serving(folder, serve_file) as cluster, ExitStack() as observing:
            yield World(folder, cluster, collector, reference, versions, observing)


@pytest.fixture(scope="package")
def observed(world: World) -> Observed:
    """Somebody asks it, and a Prometheus scrapes it."""
    gateway = world.observing.enter_context(pushgateway())
    rules, targets = HERE / "prometheus/rules.yaml", world.cluster.targets()
    scraped = world.observing.enter_context(prometheus(world.folder, targets, rules, gateway.address))
    found = Observed(world.folder, world.cluster, scraped, world.collector, gateway, world.reference)
    world.observing.enter_context(asked(found.url))
    return found


@pytest.fixture(scope="package")
def drifted(observed: Observed) -> Drifted:
    return drift_away(observed)


@dataclass(frozen=True)
class Jobs:
    scoring: Ended
    retraining: Ended


@pytest.fixture(scope="package")
def jobs(observed: Observed, drifted: Drifted) -> Jobs:
    """Both at once: each waits for much that the other does not need."""
    with ThreadPoolExecutor(1) as beside:
        scoring = beside.submit(scored, observed)
        retrained = retraining(observed).ended()
        return Jobs(scoring.result(), retrained)
