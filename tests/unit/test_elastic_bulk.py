"""The bulk client against a strict server: what is retried, what is there already, what is a dead letter."""

from collections.abc import Iterator

import pytest

from taxiway.errors import ConfigError, JobError, TryLater
from taxiway.telemetry.elastic.bulk import Bulk, Patience, sorted_out
from taxiway.telemetry.elastic.documents import Document
from tests.bulk_server import Elastic, elastic

INDEX = "taxiway-predictions-delay-2026.01.01"


@pytest.fixture
def server() -> Iterator[Elastic]:
    with elastic() as held:
        yield held


def some(*names: str) -> list[Document]:
    return [Document(INDEX, name, b'{"x":1}') for name in names]


def client(
    server: Elastic, slept: list[float] | None = None, api_key: str | None = None, give_up_s: float = 300
) -> Bulk:
    waits = [] if slept is None else slept
    patience = Patience(first_s=1, longest_s=4, give_up_s=give_up_s)
    return Bulk(server.url, api_key, patience=patience, sleep=waits.append, draw=lambda: 1.0)


def test_documents_are_created_under_their_ids(server: Elastic) -> None:
    outcome = client(server).send(some("a", "b"))
    assert (outcome.created, outcome.present, outcome.dead) == (2, 0, [])
    assert server.documents == {INDEX: {"a": {"x": 1}, "b": {"x": 1}}}
    assert server.bad == []


def test_what_is_there_already_is_no_error_and_is_not_touched(server: Elastic) -> None:
    server.documents[INDEX] = {"a": {"x": "older"}}
    outcome = client(server).send(some("a", "b"))
    assert (outcome.created, outcome.present) == (1, 1)
    assert server.documents[INDEX]["a"] == {"x": "older"}


def test_only_the_items_that_were_too_much_are_sent_again(server: Elastic) -> None:
    server.busy["b"] = 2
    slept: list[float] = []
    outcome = client(server, slept).send(some("a", "b", "c"))
    assert (outcome.created, outcome.present) == (3, 0)
    assert server.requests == [3, 1, 1]
    assert slept == [1, 1 * 2]


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_busy_server_is_asked_again_later_and_later(server: Elastic, status: int) -> None:
    server.statuses.extend([status] * 5)
    slept: list[float] = []
    assert client(server, slept).send(some("a")).created == 1
    assert slept == [1, 2, 4, 4, 4]


def test_a_server_that_stays_away_is_given_up(server: Elastic) -> None:
    server.statuses.extend([503] * 100)
    slept: list[float] = []
    with pytest.raises(TryLater, match="1 documents were not taken"):
        client(server, slept, give_up_s=20).send(some("a"))
    assert 20 <= sum(slept) <= 24


def test_a_closed_port_is_a_server_that_is_away() -> None:
    bulk = Bulk("http://127.0.0.1:1", patience=Patience(give_up_s=1), sleep=lambda _: None)
    with pytest.raises(TryLater, match="ConnectionRefusedError"):
        bulk.send(some("a"))


def test_a_refused_document_is_a_dead_letter_and_its_neighbours_are_stored(server: Elastic) -> None:
    server.refused.add("b")
    outcome = client(server).send(some("a", "b", "c"))
    assert server.ids() == {"a", "c"}
    (letter,) = outcome.dead
    assert (letter.document.id, letter.status, letter.kind) == ("b", 400, "document_parsing_exception")


def test_a_request_that_is_too_large_is_halved(server: Elastic) -> None:
    server.most_bytes = 3 * len(some("a")[0].lines())
    outcome = client(server).send(some(*"abcdefgh"))
    assert outcome.created == 8
    assert server.requests == [2, 2, 2, 2]


def test_a_document_that_is_too_large_alone_is_a_dead_letter(server: Elastic) -> None:
    server.most_bytes = 200
    outcome = client(server).send([*some("a"), Document(INDEX, "big", b'{"x":"' + b"y" * 300 + b'"}')])
    assert (outcome.created, [it.document.id for it in outcome.dead]) == (1, ["big"])


def test_a_wrong_login_stops_at_once(server: Elastic) -> None:
    server.login = "ApiKey right"
    with pytest.raises(ConfigError, match="401"):
        client(server, api_key="wrong").send(some("a"))
    assert client(server, api_key="right").send(some("a")).created == 1


def test_an_answer_about_other_documents_is_not_believed() -> None:
    with pytest.raises(JobError, match="2 documents and answers about 1"):
        sorted_out(some("a", "b"), [{"create": {"status": 201}}])


def test_a_url_without_a_host_is_refused() -> None:
    with pytest.raises(ConfigError, match="has a host"):
        Bulk("elasticsearch:9200")
