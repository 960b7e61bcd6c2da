"""Whether the container does what it was started for: exit status 0 or 1. Needs no packages.

What runs in it decides who is asked. A node of a Ray cluster: its raylet, and on the head the GCS in the same answer.
`serve run`: a replica, at TAXIWAY_HEALTH_URL. Anything else, such as a scoring job, is well as long as it runs.
"""

import os
import sys
import urllib.request
from collections.abc import Iterable, Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

NODE = "http://127.0.0.1:52365/api/healthz"
REPLICA = "http://127.0.0.1:8000/v2/health/ready"
_TIMEOUT_S = 4.0


def main(proc: Path = Path("/proc")) -> int:
    """Exit status: 0 well, 1 not."""
    url = asked(commands(proc), os.environ.get("TAXIWAY_HEALTH_URL", REPLICA))
    if url is None:
        return 0
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_S):  # noqa: S310 - the address is the operator's
            return 0
    except OSError as error:  # what urllib raises is one
        print(f"{url}: {error}", file=sys.stderr)
        return 1


def asked(running: Iterable[Sequence[str]], replica: str) -> str | None:
    """The URL to ask, by the command lines of all processes; None: nobody."""
    started = {(Path(program).name, verb) for command in running for program, verb in pairwise(command)}
    if ("ray", "start") in started:
        return NODE
    return replica if ("serve", "run") in started else None


def commands(proc: Path) -> list[list[str]]:
    """The command line of every process."""
    found = []
    for path in proc.glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it may have ended meanwhile
            found.append(path.read_bytes().decode(errors="replace").rstrip("\0").split("\0"))
    return found


if __name__ == "__main__":
    sys.exit(main())
