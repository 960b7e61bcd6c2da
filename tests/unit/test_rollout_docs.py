"""docs/rollouts.md says what is true."""

import re
from pathlib import Path

import pytest
import yaml

from serve.admin import admin_app
from serve.settings import ServeSettings
from taxiway.cli import main
from taxiway.rollout.plan import ChecksSettings, RolloutSettings, StepSettings
from taxiway.telemetry import rollouts as metrics

DOCS = Path(__file__).parents[2] / "docs"
TEXT, PROTOCOLS = (DOCS / "rollouts.md").read_text(), (DOCS / "protocols.md").read_text()
(EXAMPLE,) = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)
COMMANDS = re.findall(r"^taxiway rollout ([a-z |]+?) flight-delay(.*)$", TEXT, re.MULTILINE)
CALLS = re.findall(r"`(GET|POST) (/admin/endpoints/M/rollout[^`]*)`", TEXT)


def default(name: str) -> str:
    (row,) = re.findall(rf"^\| `{re.escape(name)}` \| ([^|]+?) \|", TEXT, re.MULTILINE)
    return row.replace("`", "")


def test_the_example_is_a_serve_file() -> None:
    found = ServeSettings(**yaml.safe_load(EXAMPLE))
    plan = found.endpoints[0].rollout
    assert plan is not None
    assert plan.start == "automatic"
    assert [(step.shadow, step.weight, step.hold) for step in plan.steps] == [
        (100, 0, False),
        (0, 5, False),
        (0, 50, True),
    ]
    assert plan.checks.quality is not None
    assert found.predictions is not None


def test_defaults_stand_there_as_they_are() -> None:
    plan, step = RolloutSettings(), StepSettings(weight=1)
    assert default("start") == plan.start
    assert default("on_inconclusive") == plan.on_inconclusive
    assert default("steps.hold") == str(step.hold).lower()
    assert default("checks.alpha") == f"{plan.checks.alpha:g}"
    assert default("checks.min_requests") == f"{plan.checks.min_requests}"
    assert f"| `steps.min_s`, `steps.max_s` | {step.min_s:g}, {step.max_s:.0f} |" in TEXT
    assert [(it.shadow, it.weight) for it in plan.steps] == [(100, 0), (0, 5), (0, 25), (0, 50)]


@pytest.mark.parametrize("check", [it for it in ChecksSettings.model_fields if it not in ("alpha", "min_requests")])
def test_every_check_stands_there_with_its_default(check: str) -> None:
    found = getattr(ChecksSettings(), check)
    if found is None:
        assert default(check) == "off"
    else:
        assert default(check).endswith(f"{found.max_increase:g}")
        assert not hasattr(found, "over_ms") or f"{found.over_ms:g} ms" in default(check)


def test_every_command_that_it_shows_exists(capsys: pytest.CaptureFixture[str]) -> None:
    names = [name for told, _ in COMMANDS for name in told.split(" | ")]
    assert {"status", "report", "start", "pause", "resume", "promote", "abort", "history"} == set(names)
    for told, options in COMMANDS:
        for name in told.split(" | "):
            with pytest.raises(SystemExit) as ended:
                main(["rollout", name, "--help"])
            assert ended.value.code == 0
            shown = capsys.readouterr().out
            assert all(option in shown for option in re.findall(r"--?[a-z]+", options))


def test_every_admin_call_exists_and_stands_in_both_pages() -> None:
    app = admin_app(None, "token")  # type: ignore[arg-type]
    known = {
        (method, route.path.replace("{name}", "M").replace("{command}", "COMMAND"))
        for route in app.routes
        for method in getattr(route, "methods", ())
        if "/rollout" in getattr(route, "path", "")
    }
    assert known == set(CALLS)
    assert all(f"`{method} {path}`" in PROTOCOLS for method, path in CALLS)


def test_every_metric_stands_there() -> None:
    declared = set(re.findall(r'"(taxiway_rollout\w+)"', Path(metrics.__file__).read_text()))
    assert declared
    assert {f"ray_{name}" for name in declared} == set(re.findall(r"^\| `(ray_\w+)`", TEXT, re.MULTILINE))


@pytest.mark.parametrize("page", ["rollouts.md", "adr/0012-rollouts-live-in-the-registry.md"])
def test_links_lead_somewhere(page: str) -> None:
    path = DOCS / page
    for target in re.findall(r"\]\(([^)#:]+)", path.read_text()):
        assert (path.parent / target).exists(), target
