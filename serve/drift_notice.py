"""Tells people of drift: a log line with fields, and a webhook that Slack and its like take."""

import json
import logging
import threading
from collections.abc import Sequence

from serve.notice import post
from taxiway.drift.judgement import WindowDrift
from taxiway.rollout.tally import Stream

_log = logging.getLogger("taxiway.drift")


def announce_drift(
    stream: Stream, what: str, columns: Sequence[str], told: str, window: WindowDrift, webhook: str | None = None
) -> None:
    """Logs an event, and posts it on a thread of its own.

    Args:
        what: `raised` or `cleared`.
    """
    fields = {
        "event": f"drift.{what}",
        "endpoint": stream.endpoint,
        "variant": stream.variant,
        "version": stream.version,
        "columns": list(columns),
        "rows": window.rows,
        "began": window.began.isoformat(),
        "told": told,
        "at": window.ended.isoformat(),
    }
    # A warning, so that it is heard where nobody has set up a log of ours.
    level = logging.WARNING if what == "raised" else logging.INFO
    _log.log(level, json.dumps(fields, ensure_ascii=False))
    if webhook is not None:
        mark = ":ocean:" if what == "raised" else ":white_check_mark:"
        text = f"{mark} *{stream.endpoint}*: drift of {stream.variant}, version {stream.version} – *{what}*\n{told}"
        body = json.dumps({"text": text, **fields}, ensure_ascii=False).encode()
        threading.Thread(target=post, args=(webhook, body), name="webhook", daemon=True).start()
