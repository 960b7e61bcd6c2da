"""docs/retraining.md says what is true."""

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from retrain.gate import GateSettings
from retrain.settings import load_retraining
from retrain.trainers.choice import TrainerSettings

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "retraining.md").read_text()
WINDOWS, TRAINER = (yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL))


def test_the_windows_that_it_shows_can_be_used(tmp_path: Path) -> None:
    rest = {"model": "m", "labels": "l.parquet", "label": "late", "inputs": [{"name": "x", "dtype": "float64"}]}
    (tmp_path / "retrain.yaml").write_text(yaml.safe_dump(rest | WINDOWS))
    found = load_retraining(tmp_path / "retrain.yaml", datetime(2026, 11, 26, tzinfo=UTC))
    assert (found.train.start, found.train.end) == (datetime(2026, 5, 1, tzinfo=UTC), datetime(2026, 10, 1, tzinfo=UTC))
    assert (found.evaluate.start, found.evaluate.end) == (found.train.end, datetime(2026, 11, 1, tzinfo=UTC))


def test_the_trainer_that_it_shows_is_valid() -> None:
    assert TrainerSettings.model_validate(TRAINER["trainer"]).options == {"depth": 3}


@pytest.mark.parametrize("rule", [name for name in GateSettings.model_fields if name.startswith(("min_auc", "max_"))])
def test_every_rule_of_the_gate_stands_there_with_its_default(rule: str) -> None:
    (row,) = re.findall(rf"^\|[^|]*`{rule}`[^|]*\| ([^|]+) \|", TEXT, re.MULTILINE)
    default = getattr(GateSettings(), rule)
    assert row == ("none" if default is None else f"{default:g}")


def test_the_flights_file_shows_defaults_of_the_gate() -> None:
    shown = yaml.safe_load((ROOT / "configs" / "flights" / "retrain.yaml").read_text())["gate"]
    assert GateSettings(**shown) == GateSettings()
