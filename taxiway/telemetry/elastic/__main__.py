"""`python -m taxiway.telemetry.elastic`: the prediction log to Elasticsearch, or to a folder for a shipper of files."""

import argparse
import os
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import prometheus_client

from taxiway.errors import ConfigError, TaxiwayError, TryLater
from taxiway.predictions.storage import Storage
from taxiway.settings import home
from taxiway.telemetry.elastic.bulk import Bulk
from taxiway.telemetry.elastic.checkpoint import checkpoint
from taxiway.telemetry.elastic.metrics import ShippingMetrics
from taxiway.telemetry.elastic.ship import Send, Shipper
from taxiway.telemetry.elastic.spool import Spool

FAILED, NOT_USABLE, TRY_LATER = 1, 2, 75


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 2: the arguments or the login can't be used; 75: something is away, try again; 1: anything else."""
    given = _parser().parse_args(arguments)
    try:
        with checkpoint(Path(given.state or home() / "elastic")) as kept:
            metrics = ShippingMetrics()
            shipper = Shipper(
                Storage(given.location or str(home() / "predictions")),
                kept,
                _destination(given),
                given.columns,
                int(given.request_mb * (1 << 20)),
                metrics.sent,
            )
            if given.metrics_port is not None:
                prometheus_client.start_http_server(given.metrics_port, registry=metrics.registry)
            _run(shipper, given, metrics)
    except TaxiwayError as error:
        print(f"elastic: {error}", file=sys.stderr)
        return NOT_USABLE if isinstance(error, ConfigError) else TRY_LATER if isinstance(error, TryLater) else FAILED
    return 0


def _run(shipper: Shipper, given: argparse.Namespace, metrics: ShippingMetrics) -> None:
    while True:
        try:
            done = shipper.once(datetime.now(UTC), timedelta(days=given.days))
            metrics.caught_up()
            if done.files or given.every is None:
                print(
                    f"{done.files} files: {done.created} documents created, {done.present} were there, "
                    f"{done.dead} refused",
                    flush=True,
                )
        except (OSError, TryLater) as error:
            if given.every is None:
                raise TryLater(str(error)) from error
            print(f"elastic: {error}", file=sys.stderr, flush=True)
        if given.every is None:
            return
        time.sleep(given.every)


def _destination(given: argparse.Namespace) -> Send:
    if given.spool is not None:
        return Spool(Path(given.spool)).send
    url = given.url or os.environ.get("ELASTICSEARCH_URL")
    if not url:
        raise ConfigError("nothing says where Elasticsearch is; give --url or set ELASTICSEARCH_URL")
    return Bulk(url, os.environ.get("ELASTICSEARCH_API_KEY"), given.ca).send


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m taxiway.telemetry.elastic", description="Ship the prediction log to Elasticsearch."
    )
    parser.add_argument("--url", help="default: ELASTICSEARCH_URL; the key is in ELASTICSEARCH_API_KEY")
    parser.add_argument("--spool", metavar="FOLDER", help="write lines of JSON there instead, for Filebeat")
    parser.add_argument("--ca", metavar="FILE", help="certificates that are trusted; default: the system's")
    parser.add_argument("--location", help="of the prediction log; default: ${TAXIWAY_HOME}/predictions")
    parser.add_argument("--state", metavar="FOLDER", help="what was shipped; default: ${TAXIWAY_HOME}/elastic")
    parser.add_argument(
        "--columns", nargs="*", help="such as input.* output.delay; default: all that are not encrypted"
    )
    parser.add_argument("--days", type=float, default=3.0, help="how far back it looks; default: 3")
    parser.add_argument("--every", type=float, metavar="SECONDS", help="again and again, until it is stopped")
    parser.add_argument("--request-mb", type=float, default=5.0, help="of one request at most; default: 5")
    parser.add_argument("--metrics-port", type=int, metavar="PORT", help="where Prometheus finds its metrics")
    return parser


if __name__ == "__main__":
    sys.exit(main())
