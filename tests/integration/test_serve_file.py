"""`python -m serve FILE`: which listener goes with which proxies."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from serve.__main__ import main
from serve.grpc_serve import SERVICER_FUNCTION
from tests.tiny_model import register, registry_settings

Run = Callable[[dict[str, Any]], tuple[int | None, str]]
NO_RPC = "or no RPC reaches application 'parcels'"
NO_LISTENER = "expected serve, or the keys of a listener of our own"
RPCS = {"port": 9000, "grpc_servicer_functions": [SERVICER_FUNCTION]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("registry")
    register(folder)
    return folder


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Checks a file; gives the exit status and what was said."""

    def checked(config: dict[str, Any]) -> tuple[int | None, str]:
        path = tmp_path / "serve.yaml"
        path.write_text(json.dumps(config))
        status = main([str(path)])
        said = capsys.readouterr()
        return status, (said.out + said.err).replace(f"{path}: ", "")

    return checked


def config(folder: Path, listener: Any = "serve", **rest: Any) -> dict[str, Any]:
    arguments = {
        "endpoints": [{"name": "parcel", "model": "models:/parcel@champion"}],
        "registry": registry_settings(folder).model_dump(),
        "listener": listener,
    }
    application = {
        "name": "parcels",
        "route_prefix": "/parcels",
        "import_path": "serve.app:build",
        "args": arguments,
    }
    return {"applications": [application], "http_options": {"host": "127.0.0.1", "port": 8001}} | rest


def test_an_application_behind_serve_is_found_below_its_prefix(folder: Path, run: Run) -> None:
    for rest in ({}, {"proxy_location": "HeadOnly"}, {"grpc_options": RPCS}):
        status, said = run(config(folder, **rest))
        assert (status, said.rpartition(", at ")[2].strip()) == (0, "http://127.0.0.1:8001/parcels/v2/models/parcel")


def test_a_servicer_function_may_be_written_with_a_colon(folder: Path, run: Run) -> None:
    function = ":".join(SERVICER_FUNCTION.rsplit(".", 1))
    assert run(config(folder, grpc_options={"grpc_servicer_functions": [function]}))[0] == 0


@pytest.mark.parametrize(
    ("listener", "rest", "complaint"),
    [
        (
            "serve",
            {"proxy_location": "Disabled"},
            "key 'proxy_location': must be HeadOnly or EveryNode, application 'parcels' has listener: serve",
        ),
        (
            "serve",
            {"grpc_options": {"port": 9000}},
            f"key 'grpc_options.grpc_servicer_functions': must name {SERVICER_FUNCTION}, {NO_RPC}",
        ),
        ({"port": 8000}, {}, "key 'proxy_location': must be Disabled, the ingress replicas listen themselves"),
        (
            "server",
            {},
            f"application 'parcels': key 'listener': {NO_LISTENER}, found 'server'",
        ),
    ],
)
def test_proxies_that_do_not_go_with_the_listener_are_refused_in_one_sentence(
    folder: Path, run: Run, listener: Any, rest: dict[str, Any], complaint: str
) -> None:
    assert run(config(folder, listener, **rest)) == (2, complaint + "\n")


@pytest.mark.parametrize("options", ["http_options", "grpc_options"])
def test_an_unknown_option_of_the_proxies_is_named(folder: Path, run: Run, options: str) -> None:
    status, said = run(config(folder, **{options: {"prot": 1}}))
    assert (status, f"{options}: unknown key 'prot'; known here: " in said) == (2, True)


def test_a_listener_of_our_own_and_one_behind_serve_do_not_share_a_file(folder: Path, run: Run) -> None:
    both = config(folder, proxy_location="Disabled")
    other = copy.deepcopy(both["applications"][0]) | {"name": "other", "route_prefix": "/other"}
    other["args"]["listener"] = {"port": 8000}
    both["applications"].append(other)
    assert run(both)[0] == 2
    assert run(both | {"proxy_location": "EveryNode"})[0] == 2


def test_two_applications_behind_serve_need_no_ports_of_their_own(folder: Path, run: Run) -> None:
    both = config(folder)
    both["applications"].append(both["applications"][0] | {"name": "other", "route_prefix": "/other"})
    status, said = run(both)
    assert (status, said.count("/v2/models/parcel")) == (0, 2)


def test_the_example_behind_serve_is_valid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TAXIWAY_HOME", str(tmp_path))
    register(tmp_path, name="flight-delay")
    status = main(["configs/flights/behind_serve.yaml"])
    assert status == 0
    assert "at http://127.0.0.1:8000/flights/v2/models/flight-delay" in capsys.readouterr().out
