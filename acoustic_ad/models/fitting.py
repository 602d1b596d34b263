"""Fits a detector to normal clips, and gathers evidence of those clips that is not flattered by having learnt them."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from acoustic_ad.detectors.base import Detector, ProgressCallback, State, Training, detector_class
from acoustic_ad.models.evidence import BandNormaliser, ClipReader, FloatArray, prepared
from acoustic_ad.models.machine_sound import MachineSound
from acoustic_ad.models.planting import PlantedClip
from acoustic_ad.recipe import Recipe
from acoustic_ad.scores.calibration import fold_of
from acoustic_ad.scores.clip_score import IntArray, make_scorer
from acoustic_ad.scores.evidence import ClipEvidence
from acoustic_ad.sound.features import PatchSet
from acoustic_ad.sound.log_mels import LogMels, joined

if TYPE_CHECKING:
    from acoustic_ad.models.machine_model import MachineModel

# A clip may have this much more error by a network that had not learnt it before it counts as learnt by heart. Little
# goes far: with 6 % more error, healthy simulated machines lie half a deviation above what calibrated them, day after
# day, and every one of them is in ALARM within weeks (`benchmarks/health.py --part sound`).
TOLERATED_OPTIMISM = 1.01


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


def fit_detectors(
    recipe: Recipe,
    machines: Sequence[MachineSound],
    progress: ProgressCallback | None = None,
    start: MachineModel | None = None,
) -> list[list[FittedDetector]]:
    """For each machine the fitted detector of each judge of the recipe; what is fitted, is fitted to all machines.

    Networks start from those of `start`, the model of a similar machine, where it has a judge like them (warm start).
    """
    log_mels = joined([machine.log_mels for machine in machines])
    # Sessions of different machines are different recordings, whatever they are called.
    firsts = np.cumsum([0, *(int(machine.sessions.max()) + 1 for machine in machines)])
    sessions = np.concatenate([machine.sessions + first for machine, first in zip(machines, firsts, strict=False)])
    starts = np.cumsum([0, *(len(machine.log_mels) for machine in machines)])
    judged = np.concatenate([machine.judged + start for machine, start in zip(machines, starts, strict=False)])
    planted = [
        replace(one, clip=one.clip + int(start))
        for start, machine in zip(starts, machines, strict=False)
        for one in machine.planted
    ]
    judging, planting = ([0, *np.cumsum(counts).tolist()] for counts in _counts(machines))
    parts = list(zip(pairwise(judging), pairwise(planting), strict=True))
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
            start=None if start is None else start.detector_state_for(judge, log_mels.mels),
            judged=judged,
        )
        for own, (clips, changed) in zip(found, parts, strict=True):
            evidence, of_planted = fitted.evidence[slice(*clips)], fitted.planted[slice(*changed)]
            own.append(replace(fitted, evidence=evidence, planted=of_planted))
    return found


def _counts(machines: Sequence[MachineSound]) -> tuple[list[int], list[int]]:
    """How many clips of each machine judge, and in how many faults are planted."""
    return [len(machine.judged) for machine in machines], [len(machine.planted) for machine in machines]


def fit_detector(
    recipe: Recipe,
    log_mels: LogMels,
    sessions: Sequence[Hashable] | IntArray,
    progress: ProgressCallback | None = None,
    *,
    planted: Sequence[PlantedClip] = (),
    statistics: Collection[str] = (),
    start: State | None = None,
    judged: IntArray | None = None,
) -> FittedDetector:
    """A detector fitted to log-mels [frames, mels] of normal clips, with evidence (`statistics`) of each clip `judged`.

    A first network learns all folds of sessions but one, which decides when it stops; a second one, all but another.
    Where clips have about the same error whether a network learnt them or not, the first is kept and judges all clips.
    Where they have not, networks know their clips by heart, and what they say of them is flattery: each fold is then
    judged by a network that learnt the others, and a last one learns from all clips. All of them take as many steps as
    the first did, so that their residuals are of one size.
    """
    fit = _Fit(recipe, log_mels, planted, statistics, progress, start)
    everything = np.arange(len(log_mels))
    judged = everything if judged is None else judged
    fold = fold_of(sessions, recipe.training.folds)
    holds = [np.flatnonzero(fold == number) for number in range(int(fold.max()) + 1)]
    rest = [np.flatnonzero(fold != number) for number in range(len(holds))]
    folds = [np.intersect1d(hold, judged) for hold in holds]
    detector, training = fit.fitted(rest[0], holds[0])
    second = fit.fitted(rest[1], None, training.steps)[0]
    found, again = fit.evidence(detector, judged), fit.evidence(second, np.concatenate(folds[:2]))
    optimism = _optimism(found, again, *folds[:2])
    if optimism <= TOLERATED_OPTIMISM:
        return fit.result(detector, found, fit.planted_evidence(detector, everything), training, optimism)
    found |= {int(clip): again[int(clip)] for clip in folds[1]}
    changed = fit.planted_evidence(detector, folds[0]) | fit.planted_evidence(second, folds[1])
    for learn, hold in zip(rest[2:], folds[2:], strict=True):
        other = fit.fitted(learn, None, training.steps)[0]
        found |= fit.evidence(other, hold)
        changed |= fit.planted_evidence(other, hold)
    detector, _ = fit.fitted(everything, None, training.steps)
    return fit.result(detector, found, changed, training, optimism, cross_fitted=True)


class _Fit:
    """What all networks of one fit share."""

    def __init__(
        self,
        recipe: Recipe,
        log_mels: LogMels,
        planted: Sequence[PlantedClip],
        statistics: Collection[str],
        progress: ProgressCallback | None,
        start: State | None,
    ) -> None:
        self._start = start
        self._recipe, self._log_mels, self._planted = recipe, log_mels, planted
        self._statistics, self._progress = statistics, progress
        self._normaliser = BandNormaliser.of(log_mels, partial(prepared, recipe))
        self._levels = None  # [n], of each clip, in dB
        if recipe.features.remove_level:
            self._levels = np.array([log_mel.mean(dtype=np.float64) for log_mel in log_mels], np.float32)

    def fitted(self, learn: IntArray, hold: IntArray | None, steps: int | None = None) -> tuple[Detector, Training]:
        """A detector that learnt the clips `learn`, stopped by the clips `hold` or after `steps`."""
        recipe = self._recipe
        kind = detector_class(recipe.detector.kind)
        shape = (recipe.features.patch_frames, self._log_mels.mels)
        detector = kind(kind.Options(**recipe.detector.options), shape, recipe.seed)
        held_out = None if hold is None else self._patches(hold)
        learnt = self._patches(learn)
        return detector, detector.fit(learnt, held_out, steps=steps, start=self._start, progress=self._progress)

    def _patches(self, clips: IntArray) -> PatchSet:
        features = self._recipe.features
        frames, hop = features.patch_frames, features.patch_hop_frames
        return PatchSet(self._log_mels, frames, hop, clips=clips, prepare=self._normalised)

    def _normalised(self, patches: FloatArray, clip: IntArray) -> FloatArray:
        """Patches [n, frames, mels] in dB as the detector takes them; they are overwritten."""
        if self._levels is not None:
            patches -= self._levels[clip][:, None, None]
        patches -= self._normaliser.mean
        patches /= self._normaliser.deviation
        return patches

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
        clips, planted = ([found[number] for number in sorted(found)] for found in (judged, changed))
        return FittedDetector(self._normaliser, detector, clips, planted, training, cross_fitted, optimism)


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
