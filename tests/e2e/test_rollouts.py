"""A rollout on a real Ray: by itself from challenger to champion, although its controller is killed at each step."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import pytest

from taxiway.registry import CHALLENGER, CHAMPION, Registry
from taxiway.rollout.state import RolloutState
from taxiway.rollouts import Rollouts
from tests.integration.test_ingress import free_port
from tests.integration.test_rollouts import Clients
from tests.integration.test_variants import eventually
from tests.serving_cluster import serving
from tests.spoiled_model import register_as
from tests.tiny_model import registry_settings

pytestmark = pytest.mark.timeout(600)

CHECKS = {
    "errors": {"max_increase": 0.05},
    "slow": None,
    "missing": None,
    "quality": {"min_labels": 50, "max_loss_increase": 0.3},
    "min_requests": 50,
}
STEPS = [{"shadow": 100, "min_s": 2, "max_s": 600}, {"weight": 50, "min_s": 2, "max_s": 600}]


def config(folder: Path, port: int) -> dict[str, Any]:
    rollout = {"start": "automatic", "steps": STEPS, "checks": CHECKS}
    variants = [{"name": name, "model": f"models:/parcel@{name}"} for name in ("champion", "challenger")]
    arguments = {
        "endpoints": [{"name": "parcel", "variants": variants, "rollout": rollout}],
        "listener": {"host": "127.0.0.1", "port": port, "drain_s": 1},
        "ingress": {"cpus": 0.2},
        "registry": registry_settings(folder).model_dump(exclude_none=True),
        "predictions": {"flush_s": 0.5},
    }
    application = {"name": "parcels", "import_path": "serve.app:build", "args": arguments}
    application["deployments"] = [{"name": "rollouts", "health_check_period_s": 1}]
    return {"proxy_location": "Disabled", "applications": [application]}


def test_a_rollout_goes_on_when_its_controller_is_killed_and_promotes_once(tmp_path: Path) -> None:
    settings = registry_settings(tmp_path)
    weak = register_as(settings, CHAMPION, iterations=4)
    port = free_port()
    with serving(tmp_path, config(tmp_path, port)) as cluster:
        registry = Registry(settings)
        rollouts = Rollouts(registry, "parcels", "parcel", "parcel")
        clients = Clients(port)

        def present() -> RolloutState:
            state = rollouts.read()
            assert state is not None
            return state

        def kill_controller() -> None:
            eventually(lambda: bool(cluster.processes("parcels:rollouts")), 120)
            for process in cluster.processes("parcels:rollouts"):
                process.kill()
                psutil.wait_procs([process], timeout=30)

        try:
            good = register_as(settings, CHALLENGER)
            eventually(lambda: rollouts.read() is not None, 120)
            kill_controller()
            eventually(lambda: present().step == 1 or present().phase != "running", 180)
            kill_controller()
            eventually(lambda: present().is_over, 180)
        finally:
            clients.stop()
    state = present()
    assert state.outcome == "promoted", state.events
    assert (state.champion_version, state.challenger_version) == (weak.version, good.version)
    assert dict(registry.live("parcel").aliases) == {CHAMPION: good.version}
    assert [event.what for event in state.events] == ["started", "step", "promoting", "promoted"]
    assert state.ended is not None
    assert state.ended < datetime.now(UTC)
    assert {status for status, _ in clients.answers} == {200}
    assert clients.labels > 100
