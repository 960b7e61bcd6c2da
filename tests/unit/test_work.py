"""What is measured of a batch or a call, on whatever threads it runs, and the trace of the lines that it logs."""

import json
import logging
import logging.handlers
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context

import numpy as np
import pytest

from serve.late import NodeThreads
from serve.trace_notes import BatchWork
from taxiway.errors import DeadlineExceeded
from taxiway.telemetry.logs import EcsFormatter, OfItsTrace, Redaction
from taxiway.telemetry.work import MOST, Part, Work, add, begin, current, doing, end, node, part, shifted
from tests.graphs import Function, X, build, settings

CALLER = "0af7651916cd43dd8448eb211c80319c"
NO_HEADERS: Mapping[bytes, bytes] = {}
HEADER = {b"traceparent": f"00-{CALLER}-b7ad6b7169203331-00".encode()}


class Member:
    def __init__(self, headers: Mapping[bytes, bytes] = NO_HEADERS, trace_id: str | None = None) -> None:
        self.headers, self.trace_id = headers, trace_id


def names(parts: list[Part]) -> list[object]:
    """Each name, with those within it."""
    return [(it.name, names(it.parts)) if it.parts else it.name for it in parts]


def test_a_part_holds_those_that_ran_within_it() -> None:
    with doing(Work()) as work:
        with part("features"):
            pass
        with part("inference"), part("node a"):
            time.sleep(0.01)
    assert names(work.parts) == ["features", ("inference", ["node a"])]
    outer = work.parts[1]
    assert outer.begin <= outer.parts[0].begin <= outer.parts[0].end <= outer.end
    assert outer.parts[0].end - outer.parts[0].begin >= 0.01


def test_without_work_nothing_is_measured() -> None:
    with part("inference"):
        assert current() is None
    add([Part("replica", 0, 1, {}, [])])
    assert end() is None


def test_a_failure_is_a_code_or_a_class_and_never_a_message() -> None:
    with doing(Work()) as work:
        for error in (ValueError("4711 is secret"), DeadlineExceeded("4711 is late")):
            with pytest.raises(type(error)), part("inference"):
                raise error
    assert [it.error for it in work.parts] == ["ValueError", "deadline_exceeded"]


def test_there_are_only_so_many_parts_side_by_side() -> None:
    with doing(Work()) as work:
        for _ in range(MOST + 10):
            with part("inference"):
                pass
        add([Part("replica", 0, 1, {}, [])])
    assert len(work.parts) == MOST


def test_work_on_threads_is_part_of_the_work_that_has_begun_it() -> None:
    with doing(Work()) as work, part("inference"):
        with ThreadPoolExecutor(2) as threads:
            contexts = [copy_context() for _ in range(4)]
            list(threads.map(lambda it: it.run(measured), contexts))
        assert current() is work
    assert names(work.parts) == [("inference", ["node a"] * 4)]


def measured() -> None:
    with part("node a"):
        time.sleep(0.001)


def test_each_node_of_a_graph_is_a_part_of_the_node_that_asks_it_also_on_threads_of_their_own() -> None:
    threads, double = NodeThreads(), Function(lambda x: x * 2)
    graph = settings(
        "mean",
        a={"placement": "dedicated"},
        b={"timeout_s": 5.0},
        mean={"kind": "ensemble", "of": ["a", "b"]},
    )
    predictor, _ = build(
        graph,
        {"a": (X, double), "b": (X, double)},
        run_with_timeout=threads.run_with_timeout,
        map_parallel=threads.map_parallel,
        within=node,
    )
    with doing(Work()) as work:
        assert predictor.predict({"x": np.ones(2)})["p"].tolist() == [2, 2]
    (mean,) = work.parts
    assert mean.name == "node mean"
    assert sorted(it.name for it in mean.parts) == ["node a", "node b"]


def test_parts_are_told_by_another_clock() -> None:
    (found,) = shifted([Part("replica", 1.0, 2.0, {"a": 1}, [Part("load", 1.0, 1.5, {}, [])])], 10.0)
    assert (found.begin, found.end, found.parts[0].begin, found.parts[0].end) == (11.0, 12.0, 11.0, 11.5)


def test_threads_that_score_batches_begin_anew_each_time() -> None:
    found = []

    def score() -> None:
        begin(Work())
        with part("inference"):
            pass
        done = end()
        assert done is not None
        found.append(names(done.parts))

    def thrice() -> None:
        for _ in range(3):
            score()

    thread = threading.Thread(target=thrice)
    thread.start()
    thread.join()
    assert found == [["inference"]] * 3


class Lines(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[dict[str, object]] = []
        self.setFormatter(EcsFormatter({}, Redaction()))
        self.addFilter(OfItsTrace())

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(json.loads(self.format(record)))


@pytest.fixture
def lines() -> Lines:
    found = Lines()
    logger = logging.getLogger("serve.work_test")
    logger.handlers, logger.propagate = [found], False
    return found


def log(message: str) -> None:
    logging.getLogger("serve.work_test").warning(message)


def test_every_line_that_is_logged_in_a_traced_call_has_its_trace(lines: Lines) -> None:
    log("before")
    with doing(Work(CALLER)) as work:
        log("within")
        with part("inference"):
            copy_context().run(log, "deeper")
    log("after")
    assert [it.get("trace.id") for it in lines.lines] == [None, CALLER, CALLER, None]
    assert work.logged


def test_a_line_of_work_without_a_trace_has_none(lines: Lines) -> None:
    with doing(Work()) as work:
        log("within")
    assert "trace.id" not in lines.lines[0]
    assert not work.logged


def test_a_line_of_a_batch_has_the_trace_of_the_member_whose_caller_has_begun_one(lines: Lines) -> None:
    with doing(BatchWork([Member(), Member(HEADER)])) as work:
        log("within")
    assert lines.lines[0]["trace.id"] == CALLER
    assert isinstance(work, BatchWork)
    assert not work.drawn


def test_a_line_of_a_batch_without_callers_draws_a_trace_once(lines: Lines) -> None:
    with doing(BatchWork([Member(), Member()])) as work:
        assert work.trace_id is None
        log("within")
        log("again")
    first, second = (it["trace.id"] for it in lines.lines)
    assert first == second == work.trace_id
    assert isinstance(first, str)
    assert len(first) == 32


def test_a_line_of_a_copy_has_the_trace_of_the_live_request(lines: Lines) -> None:
    with doing(BatchWork([Member(trace_id=CALLER)])):
        log("within")
    assert lines.lines[0]["trace.id"] == CALLER


def test_a_handler_that_buffers_has_the_trace_of_where_a_line_was_written(lines: Lines) -> None:
    buffered = logging.handlers.MemoryHandler(10, target=lines)
    buffered.addFilter(OfItsTrace())
    logging.getLogger("serve.work_test").handlers = [buffered]
    with doing(Work(CALLER)):
        log("within")
    threading.Thread(target=buffered.flush).start()
    deadline = time.monotonic() + 5
    while not lines.lines and time.monotonic() < deadline:
        time.sleep(0.001)
    assert lines.lines[0]["trace.id"] == CALLER
