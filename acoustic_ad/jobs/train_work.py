"""What a worker does to learn a machine, or all machines of a type: fit, calibrate, write the bundles."""

from __future__ import annotations

import time
from collections.abc import Hashable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from acoustic_ad.detectors.base import Progress
from acoustic_ad.errors import BundleError, ClipError, TrainingError
from acoustic_ad.jobs.baselines import NEWEST_CLIP_AT
from acoustic_ad.jobs.clip_work import CHANNELS, feature_spec
from acoustic_ad.jobs.worker_process import tell_progress
from acoustic_ad.models.bundle import TrainingDetails
from acoustic_ad.models.fitting import MachineSound, fit_detectors
from acoustic_ad.models.machine_model import MachineModel
from acoustic_ad.models.planting import LONGEST_PLANTED_S, PlantedClip, chosen_for_planting, plant_in_waveforms
from acoustic_ad.models.registry import Registry
from acoustic_ad.models.signing import SigningKey, Trust
from acoustic_ad.recipe import Recipe
from acoustic_ad.sound.audio import mono_blocks
from acoustic_ad.sound.features import LogMel

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class MachineClips:
    """The clips that one machine is learnt from."""

    machine: str
    log_mels: list[FloatArray]
    sessions: list[Hashable] | None  # None where the manifest does not know them
    manifest_digest: str
    paths: list[Path]  # of the clips, in the order of the log-mels
    conditions: list[str]  # likewise; "" where the recipe goes by no column
    calibration: list[FloatArray] = field(default_factory=list)  # clips that the manifest keeps for calibration
    calibration_conditions: list[str] = field(default_factory=list)
    left_out: list[dict[str, str]] = field(default_factory=list)
    channels: int = 0  # that were alive in every clip
    newest: datetime | None = None  # when the latest of all these clips was recorded, as far as that is known


@dataclass(frozen=True, slots=True)
class MachineTask:
    """Machines that share a network: one, or all of a type."""

    name: str
    recipe: Recipe
    machines: list[MachineClips]
    models: Path
    promote: bool
    signing_key: SigningKey | None = None
    trust: Trust | None = None  # only a model signed by one of its keys starts another


@dataclass(frozen=True, slots=True)
class Trained:
    """A machine that was learnt."""

    machine: str
    version: str
    clips: int
    left_out: list[dict[str, str]]
    promise: str  # what its calibration can and cannot promise
    smallest_p: float
    steps: int
    seconds: float


def train_machines(task: MachineTask) -> list[Trained]:
    """Learn one network from all clips of the task, a scorer and a calibration per machine, and save a bundle each.

    Raises TrainingError where the clips do not suffice; bundles appear whole or not at all.
    """
    begun = time.monotonic()
    models = _fitted(task)
    seconds = time.monotonic() - begun
    registry = Registry(task.models)
    trained = []
    for clips, model in zip(task.machines, models, strict=True):
        details = TrainingDetails(
            feature_spec=feature_spec(task.recipe),
            n_clips=len(clips.log_mels) + len(clips.calibration),
            manifest_digest=clips.manifest_digest,
            left_out=clips.left_out,
            seconds=round(seconds, 3),
            extra={
                CHANNELS: clips.channels,
                NEWEST_CLIP_AT: None if clips.newest is None else clips.newest.isoformat(),
            },
        )
        info = registry.save(clips.machine, model, details, promote=task.promote, key=task.signing_key)
        calibration, detector = model.calibration, model.detector
        if calibration is None or detector is None:
            raise TrainingError(f"{clips.machine}: nothing was learnt")
        trained.append(
            Trained(
                clips.machine,
                info.version,
                details.n_clips,
                clips.left_out,
                calibration.promise(),
                calibration.smallest_p,
                detector.training.steps,
                round(seconds, 3),
            )
        )
    return trained


def _fitted(task: MachineTask) -> list[MachineModel]:
    def report(progress: Progress) -> None:
        tell_progress((task.name, progress))

    sounds = [
        MachineSound.of(task.recipe, clips.log_mels, clips.sessions, _planted(task.recipe, clips), clips.conditions)
        for clips in task.machines
    ]
    fitted = fit_detectors(task.recipe, sounds, report, _sister(task) if task.recipe.training.warm_start else None)
    models = []
    for clips, sound, found in zip(task.machines, sounds, fitted, strict=True):
        model = MachineModel(task.recipe).calibrate(found, sound)
        if clips.calibration:
            model.recalibrate(clips.calibration, clips.calibration_conditions)
        models.append(model)
    return models


def _sister(task: MachineTask) -> MachineModel | None:
    """The current model of another machine of the same type (its name before the slash), if there is one that loads."""
    registry = Registry(task.models, task.trust)
    own, kind = {clips.machine for clips in task.machines}, task.machines[0].machine.partition("/")[0]
    for machine in registry.machines():
        if machine not in own and machine.partition("/")[0] == kind:
            try:
                model, info = registry.load(machine)
            except BundleError:
                continue
            spec = info.feature_spec
            if spec is not None and spec.digest == feature_spec(task.recipe).digest:
                return model
    return None


def _planted(recipe: Recipe, clips: MachineClips) -> list[PlantedClip]:
    """Faults planted into some of the clips, read once more for it; a clip that has gone meanwhile is passed over."""
    waveforms = []
    for number in chosen_for_planting(len(clips.paths)):
        try:
            blocks = mono_blocks(
                clips.paths[number],
                sample_rate_hz=recipe.audio.sample_rate_hz,
                channel=recipe.audio.channel,
                block_s=LONGEST_PLANTED_S,
            )
            waveforms.append((number, next(blocks)))
        except (ClipError, StopIteration):
            continue
    return plant_in_waveforms(waveforms, LogMel(feature_spec(recipe)), recipe.seed)


def as_json(trained: Trained) -> dict[str, Any]:
    """A trained machine for `train --json`."""
    return {
        "machine": trained.machine,
        "version": trained.version,
        "clips": trained.clips,
        "left_out": trained.left_out,
        "smallest_p": trained.smallest_p,
        "promise": trained.promise,
        "steps": trained.steps,
        "seconds": trained.seconds,
    }
