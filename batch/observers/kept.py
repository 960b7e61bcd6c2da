"""Puts the report beside the manifest; names that begin with `_` are no data."""

from batch.events import Planned
from batch.observers.page import page
from batch.observers.report import PAGE, VALUES, Report
from batch.output.store import Store


def keep(planned: Planned, report: Report) -> None:
    """Writes both forms into an output that is published; raises OSError."""
    if report.failure is not None:
        return
    store = Store(planned.output)
    store.write(VALUES, report.model_dump_json(indent=2).encode())
    store.write(PAGE, page(report).encode())
