"""The registry on what teams run it on: PostgreSQL, and an MLflow server before PostgreSQL and S3; all may fail."""

import json
import multiprocessing
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from multiprocessing import forkserver
from typing import Any
from unittest import mock

import mlflow
import pytest
import sklearn
from sklearn.pipeline import Pipeline

from taxiway.cli import main
from taxiway.errors import RegistryAway, RegistryError
from taxiway.history import Record, history
from taxiway.package import Lineage, ModelPackage, log_package
from taxiway.promotion import STAGE_TAG, VERDICT_TAG, challenge, promote, reject, rollback
from taxiway.registry import CHAMPION, ModelVersion, Registry
from taxiway.settings import RegistrySettings
from taxiway.turn import turn
from tests.backends import MlflowServer, Postgres, running, running_postgres
from tests.faulty_s3 import ENVIRONMENT, S3, running_s3
from tests.tiny_model import SIGNATURE, parcels, train

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
BACKENDS = ("postgresql", "server")
PROCESSES, PROMOTIONS = 3, 2
OTHERS = multiprocessing.get_context("forkserver")
IMPORTED = (__name__, "mlflow.store.tracking.sqlalchemy_store", "mlflow.store.model_registry.sqlalchemy_store")
QUICK = {
    "AWS_MAX_ATTEMPTS": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
}


@dataclass(frozen=True)
class Backends:
    """Everything that the registries stand on; both keep their records in one database."""

    postgres: Postgres
    server: MlflowServer
    s3: S3

    def settings(self, backend: str) -> RegistrySettings:
        if backend == "server":
            return RegistrySettings(tracking_uri=self.server.uri, artifact_location=None)
        return RegistrySettings(tracking_uri=self.postgres.uri, artifact_location="s3://taxiway/direct")

    def registry(self, backend: str) -> Registry:
        return Registry(self.settings(backend))


@pytest.fixture(scope="module")
def backends(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backends]:
    folder = tmp_path_factory.mktemp("server")
    with running_postgres() as postgres, mock.patch.dict(os.environ, ENVIRONMENT | QUICK), running_s3() as s3:
        os.environ["MLFLOW_S3_ENDPOINT_URL"] = s3.faulty_endpoint
        OTHERS.set_forkserver_preload(list(IMPORTED))
        forkserver.ensure_running()  # it imports while the servers start
        Registry(RegistrySettings(tracking_uri=postgres.uri)).experiment("makes the tables")
        server = MlflowServer(folder / "log", postgres.uri, "s3://taxiway/served", {})
        with running(server):
            yield Backends(postgres, server, s3)


@pytest.fixture(params=BACKENDS)
def registry(request: pytest.FixtureRequest, backends: Backends) -> Registry:
    return backends.registry(request.param)


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A model of the test's own."""
    return re.sub(r"\W", "-", request.node.name)


def registered(registry: Registry, name: str, count: int = 3) -> list[ModelVersion]:
    return [registry.register(name, "s3://taxiway/nothing", "", {"number": str(it)}) for it in range(count)]


def records(registry: Registry, name: str) -> list[Record]:
    return [entry.record for entry in history(registry, name)]


def stage(registry: Registry, version: ModelVersion) -> str | None:
    state = registry.describe(version)
    assert state is not None
    return state.tags.get(STAGE_TAG)


def test_promotions_and_rollbacks_leave_aliases_stages_and_records(registry: Registry, name: str) -> None:
    one, two, three = registered(registry, name)
    assert registry.alias(name, CHAMPION) is None
    for version in (one, two):
        promote(registry, version, "ada", "better", NOON)
    challenge(registry, three, "retrain", "passed its gate", NOON)
    assert registry.resolve(f"models:/{name}@challenger") == three
    promote(registry, three, "ada", "better yet", NOON)
    rollback(registry, name, "grace", "p99 doubled", NOON)
    assert registry.resolve(f"models:/{name}@champion") == two
    assert registry.live(name).aliases == {CHAMPION: "2"}
    assert [stage(registry, it) for it in (one, two, three)] == ["retired", "champion", "retired"]
    assert [(it.action, it.from_version, it.to_version, it.state) for it in records(registry, name)] == [
        ("promote", None, "1", "done"),
        ("promote", "1", "2", "done"),
        ("challenge", None, "3", "done"),
        ("promote", "2", "3", "done"),
        ("rollback", "3", "2", "done"),
    ]
    assert [key for key in registry.live(name).tags if "turn" in key] == []


