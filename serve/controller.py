"""The controller of rollouts: one replica that hears of every answer and moves traffic and aliases."""

import logging
import os
import threading
from datetime import UTC, datetime
from functools import partial

from ray import serve

from serve.judge import Judgement
from serve.keeper import Keeper
from serve.notice import announce
from serve.reports import Report
from serve.settings import ServeSettings
from taxiway.errors import RegistryError, TaxiwayError
from taxiway.registry import Registry
from taxiway.settings import home
from taxiway.telemetry.rollouts import RolloutMetrics

_log = logging.getLogger(__name__)

TICK_S = 1.0


class RolloutController:
    """Ray Serve keeps one of them; `serve.app` deploys it where an endpoint has a rollout.

    Its thread looks every second. What it must not forget lies in the registry and, of what was measured, in
    `${TAXIWAY_HOME}/rollouts`.
    """

    def __init__(self, settings: ServeSettings, home_folder: str) -> None:
        os.environ["TAXIWAY_HOME"] = home_folder
        self._metrics = RolloutMetrics()
        application = serve.get_replica_context().app_name
        registry = Registry(settings.registry)
        self._keepers = {
            endpoint.name: Keeper(
                registry,
                application,
                endpoint,
                Judgement(endpoint.name, settings.predictions, endpoint.split_by is None),
                partial(announce, webhook=endpoint.rollout.webhook),
                home() / "rollouts",
            )
            for endpoint in settings.endpoints
            if endpoint.rollout is not None
        }
        self._away: set[str] = set()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="rollouts", daemon=True)
        self._thread.start()

    def take(self, report: Report) -> None:
        """What a replica has told."""
        for keeper in self._keepers.values():
            keeper.take(report)

    def check_health(self) -> None:
        """Raises when nothing looks after the rollouts any more: Serve then replaces the replica."""
        if not self._thread.is_alive():
            raise TaxiwayError("the rollouts' controller has stopped")

    def __del__(self) -> None:
        self._stopping.set()

    def _run(self) -> None:
        while not self._stopping.wait(TICK_S):
            for name, keeper in self._keepers.items():
                self._tick(name, keeper)

    def _tick(self, name: str, keeper: Keeper) -> None:
        try:
            state = keeper.tick(datetime.now(UTC))
            self._away.discard(name)
            if state is not None:
                self._metrics.seen(state, keeper.verdict)
        except RegistryError as error:
            if name not in self._away:
                _log.warning("the rollout of %s stands still until the registry answers: %s", name, error)
            self._away.add(name)
        except Exception:  # noqa: BLE001 - the next tick looks again
            _log.exception("looking after the rollout of %s failed", name)
