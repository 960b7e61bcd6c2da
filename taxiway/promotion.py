"""Moves the aliases of a registered model: promote, rollback, challenge, reject. Each leaves a record."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from taxiway.errors import ConfigError, RegistryError
from taxiway.history import (
    BY_CHARACTERS,
    REASON_CHARACTERS,
    Action,
    Entry,
    Record,
    State,
    bounded,
    champions_before,
    entries,
    next_key,
    write,
)
from taxiway.registry import CHALLENGER, CHAMPION, ModelVersion, Registry, VersionState
from taxiway.turn import StillMine, turn

STAGE_TAG = "taxiway.stage"
"""Of a version, for people: champion, challenger, retired or rejected. The aliases are what holds."""
REJECTED_TAG = "taxiway.rejected"
"""Of a version: why it was rejected. A gate may register a version with it."""
VERDICT_TAG = "taxiway.verdict"
"""Of a version: what its gate found, as JSON; `"passed": false` in it rejects the version."""
_VERDICT_CHARACTERS = 50_000


def promote(
    registry: Registry, version: ModelVersion, by: str, reason: str, now: datetime, *, force: bool = False
) -> Record:
    """Makes a version the champion; it ceases to be challenger.

    Two promotions at once happen one after the other (`taxiway.turn`). The order of writes: the record as
    an intention, the alias `champion`, the alias `challenger`, the stages of both versions, the record as done.
    Killed before the champion has moved, it leaves the old state, and the next change of the model marks the record
    abandoned. Killed later, it leaves the new champion, and the next change completes the rest first.
    The same call again does nothing twice: of a version that is champion it returns the record that made it so.

    Args:
        by: who or what promotes; kept, as `reason` is, to so many characters as a record takes.
        now: with its time zone.
        force: also a version that was rejected; the record says so.

    Raises:
        ConfigError: `by` or `reason` is empty.
        RegistryError: there is no such version, it was rejected, or the registry does not answer.
    """
    with _changing(registry, version.name, by, reason, now) as model:
        state = model.usable(version)
        rejected = _rejection(state)
        if rejected is not None and not force:
            raise RegistryError(f"{version.uri} was rejected ({rejected}); force it, or promote another one")
        champion = model.aliases.get(CHAMPION)
        before = model.last(CHAMPION)
        if champion == version.version and before is not None and before.to_version == champion:
            return before
        return model.change("promote", CHAMPION, champion, version.version, forced=rejected is not None)


def rollback(registry: Registry, model: str, by: str, reason: str, now: datetime, to: str | None = None) -> Record:
    """Restores the champion before the present one, passing over versions that are gone or rejected since.

    Twice in a row goes back twice. The order of writes is that of `promote`. A rollback that was killed
    half-way is completed when the same is asked again, which then does not go back once more.

    Args:
        model: a registered model's name.
        to: a version that was champion before.

    Raises:
        ConfigError: as `promote`.
        RegistryError: there is no such champion, or the registry does not answer.
    """
    with _changing(registry, model, by, reason, now) as changed:
        half = changed.completed
        if half is not None and half.action == "rollback" and changed.is_same(half) and to in (None, half.to_version):
            return half
        champion = changed.aliases.get(CHAMPION)
        return changed.change("rollback", CHAMPION, champion, changed.restorable(champion, to))


def challenge(registry: Registry, version: ModelVersion, by: str, reason: str, now: datetime) -> Record:
    """Makes a version the challenger. Order of writes, repetition and arguments are as those of `promote`.

    Raises:
        ConfigError: as `promote`.
        RegistryError: there is no such version, it was rejected or is the champion, or the registry does not answer.
    """
    with _changing(registry, version.name, by, reason, now) as model:
        rejected = _rejection(model.usable(version))
        if rejected is not None:
            raise RegistryError(f"{version.uri} was rejected ({rejected}); it can't be challenger")
        if model.aliases.get(CHAMPION) == version.version:
            raise RegistryError(f"{version.uri} is the champion; it can't challenge itself")
        challenger = model.aliases.get(CHALLENGER)
        before = model.last(CHALLENGER)
        if challenger == version.version and before is not None and before.to_version == challenger:
            return before
        return model.change("challenge", CHALLENGER, challenger, version.version)


def reject(
    registry: Registry,
    version: ModelVersion,
    by: str,
    reason: str,
    now: datetime,
    verdict: Mapping[str, Any] | None = None,
) -> Record:
    """Marks a version as rejected: it is not promoted unless somebody forces it, and ceases to be challenger.

    The order of writes: the verdict, the record as an intention, the tag `taxiway.rejected`, the alias `challenger`,
    the stage, the record as done. Killed before that tag, the version is not rejected; later, the next change of
    the model completes it.

    Args:
        verdict: what the gate found, kept as JSON in the tag `taxiway.verdict`.

    Raises:
        ConfigError: as `promote`, or the verdict is no JSON or has more than 50,000 characters.
        RegistryError: there is no such version, it is the champion, or the registry does not answer.
    """
    told = _verdict_text(verdict)
    with _changing(registry, version.name, by, reason, now) as model:
        state = model.usable(version)
        if model.aliases.get(CHAMPION) == version.version:
            raise RegistryError(f"{version.uri} is the champion; roll back first, then reject it")
        if told is not None:
            model.tag(version.version, VERDICT_TAG, told)
        before = model.last_about(version.version)
        if before is not None and before.action == "reject" and model.is_same(before) and REJECTED_TAG in state.tags:
            return before
        return model.change("reject", None, version.version, None)


@contextmanager
def _changing(registry: Registry, name: str, by: str, reason: str, now: datetime) -> Iterator["_Model"]:
    who, why = bounded(by, BY_CHARACTERS), bounded(reason, REASON_CHARACTERS)
    if not (who and why):
        raise ConfigError(f"say {'why' if who else 'who'} changes model {name!r}: the history keeps it")
    if now.tzinfo is None:
        raise ConfigError(f"{now.isoformat()} has no time zone")
    registry.live(name)
    with turn(registry, name, who) as still_mine:
        model = _Model(registry, name, who, why, now.astimezone(UTC), still_mine)
        model.mend()
        yield model


class _Model:
    """A model in the hands of the one who may change it.

    Attributes:
        completed: the record of a killed change that `mend` has completed.
    """

    def __init__(
        self, registry: Registry, name: str, by: str, reason: str, now: datetime, still_mine: StillMine
    ) -> None:
        self._registry, self._name = registry, name
        self.by, self.reason, self._now = by, reason, now
        self._still_mine = still_mine
        self.completed: Record | None = None
        self._read()

    def _read(self) -> None:
        live = self._registry.live(self._name)
        self.aliases = dict(live.aliases)
        self._entries = entries(self._name, live.tags)

    @property
    def _records(self) -> Sequence[Record]:
        return [entry.record for entry in self._entries]

    def usable(self, version: ModelVersion) -> VersionState:
        """Raises RegistryError when the version is not there, or not whole."""
        state = self._registry.describe(version)
        if state is None:
            raise RegistryError(f"{version.uri} is not in the registry")
        if state.status != "READY":
            raise RegistryError(f"{version.uri} can't be used: MLflow calls it {state.status}")
        return state

    def last(self, alias: str) -> Record | None:
        found = [record for record in self._records if record.alias == alias and record.state == "done"]
        return found[-1] if found else None

    def last_about(self, version: str) -> Record | None:
        found = [record for record in self._records if record.version == version and record.state == "done"]
        return found[-1] if found else None

    def is_same(self, record: Record) -> bool:
        """Whether a record is of what is being asked now."""
        return (record.by, record.reason) == (self.by, self.reason)

    def restorable(self, champion: str | None, to: str | None) -> str:
        """The version that a rollback leads to.

        Raises:
            RegistryError: there is none, or `to` is none.
        """
        before = champions_before(self._records, champion)
        if to is None:
            for version in before:
                if self._unrestorable(version) is None:
                    return version
            passed_over = f" but {', '.join(before)}, which are gone or rejected" if before else ""
            raise RegistryError(f"model {self._name!r} had no champion before this one{passed_over}; promote one")
        ever = {it.to_version for it in self._records if it.alias == CHAMPION and it.state == "done"}
        if to == champion:
            raise RegistryError(f"version {to} of model {self._name!r} is the champion already")
        if to not in ever | set(before):
            raise RegistryError(f"version {to} of model {self._name!r} never was champion; promote it instead")
        if (why := self._unrestorable(to)) is not None:
            raise RegistryError(f"version {to} of model {self._name!r} {why}; promote one instead")
        return to

    def _unrestorable(self, version: str) -> str | None:
        """What speaks against a version that was champion: a rejection counts when it came later."""
        state = self._registry.describe(self._version(version))
        if state is None:
            return "is not in the registry any more"
        later = [it for it in self._records if it.version == version and it.state == "done" and it.alias != CHALLENGER]
        if later and later[-1].action == "reject" and REJECTED_TAG in state.tags:
            return f"was rejected since ({later[-1].reason})"
        return None

    def change(
        self, action: Action, alias: str | None, from_version: str | None, to_version: str | None, forced: bool = False
    ) -> Record:
        """The order of writes that `promote` and `reject` tell of."""
        record = Record(
            action=action,
            alias=alias,
            from_version=from_version,
            to_version=to_version,
            at=self._now,
            by=self.by,
            reason=self.reason,
            forced=forced,
        )
        entry = Entry(next_key(self._entries), record)
        self._write(entry, "begun")
        self._still_mine()
        if alias is not None:
            self._registry.point(alias, self._version(record.version))
        else:
            self.tag(record.version, REJECTED_TAG, record.reason)
        return self._complete(entry)

    def mend(self) -> None:
        """Ends what a killed process has begun: completes it when it had an effect, gives it up otherwise."""
        for entry in self._entries:
            if entry.record.state == "begun":
                if self._had_effect(entry.record):
                    self.completed = self._complete(entry)
                else:
                    self._write(entry, "abandoned")
        if any(entry.record.state == "begun" for entry in self._entries):
            self._read()

    def _had_effect(self, record: Record) -> bool:
        if record.alias is not None:
            return self.aliases.get(record.alias) == record.to_version
        state = self._registry.describe(self._version(record.version))
        return state is not None and state.tags.get(REJECTED_TAG) == record.reason

    def _complete(self, entry: Entry) -> Record:
        """What follows from a moved alias or a rejection; may be done twice."""
        record = entry.record
        self.aliases = dict(self._registry.live(self._name).aliases)
        gives_way = record.alias != CHALLENGER and self.aliases.get(CHALLENGER) == record.version
        if gives_way:
            self._still_mine()
            self._registry.remove_alias(self._name, CHALLENGER)
            del self.aliases[CHALLENGER]
        for version in (record.from_version, record.to_version):
            if version is not None:
                self._show_stage(version)
        return self._write(entry, "done")

    def _show_stage(self, version: str) -> None:
        state = self._registry.describe(self._version(version))
        if state is not None:
            stage = _stage(version, self.aliases, _rejection(state) is not None)
            if state.tags.get(STAGE_TAG) != stage:
                self.tag(version, STAGE_TAG, stage)

    def tag(self, version: str, key: str, value: str) -> None:
        self._still_mine()
        self._registry.write_version_tag(self._version(version), key, value)

    def _write(self, entry: Entry, state: State) -> Record:
        self._still_mine()
        record = entry.record.model_copy(update={"state": state})
        write(self._registry, self._name, Entry(entry.key, record))
        return record

    def _version(self, version: str) -> ModelVersion:
        return ModelVersion(self._name, version, "")


def _rejection(state: VersionState) -> str | None:
    """Why a version was rejected; None when it was not. A gate that died may have left no more than its verdict."""
    if REJECTED_TAG in state.tags:
        return state.tags[REJECTED_TAG]
    if state.tags.get(STAGE_TAG) == "rejected":
        return "its stage says so"
    try:
        verdict = json.loads(state.tags.get(VERDICT_TAG, "null"))
    except ValueError:
        return None
    if not isinstance(verdict, dict) or verdict.get("passed") is not False:
        return None
    reasons = verdict.get("reasons")
    return "; ".join(str(it) for it in reasons) if isinstance(reasons, list) else "its verdict says so"


def _stage(version: str, aliases: Mapping[str, str], rejected: bool) -> str:
    for alias in (CHAMPION, CHALLENGER):
        if aliases.get(alias) == version:
            return alias
    return "rejected" if rejected else "retired"


def _verdict_text(verdict: Mapping[str, Any] | None) -> str | None:
    if verdict is None:
        return None
    try:
        told = json.dumps(dict(verdict), ensure_ascii=False)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"the verdict is no JSON: {error}") from error
    if len(told) > _VERDICT_CHARACTERS:
        raise ConfigError(f"the verdict has {len(told):,} characters; a tag takes {_VERDICT_CHARACTERS:,}")
    return told