@pytest.mark.parametrize("end", ["@champion", "/99"])
def test_what_is_not_there_is_not_there_and_not_away(registry: Registry, name: str, end: str) -> None:
    registered(registry, name, 1)
    for uri in (f"models:/{name}{end}", f"models:/nobody{end}"):
        with pytest.raises(RegistryError, match="is not in the registry") as caught:
            registry.resolve(uri)
        assert not isinstance(caught.value, RegistryAway)


def test_the_longest_texts_fit_into_the_database(registry: Registry, name: str) -> None:
    one, two, _ = registered(registry, name)
    promote(registry, one, '"' * 300, '"\n' * 2_000, NOON)
    verdict = {"passed": False, "reasons": ["ü" * 49_000]}
    reject(registry, two, "gate", "\\" * 3_000, NOON, verdict)
    first, second = records(registry, name)
    assert (len(first.by), len(first.reason), len(second.reason)) == (200, 2_000, 2_000)
    state = registry.describe(two)
    assert state is not None
    assert json.loads(state.tags[VERDICT_TAG]) == verdict


def test_a_model_that_several_register_for_the_first_time_is_made_once(registry: Registry, name: str) -> None:
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: registered(registry, name, 1)[0].version, range(4)))
        experiments = set(pool.map(lambda _: registry.experiment(name), range(4)))
    assert sorted(found) == ["1", "2", "3", "4"]
    assert len(experiments) == 1


# Artifacts in S3.


def logged(registry: Registry, name: str) -> tuple[ModelVersion, Pipeline]:
    model = train()
    with mlflow.start_run(experiment_id=registry.experiment(name)) as run:
        lineage = Lineage(
            data_digest="0" * 64, data_rows=2_000, code_revision="r1", run_id=run.info.run_id, parameters={}, metrics={}
        )
        package = ModelPackage(signature=SIGNATURE, lineage=lineage)
        uri = log_package(model, package, {"scikit-learn": sklearn.__version__})
    return registry.register(name, uri, run.info.run_id, {}), model


@pytest.fixture(scope="module")
def trained(backends: Backends) -> dict[str, tuple[ModelVersion, list[float]]]:
    """backend -> a version with a package, and what its model says of ten parcels."""
    found = {}
    for backend in BACKENDS:
        version, model = logged(backends.registry(backend), f"parcel-{backend}")
        found[backend] = version, model.predict_proba(_asked())[:, 1].tolist()
    return found


def _asked() -> dict[str, Any]:
    return parcels(10, seed=3)


@pytest.mark.parametrize(("backend", "prefix"), [("postgresql", "direct/"), ("server", "served/")])
def test_a_package_in_s3_is_loaded_and_answers_as_it_did(
    backends: Backends, trained: dict[str, tuple[ModelVersion, list[float]]], backend: str, prefix: str
) -> None:
    version, expected = trained[backend]
    assert any(key.endswith("/MLmodel") for key in backends.s3.keys(prefix))
    registry = backends.registry(backend)
    loaded = registry.load(registry.resolve(f"models:/{version.name}/{version.version}"))
    assert loaded.package.signature == SIGNATURE
    assert loaded.predictor.predict(_asked())["probability"].tolist() == expected


@pytest.mark.parametrize("backend", BACKENDS)
def test_artifacts_that_can_not_be_had_are_a_registry_error(
    backends: Backends, trained: dict[str, tuple[ModelVersion, list[float]]], backend: str
) -> None:
    registry, (version, _) = backends.registry(backend), trained[backend]
    backends.s3.faults.failures = 1_000
    try:
        with pytest.raises(RegistryError, match=rf"the artifacts of models:/parcel-{backend}/1 can't be had") as caught:
            registry.fetch(version)
    finally:
        backends.s3.faults.failures = 0
    assert len(str(caught.value).splitlines()) == 1
    assert registry.fetch(version).is_dir()


# Several at once.


