"""A clip's evidence: what a detector said of its patches, and its frames, reduced to statistics over time.

Time averages decide for steady sound. For strokes, beats and bursts they hide the fault: there the spread over time,
the loudest frames and the modulation tell.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Statistic = Literal[
    "residual", "residual_spread", "residual_high", "residual_gwrp_90", "residual_gwrp_50",
    "spectrum", "spectrum_spread", "spectrum_high", "spectrum_gwrp_90", "spectrum_gwrp_50",
    "power", "modulation", "latent",
]  # fmt: skip
# What every clip's evidence holds, whatever the scorer asks for: people are told what stands out by them.
ALWAYS: Final = ("residual", "residual_spread")

HIGH_QUANTILE: Final = 0.95
# Beyond this many standard deviations a frame's power only says "far": exp would overflow, or its log be -Inf.
MOST_DEVIATIONS: Final = 50.0
# Modulation: frames of a segment, mel bands of a group, and the bins (of a segment's transform) of a modulation band.
SEGMENT_FRAMES: Final = 32
GROUPED_BANDS: Final = 4
MODULATION_BINS: Final = (1, 3, 6, 11, SEGMENT_FRAMES // 2 + 1)
MODULATION_FLOOR: Final = 1e-3


@dataclass(frozen=True, slots=True)
class ClipEvidence:
    """Evidence of one clip."""

    patch_scores: Array  # [N], the detector's paper score of each patch
    statistics: Mapping[str, Array]  # by name; [mels] each, but `latent` is [D] and `modulation` [groups * 4]

    @property
    def error(self) -> float:
        """Mean squared residual over patches and bands."""
        return float(np.mean(np.square(self.statistics["residual"]) + np.square(self.statistics["residual_spread"])))


class EvidenceSum:
    """Gathers a clip's evidence stretch by stretch, so that a long clip needs no more memory than a short one.

    `residual` is the mean signed residual over the patches, `spectrum` that of the normalised log-mel before the
    detector, and `power` the log of the mean of its exponential, which loud moments decide. `_spread` is the standard
    deviation over time, `_high` the 95 % quantile, and `_gwrp_90` global weighted rank pooling with r = .9: frames
    sorted, loudest first, and weighted r^i. Quantiles and ranks are of a stretch, averaged over stretches.
    `modulation` is the log energy of slow swings (at a hop of 32 ms: 1-2, 3-5, 6-10, 11-16 Hz) per four bands.
    """

    def __init__(self, statistics: Collection[str] = ()) -> None:
        self._wanted = tuple(dict.fromkeys([*ALWAYS, *statistics]))
        self._scores: list[Array] = []
        self._sums: dict[str, Array | float] = {}

    def add(self, score: npt.ArrayLike, residual: npt.ArrayLike, latent: npt.ArrayLike, frames: npt.ArrayLike) -> None:
        """Take in a stretch: n patches' score [n], residual [n, mels] and latent [n, D]; its new frames [k, mels]."""
        part, code, sound = np.asarray(residual, np.float64), np.asarray(latent, np.float64), np.asarray(frames)
        if len(part):
            self._scores.append(np.asarray(score, np.float64))
            self._moments("residual", part)
            self._ranks("residual", part)
            if "latent" in self._wanted:
                self._count("latent", code.sum(axis=0), len(code))
        if len(sound):
            self._sound(sound)

    def _sound(self, frames: npt.NDArray[np.float32]) -> None:
        wanted = [name for name in self._wanted if not name.startswith(("residual", "latent"))]
        if any(name.startswith("spectrum") for name in wanted):
            self._moments("spectrum", frames.astype(np.float64))
            self._ranks("spectrum", frames)
        if "power" in wanted:
            power = np.exp(np.clip(frames, -MOST_DEVIATIONS, MOST_DEVIATIONS)).astype(np.float64)
            self._count("power", np.ones(len(frames)) @ power, len(frames))
        if "modulation" in wanted:
            self._count("modulation", *_modulation(frames))

    def _moments(self, family: str, rows: Array) -> None:
        # A product with ones adds up rows in half the time of `sum`.
        ones = np.ones(len(rows))
        self._count(family, ones @ rows, len(rows))
        if f"{family}_spread" in self._wanted:
            self._count(f"{family}_spread", ones @ np.square(rows), len(rows))

    def _ranks(self, family: str, rows: npt.NDArray[np.float32] | Array) -> None:
        for name, pool in RANKED.items():
            if f"{family}_{name}" in self._wanted:
                self._count(f"{family}_{name}", pool(rows) * len(rows), len(rows))

    def _count(self, name: str, total: Array, count: int) -> None:
        self._sums[name] = self._sums.get(name, 0.0) + total
        self._sums[f"{name}#"] = self._sums.get(f"{name}#", 0.0) + count

    def clip(self) -> ClipEvidence:
        """The evidence of all stretches so far; raises ValueError where there are none."""
        if not self._scores:
            raise ValueError("a clip without patches has no evidence")
        mean = {
            name: np.asarray(total / self._sums[f"{name}#"])
            for name, total in self._sums.items()
            if not name.endswith("#")
        }
        for name in [name for name in mean if name.endswith("_spread")]:
            square = mean[name] - np.square(mean[name.removesuffix("_spread")])
            mean[name] = np.sqrt(np.maximum(square, 0.0))
        if "power" in mean:
            mean["power"] = np.log(mean["power"])
        if "modulation" in mean:
            mean["modulation"] = np.log(mean["modulation"] + MODULATION_FLOOR)
        return ClipEvidence(np.concatenate(self._scores), {name: mean[name] for name in self._wanted})


