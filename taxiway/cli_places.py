"""Which endpoint a command is about, where several serve the model that it names."""

import argparse
from collections.abc import Sequence

from taxiway.errors import ConfigError


def add_place(place: argparse.ArgumentParser) -> None:
    """The arguments that `chosen` looks at."""
    place.add_argument("model", help="the registered model of the endpoint's first variant")
    place.add_argument("--endpoint", help="when several serve the model")
    place.add_argument("--application", help="when several have such an endpoint")


def chosen(known: Sequence[tuple[str, str]], given: argparse.Namespace, key: str) -> tuple[str, str]:
    """The application and the endpoint.

    Args:
        known: those that have `key` in their serve file.

    Raises:
        ConfigError: there is none, or there are several and it was not said which.
    """
    found = [
        (application, endpoint)
        for application, endpoint in known
        if given.endpoint in (None, endpoint) and given.application in (None, application)
    ]
    if len(found) == 1:
        return found[0]
    named = ", ".join(f"{application}/{endpoint}" for application, endpoint in known)
    if not known:
        raise ConfigError(f"no endpoint with the key `{key}` serves {given.model}; deploy one")
    if not found:
        raise ConfigError(f"no such endpoint; those of {given.model} with the key `{key}` are {named}")
    raise ConfigError(f"{named} serve {given.model}; say which with --endpoint and --application")
