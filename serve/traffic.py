"""`python -m serve.traffic FILE ENDPOINT champion=90 challenger=10`: splits live traffic anew, without a restart."""

import argparse
import getpass
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from ray.serve.schema import ServeDeploySchema

from serve.__main__ import BUILDER
from serve.loading import uris
from serve.settings import EndpointSettings, LiveSettings, ServeSettings
from taxiway.errors import ConfigError, TaxiwayError
from taxiway.registry import Registry, model_name
from taxiway.settings import parse, read_yaml
from taxiway.traffic import (
    Override,
    TrafficSettings,
    TrafficState,
    check,
    digest,
    only,
    parse_override,
    parse_traffic,
    state,
    tag_name,
)


@dataclass(frozen=True)
class LiveTable:
    """The traffic of one endpoint in the registry, where every replica looks it up."""

    registry: Registry
    model: str
    application: str
    endpoint: str
    variants: tuple[str, ...]
    declared: TrafficSettings

    @property
    def tag(self) -> str:
        return tag_name(self.application, self.endpoint)

    def read(self) -> TrafficState:
        """
        Raises:
            ConfigError: the override there can't be read; `reset` or `write` mend it.
            RegistryError: the registry does not answer.
        """
        return state(self.declared, parse_override(self.registry.live(self.model).tags.get(self.tag)))

    def write(self, traffic: TrafficSettings, by: str, at: datetime) -> TrafficState:
        """Puts `traffic` in place of what is declared.

        Raises:
            ConfigError: a name is no variant.
            RegistryError: the registry does not answer.
        """
        check(traffic, self.variants)
        override = Override(traffic=traffic, over=digest(self.declared), set_at=at.isoformat(timespec="seconds"), by=by)
        self.registry.write_tag(self.model, self.tag, override.model_dump_json())
        return state(self.declared, override)

    def reset(self) -> TrafficState:
        """Back to what is declared."""
        self.registry.delete_tag(self.model, self.tag)
        return state(self.declared, None)


def live_table(registry: Registry, application: str, endpoint: EndpointSettings, declared: LiveSettings) -> LiveTable:
    """The table of an endpoint; it lies with the first model of the endpoint's first variant."""
    variants = endpoint.all_variants
    names = tuple(variant.name for variant in variants)
    traffic = declared.traffic.get(endpoint.name) or only(names[0])
    model = model_name(uris(variants[0])[0])
    return LiveTable(registry, model, application, endpoint.name, names, traffic)


def main(arguments: list[str] | None = None) -> int:
    """Exit status 2 when nothing was changed."""
    given = _parser().parse_args(arguments)
    try:
        table = _table(given.file, given.application, given.endpoint)
        for line in lines(table.endpoint, _act(table, given)):
            print(line)
    except TaxiwayError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def lines(endpoint: str, found: TrafficState) -> Iterator[str]:
    """What holds now, for people."""
    override = found.override
    if override is None:
        yield f"{endpoint}: as declared"
    elif found.effective == override.traffic:
        yield f"{endpoint}: set by {override.by} at {override.set_at}, until the declared traffic changes"
    else:
        yield f"{endpoint}: as declared; what {override.by} set at {override.set_at} stood in for another declaration"
    for name, weight in found.effective.weights.items():
        yield f"  {name} {weight:g} %"
    for name, share in found.effective.shadows.items():
        yield f"  {name} shadows {share:g} %"


def _act(table: LiveTable, given: argparse.Namespace) -> TrafficState:
    asked = (bool(given.shares or given.shadow), given.show, given.reset)
    if sum(asked) != 1:
        raise ConfigError("give either weights (champion=90 challenger=10), or --show, or --reset")
    if given.reset:
        return table.reset()
    if given.show:
        return table.read()
    traffic = parse_traffic(_shares(given.shares), _shares(given.shadow))
    return table.write(traffic, given.by or _user(), datetime.now(UTC))


def _shares(given: Sequence[str]) -> dict[str, str]:
    shares: dict[str, str] = {}
    for text in given:
        name, equals, share = text.partition("=")
        if not (name and equals and share) or name in shares:
            found = "stands there twice" if name in shares else "is no share"
            raise ConfigError(f"{text!r} {found}; expected each variant once, as NAME=PERCENT")
        shares[name] = share
    return shares


def _table(path: str, application: str | None, endpoint: str) -> LiveTable:
    served = {
        (name, declared.name): (settings, declared, live)
        for name, settings, live in _applications(path)
        for declared in settings.endpoints
    }
    found = [key for key in served if key[1] == endpoint and application in (None, key[0])]
    if not found:
        raise ConfigError(f"{path}: no endpoint {endpoint!r}; found: {', '.join(map('/'.join, served)) or 'none'}")
    if len(found) > 1:
        several = ", ".join(name for name, _ in found)
        raise ConfigError(f"{path}: the applications {several} all have {endpoint!r}; say which with --application")
    settings, declared, live = served[found[0]]
    return live_table(Registry(settings.registry), found[0][0], declared, live)


def _applications(path: str) -> Iterator[tuple[str, ServeSettings, LiveSettings]]:
    try:
        deployed = ServeDeploySchema.model_validate(read_yaml(path))
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from error
    for application in deployed.applications:
        if application.import_path == BUILDER:
            where = f"{path}: application {application.name!r}"
            settings = parse(application.args, ServeSettings, where)
            declared = [found.user_config for found in application.deployments if found.name == "ingress"]
            live = parse((declared and declared[0]) or {}, LiveSettings, f"{where}: user_config")
            live.check(settings)
            yield application.name, settings, live


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # in a container without a passwd entry
        return "unknown"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m serve.traffic",
        description="Splits the live traffic of an endpoint anew: all its replicas follow within seconds. What is set "
        "here holds until it is reset, or until another traffic is declared in the deployed file.",
    )
    parser.add_argument("file", help="the serve file that is deployed")
    parser.add_argument("endpoint")
    parser.add_argument("shares", nargs="*", metavar="VARIANT=PERCENT", help="the weights; they sum to 100")
    parser.add_argument("--shadow", action="append", default=[], metavar="VARIANT=PERCENT", help="no copies without it")
    parser.add_argument("--show", action="store_true", help="changes nothing")
    parser.add_argument("--reset", action="store_true", help="back to what the file declares")
    parser.add_argument("--application", help="when several in the file have this endpoint")
    parser.add_argument("--by", help="who sets it; default: your user name")
    return parser


if __name__ == "__main__":
    sys.exit(main())
