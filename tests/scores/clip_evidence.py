"""Evidence of clips of a machine with a few sources, without any detector."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import get_args

import numpy as np
import numpy.typing as npt

from acoustic_ad.scores.clip_score import ClipScorer
from acoustic_ad.scores.evidence import ClipEvidence, Statistic

Array = npt.NDArray[np.float64]
MELS = 24
STATISTICS: tuple[Statistic, ...] = get_args(Statistic)


def vectors(
    count: int, seed: int, sessions: Sequence[int] | None = None, session_effect: float = 0.0, mels: int = MELS
) -> Array:
    """Residual means [count, mels]: four sources that share bands, noise, and what is common to a session."""
    rng, machine = np.random.default_rng(seed), np.random.default_rng(99)
    sources = machine.standard_normal((4, mels))
    rows = rng.standard_normal((count, 4)) @ sources + 0.5 * rng.standard_normal((count, mels))
    if sessions is not None:
        common = rng.standard_normal((max(sessions) + 1, mels))
        rows += session_effect * common[np.asarray(sessions)]
    return np.asarray(rows)


def evidence(rows: Array, seed: int = 0) -> list[ClipEvidence]:
    """Clips whose mean residual is given; their spectrum follows it roughly, all other statistics vary on their own."""
    rng = np.random.default_rng(seed)
    own = [name for name in STATISTICS if name not in ("residual", "spectrum", "latent")]
    return [
        ClipEvidence(
            patch_scores=np.full(3, float(np.square(row).mean())),
            statistics={
                "residual": row,
                "latent": row[:2],
                "spectrum": row + 0.3 * rng.standard_normal(len(row)),
                **{name: 1.0 + 0.1 * rng.standard_normal(len(row)) for name in own},
            },
        )
        for row in rows
    ]


def moved(clip: ClipEvidence, **by: float | Array) -> ClipEvidence:
    """The clip with some of its statistics moved."""
    changed = {name: clip.statistics[name] + offset for name, offset in by.items()}
    return dataclasses.replace(clip, statistics={**clip.statistics, **changed})


def scores_of(scorer: ClipScorer, clips: Sequence[ClipEvidence]) -> Array:
    """The scores [n] of some clips."""
    return np.array([scorer.score(clip) for clip in clips])
