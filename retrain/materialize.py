"""`python -m retrain.materialize CONFIG`: fills the online store with what is new, and says how fresh each view is."""

import argparse
import io
import json
import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout
from datetime import UTC, datetime, timedelta

from retrain.relative import absolute
from retrain.settings import RetrainSettings, load_retraining
from taxiway.errors import ConfigError, TaxiwayError
from taxiway.features import Freshness, bind, freshness, open_store, refresh


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 2: the configuration or the store can't be used; 3: a view is stale (with `--check`)."""
    given = _parser().parse_args(arguments)
    logging.getLogger("feast").setLevel(logging.ERROR)
    now = given.until or datetime.now(UTC)
    try:
        before, after = materialized(load_retraining(given.config, now), now, given.check, given.overlap_h)
    except TaxiwayError as error:
        print(f"materialize: {error}", file=sys.stderr)
        return 2 if isinstance(error, ConfigError) else 1
    if given.json:
        print(json.dumps([_as_json(view, now) for view in after]))
    else:
        print("\n".join(lines(before, after, now)))
    return 3 if given.check and any(view.is_stale(now) for view in after) else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m retrain.materialize", description="Refresh the online store.")
    parser.add_argument("config", help="the YAML file of a retraining: the views of its feature service")
    parser.add_argument("--until", type=absolute, help="a moment (ISO 8601) in place of now")
    parser.add_argument("--overlap-h", type=float, default=0.0, help="hours to read again, for rows that came late")
    parser.add_argument("--check", action="store_true", help="fill nothing; status 3 when a view is stale")
    parser.add_argument("--json", action="store_true", help="for programs")
    return parser


def materialized(
    settings: RetrainSettings, until: datetime, only_check: bool, overlap_h: float
) -> tuple[list[Freshness], list[Freshness]]:
    """How fresh the views of the model's feature service were, and are now.

    Raises:
        ConfigError: the model reads no features, or the store can't be used.
    """
    if settings.features is None or settings.feature_store is None:
        raise ConfigError("features: the model reads none, there is nothing to materialize")
    store = open_store(settings.feature_store)
    binding = bind(store, settings.features.service, settings.features.on_missing, settings.features.defaults)
    names = [view.name for view in binding.views]
    if only_check:
        found = freshness(store, names)
        return found, found
    # Feast prints a line and a bar for each view.
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        before = refresh(store, names, until, timedelta(hours=overlap_h))
    return before, freshness(store, names)


def lines(before: Sequence[Freshness], after: Sequence[Freshness], now: datetime) -> Iterator[str]:
    width = max(len(view.view) for view in after)
    for was, view in zip(before, after, strict=True):
        known = f"until {view.until:%Y-%m-%d %H:%M} UTC" if view.until else "never filled"
        since = f", before until {was.until:%Y-%m-%d %H:%M}" if was.until and was.until != view.until else ""
        lives = f"lives {view.ttl}" if view.ttl else "stays true"
        yield f"{view.view:<{width}}  {known}{since}; {lives}{'; STALE' if view.is_stale(now) else ''}"


def _as_json(view: Freshness, now: datetime) -> dict[str, object]:
    return {
        "view": view.view,
        "until": view.until.isoformat() if view.until else None,
        "age_s": (now - view.until).total_seconds() if view.until else None,
        "ttl_s": view.ttl.total_seconds() if view.ttl else None,
        "stale": view.is_stale(now),
    }


if __name__ == "__main__":
    sys.exit(main())
