"""What was done to a registered model: records in its tags, and the champions that they tell of."""

import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import AwareDatetime, ValidationError

from taxiway.errors import RegistryError
from taxiway.registry import CHAMPION, Registry
from taxiway.settings import Settings

REASON_CHARACTERS = 2_000
"""With what JSON adds to it a record stays below the 5,000 that PostgreSQL takes for a tag of a model."""
BY_CHARACTERS = 200
_HISTORY = "taxiway.history."
_KEY = re.compile(r"taxiway\.history\.\d{8}-[0-9a-f]{8}")

Action = Literal["promote", "rollback", "challenge", "reject"]
State = Literal["begun", "done", "abandoned"]


class Record(Settings):
    """One change of a model, or the intention of one.

    Attributes:
        alias: what was moved; None for a rejection.
        from_version: what had the alias; for a rejection the version that was rejected.
        to_version: what has it now; None for a rejection.
        at: UTC.
        by: who or what.
        forced: in spite of a rejection.
        state: `begun` until everything is written; `abandoned` when it was given up before anything had changed.
    """

    action: Action
    alias: str | None
    from_version: str | None
    to_version: str | None
    at: AwareDatetime
    by: str
    reason: str
    forced: bool = False
    state: State = "begun"

    @property
    def version(self) -> str:
        """The version that it is about."""
        return str(self.to_version or self.from_version)


@dataclass(frozen=True)
class Entry:
    """A record at its place: keys sort in the order of what happened."""

    key: str
    record: Record


def history(registry: Registry, name: str) -> list[Entry]:
    """Everything that was done to a model, the oldest first.

    Raises:
        RegistryError: there is no such model, no registry, or a tag that is no record.
    """
    return entries(name, registry.live(name).tags)


def entries(name: str, tags: Mapping[str, str]) -> list[Entry]:
    """The records among the tags of a model; raises RegistryError for a tag that is none."""
    found = []
    for key in sorted(key for key in tags if _KEY.fullmatch(key)):
        try:
            found.append(Entry(key, Record.model_validate_json(tags[key])))
        except ValidationError as error:
            raise RegistryError(
                f"the tag {key!r} of model {name!r} is no record of its history; mend or delete it: "
                f"{error.errors()[0]['msg']}"
            ) from error
    return found


def next_key(before: Sequence[Entry]) -> str:
    """Follows all others. Its end is drawn: not even two who believe it to be their turn overwrite each other."""
    number = 1 + (int(before[-1].key.removeprefix(_HISTORY).partition("-")[0]) if before else 0)
    return f"{_HISTORY}{number:08d}-{secrets.token_hex(4)}"


def write(registry: Registry, name: str, entry: Entry) -> None:
    """Puts a record where it belongs; one with the same key is replaced."""
    registry.write_tag(name, entry.key, entry.record.model_dump_json())


def bounded(told: str, characters: int) -> str:
    """As much of a text as a record takes, in characters that every database takes."""
    clean = "".join(it if it.isprintable() or it == "\n" else " " for it in told).strip()
    return clean if len(clean) <= characters else f"{clean[: characters - 1]}…"


def champions_before(records: Sequence[Record], champion: str | None) -> tuple[str, ...]:
    """The versions that a rollback may restore, the nearest first.

    A promotion lays a version on a pile, a rollback takes versions off: two rollbacks go back twice.
    What moved the alias without a record is laid on the pile where a record, or `champion`, shows it.

    Args:
        records: the oldest first.
        champion: the present one.
    """
    pile: list[str] = []
    for record in records:
        if record.state == "done" and record.alias == CHAMPION and record.to_version is not None:
            _lay(pile, record.from_version)
            below = pile[:-1]
            if record.action == "rollback" and record.to_version in below:
                del pile[len(below) - below[::-1].index(record.to_version) :]
            else:
                _lay(pile, record.to_version)
    _lay(pile, champion)
    return tuple(dict.fromkeys(it for it in reversed(pile) if it != champion))


def _lay(pile: list[str], version: str | None) -> None:
    if version is not None and pile[-1:] != [version]:
        pile.append(version)
