"""One Ray for all failures, and for the replicas that come and go."""

from collections.abc import Iterator

import pytest

from taxiway.registry import Registry
from tests.e2e.faults.serving import Serving, config
from tests.faulty_models import register_faulty
from tests.load import SEEDS
from tests.ports import free_port
from tests.serving_cluster import serving
from tests.tiny_model import parcels, register, registry_settings

FACTOR, SLOW_S = 1.1, 0.02


@pytest.fixture(scope="package")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    folder = tmp_path_factory.mktemp("home")
    registry = Registry(registry_settings(folder))
    versions = [register(folder, seed=seed) for seed in (0, 7, 14)]
    registry.point("champion", versions[0])
    registry.point("challenger", versions[1])
    register_faulty(folder, "faulty", factor=FACTOR)
    register_faulty(folder, "slow", factor=FACTOR, call_s=SLOW_S)
    register_faulty(folder, "busy", factor=3.0, call_s=0.05)
    register_faulty(folder, "patient", factor=5.0, load_s=3.0)
    expected = {}
    for version in versions:
        predictor = registry.load(version).predictor
        expected[version.version] = [predictor.predict(parcels(1, seed))["probability"][0] for seed in range(SEEDS)]
    grpc_port = free_port()
    with serving(folder, config(folder, grpc_port)) as cluster:
        yield Serving(cluster, folder, grpc_port, expected)
