"""`taxiway plan`: what autoscaling policies would cost under a traffic trace, and how they would answer."""

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict

from taxiway.errors import ConfigError
from taxiway.planning.settings import MeasuredPoint, PlanSettings, TraceSettings
from taxiway.settings import load

_HEAD = (
    "policy",
    "cost",
    "on demand",
    "spot",
    "p50 ms",
    "p99 ms",
    "refused",
    "lost",
    "replica h",
    "nodes",
    "preempted",
)


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds `plan`. It needs neither the registry nor a cluster."""
    plan = commands.add_parser("plan", help="what autoscaling policies would cost, and how they would answer")
    plan.add_argument("file", help="a plan file: configs/plan.yaml is an example")
    plan.add_argument("--trace", metavar="FILE", help="CSV or Parquet (time, requests_per_s), instead of the file's")
    plan.add_argument("-o", "--output", metavar="FILE", help="also a picture: .png, .svg or .pdf")
    plan.add_argument("--json", action="store_true", help="for programs")
    plan.set_defaults(lines=_plan)


def _plan(given: argparse.Namespace) -> Iterator[str]:
    # scipy and pyarrow take a second that other commands have better uses for.
    from taxiway.planning.cost import summary
    from taxiway.planning.replica import Replica, left_out
    from taxiway.planning.simulate import simulate
    from taxiway.planning.trace import traffic

    plan = load(given.file, PlanSettings)
    trace = plan.trace if given.trace is None else TraceSettings(path=given.trace, scale=plan.trace.scale)
    arrived = traffic(trace, plan.seed)
    replica = Replica(plan.replica)
    runs = [simulate(plan, policy, arrived, replica) for policy in plan.policies]
    summaries = [asdict(summary(run, plan.node, replica)) for run in runs]
    errors = left_out(plan.replica.measured)
    if given.json:
        told = {"requests": float(arrived.sum()), "seconds": len(arrived), "left_out": errors, "policies": summaries}
        yield json.dumps(told, indent=2)
    else:
        yield f"{arrived.sum():,.0f} requests in {len(arrived) / 3_600:.1f} h, at most {arrived.max():,.0f}/s"
        yield from _table([_HEAD, *(_row(one, plan.node.currency) for one in summaries)])
        yield from _trust(errors, plan.replica.measured)
    if given.output is not None:
        from taxiway.planning_plots import plan_figure

        try:
            plan_figure(runs, plan.node, replica).savefig(given.output)
        except (OSError, ValueError) as error:
            raise ConfigError(f"{given.output}: can't be written: {error}; give another FILE with -o") from error


def _row(one: dict[str, object], currency: str) -> tuple[str, ...]:
    money = (f"{one[key]:,.2f}" for key in ("cost", "on_demand_cost", "spot_cost"))
    cost, *parts = money
    latencies = ("-" if one[key] is None else f"{one[key]:.1f}" for key in ("p50_ms", "p99_ms"))
    shares = (f"{one[key]:.4%}" for key in ("refused_share", "lost_share"))
    return (
        str(one["policy"]),
        f"{cost} {currency}",
        *parts,
        *latencies,
        *shares,
        f"{one['replica_hours']:,.0f}",
        str(one["most_nodes"]),
        str(one["preemptions"]),
    )


def _table(rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        yield "  ".join([row[0].ljust(widths[0]), *cells])


def _trust(errors: Sequence[float], measured: Sequence[MeasuredPoint]) -> Iterator[str]:
    """What the measured points say of each other."""
    for error, point in zip(errors, measured[1:-1], strict=True):
        yield f"{point.connections} connections, predicted from the other points: {error:+.0%} requests/s"
