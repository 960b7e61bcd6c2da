"""Clients that we did not write against a real ingress, in every protocol; and what fuzzing finds."""

import asyncio
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest
import schemathesis
import tritonclient.grpc
import tritonclient.http
import tritonclient.http.aio
from hypothesis import HealthCheck, given, settings
from mlflow.pyfunc.scoring_server.client import ScoringServerClient

from serve.ingress import Ingress
from serve.settings import EndpointSettings, LimitSettings, ListenerSettings, ServeSettings
from taxiway.registry import Registry
from taxiway.signature import Array
from tests.integration.test_ingress import DATATYPES, INFER, question
from tests.ports import free_port
from tests.tiny_model import parcels, register, registry_settings

ROWS = 6


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("registry")
    register(folder)
    return folder


@pytest.fixture(scope="module")
def ports() -> tuple[int, int]:
    return free_port(), free_port()


@pytest.fixture(scope="module")
def ingress(folder: Path, ports: tuple[int, int]) -> Iterator[Ingress]:
    ingress = Ingress(
        "tests",
        ServeSettings(
            endpoints=(EndpointSettings(name="parcel", model="models:/parcel@champion"),),
            registry=registry_settings(folder),
            listener=ListenerSettings(host="127.0.0.1", port=ports[0], grpc_port=ports[1], drain_s=2),
            limits=LimitSettings(queue_requests=4),
        ),
    )
    ingress.listen()
    yield ingress
    ingress.drain()


@pytest.fixture(scope="module")
def columns() -> dict[str, Array]:
    return {name: values for name, values in parcels(ROWS, 5).items() if name not in ("comment", "weight")}


@pytest.fixture(scope="module")
def expected(folder: Path, columns: dict[str, Array]) -> list[float]:
    registry = Registry(registry_settings(folder))
    full = columns | {"weight": np.full(ROWS, np.nan), "comment": np.full(ROWS, None)}
    predictor = registry.load(registry.resolve("models:/parcel@champion")).predictor
    return list(predictor.predict(full)["probability"].tolist())


def tensors(client: Any, columns: dict[str, Array], **form: Any) -> list[Any]:
    found = []
    for name, values in columns.items():
        tensor = client.InferInput(name, [len(values)], DATATYPES[name])
        tensor.set_data_from_numpy(values, **form)
        found.append(tensor)
    return found


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("compression", [None, "gzip", "deflate"])
def test_tritons_http_client(
    ingress: Ingress, ports: tuple[int, int], columns: Any, expected: Any, binary: bool, compression: str | None
) -> None:
    with tritonclient.http.InferenceServerClient(f"127.0.0.1:{ports[0]}") as client:
        inputs = tensors(tritonclient.http, columns, binary_data=binary)
        wanted = [tritonclient.http.InferRequestedOutput("probability", binary_data=binary)]
        answer = client.infer("parcel", inputs, outputs=wanted, request_compression_algorithm=compression)
        assert answer.as_numpy("probability").tolist() == expected
        assert client.get_model_repository_index() == [
            {"name": "parcel", "version": "1", "state": "READY", "reason": ""}
        ]


def test_tritons_asynchronous_http_client(
    ingress: Ingress, ports: tuple[int, int], columns: Any, expected: Any
) -> None:
    async def ask() -> Any:
        async with tritonclient.http.aio.InferenceServerClient(f"127.0.0.1:{ports[0]}") as client:
            return await client.infer("parcel", tensors(tritonclient.http, columns))

    assert asyncio.run(ask()).as_numpy("probability").tolist() == expected


def test_tritons_grpc_client(ingress: Ingress, ports: tuple[int, int], columns: Any, expected: Any) -> None:
    with tritonclient.grpc.InferenceServerClient(f"127.0.0.1:{ports[1]}") as client:
        assert client.is_server_ready()
        assert client.is_model_ready("parcel")
        assert [it.name for it in client.get_model_metadata("parcel").inputs] == list(DATATYPES)
        answer = client.infer("parcel", tensors(tritonclient.grpc, columns), request_id="g1")
        assert answer.as_numpy("probability").tolist() == expected
        assert answer.get_response().id == "g1"
        with pytest.raises(tritonclient.grpc.InferenceServerException, match="no such model"):
            client.infer("nobody", tensors(tritonclient.grpc, columns))


