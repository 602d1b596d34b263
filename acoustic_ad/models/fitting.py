"""Fits a detector to normal clips, and gathers evidence of those clips that is not flattered by having learnt them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Hashable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from acoustic_ad.detectors.base import Detector, ProgressCallback, State, Training, detector_class
from acoustic_ad.errors import TrainingError
from acoustic_ad.models.conditions import Conditions
from acoustic_ad.models.evidence import BandNormaliser, ClipReader, FloatArray, prepared
from acoustic_ad.models.planting import PlantedClip, plant_in_log_mels
from acoustic_ad.recipe import Recipe
from acoustic_ad.scores.calibration import fold_of
from acoustic_ad.scores.clip_score import IntArray, make_scorer
from acoustic_ad.scores.evidence import ClipEvidence
from acoustic_ad.sound.features import PatchSet

if TYPE_CHECKING:
    from acoustic_ad.models.machine_model import MachineModel

FEWEST_CLIPS = 10
FEWEST_TO_JUDGE_BY = 5  # clips outside the largest session
# A clip may have this much more error by a network that had not learnt it before it counts as learnt by heart. Little
# goes far: with 6 % more error, healthy simulated machines lie half a deviation above what calibrated them, day after
# day, and every one of them is in ALARM within weeks (`benchmarks/health.py --part sound`).
TOLERATED_OPTIMISM = 1.01


@dataclass(frozen=True, slots=True)
class MachineSound:
    """What one machine is learnt from; see `of`."""

    log_mels: list[FloatArray]  # [frames, mels] in dB
    sessions: list[Hashable]  # of each clip; what stands in for them where they are unknown
    planted: Sequence[PlantedClip] = ()
    conditions: Conditions = field(default_factory=Conditions)
    condition: IntArray | None = None  # [n], the number of each clip's condition, where the recipe has conditions

    @classmethod
    def of(
        cls,
        recipe: Recipe,
        log_mels: Sequence[FloatArray],
        sessions: Sequence[Hashable] | None = None,
        planted: Sequence[PlantedClip] = (),
        conditions: Sequence[str] | None = None,
    ) -> MachineSound:
        """Checked, and as under the mean condition.

        Where the recipe chooses by planted faults and none are given, they are planted into log-mels.
        """
        clips = checked_log_mels(recipe, log_mels)
        if recipe.chooses and not planted:
            planted = plant_in_log_mels(clips, recipe.seed)
        groups = session_or_block(len(clips), sessions, recipe.training.folds)
        if not recipe.condition:
            return cls(clips, groups, planted)
        if conditions is None or not any(conditions):
            raise TrainingError(f"the recipe goes by the column {recipe.condition!r}, which no training clip has")
        found = Conditions.of(clips, conditions)
        corrected = [found.corrected(clip, own) for clip, own in zip(clips, conditions, strict=True)]
        planted = [one.under(partial(found.corrected, condition=conditions[one.clip])) for one in planted]
        return cls(corrected, groups, planted, found, found.numbers(conditions))


@dataclass(frozen=True, slots=True)
class FittedDetector:
    """A detector with the normaliser in front of it, and its evidence of the clips it was fitted for."""

    normaliser: BandNormaliser
    detector: Detector
    evidence: Sequence[ClipEvidence]  # one per clip, by a detector that had not learnt the clip, or as good as that
    planted: Sequence[ClipEvidence] = ()  # likewise, of clips with planted faults
    training: Training = field(default_factory=Training)
    cross_fitted: bool = False
    optimism: float = 1.0  # error of clips by a network that had not learnt them over that by one that had


def checked_log_mels(recipe: Recipe, log_mels: Sequence[FloatArray]) -> list[FloatArray]:
    """The clips as float32 arrays; raises TrainingError that names the first clip that does not fit."""
    clips = [np.asarray(log_mel, np.float32) for log_mel in log_mels]
    if len(clips) < FEWEST_CLIPS:
        raise TrainingError(f"{len(clips)} usable normal clips; training needs at least {FEWEST_CLIPS}: record more")
    frames = recipe.features.patch_frames
    for number, clip in enumerate(clips):
        if clip.ndim != 2 or clip.shape[1] != clips[0].shape[1]:
            raise TrainingError(f"clip {number} has shape {clip.shape}, the first one {clips[0].shape} [frames, mels]")
        if len(clip) < frames:
            raise TrainingError(f"clip {number} has {len(clip)} frames; one patch needs {frames}")
        if not np.isfinite(clip).all():
            raise TrainingError(f"clip {number} contains NaN or Inf")
    return clips


def session_or_block(count: int, sessions: Sequence[Hashable] | None, folds: int) -> list[Hashable]:
    """The session of each of `count` clips; where unknown, runs of neighbouring clips stand in for recordings.

    So they do where all clips, or all but a handful, are of one session: a handful cannot judge the others.
    """
    if sessions is None:
        return [number * folds // count for number in range(count)]
    if len(sessions) != count:
        raise TrainingError(f"{len(sessions)} sessions for {count} clips")
    if count - max(Counter(sessions).values()) < FEWEST_TO_JUDGE_BY:
        return session_or_block(count, None, folds)
    return list(sessions)


def fit_detectors(
    recipe: Recipe,
    machines: Sequence[MachineSound],
    progress: ProgressCallback | None = None,
    start: MachineModel | None = None,
) -> list[list[FittedDetector]]:
    """For each machine the fitted detector of each judge of the recipe; what is fitted, is fitted to all machines.

    Networks start from those of `start`, the model of a similar machine, where it has a judge like them (warm start).
    """
    log_mels = [log_mel for machine in machines for log_mel in machine.log_mels]
    # Sessions of different machines are different recordings, whatever they are called.
    sessions = [(number, session) for number, machine in enumerate(machines) for session in machine.sessions]
    starts = np.cumsum([0, *(len(machine.log_mels) for machine in machines)])
    planted = [
        replace(one, clip=one.clip + int(start))
        for start, machine in zip(starts, machines, strict=False)
        for one in machine.planted
    ]
    ends = np.cumsum([0, *(len(machine.planted) for machine in machines)])
    parts = list(zip(pairwise(starts.tolist()), pairwise(ends.tolist()), strict=True))
    found: list[list[FittedDetector]] = [[] for _ in machines]
    for judge in recipe.judges:
        statistics = make_scorer(**judge.scorer.model_dump()).statistics
        fitted = fit_detector(
            judge,
            log_mels,
            sessions,
            progress,
            planted=planted,
            statistics=statistics,
            start=None if start is None else start.detector_state_for(judge, log_mels[0].shape[1]),
        )
        for own, (clips, changed) in zip(found, parts, strict=True):
            evidence, of_planted = fitted.evidence[slice(*clips)], fitted.planted[slice(*changed)]
            own.append(replace(fitted, evidence=evidence, planted=of_planted))
    return found


def fit_detector(
    recipe: Recipe,
    log_mels: list[FloatArray],
    sessions: Sequence[Hashable],
    progress: ProgressCallback | None = None,
    *,
    planted: Sequence[PlantedClip] = (),
    statistics: Collection[str] = (),
    start: State | None = None,
) -> FittedDetector:
    """A detector fitted to log-mels [frames, mels] of normal clips, with evidence (`statistics`) of each clip.

    A first network learns all folds of sessions but one, which decides when it stops; a second one, all but another.
    Where clips have about the same error whether a network learnt them or not, the first is kept and judges all clips.
    Where they have not, networks know their clips by heart, and what they say of them is flattery: each fold is then
    judged by a network that learnt the others, and a last one learns from all clips. All of them take as many steps as
    the first did, so that their residuals are of one size.
    """
    fit = _Fit(recipe, log_mels, planted, statistics, progress, start)
    fold = fold_of(sessions, recipe.training.folds)
    folds = [np.flatnonzero(fold == number) for number in range(int(fold.max()) + 1)]
    rest = [np.flatnonzero(fold != number) for number in range(len(folds))]
    everything = np.arange(len(log_mels))
    detector, training = fit.fitted(rest[0], folds[0])
    second = fit.fitted(rest[1], None, training.steps)[0]
    judged, judged_again = fit.evidence(detector, everything), fit.evidence(second, np.concatenate(folds[:2]))
    optimism = _optimism(judged, judged_again, *folds[:2])
    if optimism <= TOLERATED_OPTIMISM:
        return fit.result(detector, judged, fit.planted_evidence(detector, everything), training, optimism)
    judged |= {int(clip): judged_again[int(clip)] for clip in folds[1]}
    changed = fit.planted_evidence(detector, folds[0]) | fit.planted_evidence(second, folds[1])
    for learn, hold in zip(rest[2:], folds[2:], strict=True):
        other = fit.fitted(learn, None, training.steps)[0]
        judged |= fit.evidence(other, hold)
        changed |= fit.planted_evidence(other, hold)
    detector, _ = fit.fitted(everything, None, training.steps)
    return fit.result(detector, judged, changed, training, optimism, cross_fitted=True)


class _Fit:
    """What all networks of one fit share."""

    def __init__(
        self,
        recipe: Recipe,
        log_mels: list[FloatArray],
        planted: Sequence[PlantedClip],
        statistics: Collection[str],
        progress: ProgressCallback | None,
        start: State | None,
    ) -> None:
        self._start = start
        self._recipe, self._log_mels, self._planted = recipe, log_mels, planted
        self._statistics, self._progress = statistics, progress
        self._normaliser = BandNormaliser.of([prepared(recipe, log_mel) for log_mel in log_mels])
        self._clips = [self._normaliser(prepared(recipe, log_mel)) for log_mel in log_mels]

    def fitted(self, learn: IntArray, hold: IntArray | None, steps: int | None = None) -> tuple[Detector, Training]:
        """A detector that learnt the clips `learn`, stopped by the clips `hold` or after `steps`."""
        recipe = self._recipe
        kind = detector_class(recipe.detector.kind)
        shape = (recipe.features.patch_frames, self._clips[0].shape[1])
        detector = kind(kind.Options(**recipe.detector.options), shape, recipe.seed)
        held_out = None if hold is None else _patches(recipe, self._clips, hold)
        learnt = _patches(recipe, self._clips, learn)
        return detector, detector.fit(learnt, held_out, steps=steps, start=self._start, progress=self._progress)

    def evidence(self, detector: Detector, indices: IntArray) -> dict[int, ClipEvidence]:
        """Evidence of some training clips, by number."""
        return {int(index): self._read(detector, self._log_mels[index]) for index in indices}

    def planted_evidence(self, detector: Detector, clips: IntArray) -> dict[int, ClipEvidence]:
        """Evidence of what was planted into some training clips, by its own number."""
        wanted = {int(clip) for clip in clips}
        return {
            number: self._read(detector, planted.log_mel())
            for number, planted in enumerate(self._planted)
            if planted.clip in wanted
        }

    def _read(self, detector: Detector, log_mel: FloatArray) -> ClipEvidence:
        reader = ClipReader(self._recipe, detector, self._normaliser, self._statistics)
        reader.add(log_mel)
        return reader.finish()[0]

    def result(
        self,
        detector: Detector,
        judged: dict[int, ClipEvidence],
        changed: dict[int, ClipEvidence],
        training: Training,
        optimism: float,
        cross_fitted: bool = False,
    ) -> FittedDetector:
        """All evidence in the order of clips and of what was planted."""
        clips, planted = ([found[number] for number in range(len(found))] for found in (judged, changed))
        return FittedDetector(self._normaliser, detector, clips, planted, training, cross_fitted, optimism)


def _patches(recipe: Recipe, clips: list[FloatArray], indices: IntArray) -> PatchSet:
    features = recipe.features
    return PatchSet([clips[i] for i in indices], features.patch_frames, features.patch_hop_frames)


def _optimism(
    first: dict[int, ClipEvidence], second: dict[int, ClipEvidence], unknown: IntArray, known: IntArray
) -> float:
    """Error of clips by a network that had not learnt them over that by one that had, for the same clips.

    The first network had not learnt the clips `unknown`, the second one not the clips `known`. One network's error on
    some days over that on others would tell of the days.
    """
    ratios = _error(first, unknown) * _error(second, known), _error(second, unknown) * _error(first, known)
    return float(np.sqrt(ratios[0] / max(ratios[1], 1e-24)))


def _error(judged: dict[int, ClipEvidence], indices: IntArray) -> float:
    """Mean squared residual of some clips; not the paper score, which may be negative and has no common scale."""
    return float(np.mean([judged[int(i)].error for i in indices]))
