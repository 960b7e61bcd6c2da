"""HTTP answers that need an await: a task for each, which ends when its client goes."""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

from serve.http import error_answer
from serve.http_protocol import Answer, Cancel, Respond
from taxiway.errors import TaxiwayError

_log = logging.getLogger(__name__)


class Later:
    """Holds the tasks: the loop itself forgets them."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[None]] = set()

    def __call__(self, work: Coroutine[Any, Any, Answer], path: str, respond: Respond) -> Cancel:
        """Answers a request for a path with what `work` gives, or with its error."""
        task = asyncio.get_running_loop().create_task(_answer(work, path, respond))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

        def cancel() -> None:
            task.cancel()

        return cancel


async def _answer(work: Coroutine[Any, Any, Answer], path: str, respond: Respond) -> None:
    try:
        answer = await work
    except TaxiwayError as error:
        answer = error_answer(error, path)
    except Exception:  # noqa: BLE001 - a bug of ours fails this request, not the server
        _log.exception("answering %s failed", path)
        answer = error_answer(TaxiwayError("internal error"), path)
    respond(answer)
