"""`python cluster/ci/rollout.py ENDPOINT`: begins a rollout through the admin API and follows it to its end.

Nothing but Python's standard library, so that a pipeline installs nothing. Exit status 0: promoted; 3: the challenger
went back; 4: a person has to decide; 1: the API can't be asked, or the time is over; 2: what was given can't be used.
"""

import argparse
import json
import os
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROMOTED, FAILED, UNUSABLE, WENT_BACK, WAITS = 0, 1, 2, 3, 4
_ANSWER_S = 30.0


class AdminError(Exception):
    """The admin API refused, or did not answer."""


@dataclass(frozen=True)
class Admin:
    """The admin API of a server, such as `https://models.example.com`, with its bearer token and who asks."""

    url: str
    token: str
    by: str

    def rollout(self, endpoint: str) -> dict[str, Any] | None:
        """The present or last one; None while there was none."""
        return self._call("GET", endpoint, "rollout", None)

    def start(self, endpoint: str, plan: dict[str, Any] | None) -> dict[str, Any]:
        """Begins one. Raises AdminError, as when another one is under way."""
        return self._call("POST", endpoint, "rollout", {} if plan is None else {"plan": plan}) or {}

    def command(self, endpoint: str, command: str, reason: str) -> dict[str, Any]:
        """`promote`, `abort`, `pause` or `resume`."""
        return self._call("POST", endpoint, f"rollout/{command}", {"reason": reason}) or {}

    def _call(self, method: str, endpoint: str, path: str, body: dict[str, Any] | None) -> dict[str, Any] | None:
        url = f"{self.url.rstrip('/')}/admin/endpoints/{urllib.parse.quote(endpoint, safe='')}/{path}"
        headers = {"authorization": f"Bearer {self.token}", "content-type": "application/json", "taxiway-by": self.by}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(url, data, headers, method=method)  # noqa: S310 - `main` allows http(s) only
        try:
            with urllib.request.urlopen(request, timeout=_ANSWER_S) as answer:  # noqa: S310
                found: dict[str, Any] | None = json.load(answer)
        except urllib.error.HTTPError as error:
            raise AdminError(f"{method} {url}: {error.code}: {error.read(500).decode(errors='replace')}") from error
        except (OSError, ValueError) as error:
            raise AdminError(f"{method} {url}: no answer: {error}") from error
        return found


def verdict(state: dict[str, Any] | None, identity: str) -> int | None:
    """The exit status that a rollout's state asks for; None: it is under way.

    Args:
        state: what the API says of the endpoint's rollout.
        identity: the rollout that is followed. Another one in its place means that somebody began anew.
    """
    if state is None or state["id"] != identity:
        return FAILED
    if state["phase"] == "ended":
        return PROMOTED if state["outcome"] == "promoted" else WENT_BACK
    return WAITS if state["phase"] in ("holding", "paused") else None


def follow(
    admin: Admin, endpoint: str, identity: str, limit_s: float, every_s: float, say: Callable[[str], None]
) -> int:
    """Asks until the rollout has ended, waits for a person, or `limit_s` is over; says each new event.

    An API that is away for a while, as in an update, is asked again until the time is over.
    """
    until, told = time.monotonic() + limit_s, set[str]()

    def once(line: str) -> None:
        if line not in told:
            told.add(line)
            say(line)

    while time.monotonic() < until:
        try:
            state = admin.rollout(endpoint)
        except AdminError as error:
            once(f"no answer, asked again: {error}")
        else:
            for event in () if state is None else state["events"]:
                once(f"{event['at']} {event['what']}: {event['told']}")
            ended = verdict(state, identity)
            if ended is not None:
                say(_sentence(state, ended))
                return ended
        time.sleep(every_s)
    say(f"not decided within {limit_s:g} s; the rollout goes on by itself, `taxiway rollout status` shows it")
    return FAILED


def _sentence(state: dict[str, Any] | None, ended: int) -> str:
    if state is None or ended == FAILED:
        return "the rollout is no longer there; somebody has begun another one"
    told = {PROMOTED: "is champion", WENT_BACK: f"went back ({state['outcome']})", WAITS: "waits for a person"}
    return f"version {state['challenger_version']} {told[ended]}. {state['reason']}".strip()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("endpoint")
    parser.add_argument("--url", default=os.environ.get("TAXIWAY_ADMIN_URL", "http://127.0.0.1:8000"))
    parser.add_argument("--plan", type=Path, metavar="FILE", help="JSON with the keys of `rollout`; default: its own")
    parser.add_argument("--by", default=os.environ.get("TAXIWAY_BY", "pipeline"), help="who signs it")
    parser.add_argument("--limit-s", type=float, default=3600.0, help="give up waiting after this")
    parser.add_argument("--every-s", type=float, default=5.0, help="ask this often")
    parser.add_argument("--follow", action="store_true", help="follow the one under way instead of beginning one")
    parser.add_argument(
        "--command", choices=["promote", "abort", "pause", "resume"], help="of the one under way; then --follow goes on"
    )
    parser.add_argument("--reason", default="", help="why, with --command")
    return parser


def _begun(admin: Admin, given: argparse.Namespace) -> dict[str, Any]:
    """The rollout to follow. Raises AdminError when there is none."""
    if not given.follow:
        return admin.start(given.endpoint, None if given.plan is None else json.loads(given.plan.read_text()))
    state = admin.rollout(given.endpoint)
    if state is None or state["phase"] == "ended":
        raise AdminError(f"no rollout of {given.endpoint} is under way; leave --follow out to begin one")
    return state


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit status; see the module."""
    given = _parser().parse_args(arguments)
    token = os.environ.get("TAXIWAY_ADMIN_TOKEN", "")
    if not token or not given.url.startswith(("https://", "http://")):
        print("set TAXIWAY_ADMIN_TOKEN, and --url to an address with http:// or https://", file=sys.stderr)
        return UNUSABLE
    admin = Admin(given.url, token, given.by)
    try:
        if given.command:
            admin.command(given.endpoint, given.command, given.reason)
            if not given.follow:
                return 0
        begun = _begun(admin, given)
    except AdminError as error:
        print(error, file=sys.stderr)
        return FAILED
    except (OSError, ValueError) as error:
        print(f"--plan {given.plan}: {error}", file=sys.stderr)
        return UNUSABLE
    return follow(
        admin, given.endpoint, begun["id"], given.limit_s, given.every_s, lambda line: print(line, flush=True)
    )


if __name__ == "__main__":
    sys.exit(main())
