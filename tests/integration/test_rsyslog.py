"""rsyslog's shipper of files with our configuration: the spool and application logs, into a strict bulk server."""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cluster.observability.generate import HERE
from taxiway.telemetry.elastic.documents import Document
from taxiway.telemetry.elastic.spool import Spool
from tests.bulk_server import elastic
from tests.integration.test_variants import eventually
from tests.ports import free_port

_MODULES = list(Path("/usr/lib").glob("*/rsyslog/omelasticsearch.so"))
pytestmark = pytest.mark.skipif(
    shutil.which("rsyslogd") is None or not _MODULES, reason="apt install rsyslog rsyslog-elasticsearch"
)
INDEX = "taxiway-predictions-delay-2026.01.01"


@contextmanager
def rsyslog(folder: Path, port: int) -> Iterator[None]:
    """Ships `folder/spool` and `folder/logs`; its state is in `folder/state`."""
    for name in ("spool", "logs", "state"):
        (folder / name).mkdir(exist_ok=True)
    where = {"SPOOL": str(folder / "spool"), "LOGS": str(folder / "logs/*.log"), "STATE": str(folder / "state")}
    login = {"ELASTIC_HTTPS": "off", "ELASTIC_USER": "shipper", "ELASTIC_PASSWORD": "secret"}
    environment = os.environ | where | login | {"ELASTIC_HOST": "127.0.0.1", "ELASTIC_PORT": str(port)}
    command = ["rsyslogd", "-n", "-f", str(HERE / "elastic/rsyslog.conf"), "-i", str(folder / "state/pid")]
    with (folder / "rsyslog.log").open("ab") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
    try:
        time.sleep(0.3)
        assert process.poll() is None, (folder / "rsyslog.log").read_text()
        yield
    finally:
        process.terminate()
        process.wait(20)


def spooled(folder: Path, *names: str) -> None:
    Spool(folder / "spool").send([Document(INDEX, name, json.dumps({"name": name}).encode()) for name in names])


def test_rsyslog_carries_the_spool_under_our_ids_and_once_over_a_restart(tmp_path: Path) -> None:
    with elastic() as server:
        server.login = "Basic c2hpcHBlcjpzZWNyZXQ="
        server.refused.add("c")
        spooled(tmp_path, "a", "b", "c")
        with rsyslog(tmp_path, server.port):
            eventually(lambda: server.ids() == {"a", "b"}, 20)
            letters = tmp_path / "state/dead-letters.jsonl"
            eventually(lambda: letters.exists() and "document_parsing_exception" in letters.read_text(), 20)
        sent = sum(server.requests)
        spooled(tmp_path, "d")
        with rsyslog(tmp_path, server.port):
            eventually(lambda: "d" in server.ids(), 20)
        assert server.documents[INDEX]["a"] == {"index": INDEX, "id": "a", "name": "a"}
        assert sum(server.requests) == sent + 1
        assert server.bad == []


def test_rsyslog_waits_for_an_elasticsearch_that_is_away(tmp_path: Path) -> None:
    port = free_port()
    spooled(tmp_path, "a")
    with rsyslog(tmp_path, port):
        time.sleep(1)
        with elastic(port) as server:
            eventually(lambda: server.ids() == {"a"}, 30)


def test_rsyslog_carries_lines_of_application_logs(tmp_path: Path) -> None:
    with elastic() as server:
        (tmp_path / "logs").mkdir()
        line = 'a "quoted" line with \\ and ü'
        (tmp_path / "logs/replica.log").write_text(line + "\n")
        with rsyslog(tmp_path, server.port):
            eventually(lambda: "logs-taxiway.app-default" in server.documents, 20)
        (document,) = server.documents["logs-taxiway.app-default"].values()
        assert document["message"] == line
        assert document["file"].endswith("replica.log")
        assert document["service"] == {"name": "taxiway"}
        assert server.bad == []
