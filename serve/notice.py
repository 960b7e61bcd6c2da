"""Tells people what happens to a rollout: a log line with fields, and a webhook that Slack and its like take."""

import json
import logging
import threading
import time
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from taxiway.rollout.experiment_state import ExperimentState
from taxiway.rollout.state import Event, RolloutState

_log = logging.getLogger("taxiway.rollout")

_TRIES = 4
_TIMEOUT_S = 5.0
_MARKS = {"promoted": ":white_check_mark:", "failed": ":x:", "rolled_back": ":leftwards_arrow_with_hook:"}


class NewEvents:
    """Which events were added since the last look, by a controller or by people."""

    def __init__(self) -> None:
        self._known: tuple[Event, ...] | None = None

    def among(self, events: tuple[Event, ...]) -> list[Event]:
        """In their order. What was there at the first look has been told by another controller."""
        known, self._known = self._known, events
        return [] if known is None else [event for event in events if event not in known]


def announce(state: RolloutState, event: Event, webhook: str | None = None) -> None:
    """Logs an event, and posts it on a thread of its own."""
    fields = {
        "event": f"rollout.{event.what}",
        "endpoint": state.endpoint,
        "rollout": state.id,
        "model": state.model,
        "version": state.challenger_version,
        "champion": state.champion_version,
        "step": state.step + 1,
        "by": event.by,
        "told": event.told,
        "at": event.at.isoformat(),
    }
    _log.info(json.dumps(fields, ensure_ascii=False))
    if webhook is not None:
        body = json.dumps({"text": slack_text(state, event), **fields}, ensure_ascii=False).encode()
        threading.Thread(target=post, args=(webhook, body), name="webhook", daemon=True).start()


def announce_experiment(state: ExperimentState, event: Event, webhook: str | None = None) -> None:
    """As `announce`."""
    fields = {
        "event": f"experiment.{event.what}",
        "endpoint": state.endpoint,
        "experiment": state.id,
        "name": state.plan.name,
        "weights": state.weights,
        "by": event.by,
        "told": event.told,
        "at": event.at.isoformat(),
    }
    _log.info(json.dumps(fields, ensure_ascii=False))
    if webhook is not None:
        text = (
            f":test_tube: *{state.endpoint}*: experiment {state.plan.name} – *{event.what}* ({event.by})\n{event.told}"
        )
        body = json.dumps({"text": text, **fields}, ensure_ascii=False).encode()
        threading.Thread(target=post, args=(webhook, body), name="webhook", daemon=True).start()


def slack_text(state: RolloutState, event: Event) -> str:
    """One paragraph in Slack's markup."""
    mark = _MARKS.get(event.what, ":airplane:")
    what = event.what.replace("_", " ")
    about = f"*{state.endpoint}*: version {state.challenger_version} of {state.model}"
    return f"{mark} {about} – *{what}* ({event.by})\n{event.told}"


def post(url: str, body: bytes, pause_s: float = 1.0) -> bool:
    """Posts JSON; asks again when it fails, and then gives up with a line in the log."""
    for attempt in range(_TRIES):
        try:
            request = Request(url, body, {"content-type": "application/json"})  # noqa: S310
            with urlopen(request, timeout=_TIMEOUT_S):  # noqa: S310 - the operator's own URL
                return True
        except (URLError, OSError, ValueError) as error:
            if isinstance(error, HTTPError):
                error.close()
            last = error
            time.sleep(pause_s * 2**attempt if attempt + 1 < _TRIES else 0.0)
    _log.warning("the webhook of a rollout did not take its event: %s", last)
    return False
