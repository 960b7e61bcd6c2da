"""Runs inside the image, and prints as JSON what it sees there."""

import json
import os
import re
import shutil
from importlib.metadata import distributions
from pathlib import Path

SITE = Path("/opt/venv/lib/python3.11/site-packages")
BILL = Path("/opt/venv/share/taxiway/bill.cdx.json")
TESTED = ("matplotlib", "numpy", "pandas", "pyarrow", "scipy", "sklearn")


def main() -> None:
    """One object, in one line."""
    bill = json.loads(BILL.read_text())
    modules = [it for it in SITE.glob("ray/**/*.py") if "rllib" not in it.parts]
    seen = {
        "user": os.getuid(),
        "revision": os.environ["TAXIWAY_REVISION"],
        "capabilities": re.findall(r"CapEff:\s*(\w+)", Path("/proc/self/status").read_text())[0],
        "builders": [it for it in ("cc", "uv", "pytest", "mypy", "ruff", "cyclonedx-py") if shutil.which(it)],
        "pip": (SITE / "pip").exists(),
        "commands": [it for it in ("taxiway", "serve", "ray", "mlflow") if shutil.which(it)],
        "tests": [str(it) for it in SITE.glob("*/tests") if it.parent.name in TESTED],
        "stages": [it for it in ("/build", "/opt/tools", "/opt/project") if Path(it).exists()],
        "tree": sorted(it.name for it in Path().iterdir()),
        "uncompiled": [str(it) for it in modules if not list(it.parent.glob(f"__pycache__/{it.stem}.*.pyc"))][:5],
        "installed": sorted(f"{it.name} {it.version}" for it in distributions(path=[str(SITE)])),
        "bill": [f"{it['name']} {it['version']}" for it in bill["components"]],
        "subject": bill["metadata"]["component"]["name"],
    }
    print(json.dumps(seen))


if __name__ == "__main__":
    main()
