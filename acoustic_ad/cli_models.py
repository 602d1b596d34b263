"""`acoustic-ad models`: what is in the model store, and which version judges."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from acoustic_ad.cli_signing import RequireSigned, SignKey, TrustedKeys, add_signing, signing_key, trust_of
from acoustic_ad.console import answer, answer_json, command, say

if TYPE_CHECKING:
    from acoustic_ad.models.bundle_info import BundleInfo
    from acoustic_ad.models.registry import Registry
    from acoustic_ad.models.signing import Trust

models_app = typer.Typer(help="The model store: list, show, promote, roll back, verify, sign.", no_args_is_help=True)
add_signing(models_app)
Models = Annotated[Path, typer.Option("--models", envvar="ACOUSTIC_AD_MODELS", help="Folder of the model bundles.")]
Machine = Annotated[str, typer.Argument(help="The machine's name, as `models list` shows it.")]
Json = Annotated[bool, typer.Option("--json", help="Answer with one JSON document on stdout.")]


@models_app.command("list")
@command
def list_models(models: Models = Path("models"), as_json: Json = False) -> None:
    """Each machine with its versions; the current one is marked."""
    from acoustic_ad.report.tables import text_table

    registry = _registry(models)
    found = [_listed(registry, name) for name in registry.machines()]
    if as_json:
        answer_json({"machines": found})
    else:
        rows = [[one["machine"], one["problem"] or one["current"] or "-", ", ".join(one["versions"])] for one in found]
        answer(text_table(("machine", "current", "versions"), rows))
        if not found:
            say("no models yet: `acoustic-ad train` makes them")


def _registry(models: Path, trust: Trust | None = None) -> Registry:
    """The models in an existing folder; a wrong --models must not look like a fleet without faults."""
    from acoustic_ad.errors import BundleError
    from acoustic_ad.models.registry import Registry
    from acoustic_ad.sound.clip import one_line

    if not os.path.isdir(models):  # noqa: PTH112  # Path.is_dir raises for names that are too long
        raise BundleError(
            f"there is no folder of models {one_line(str(models))}: pass --models, or make one with `acoustic-ad train`"
        )
    return Registry(models, trust)


def _listed(registry: Registry, machine: str) -> dict[str, Any]:
    from acoustic_ad.errors import BundleError

    current, problem = None, None
    try:
        current = registry.current(machine)
    except BundleError as error:  # one damaged machine must not hide the others
        problem = str(error)
    return {"machine": machine, "current": current, "versions": registry.versions(machine), "problem": problem}


@models_app.command("show")
@command
def show(
    machine: Machine,
    version: Annotated[str | None, typer.Option("--version", help="Instead of the current one.")] = None,
    plot: Annotated[
        Path | None, typer.Option("--plot", help="Draw its training curves to this .png, .svg or .pdf.")
    ] = None,
    models: Models = Path("models"),
    as_json: Json = False,
) -> None:
    """What a model was made of, how it learnt, and what its calibration can promise.

    Exit codes: 0, 1 no such model or nothing to draw (mahalanobis learns nothing step by step), 2 usage.
    """
    from acoustic_ad.models.registry import Registry
    from acoustic_ad.report.curves import check_plot_suffix, write_curves
    from acoustic_ad.report.limits import detection_lines
    from acoustic_ad.report.tables import count_of
    from acoustic_ad.sound.clip import one_line

    if plot is not None:
        check_plot_suffix(plot)
    info = Registry(models).info(machine, version)
    if plot is not None:
        write_curves(plot, info)
    document = info.model_dump(mode="json")
    if as_json:
        answer_json(document)
        return
    lines = [
        f"machine      {info.machine}",
        f"version      {info.version}, made {info.created_at}",
        f"recipe       {info.recipe.name} (detector {info.recipe.detector.kind}, scorer {info.recipe.scorer.kind})",
        f"learnt from  {count_of(info.n_clips, 'clip')}, {len(info.left_out)} left out",
        f"judged in    {_groups(info)}",
        f"training     {info.training.seconds:.1f} s, {info.training.steps} steps, seed {info.seed}",
        f"calibration  {info.calibration.promise}",
        f"digest       {info.digest}",
    ]
    for judge in info.judges:
        statistics = ", ".join(name.removesuffix(":mahalanobis") for name in judge.statistics) or "its paper score"
        lines.append(f"judged by    {judge.recipe} ({judge.detector}): {statistics}")
    if info.calibration.conditions:
        lines.append(f"conditions   {info.recipe.condition}: {', '.join(map(one_line, info.calibration.conditions))}")
    if info.detection:
        lines.append("detection limit (found in half of the clips, at one false alarm in 20):")
        lines += [f"  {line}" for line in detection_lines(info.detection)]
    if plot is not None:
        lines.append(f"plot         {one_line(str(plot))}")
    answer("\n".join(map(one_line, lines)))  # a bundle says what it likes


def _groups(info: BundleInfo) -> str:
    """How the clips were kept apart while they judged one another.

    A bundle does not say where its groups come from; where there are as many as folds, they may be stand-ins.
    """
    from acoustic_ad.report.tables import count_of

    groups = count_of(info.sessions, "group")
    if info.sessions == min(info.recipe.training.folds, info.n_clips):
        return f"{groups}: recordings, or where the manifest names no session, runs of neighbouring clips as stand-ins"
    if info.sessions == info.calibration.n:
        return f"{groups}, one for each clip"
    return f"{groups}: the recordings that the manifest names"


@models_app.command("promote")
@command
def promote(
    machine: Machine, version: Annotated[str, typer.Argument(help="Such as v0002.")], models: Models = Path("models")
) -> None:
    """Let a version judge from now on."""
    from acoustic_ad.jobs.lock import hold_lock
    from acoustic_ad.models.registry import Registry

    registry = Registry(models)
    registry.bundle_path(machine, version)
    with hold_lock(models / ".train"):
        registry.promote(machine, version)
    answer(f"{machine}: {version} is current")


@models_app.command("rollback")
@command
def rollback(machine: Machine, models: Models = Path("models")) -> None:
    """Go back to the version that was current before."""
    from acoustic_ad.jobs.lock import hold_lock
    from acoustic_ad.models.registry import Registry

    registry = Registry(models)
    registry.bundle_path(machine)
    with hold_lock(models / ".train"):
        version = registry.rollback(machine)
    answer(f"{machine}: {version} is current again")


@models_app.command("recalibrate")
@command
def recalibrate(
    machine: Machine,
    confirmed_normals: Annotated[
        bool, typer.Option("--confirmed-normals", help="Clips of alarms that people called false join it.")
    ] = False,
    db: Annotated[str, typer.Option("--db", envvar="ACOUSTIC_AD_DB", help="Score store.")] = "acoustic-ad.db",
    models: Models = Path("models"),
    sign_key: SignKey = None,
    require_signed: RequireSigned = False,
    trust: TrustedKeys = None,
    as_json: Json = False,
) -> None:
    """Let confirmed normal clips join a model's calibration, as a new version; `rollback` goes back.

    Which clips: those of the alarms that `acoustic-ad events add MACHINE false-alarm --at TIME` was told of, as far as
    the current version judged them. Refused while a warning or an alarm of the machine stands.
    """
    from acoustic_ad.errors import UsageError
    from acoustic_ad.jobs.feedback import recalibrate as grow
    from acoustic_ad.jobs.store import Store

    if not confirmed_normals:
        raise UsageError("say what is to join the calibration: --confirmed-normals")
    trusted = trust_of(require_signed, trust)
    with Store.open(db, read_only=True, create=False) as store:
        done = grow(store, models, machine, signing_key(sign_key), trusted)
    if as_json:
        answer_json(done.as_json())
    else:
        answer(f"{machine}: {done.version} is current, {done.joined} clips joined the calibration of {done.before}")
        say(done.promise)


@models_app.command("verify")
@command
def verify(
    machine: Annotated[str | None, typer.Argument(help="Only this machine.")] = None,
    require_signed: RequireSigned = False,
    trust: TrustedKeys = None,
    models: Models = Path("models"),
    as_json: Json = False,
) -> None:
    """Check every hash, shape, number and signature of every bundle. Exit codes: 0 all good, 1 some are refused."""
    from acoustic_ad.errors import BundleError
    from acoustic_ad.report.tables import text_table
    from acoustic_ad.sound.clip import one_line

    trusted = trust_of(require_signed, trust)
    registry = _registry(models, trusted)
    found = registry.verify(machine)
    if not found:
        known = ", ".join(map(one_line, registry.machines()))
        wanted = "no models" if machine is None else f"no model of machine {one_line(machine)!r}"
        next_step = f"there are: {known}" if known else "`acoustic-ad train` makes them"
        raise BundleError(f"{wanted} in {one_line(str(models))}; {next_step}")
    if as_json:
        answer_json(
            {"bundles": [{"machine": name, "version": version, "problem": reason} for name, version, reason in found]}
        )
    else:
        rows = [[name, version, reason or "good"] for name, version, reason in found]
        answer(text_table(("machine", "version", "verdict"), rows))
    raise typer.Exit(1 if any(reason for _, _, reason in found) else 0)
