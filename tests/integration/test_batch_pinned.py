"""A model version is taken out of the registry once, and actors get it without one."""

import subprocess
import sys

import numpy as np
import pytest

from batch.carried import unpack
from batch.pinned import CarriedModel, _archive, pin
from taxiway.errors import RegistryAway, RegistryError
from taxiway.registry import Registry
from taxiway.settings import RegistrySettings
from tests.tiny_model import parcels, register, registry_settings


@pytest.fixture(scope="module")
def registered(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pinned")
    version = register(folder)
    return Registry(registry_settings(folder)), version


def test_the_carried_model_answers_as_the_loaded_one_does(registered):
    registry, version = registered
    columns = parcels(500, seed=3)
    expected = registry.load(version).predictor.predict(columns)["probability"]
    pinned = pin(registry, version)
    assert pinned.carried.pickled is not None
    for carried in (pinned.carried, CarriedModel(None, _archive(registry.fetch(version)))):
        answers = unpack(carried.pickled, carried.archive).predict(columns)["probability"]
        np.testing.assert_array_equal(answers, expected)


def test_a_version_whose_files_have_changed_since_the_start_is_refused(registered):
    registry, version = registered
    digest = pin(registry, version).model.digest
    assert pin(registry, version, digest).model.digest == digest
    with pytest.raises(RegistryError, match=f"has other files than when the run began .SHA-256 {digest[:12]}"):
        pin(registry, version, "0" * 64)


def test_a_registry_that_does_not_answer_is_something_to_try_later(monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(RegistryAway, match=r"127\.0\.0\.1:9"):
        Registry(RegistrySettings(tracking_uri="http://127.0.0.1:9")).resolve("models:/parcel@champion")


def test_an_actor_imports_no_registry():
    code = (
        "import sys, batch.actor, batch.carried, batch.join, batch.scorer\n"
        "slow = {'mlflow', 'feast', 'pandas', 'sklearn', 'matplotlib'} & set(sys.modules)\n"
        "assert not slow, slow"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
