"""`python -m cluster.chart_files`: puts dashboards and rules into the chart (`--check`: says whether they are current).

Helm reads only files inside a chart's folder, and packages no links.
"""

import sys
from collections.abc import Mapping
from pathlib import Path

from cluster.observability.generate import files

HERE = Path(__file__).parent / "chart" / "files"
_FROM = {"grafana/dashboards/": "dashboards/", "prometheus/rules.yaml": "rules.yaml"}


def chart_files() -> Mapping[str, str]:
    """Text by path below the chart's `files`."""
    return {
        here + name.removeprefix(there): text
        for name, text in files().items()
        for there, here in _FROM.items()
        if name.startswith(there)
    }


def main() -> int:
    """Exit status 1 when `--check` finds a file that is not what `cluster.observability` makes."""
    wanted = chart_files()
    stale = [name for name, text in wanted.items() if not (HERE / name).is_file() or (HERE / name).read_text() != text]
    gone = [path for path in (HERE / "dashboards").glob("*.json") if f"dashboards/{path.name}" not in wanted]
    if "--check" in sys.argv:
        if stale or gone:
            names = ", ".join([*stale, *(f"dashboards/{path.name}" for path in gone)])
            print(f"not current: {names}; run `python -m cluster.chart_files`", file=sys.stderr)
        return 1 if stale or gone else 0
    for path in gone:
        path.unlink()
    for name in stale:
        (HERE / name).parent.mkdir(parents=True, exist_ok=True)
        (HERE / name).write_text(wanted[name])
    return 0


if __name__ == "__main__":
    sys.exit(main())