def change_in_turns(jobs: list[tuple[RegistrySettings, str]], number: int, together: Any) -> None:
    """Of a process of its own: promotes one version after the other, on each backend."""
    for settings, model in jobs:
        registry = Registry(settings)
        registry.live(model)
        together.wait(100)
        for position in range(PROMOTIONS):
            version = ModelVersion(model, str(1 + (number + position) % PROCESSES), "")
            promote(registry, version, f"process {number}", f"number {position}", datetime.now(UTC))


@pytest.fixture(scope="module")
def contested(backends: Backends) -> dict[str, str]:
    """backend -> a model that several processes have changed at once."""
    models = {backend: f"contested-{backend}" for backend in BACKENDS}
    for backend, model in models.items():
        registered(backends.registry(backend), model, PROCESSES)
    jobs = [(backends.settings(backend), model) for backend, model in models.items()]
    together = OTHERS.Barrier(PROCESSES)
    processes = [OTHERS.Process(target=change_in_turns, args=(jobs, it, together)) for it in range(PROCESSES)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(150)
    assert [process.exitcode for process in processes] == [0] * PROCESSES
    return models


@pytest.mark.parametrize("backend", BACKENDS)
def test_several_processes_leave_one_champion_and_every_record(
    backends: Backends, contested: dict[str, str], backend: str
) -> None:
    registry, model = backends.registry(backend), contested[backend]
    found = records(registry, model)
    assert {it.state for it in found} == {"done"}
    assert [it.from_version for it in found] == [None, *(it.to_version for it in found[:-1])]
    for number in range(PROCESSES):
        own = [it.reason for it in found if it.by == f"process {number}"]
        # Who finds its version to be champion already leaves no record.
        assert own == sorted(set(own))
        assert own
    live = registry.live(model)
    assert live.aliases == {CHAMPION: found[-1].to_version}
    stages = {it: stage(registry, ModelVersion(model, it, "")) for it in map(str, range(1, PROCESSES + 1))}
    assert [it for it, told in stages.items() if told == "champion"] == [found[-1].to_version]
    assert [key for key in live.tags if key.startswith("taxiway.turn.")] == []


def test_postgresql_keeps_writers_of_one_model_apart_and_lets_go_of_the_dead(backends: Backends, name: str) -> None:
    registry = backends.registry("postgresql")
    registered(registry, name, 1)
    with turn(registry, name, "ada") as still_mine:
        with pytest.raises(RegistryError, match=r"is being changed by others for 0 s now"):
            turn(registry, name, "grace", wait_s=0.2).__enter__()
        with turn(registry, f"{name} of others", "grace", wait_s=0.2):
            still_mine()
        backends.postgres.kill()
        backends.postgres.start()
        with turn(registry, name, "grace", wait_s=0.2), pytest.raises(RegistryAway, match="look at its history"):
            still_mine()


# Backends that fail in the middle.


class Interrupted(Registry):
    """Something happens at one moment of a promotion, before its write."""

    def __init__(self, settings: RegistrySettings, moment: str, happens: Callable[[], object]) -> None:
        super().__init__(settings)
        self._moment, self._happens = moment, happens

    def _comes(self, moment: str) -> None:
        if moment == self._moment:
            self._happens()

    def write_tag(self, name: str, key: str, value: str) -> None:
        if key.startswith("taxiway.history."):
            self._comes(str(json.loads(value)["state"]))
        super().write_tag(name, key, value)

    def point(self, alias: str, version: ModelVersion) -> None:
        self._comes("alias")
        super().point(alias, version)


Failure = Callable[[Backends], AbstractContextManager[Callable[[], object]]]


@contextmanager
def stands_still(backends: Backends) -> Iterator[Callable[[], object]]:
    """The server takes requests and answers them when it is too late."""
    with ExitStack() as stack:

        def happens() -> None:
            stack.enter_context(mock.patch.dict(os.environ, {"MLFLOW_HTTP_REQUEST_TIMEOUT": "1"}))
            stack.enter_context(backends.server.suspended())

        yield happens
    time.sleep(1)  # it does what it was sent


@contextmanager
def server_dies(backends: Backends) -> Iterator[Callable[[], object]]:
    yield backends.server.kill
    backends.server.start()


@contextmanager
def database_dies(backends: Backends) -> Iterator[Callable[[], object]]:
    yield backends.postgres.kill
    backends.postgres.start()


@contextmanager
def database_restarts(backends: Backends) -> Iterator[Callable[[], object]]:
    def happens() -> None:
        backends.postgres.kill()
        backends.postgres.start()

    yield happens


FAILURES: list[tuple[str, Failure, str]] = [
    ("postgresql", database_dies, "begun"),
    ("postgresql", database_dies, "alias"),
    ("postgresql", database_dies, "done"),
    ("postgresql", database_restarts, "alias"),
    ("server", database_dies, "alias"),
    ("server", stands_still, "alias"),
    ("server", stands_still, "done"),
    ("server", server_dies, "alias"),
]


@pytest.mark.parametrize(("backend", "failure", "moment"), FAILURES)
def test_a_promotion_whose_backend_fails_is_away_and_the_same_again_leaves_one_whole(
    backends: Backends, name: str, backend: str, failure: Failure, moment: str
) -> None:
    registry = backends.registry(backend)
    one, two = registered(registry, name, 2)
    promote(registry, one, "ada", "first", NOON)
    with failure(backends) as happens, pytest.raises(RegistryAway) as caught:
        promote(Interrupted(backends.settings(backend), moment, happens), two, "ada", "better", NOON)
    assert "secret" not in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    if moment == "done":
        assert registry.live(name).aliases == {CHAMPION: "2"}
    promote(registry, two, "ada", "better", NOON)
    assert registry.live(name).aliases == {CHAMPION: "2"}
    assert [stage(registry, it) for it in (one, two)] == ["retired", "champion"]
    done = [it for it in records(registry, name) if it.state != "abandoned"]
    assert [(it.from_version, it.to_version, it.state) for it in done] == [(None, "1", "done"), ("1", "2", "done")]


def test_a_database_that_is_away_is_said_to_be_away_at_once(
    backends: Backends, capsys: pytest.CaptureFixture[str]
) -> None:
    uri = backends.postgres.uri
    with database_dies(backends) as happens:
        happens()
        began = time.monotonic()
        with pytest.raises(RegistryAway, match=r"the registry postgresql\+psycopg://\*\*\*@127.* does not answer"):
            Registry(RegistrySettings(tracking_uri=uri)).live("parcel-postgresql")
        assert main(["history", "parcel-postgresql", "--tracking-uri", uri]) == 1
        assert time.monotonic() - began < 10
    told = capsys.readouterr()
    assert (told.out, len(told.err.splitlines())) == ("", 1)
    assert "secret" not in told.err


def test_a_server_that_stands_still_is_away_and_then_answers(backends: Backends, name: str) -> None:
    registry = backends.registry("server")
    (version,) = registered(registry, name, 1)
    with stands_still(backends) as happens:
        happens()
        with pytest.raises(RegistryAway, match=rf"models:/{name}/1: the registry http://127"):
            registry.resolve(version.uri)
        with pytest.raises(RegistryAway, match="experiment 'letters'"):
            registry.experiment("letters")
    assert registry.resolve(version.uri) == version


# As a user would.


def test_the_commands_tell_of_a_model_behind_a_server_and_import_no_feast(
    backends: Backends, trained: dict[str, tuple[ModelVersion, list[float]]], capsys: pytest.CaptureFixture[str]
) -> None:
    version, _ = trained["server"]
    where = ["--tracking-uri", backends.server.uri]
    assert main(["promote", version.uri, "--by", "ada", "--reason", "the first", *where]) == 0
    assert "is version 1; promote by ada" in capsys.readouterr().out
    asked = (["history", version.name], ["lineage", f"models:/{version.name}@champion", "--json"])
    commands = [
        subprocess.Popen(
            [sys.executable, "-m", "taxiway", *command, *where],
            env=os.environ | {"PYTHONPROFILEIMPORTTIME": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for command in asked
    ]
    (told, imported), (report, _) = (command.communicate(timeout=120) for command in commands)
    assert [command.returncode for command in commands] == [0, 0]
    assert told.splitlines()[1].split()[2:] == ["promote", "1", "-", "ada", "the", "first"]
    assert " mlflow" in imported
    assert " feast" not in imported
    found = json.loads(report)
    assert (found["version"], found["aliases"], found["code_revision"]) == ("1", ["champion"], "r1")
    assert (found["promoted"]["by"], found["unreadable"]) == ("ada", None)