def test_mlflows_scoring_client(ingress: Ingress, ports: tuple[int, int], columns: Any, expected: Any) -> None:
    client = ScoringServerClient("127.0.0.1", ports[0])
    client.ping()
    assert client.invoke(pd.DataFrame(columns)).get_predictions()[0].tolist() == expected


def test_rows_as_tensorflow_serving_mlflow_and_torchserve_take_them(
    ingress: Ingress, ports: tuple[int, int], columns: Any, expected: Any
) -> None:
    rows = pd.DataFrame(columns).to_dict(orient="records")
    csv = pd.DataFrame(columns).to_csv(index=False)
    with httpx.Client(base_url=f"http://127.0.0.1:{ports[0]}") as client:
        assert client.post("/v1/models/parcel:predict", json={"instances": rows}).json() == {"predictions": expected}
        assert client.post("/invocations", json={"dataframe_records": rows}).json() == {"predictions": expected}
        answer = client.post("/invocations", content=csv, headers={"content-type": "text/csv"})
        assert answer.json() == {"predictions": expected}
        assert client.post("/predictions/parcel", json=rows).json() == expected
        assert client.post("/predictions/parcel/1", json=rows[0]).json() == expected[0]
        refused = client.post("/v1/models/parcel:predict", json={"instances": [{"color": "pink"}]})
        assert refused.status_code == 400


def slow(ingress: Ingress, seconds: float) -> Any:
    """The same model, taking its time on the event loop's thread."""
    slot = ingress.service.endpoints["parcel"].variants["champion"].slot
    assert slot is not None
    answer = slot.live._score

    def score(columns: Any) -> Any:
        time.sleep(seconds)
        return answer(columns)

    slot.live._score = score
    return lambda: setattr(slot.live, "_score", answer)


def test_over_capacity_requests_are_refused_with_retry_after(ingress: Ingress, ports: tuple[int, int]) -> None:
    restore, statuses, refused = slow(ingress, 0.3), [], []

    def ask() -> None:
        response = httpx.post(f"http://127.0.0.1:{ports[0]}{INFER}", json=question(parcels(1)), timeout=30)
        statuses.append(response.status_code)
        refused.extend([response.headers["retry-after"]] if response.status_code == 503 else [])

    try:
        threads = [threading.Thread(target=ask) for _ in range(40)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        restore()
    assert set(statuses) == {200, 503}
    assert set(refused) == {"1"}
    assert ingress.service.ongoing == 0


def test_a_deadline_that_has_passed_while_waiting_is_answered_with_504(
    ingress: Ingress, ports: tuple[int, int]
) -> None:
    restore, answers = slow(ingress, 0.4), []
    with httpx.Client(base_url=f"http://127.0.0.1:{ports[0]}", timeout=30) as client:
        first = threading.Thread(target=lambda: answers.append(client.post(INFER, json=question(parcels(1)))))
        first.start()
        time.sleep(0.1)
        try:
            # It arrives while the loop computes; by the time it is read, little is left.
            late = client.post(INFER, json=question(parcels(1)), headers={"taxiway-timeout-ms": "0.001"})
        finally:
            first.join()
            restore()
        assert (late.status_code, late.headers["taxiway-error"]) == (504, "deadline_exceeded")
        wrong = client.post(INFER, json=question(parcels(1)), headers={"taxiway-timeout-ms": "soon"})
        assert wrong.status_code == 400
    assert answers[0].status_code == 200


def test_whatever_is_sent_by_the_published_schema_gets_no_server_error(
    ingress: Ingress, ports: tuple[int, int]
) -> None:
    document = schemathesis.openapi.from_url(f"http://127.0.0.1:{ports[0]}/openapi.json")
    asked = 0
    for found in document.get_all_operations():

        @given(case=found.ok().as_strategy())
        @settings(max_examples=25, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        def check(case: Any) -> None:
            response = case.call()
            assert response.status_code < 500, response.text

        check()
        asked += 1
    assert asked >= 10
