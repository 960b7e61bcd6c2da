"""`python -m benchmarks.gpu`: two networks on a GPU and a CPU, in this process, behind the listener, and as a job."""

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.gpu.in_process import alone_table, in_process, precision_table, rounded
from benchmarks.gpu.jobs import job_table, jobs
from benchmarks.gpu.networks import NETWORKS, registered, torch
from benchmarks.gpu.serving import served, served_table
from benchmarks.pages import memory_gb, processor

PAGE = Path(__file__).parents[1] / "results" / "gpu.md"


def main() -> int:
    """Measures everything and writes the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu")
    parser.add_argument("--page", type=Path, default=PAGE)
    parser.add_argument("--device", default="cuda", help="cpu tries the program out where there is no GPU")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="taxiway-gpu-") as folder:
        os.environ |= {"TAXIWAY_HOME": folder, "RAY_AUTH_MODE": "token", "RAY_USAGE_STATS_ENABLED": "0"}
        folders = {network.name: registered(network) for network in NETWORKS}
        parts = [_head(given.device)]
        for part in _measured(Path(folder), folders, given.device):
            parts.append(part)
            # What comes later may take too long.
            given.page.write_text("\n\n".join(parts) + "\n")
    print(given.page.read_text())
    return 0


def _measured(folder: Path, folders: dict[str, Path], device: str) -> Iterator[str]:
    alone = in_process(folders, device)
    yield alone_table(alone)
    if device == "cuda":
        yield precision_table([rounded(network, kind) for network in NETWORKS for kind in ("ieee", "tf32")])
    yield served_table(served(folder, device), alone)
    yield job_table(jobs(folder, device))


def _head(device: str) -> str:
    card = torch.cuda.get_device_name() if device == "cuda" else "no GPU"
    return (
        "# Models on a GPU\n\n"
        f"`python -m benchmarks.gpu` on one {card}, {os.cpu_count()} cores of {processor()}, {memory_gb():.0f} GB, "
        f"PyTorch {torch.__version__}. One run.\n\n"
        + "\n".join(f"- {it.title}: {it.make.__doc__}" for it in NETWORKS)
        + "\n\nThe CPU computes with one thread, as in a replica, 128 rows at a time at most. fp32 is fp32, not TF32. "
        "`of the limit`: requests/s over the rows/s that `predict` alone does with as many rows at a time as there are "
        "connections. `client`: how busy the load generator's one core was."
    )


if __name__ == "__main__":
    sys.exit(main())
