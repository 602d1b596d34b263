"""What a worker does to learn a machine, or all machines of a type: fit, calibrate, write the bundles."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from acoustic_ad.detectors.base import Progress
from acoustic_ad.errors import BundleError, FeaturesError, TrainingError
from acoustic_ad.jobs.baselines import NEWEST_CLIP_AT
from acoustic_ad.jobs.clip_work import CHANNELS, feature_spec
from acoustic_ad.jobs.feature_file import FeatureFile, NotThisFile
from acoustic_ad.jobs.planted_features import planted_features
from acoustic_ad.jobs.train_clips import MachineClips
from acoustic_ad.jobs.worker_process import tell_progress
from acoustic_ad.models.bundle import TrainingDetails
from acoustic_ad.models.fitting import fit_detectors
from acoustic_ad.models.machine_model import MachineModel
from acoustic_ad.models.machine_sound import MachineSound
from acoustic_ad.models.registry import Registry
from acoustic_ad.models.signing import SigningKey, Trust
from acoustic_ad.recipe import Recipe


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


@dataclass(frozen=True, slots=True)
class NotKept:
    """A machine that was learnt in vain: its bundle could not be written."""

    machine: str
    reason: str
    left_out: list[dict[str, str]]


def train_machines(task: MachineTask) -> list[Trained | NotKept]:
    """Learn one network from all clips of the task, a scorer and a calibration per machine, and save a bundle each.

    Raises TrainingError where the clips do not suffice; bundles appear whole or not at all, each for itself.
    """
    begun = time.monotonic()
    models = _fitted(task)
    seconds = time.monotonic() - begun
    registry = Registry(task.models)
    ended: list[Trained | NotKept] = []
    for clips, model in zip(task.machines, models, strict=True):
        details = TrainingDetails(
            feature_spec=feature_spec(task.recipe),
            n_clips=len(clips.learnt) + len(clips.calibration),
            manifest_digest=clips.manifest_digest,
            left_out=clips.left_out,
            seconds=round(seconds, 3),
            extra={
                CHANNELS: clips.channels,
                NEWEST_CLIP_AT: None if clips.newest is None else clips.newest.isoformat(),
            },
        )
        try:
            info = registry.save(clips.machine, model, details, promote=task.promote, key=task.signing_key)
        except BundleError as error:  # those before it are in use already
            ended.append(NotKept(clips.machine, str(error), clips.left_out))
            continue
        calibration, detector = model.calibration, model.detector
        if calibration is None or detector is None:
            raise TrainingError(f"{clips.machine}: nothing was learnt")
        ended.append(
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
    return ended


def _fitted(task: MachineTask) -> list[MachineModel]:
    def report(progress: Progress) -> None:
        tell_progress((task.name, progress))

    files = [_features(clips) for clips in task.machines]
    sounds = [
        MachineSound.of(
            task.recipe,
            file.clips(clips.learnt),
            clips.sessions,
            planted_features(task.recipe, clips.sources, clips.files),
            clips.conditions,
        )
        for clips, file in zip(task.machines, files, strict=True)
    ]
    fitted = fit_detectors(task.recipe, sounds, report, _sister(task) if task.recipe.training.warm_start else None)
    models = []
    for clips, file, sound, found in zip(task.machines, files, sounds, fitted, strict=True):
        model = MachineModel(task.recipe).calibrate(found, sound)
        if len(clips.calibration):
            model.recalibrate(file.clips(clips.calibration), clips.calibration_conditions)
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


def _features(clips: MachineClips) -> FeatureFile:
    try:
        return FeatureFile.open(clips.files.clips, clips.files.spec)
    except NotThisFile as error:
        raise FeaturesError(
            f"{clips.files.clips}: its features were damaged meanwhile: {error}; train again"
        ) from error


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
