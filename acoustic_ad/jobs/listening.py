"""Hearing clips of several machines again, in workers, as far as their files are still there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from acoustic_ad.errors import CLIP_CODES, BundleError, ClipError
from acoustic_ad.jobs.clip_columns import ManifestColumns
from acoustic_ad.jobs.clip_files import ClipFile, files_of
from acoustic_ad.jobs.clip_map import ClipMap, MapTask, map_clip
from acoustic_ad.jobs.lazy_workers import LazyWorkers
from acoustic_ad.jobs.machine_story import MachineStory
from acoustic_ad.jobs.schema import ClipRow
from acoustic_ad.jobs.store import Store
from acoustic_ad.jobs.tasks import Unscored
from acoustic_ad.models.bundle_info import BundleInfo
from acoustic_ad.models.registry import Registry
from acoustic_ad.models.signing import Trust

MAP_DEADLINE_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class HeardClip:
    """A stored clip, and its map or why there is none."""

    row: ClipRow
    found: ClipMap | None
    missing: str = ""  # in words


@dataclass(slots=True)
class HeardMachine:
    """What could be heard again of a machine."""

    worst: list[HeardClip] = field(default_factory=list)
    usual: HeardClip | None = None
    by_day: list[tuple[datetime, npt.NDArray[np.float64]]] = field(default_factory=list)  # mean excess [mels]
    edges_hz: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class _Wanted:
    machine: str
    row: ClipRow
    use: str  # worst, usual, day


def hear_again(
    store: Store,
    models: Path,
    stories: Sequence[MachineStory],
    *,
    workers: int,
    keep_sound: Mapping[str, bool],
    days_of: Mapping[str, Sequence[ClipRow]],
    trust: Trust | None = None,
) -> dict[str, HeardMachine]:
    """By machine the worst clips and a usual one, and the clips of `days_of` for its history.

    Files that are gone, changed or cannot be read are said to be so; a file that hangs its decoder costs its deadline.
    `trust`: only by models that one of its keys signed.
    """
    found = {story.machine: HeardMachine() for story in stories}
    wanted = [one for story in stories for one in _wanted(story, days_of.get(story.machine, ()))]
    registry, columns = Registry(models, trust), ManifestColumns(store)
    bundles = {machine: _bundle(registry, machine) for machine in found}
    files: dict[str, dict[str, ClipFile]] = {}
    for machine in found:
        contents = {one.row.sha256 for one in wanted if one.machine == machine and one.row.sha256}
        files[machine] = files_of(store, machine, contents)
    tasks: list[tuple[MapTask, float | None]] = []
    of_task: list[_Wanted] = []
    for one in wanted:
        file = files[one.machine].get(one.row.sha256 or "")
        bundle = bundles[one.machine]
        if isinstance(bundle, str):
            _keep(found[one.machine], one, None, bundle)
            continue
        if file is None:
            _keep(found[one.machine], one, None, "the file is not where it was scored")
            continue
        sound = one.use != "day" and keep_sound.get(one.machine, False)
        path, info = bundle
        known = columns.of(one.machine, file) if info.recipe.condition else ()
        task = MapTask(file.path, path, file.sha256, known, keep_sound=sound, digest=info.digest)
        tasks.append((task, MAP_DEADLINE_S))
        of_task.append(one)
    with LazyWorkers(workers) as pool:
        results: Iterator[tuple[MapTask, ClipMap | Unscored | ClipError]] = pool.map(map_clip, tasks)
        for one, (_, result) in zip(of_task, results, strict=True):
            clip = result if isinstance(result, ClipMap) else None
            _keep(found[one.machine], one, clip, "" if isinstance(result, ClipMap) else _words(result))
    return found


def _bundle(registry: Registry, machine: str) -> tuple[Path, BundleInfo] | str:
    """A machine's current bundle and what it says, checked once; or why there is none."""
    try:
        return registry.bundle_path(machine), registry.info(machine)
    except BundleError as error:
        return str(error)


def _wanted(story: MachineStory, by_day: Sequence[ClipRow]) -> list[_Wanted]:
    found = [_Wanted(story.machine, row, "worst") for row in story.worst]
    found += [_Wanted(story.machine, story.usual, "usual")] if story.usual is not None else []
    return found + [_Wanted(story.machine, row, "day") for row in by_day]


def _keep(machine: HeardMachine, one: _Wanted, clip: ClipMap | None, missing: str) -> None:
    if clip is not None:
        machine.edges_hz = clip.edges_hz
    if one.use == "worst":
        machine.worst.append(HeardClip(one.row, clip, missing))
    elif one.use == "usual":
        machine.usual = HeardClip(one.row, clip, missing)
    elif clip is not None:
        machine.by_day.append((one.row.recorded_at, clip.excess_db.mean(axis=0, dtype=np.float64)))


def _words(problem: Unscored | ClipError) -> str:
    return f"{CLIP_CODES.get(problem.code, problem.code)}: {problem.reason}"
