"""What the registry and the controller say of an endpoint, in sentences: its rollout or experiment, and its drift."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from serve.endpoint import Endpoint
from serve.loading import uris
from serve.reports import AskDrift
from taxiway.drift.progress import VariantDrift
from taxiway.errors import TaxiwayError
from taxiway.experiments import Experiments
from taxiway.registry import Registry, model_name
from taxiway.rollout_told import decision
from taxiway.rollouts import Rollouts

_NAMED = 3


@dataclass(frozen=True)
class Told:
    """`progress` is of a rollout or an experiment, the present or the last one; `drift` one line a version."""

    progress: tuple[str, ...] = ()
    drift: tuple[str, ...] = ()


AskProgress = Callable[[], Mapping[str, Told]]


def progress_of(registry: Registry, application: str, endpoints: Sequence[Endpoint], drift: AskDrift) -> AskProgress:
    """A function that asks about those that have something to tell, by name. It blocks, and raises nothing."""
    asked = [it for it in endpoints if it.settings.rollout or it.settings.experiment or it.settings.drift]

    def ask() -> Mapping[str, Told]:
        return {
            it.name: Told(
                _lines(partial(_split_traffic, registry, application, it)),
                _lines(partial(_drift, it, drift)),
            )
            for it in asked
        }

    return ask


def _lines(tell: Callable[[], tuple[str, ...]]) -> tuple[str, ...]:
    """What is told, or that nobody answers."""
    try:
        return tell()
    except TaxiwayError as error:
        return (f"unknown: {error}",)
    except Exception as error:  # noqa: BLE001 - whatever a registry's client raises; the page is shown without it
        return (f"unknown: {type(error).__name__}",)


def _split_traffic(registry: Registry, application: str, endpoint: Endpoint) -> tuple[str, ...]:
    settings = endpoint.settings
    model = model_name(uris(settings.all_variants[0])[0])
    if settings.rollout is not None:
        rollout = Rollouts(registry, application, endpoint.name, model).read()
        if rollout is None:
            return ("Rollout: none yet.",)
        return (f"Rollout of version {rollout.challenger_version}: {decision(rollout)}", *rollout.findings)
    if settings.experiment is None:
        return ()
    experiments = Experiments(registry, application, endpoint.name, model)
    state = experiments.read()
    if state is None:
        return ("Experiment: none yet.",)
    readout = experiments.readout()
    told = readout.told if readout is not None else "nothing was measured yet"
    return (f"Experiment {state.plan.name}, {state.phase}: {told}",)


def _drift(endpoint: Endpoint, ask: AskDrift) -> tuple[str, ...]:
    return () if endpoint.settings.drift is None else tuple(drift_line(it) for it in ask(endpoint.name))


def drift_line(found: VariantDrift) -> str:
    """`champion, version 3: alarm for inputs/wind; 2 of 8 columns drifted in the last window`."""
    name, state = f"{found.variant}, version {found.version}", found.state
    if not state.windows:
        return f"{name}: no window was judged yet, {found.rows:,} rows in the open one"
    last = state.windows[-1]
    drifted = f"{len(last.drifting)} of {len(last.columns)} columns drifted in the last window of {last.rows:,} rows"
    if not state.raised:
        return f"{name}: no alarm; {drifted}"
    more = len(state.raised) - _NAMED
    names = ", ".join(list(state.raised)[:_NAMED]) + (f" and {more} more" if more > 0 else "")
    return f"{name}: alarm for {names}; {drifted}"
