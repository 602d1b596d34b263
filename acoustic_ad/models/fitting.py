"""Fits a detector to normal clips, and gathers evidence of those clips that is not flattered by having learnt them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

import numpy as np

from acoustic_ad.detectors.base import Detector, ProgressCallback, Training, detector_class
from acoustic_ad.errors import TrainingError
from acoustic_ad.models.evidence import BandNormaliser, ClipReader, FloatArray, prepared
from acoustic_ad.recipe import Recipe
from acoustic_ad.scores.calibration import fold_of
from acoustic_ad.scores.clip_score import ClipEvidence, IntArray
from acoustic_ad.sound.features import PatchSet

FEWEST_CLIPS = 10
FEWEST_TO_JUDGE_BY = 5  # clips outside the largest session
# Held-out clips may have this much more error than learnt ones before these count as learnt by heart.
TOLERATED_OPTIMISM = 1.1


@dataclass(frozen=True, slots=True)
class FittedDetector:
    """A detector with the normaliser in front of it, and its evidence of the clips it was fitted for."""

    normaliser: BandNormaliser
    detector: Detector
    evidence: Sequence[ClipEvidence]  # one per clip, by a detector that had not learnt the clip, or as good as that
    training: Training = field(default_factory=Training)
    cross_fitted: bool = False
    optimism: float = 1.0  # error on held-out clips over error on learnt ones

    @property
    def trust(self) -> float:
        """What the detector's residual is worth beside the spectrum, within 0..1.

        A network that learnt its clips by heart has twice the error on other normal clips; how much of a residual is
        then fault and how much ignorance, it cannot tell. Squared, as the distances that are weighed with it.
        """
        return 1.0 / max(self.optimism, 1.0) ** 2


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


def fit_detector(
    recipe: Recipe,
    log_mels: list[FloatArray],
    sessions: Sequence[Hashable],
    progress: ProgressCallback | None = None,
) -> FittedDetector:
    """A detector fitted to log-mels [frames, mels] of normal clips, with evidence of each clip.

    A first network learns all folds of sessions but one, which decides when it stops. Where that fold's error is about
    the same as that of the learnt clips, the network is kept and judges all clips. Where it is not (few clips), the
    network has learnt its clips by heart, and what it says of them is flattery: each fold is then judged by a network
    that learnt the others, and a last one learns from all clips. All of them take as many steps as the first did, so
    that their residuals are of one size.
    """
    normaliser = BandNormaliser.of([prepared(recipe, log_mel) for log_mel in log_mels])
    clips = [normaliser(prepared(recipe, log_mel)) for log_mel in log_mels]
    fold = fold_of(sessions, recipe.training.folds)

    def fitted(learn: IntArray, hold: IntArray | None, steps: int | None = None) -> tuple[Detector, Training]:
        kind = detector_class(recipe.detector.kind)
        shape = (recipe.features.patch_frames, clips[0].shape[1])
        detector = kind(kind.Options(**recipe.detector.options), shape, recipe.seed)
        held_out = None if hold is None else _patches(recipe, clips, hold)
        return detector, detector.fit(_patches(recipe, clips, learn), held_out, steps=steps, progress=progress)

    def evidence(detector: Detector, indices: IntArray) -> dict[int, ClipEvidence]:
        return {int(i): _evidence(recipe, detector, normaliser, log_mels[i]) for i in indices}

    folds = [np.flatnonzero(fold == number) for number in range(int(fold.max()) + 1)]
    rest = [np.flatnonzero(fold != number) for number in range(len(folds))]
    detector, training = fitted(rest[0], folds[0])
    judged = evidence(detector, np.arange(len(clips)))
    optimism = _error(judged, folds[0]) / max(_error(judged, rest[0]), 1e-12)
    if optimism <= TOLERATED_OPTIMISM:
        kept = [judged[i] for i in range(len(clips))]
        return FittedDetector(normaliser, detector, kept, training, optimism=optimism)
    for learn, hold in zip(rest[1:], folds[1:], strict=True):
        judged |= evidence(fitted(learn, None, training.steps)[0], hold)
    detector, _ = fitted(np.arange(len(clips)), None, training.steps)
    kept = [judged[i] for i in range(len(clips))]
    return FittedDetector(normaliser, detector, kept, training, cross_fitted=True, optimism=optimism)


def _patches(recipe: Recipe, clips: list[FloatArray], indices: IntArray) -> PatchSet:
    features = recipe.features
    return PatchSet([clips[i] for i in indices], features.patch_frames, features.patch_hop_frames)


def _evidence(recipe: Recipe, detector: Detector, normaliser: BandNormaliser, log_mel: FloatArray) -> ClipEvidence:
    reader = ClipReader(recipe, detector, normaliser)
    reader.add(log_mel)
    return reader.finish()[0]


def _error(judged: dict[int, ClipEvidence], indices: IntArray) -> float:
    """Mean squared residual of some clips; not the paper score, which may be negative and has no common scale."""
    energies = [
        np.mean(np.square(judged[int(i)].residual_mean) + np.square(judged[int(i)].residual_spread)) for i in indices
    ]
    return float(np.mean(energies))
