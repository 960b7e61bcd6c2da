"""Writes the JSON schema of every config file to configs/schemas (`--check`: says whether they are current)."""

import json
import sys
from pathlib import Path

from batch.audit.settings import AuditSettings
from batch.feedback_settings import FeedbackSettings
from batch.monitor.settings import MonitorSettings
from batch.settings import ScoreSettings
from retrain.settings import RetrainSettings
from serve.settings import ServeSettings
from taxiway.planning.settings import PlanSettings
from taxiway.settings import FileSettings

FOLDER = Path(__file__).parent / "schemas"
KINDS: dict[str, type[FileSettings]] = {
    "serve": ServeSettings,
    "score": ScoreSettings,
    "feedback": FeedbackSettings,
    "monitor": MonitorSettings,
    "audit": AuditSettings,
    "retrain": RetrainSettings,
    "plan": PlanSettings,
}


def main() -> int:
    """Exit status 1 when `--check` finds a schema that is not what the settings say."""
    stale = []
    for name, kind in KINDS.items():
        text = json.dumps(kind.model_json_schema(), indent=2) + "\n"
        path = FOLDER / f"{name}.json"
        if "--check" in sys.argv:
            stale += [str(path)] if not path.is_file() or path.read_text() != text else []
        else:
            FOLDER.mkdir(exist_ok=True)
            path.write_text(text)
    if stale:
        print(f"not current: {', '.join(stale)}; run `make schemas`", file=sys.stderr)
    return len(stale) and 1


if __name__ == "__main__":
    sys.exit(main())
