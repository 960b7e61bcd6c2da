"""Begins a run, or goes on with the one that an earlier attempt has left."""

from dataclasses import dataclass

from batch.finish import check_room
from batch.inputs.listing import Listing
from batch.model import ScoringModel
from batch.output.outputs import Output
from batch.pinned import CarriedModel, PinnedModel, pin
from batch.plan import describe_inputs, make_plan
from batch.resume import Unfinished, begin, unfinished
from batch.run_plan import PinnedVersion, RunPlan
from batch.settings import ScoreSettings
from taxiway.registry import ModelVersion, Registry


@dataclass(frozen=True)
class Prepared:
    """A run that can be scored: what there is of it, and its models in the order model, compared."""

    run: Unfinished
    pinned: tuple[PinnedModel, ...]

    @property
    def plan(self) -> RunPlan:
        return self.run.plan

    @property
    def models(self) -> tuple[ScoringModel, ...]:
        return tuple(pinned.model for pinned in self.pinned)

    @property
    def carried(self) -> tuple[CarriedModel, ...]:
        return tuple(pinned.carried for pinned in self.pinned)


def begin_or_go_on(
    job_id: str, began_s: float, settings: ScoreSettings, listing: Listing, output: Output, restart: bool
) -> Prepared:
    """The same command goes on where an earlier attempt has ended.

    Raises:
        JobError: settings or input have changed since that began.
        TaxiwayError: a run can't begin.
    """
    found = unfinished(output, settings, listing, restart)
    if found is not None:
        return Prepared(found, _pinned_again(settings, found.plan))
    prepared = plan_only(job_id, began_s, settings, listing)
    check_room(prepared.plan, output)
    return Prepared(begin(output, prepared.plan), prepared.pinned)


def plan_only(job_id: str, began_s: float, settings: ScoreSettings, listing: Listing) -> Prepared:
    """Resolves the models once, so that an alias that moves meanwhile can't mix versions; reads every footer.

    Raises:
        ConfigError: the input does not fit the model.
        RegistryError: there is no such model.
        PackageError: the model version is no Taxiway package.
    """
    registry = Registry(settings.registry)
    asked = [settings.model, *([settings.compare.model] if settings.compare else [])]
    pinned = tuple(pin(registry, registry.resolve(uri)) for uri in asked)
    models = tuple(found.model for found in pinned)
    inputs = describe_inputs(listing, models, settings)
    versions = [
        PinnedVersion(asked=uri, name=model.name, version=model.version, digest=model.digest)
        for uri, model in zip(asked, models, strict=True)
    ]
    return Prepared(Unfinished(make_plan(job_id, began_s, inputs, versions, settings)), pinned)


def _pinned_again(settings: ScoreSettings, plan: RunPlan) -> tuple[PinnedModel, ...]:
    """The versions with which the run began, whatever the aliases mean by now."""
    registry = Registry(settings.registry)
    versions = [version for version in (plan.model, plan.compare) if version is not None]
    return tuple(pin(registry, ModelVersion(found.name, found.version, ""), found.digest) for found in versions)