def gwrp(values: npt.ArrayLike, r: float) -> Array:
    """Global weighted rank pooling of values [N, ...] over the first axis: weights r^i, largest first (TWFR-GMM)."""
    ranked = -np.sort(-np.asarray(values), axis=0)
    # Further down, weights are below 1e-12 of the first.
    count = len(ranked) if r == 1.0 else min(len(ranked), 1 + int(np.ceil(-12.0 / np.log10(r))))
    weights = np.power(r, np.arange(count, dtype=np.float64))
    return np.asarray(np.tensordot(weights / weights.sum(), ranked[:count].astype(np.float64), axes=1))


def _high(rows: npt.NDArray[np.float32] | Array) -> Array:
    return np.asarray(np.quantile(rows, HIGH_QUANTILE, axis=0), np.float64)


RANKED: Final[Mapping[str, Callable[[npt.NDArray[np.float32] | Array], Array]]] = {
    "high": _high,
    "gwrp_90": lambda rows: gwrp(rows, 0.9),
    "gwrp_50": lambda rows: gwrp(rows, 0.5),
}


def _modulation(frames: npt.NDArray[np.float32]) -> tuple[Array, int]:
    """Energy [groups * modulation bands] of how band groups swing, summed over half-overlapping segments; their number.

    Shorter sound than a segment is one segment.
    """
    count = len(frames)
    groups = _grouped(frames)
    length = min(SEGMENT_FRAMES, count)
    starts = np.arange(0, count - length + 1, SEGMENT_FRAMES // 2)
    segments = groups[starts + np.arange(length)[:, None]]  # [length, segments, groups]
    swings = segments - segments.mean(axis=0)
    # So short a transform is quicker multiplied out, all segments at once.
    transformed = (_transform(length) @ swings.reshape(length, -1)).reshape(-1, *swings.shape[1:])
    energy = np.einsum("bsg,bsg->bg", transformed, transformed, dtype=np.float64)  # [bins twice, groups]
    bins = len(energy) // 2
    of_bins = energy[:bins] + energy[bins:]
    firsts = np.array(MODULATION_BINS[:-1]) - MODULATION_BINS[0]
    bands = np.add.reduceat(of_bins, firsts, axis=0).T / np.diff(MODULATION_BINS)
    return np.asarray(bands.ravel(), np.float64), len(starts)


@cache
def _transform(length: int) -> npt.NDArray[np.float32]:
    """Cosines above sines [2 * bins, length] of the bins that modulation bands are of, with a Hann window on them."""
    bins = np.arange(MODULATION_BINS[0], MODULATION_BINS[-1])
    turn = 2.0 * np.pi * bins[:, None] * np.arange(length) / SEGMENT_FRAMES
    return np.asarray(np.concatenate([np.cos(turn), np.sin(turn)]) * np.hanning(length + 2)[1:-1], np.float32)


def _grouped(frames: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Mean of each group of neighbouring bands, [frames, groups]."""
    count, mels = frames.shape
    if mels % GROUPED_BANDS:
        return np.asarray(frames @ _grouping(mels))
    # Groups that are all full are rows of one narrow matrix: a fifth of the time.
    each = np.full(GROUPED_BANDS, 1.0 / GROUPED_BANDS, np.float32)
    return np.asarray((frames.reshape(-1, GROUPED_BANDS) @ each).reshape(count, -1))


@cache
def _grouping(mels: int) -> npt.NDArray[np.float32]:
    """Frames [n, mels] times this [mels, groups] are the mean of each group of neighbouring bands."""
    group = np.arange(mels) // GROUPED_BANDS
    member = group[:, None] == np.arange(group[-1] + 1)
    return np.asarray(member / member.sum(axis=0), np.float32)
