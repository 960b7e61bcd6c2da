"""What a replica knows of the age of its features, while their registry answers, fails or hangs."""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta

import pytest

from serve.freshness import FollowedViews
from taxiway.errors import ConfigError
from taxiway.feature_binding import FeatureBinding, FeatureViewBinding
from taxiway.features import Freshness

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


class Seen:
    """Metrics as the follower tells them."""

    def __init__(self) -> None:
        self.views: dict[str, tuple[float | None, bool]] = {}
        self.failures = 0

    def feature_view(self, view: str, age_s: float | None, is_stale: bool) -> None:
        self.views[view] = age_s, is_stale

    def feature_registry_failed(self) -> None:
        self.failures += 1


class Registry:
    """Says what it is told to say."""

    def __init__(self) -> None:
        self.until: dict[str, datetime | None] = {"sales": NOW - HOUR, "stock": None}
        self.error: Exception | None = None
        self.asked = 0

    def __call__(self, names: Sequence[str]) -> list[Freshness]:
        self.asked += 1
        if self.error is not None:
            raise self.error
        return [Freshness(name, self.until[name], 3 * HOUR) for name in names]


def binding(*names: str) -> FeatureBinding:
    views = (
        FeatureViewBinding(name=name, entity_keys=("shop",), columns=(f"{name}_1",), on_missing="null", defaults={})
        for name in names
    )
    return FeatureBinding(service="shops", views=tuple(views))


def eventually(fact: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not fact():
        assert time.monotonic() < end
        time.sleep(0.005)


@pytest.fixture
def registry() -> Registry:
    return Registry()


@pytest.fixture
def seen() -> Seen:
    return Seen()


@pytest.fixture
def followed(registry: Registry, seen: Seen) -> Iterator[FollowedViews]:
    found = FollowedViews(registry, seen, NOW, every_s=0.01)  # type: ignore[arg-type]
    yield found
    found.stop()


def now(function: Callable[..., object], *arguments: object) -> None:
    function(*arguments)


def test_the_views_of_loaded_models_have_their_ages(registry: Registry, seen: Seen, followed: FollowedViews) -> None:
    followed.add(binding("sales", "stock"))
    followed.add(None)
    followed.follow(now)
    eventually(lambda: len(seen.views) == 2)
    assert seen.views == {"sales": (3600.0, False), "stock": (None, True)}
    assert followed.status() == {
        "sales": {"until": "2026-03-01T11:00:00+00:00", "stale": False, "error": None},
        "stock": {"until": None, "stale": True, "error": None},
    }
    registry.until["sales"] = NOW - 4 * HOUR
    eventually(lambda: seen.views["sales"] == (4 * 3600.0, True))


def test_a_model_that_is_loaded_later_brings_its_views(registry: Registry, seen: Seen) -> None:
    followed = FollowedViews(registry, seen, NOW, every_s=3600.0)  # type: ignore[arg-type]
    followed.add(binding("stock"))
    followed.follow(now)
    eventually(lambda: "stock" in seen.views)
    followed.add(binding("sales"))
    eventually(lambda: "sales" in seen.views)
    followed.stop()


def test_a_registry_that_fails_is_counted_each_time_and_logged_once(
    registry: Registry, seen: Seen, followed: FollowedViews, caplog: pytest.LogCaptureFixture
) -> None:
    followed.add(binding("sales", "stock"))
    followed.follow(now)
    eventually(lambda: len(seen.views) == 2)
    with caplog.at_level(logging.WARNING):
        registry.error = OSError("postgresql://ada:secret@store refuses")
        eventually(lambda: seen.failures >= 3)
    assert len(caplog.records) == 1
    status = followed.status()["sales"]
    assert status["until"] == "2026-03-01T11:00:00+00:00"
    assert status["error"] == "the feature registry did not answer"
    registry.error = None
    eventually(lambda: followed.status()["sales"]["error"] is None)


def test_a_view_that_is_gone_says_nothing_about_the_others(seen: Seen) -> None:
    def ask(names: Sequence[str]) -> list[Freshness]:
        if "gone" in names:
            raise ConfigError("feature_store: the store has no feature view 'gone'")
        return [Freshness(name, NOW, None) for name in names]

    followed = FollowedViews(ask, seen, NOW)  # type: ignore[arg-type]
    followed.add(binding("gone", "sales"))
    followed.follow(now)
    eventually(lambda: bool(seen.views))
    followed.stop()
    assert seen.views == {"sales": (0.0, False)}
    assert followed.status()["gone"] == {
        "until": None,
        "stale": None,
        "error": "feature_store: the store has no feature view 'gone'",
    }


def test_ages_grow_on_while_the_registry_hangs(seen: Seen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serve.freshness._ANSWER_S", 0.05)
    hangs, back = threading.Event(), threading.Event()

    def ask(names: Sequence[str]) -> list[Freshness]:
        if hangs.is_set():
            back.wait(10)
        return [Freshness(name, datetime.now(UTC), None) for name in names]

    followed = FollowedViews(ask, seen, None, every_s=0.01)  # type: ignore[arg-type]
    followed.add(binding("sales"))
    followed.follow(now)
    eventually(lambda: "sales" in seen.views)
    threads = threading.active_count()
    hangs.set()
    eventually(lambda: (seen.views["sales"][0] or 0.0) > 0.3 and seen.failures > 5)
    assert threading.active_count() <= threads
    back.set()
    hangs.clear()
    eventually(lambda: followed.status()["sales"]["error"] is None)
    followed.stop()


def test_a_stop_while_the_registry_is_asked_ends_the_thread(seen: Seen) -> None:
    asked, go_on = threading.Event(), threading.Event()

    def ask(names: Sequence[str]) -> list[Freshness]:
        asked.set()
        go_on.wait(10)
        return [Freshness(name, NOW, None) for name in names]

    followed = FollowedViews(ask, seen, NOW, every_s=3600.0)  # type: ignore[arg-type]
    followed.add(binding("sales"))
    followed.follow(now)
    assert asked.wait(10)
    followed.stop()
    go_on.set()
    eventually(lambda: not [thread for thread in threading.enumerate() if thread.name == "freshness"])
    assert seen.views == {}


def test_nobody_is_asked_any_more_after_the_end(registry: Registry, seen: Seen, followed: FollowedViews) -> None:
    before = threading.active_count()
    followed.add(binding("sales"))
    followed.follow(now)
    eventually(lambda: registry.asked > 2)
    assert threading.active_count() > before
    followed.stop()
    eventually(lambda: not [thread for thread in threading.enumerate() if thread.name == "freshness"])
    asked = registry.asked
    time.sleep(0.05)
    assert registry.asked == asked
