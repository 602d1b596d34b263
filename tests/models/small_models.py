"""Models that are fitted in no time, for tests of what is kept."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import numpy.typing as npt

from acoustic_ad.models.bundle import TrainingDetails
from acoustic_ad.models.machine_model import MachineModel
from acoustic_ad.recipe import parse_recipe

MELS = 16
DETAILS = TrainingDetails(n_clips=20, manifest_digest="ab" * 32, seconds=1.5)


def clips(seed: int, count: int = 20) -> list[npt.NDArray[np.float32]]:
    """Random log-mels [60, 16] in dB with bands of their own level and spread."""
    rng = np.random.default_rng(seed)
    level, spread = rng.uniform(-80, -20, MELS), rng.uniform(0.5, 6, MELS)
    return [(level + spread * rng.standard_normal((60, MELS))).astype(np.float32) for _ in range(count)]


@functools.cache
def fitted(seed: int = 0, kind: str = "mahalanobis") -> MachineModel:
    """A model of the machine with this seed."""
    tables: dict[str, dict[str, Any]] = {
        "mahalanobis": {"features": {"patch_frames": 1}, "detector": {"kind": "mahalanobis"}},
        "dae": {"features": {"patch_frames": 3}, "detector": {"kind": "dae", "steps": 5, "hidden": 8, "layers": 2}},
    }
    return MachineModel(parse_recipe({"name": "m", **tables[kind]}, "test")).fit(clips(seed))


def scores(model: MachineModel) -> list[tuple[float, float]]:
    """What the model says of clips of its own machine and of another one."""
    verdicts = [model.score(clip) for clip in clips(0, 3) + clips(1, 3)]
    return [(verdict.score, verdict.p_value) for verdict in verdicts]
