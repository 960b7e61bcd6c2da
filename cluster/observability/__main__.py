"""`python -m cluster.observability`: writes dashboards and rules (`--check`: says whether they are current)."""

import sys

from cluster.observability.generate import HERE, files


def main() -> int:
    """Exit status 1 when `--check` finds a file that is not what the code says."""
    stale = []
    for name, text in files().items():
        path = HERE / name
        if "--check" in sys.argv:
            stale += [str(path)] if not path.is_file() or path.read_text() != text else []
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    if stale:
        print(f"not current: {', '.join(stale)}; run `python -m cluster.observability`", file=sys.stderr)
    return len(stale) and 1


if __name__ == "__main__":
    sys.exit(main())
