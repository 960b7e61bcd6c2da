"""The examples of docs/protocols.md are run as they stand there."""

import contextlib
import io
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from taxiway.signature import Array, Column, Columns, row_count
from tests.echo_server import Model, Served, serving

PAGE = (Path(__file__).parents[2] / "docs" / "protocols.md").read_text()
EXAMPLES = re.findall(r"^```(sh|python)\n(.*?)^```\n```json\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
PATHS = re.findall(r"`(?:(?:GET|POST) )?(/[^` \[]*)[^`]*`", PAGE.partition("## What is decided")[0])


def quarter(columns: Columns) -> dict[str, Array]:
    return {"probability": np.full(row_count(columns), 0.25)}


FLIGHT_DELAY = Model(
    inputs=(
        Column(name="carrier", dtype="string"),
        Column(name="origin", dtype="string"),
        Column(name="dest", dtype="string"),
        Column(name="tailnum", dtype="string", nullable=True),
        Column(name="distance", dtype="int64"),
        Column(name="departure_hour", dtype="float64"),
        Column(name="weekday", dtype="int64"),
    ),
    outputs=(Column(name="probability", dtype="float64"),),
    answer=quarter,
)


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serving({"flight-delay": FLIGHT_DELAY}) as served:
        yield served


def without_ids(answer: Any) -> Any:
    if isinstance(answer, dict):
        answer.get("parameters", {}).pop("prediction_id", None)
    return answer


@pytest.mark.parametrize(("language", "code", "answer"), EXAMPLES)
def test_an_example_gets_the_answer_that_stands_below_it(served: Served, language: str, code: str, answer: str) -> None:
    code = code.replace("localhost:8000", f"127.0.0.1:{served.port}")
    code = code.replace("localhost:8001", f"127.0.0.1:{served.grpc_port}")
    if language == "sh":
        found = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", code], capture_output=True, text=True, check=True
        ).stdout
    else:
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            exec(code, {})  # noqa: S102 - the page is ours
        found = printed.getvalue()
    assert without_ids(json.loads(found)) == without_ids(json.loads(answer))


def test_every_protocol_has_an_example() -> None:
    for part in ("/v2/models/", "/v1/models/", "/invocations", "/predictions/", "text/csv", "tritonclient.grpc"):
        assert any(part in code for _, code, _ in EXAMPLES), part


def test_every_path_of_the_page_is_served(served: Served) -> None:
    paths = {path.replace("M", "flight-delay").replace("/V", "/1") for path in PATHS}
    assert len(paths) > 15
    missing = [path for path in paths if httpx.request("OPTIONS", served.url + path).status_code == 404]
    assert missing == []
