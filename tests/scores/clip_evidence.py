"""Evidence of clips of a machine with a few sources, without any detector."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from acoustic_ad.scores.clip_score import ClipEvidence

Array = npt.NDArray[np.float64]
MELS = 24


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
    """Clips whose mean residual is given; their spread and spectrum vary on their own."""
    rng = np.random.default_rng(seed)
    return [
        ClipEvidence(
            patch_scores=np.full(3, float(np.square(row).mean())),
            residual_mean=row,
            residual_spread=1.0 + 0.1 * rng.standard_normal(len(row)),
            latent_mean=row[:2],
            spectrum=row + 0.3 * rng.standard_normal(len(row)),
        )
        for row in rows
    ]
