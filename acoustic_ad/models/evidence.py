"""Log-mel -> patches -> detector -> evidence of a clip, in stretches, so that long clips need no more memory."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from acoustic_ad.detectors.base import PatchJudge
from acoustic_ad.errors import BundleError, ClipError
from acoustic_ad.recipe import Recipe
from acoustic_ad.scores.evidence import Array, ClipEvidence, EvidenceSum
from acoustic_ad.sound.features import cut_patches

FloatArray = npt.NDArray[np.float32]

# Frames judged at a time, about two minutes: the cut is at fixed frames, so scores do not depend on how audio arrives.
STRETCH_FRAMES = 4096
# A band that never moves (digital silence, an empty mel filter) must not blow up when a little noise enters it.
SMALLEST_DEVIATION_DB = 0.1


@dataclass(frozen=True, slots=True)
class BandNormaliser:
    """Mean and standard deviation [mels] of each band over all training frames, in dB."""

    mean: FloatArray
    deviation: FloatArray

    @classmethod
    def of(
        cls, log_mels: Sequence[FloatArray], prepare: Callable[[FloatArray], FloatArray] = lambda log_mel: log_mel
    ) -> BandNormaliser:
        """From training log-mels [frames, mels], each as `prepare` makes it; one of them in memory at a time."""
        count, total = 0, np.zeros(1)
        for log_mel in map(prepare, log_mels):
            count += len(log_mel)
            total = total + log_mel.sum(axis=0, dtype=np.float64)
        mean, squares = total / count, np.zeros(1)
        for log_mel in map(prepare, log_mels):
            squares = squares + np.square(log_mel - mean).sum(axis=0)
        deviation = np.maximum(np.sqrt(squares / count), SMALLEST_DEVIATION_DB)
        return cls(mean.astype(np.float32), deviation.astype(np.float32))

    @classmethod
    def from_state(cls, state: Mapping[str, npt.NDArray[Any]]) -> BandNormaliser:
        """From a bundle's arrays; raises BundleError where they do not fit."""
        if set(state) != {"mean", "deviation"}:
            raise BundleError(f"the normaliser needs mean and deviation, the bundle has {sorted(state)}")
        mean, deviation = state["mean"], state["deviation"]
        if mean.ndim != 1 or len(mean) < 1 or mean.shape != deviation.shape or not (deviation > 0).all():
            raise BundleError("the normaliser's mean and deviation do not fit each other")
        return cls(mean.astype(np.float32), deviation.astype(np.float32))

    def __call__(self, log_mel: FloatArray) -> FloatArray:
        """The log-mel [frames, mels] in standard deviations from the training mean."""
        normalised = log_mel - self.mean
        normalised /= self.deviation
        return np.asarray(normalised)


def prepared(recipe: Recipe, log_mel: FloatArray) -> FloatArray:
    """The log-mel as the recipe wants it: with or without its overall level."""
    return log_mel - log_mel.mean(dtype=np.float64).astype(np.float32) if recipe.features.remove_level else log_mel


def joined(pieces: Sequence[FloatArray]) -> FloatArray:
    """The frames [k, mels] of all pieces; copied only where more than one holds any."""
    filled = [piece for piece in pieces if len(piece)]
    return filled[0] if len(filled) == 1 else np.concatenate(pieces)


class ClipReader:
    """Takes a clip's log-mel block by block; gives its evidence and its mean level per band.

    Without `paper` the evidence's patch scores are NaN, which saves what they cost.
    """

    def __init__(
        self,
        recipe: Recipe,
        detector: PatchJudge,
        normaliser: BandNormaliser,
        statistics: Collection[str] = (),
        paper: bool = True,
    ) -> None:
        self._recipe, self._detector, self._normaliser = recipe, detector, normaliser
        self._paper = paper
        self._evidence = EvidenceSum(statistics)
        self._waiting: list[FloatArray] = []  # frames not yet judged as a stretch
        self._carried: FloatArray = np.zeros((0, len(normaliser.mean)), np.float32)  # frames the next patch starts in
        self._level: Array = np.zeros(len(normaliser.mean))
        self._frames = self._patches = 0

    def add(self, block: FloatArray) -> None:
        """Take in frames [k, mels] in dB; raises ClipError `not_finite`."""
        level = block.sum(axis=0, dtype=np.float64)
        if not np.isfinite(level).all():  # as soon as one of its terms is not
            raise ClipError("not_finite", "the log-mel contains NaN or Inf")
        self._level += level
        self._frames += len(block)
        self._waiting.append(block)
        while sum(map(len, self._waiting)) >= STRETCH_FRAMES:
            frames = joined(self._waiting)
            self._judge(frames[:STRETCH_FRAMES])
            self._waiting = [frames[STRETCH_FRAMES:]]

    def finish(self) -> tuple[ClipEvidence, Array]:
        """The clip's evidence, and its mean log-mel [mels] in dB; raises ClipError `too_short`."""
        if any(map(len, self._waiting)):
            self._judge(joined(self._waiting))
        if not self._patches:
            needed = self._recipe.features.patch_frames
            raise ClipError("too_short", f"{self._frames} frames; one patch of the model needs {needed}")
        return self._evidence.clip(), self._level / self._frames

    def _judge(self, stretch: FloatArray) -> None:
        features = self._recipe.features
        normalised = self._normaliser(prepared(self._recipe, stretch))
        frames = joined([self._carried, normalised])
        patches = cut_patches(frames, features.patch_frames, features.patch_hop_frames)
        self._carried = frames[len(patches) * features.patch_hop_frames :]
        if len(patches):
            found = self._detector.evidence(patches, self._paper)
            self._evidence.add(found.score, found.residual, found.latent, normalised)
            self._patches += len(patches)
        else:
            self._evidence.add([], [], [], normalised)
