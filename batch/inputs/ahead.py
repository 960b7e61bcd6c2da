"""Reads the next batch while the last one is worked on: a remote storage's answers take their time."""

import queue
import threading
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

Item = TypeVar("Item")
_END = object()


def ahead(items: Iterable[Item], depth: int = 2) -> Iterator[Item]:
    """The same items, made by a thread that is up to `depth` of them ahead; its error comes where it happened."""
    ready: queue.Queue[tuple[Any, Exception | None]] = queue.Queue(depth)
    stopped = threading.Event()

    def put(entry: tuple[Any, Exception | None]) -> bool:
        while not stopped.is_set():
            try:
                ready.put(entry, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def make() -> None:
        try:
            for item in items:
                if not put((item, None)):
                    return
        except Exception as error:  # noqa: BLE001 - raised again by the reader
            put((_END, error))
        else:
            put((_END, None))

    worker = threading.Thread(target=make, daemon=True, name="read-ahead")
    worker.start()
    try:
        while True:
            item, error = ready.get()
            if error is not None:
                raise error
            if item is _END:
                return
            yield item
    finally:
        stopped.set()
        worker.join()
