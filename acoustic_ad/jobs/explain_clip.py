"""Why one clip sounds unusual: its verdict and its map, heard with the model of its machine in a killable worker."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from acoustic_ad.errors import CLIP_CODES, SENSOR_CODES, AcousticADError, ClipError, UsageError
from acoustic_ad.jobs.clip_map import ClipMap, MapTask, map_clip
from acoustic_ad.jobs.lazy_workers import LazyWorkers
from acoustic_ad.jobs.pending import deadline_s
from acoustic_ad.jobs.schema import clip_scores
from acoustic_ad.jobs.store import Store
from acoustic_ad.jobs.tasks import FileStamp, Off, Scored, ScoreTask, Unscored, score_clip
from acoustic_ad.jobs.workers import BYTES_A_SECOND
from acoustic_ad.models.registry import Registry
from acoustic_ad.models.signing import Trust
from acoustic_ad.scores.explain import Standout
from acoustic_ad.sound.clip import one_line, sha256_of

NAMED = 8  # machines in a message


@dataclass(frozen=True, slots=True)
class ExplainedClip:
    """One clip as its machine's current model hears it."""

    path: Path
    machine: str
    version: str
    model: str  # digest
    verdict: Scored | Off
    found: ClipMap

    @property
    def standouts(self) -> list[Standout]:
        """The bands that stand out in the mean over the clip, strongest first."""
        return [Standout(**band) for band in self.verdict.bands] if isinstance(self.verdict, Scored) else []


def explain_clip(
    path: Path,
    models: Path,
    machine: str | None = None,
    store: Store | None = None,
    clip_timeout_s: float | None = None,
    condition: str | None = None,
    trust: Trust | None = None,
) -> ExplainedClip:
    """Hear a clip with its machine's current model, exactly as `score` does, and see where it stands out.

    Without `machine` it is found, see `machine_of`. `condition` is that of the clip, where the model goes by a manifest
    column; without it, all conditions together judge. Of a clip longer than a minute, the map shows
    the first minute; the verdict is of all of it. `trust`: only a model that one of its keys signed. Raises UsageError,
    BundleError, and AcousticADError for a clip that cannot be used.
    """
    name = one_line(str(path))
    try:
        sha256, stamp = sha256_of(path), FileStamp.of(path)
    except OSError as error:
        raise AcousticADError(f"{name}: {error.strerror or error}; name a sound file") from error
    registry = Registry(models, trust)
    machine = machine_of(path, registry, store, sha256) if machine is None else machine
    bundle, info = registry.bundle_path(machine), registry.info(machine)
    by = info.recipe.condition
    if condition is not None and not by:
        raise UsageError(f"--condition: the model of {one_line(machine)} goes by no condition: leave it out")
    columns = () if condition is None else ((by, condition),)
    task = _Task(
        MapTask(path, bundle, sha256, columns=columns, digest=info.digest),
        ScoreTask(path.name, path, stamp, bundle, columns, digest=info.digest),
    )
    with LazyWorkers(1) as workers:
        ((_, result),) = workers.map(_hear, [(task, deadline_s(stamp.size / BYTES_A_SECOND, clip_timeout_s))])
    if isinstance(result, ClipError | Unscored):
        known = CLIP_CODES | SENSOR_CODES
        raise AcousticADError(f"{name} cannot be explained: {result.code} ({known[result.code]}): {result.reason}")
    return ExplainedClip(path, machine, info.version, info.digest, *result)


def machine_of(path: Path, registry: Registry, store: Store | None, sha256: str) -> str:
    """The machine of a clip.

    The one that the store knows it of; else the one that folders above are called like; else the only one there is.
    Raises UsageError where that leaves none, or several, or one without a model.
    """
    known = registry.machines()
    if not known:
        raise UsageError("there are no models here: pass --models, or make one with `acoustic-ad train`")
    stored = _stored(store, sha256)
    found = [machine for machine in stored if machine in known] or _named(path, known)
    if not found and stored:
        raise UsageError(f"{one_line(str(path))} is of {_some(stored)}, without a model; {_choose(known)}")
    if not found and len(known) == 1:
        return known[0]
    if len(found) == 1:
        return found[0]
    why = "is known of several machines" if found else "does not say of which machine it is"
    raise UsageError(f"{one_line(str(path))} {why}: {_choose(found or known)}")


def _choose(machines: Sequence[str]) -> str:
    return f"add --machine{', one of' if len(machines) > 1 else ''} {_some(machines)}"


def _some(machines: Sequence[str]) -> str:
    return ", ".join(one_line(one) for one in machines[:NAMED]) + ("" if len(machines) <= NAMED else ", ...")


def _stored(store: Store | None, sha256: str) -> list[str]:
    if store is None:
        return []
    query = sa.select(clip_scores.c.machine).where(clip_scores.c.sha256 == sha256).distinct()
    with store.reading() as connection:
        return sorted(connection.execute(query).scalars())


def _named(path: Path, known: Collection[str]) -> list[str]:
    """Machines whose name is a run of the folders above the clip; the longest names only."""
    above = "/" + "/".join(path.absolute().parts[1:-1]) + "/"
    fitting = [machine for machine in known if f"/{machine}/" in above]
    most = max((machine.count("/") for machine in fitting), default=0)
    return [machine for machine in fitting if machine.count("/") == most]


@dataclass(frozen=True, slots=True)
class _Task:
    map: MapTask
    score: ScoreTask


def _hear(task: _Task) -> tuple[Scored | Off, ClipMap] | Unscored:
    verdict = score_clip(task.score)
    if isinstance(verdict, Unscored):
        return verdict
    found = map_clip(task.map)
    return found if isinstance(found, Unscored) else (verdict, found)
