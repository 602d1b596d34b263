"""Log-mels of a simple machine, and models of it that are fitted in no time."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import numpy.typing as npt

from acoustic_ad.models.machine_model import MachineModel
from acoustic_ad.recipe import Recipe, parse_recipe

FloatArray = npt.NDArray[np.float32]
MELS, FRAMES = 16, 40
SMALL_DAE = {"kind": "dae", "steps": 80, "hidden": 32, "layers": 1, "latent": 4, "batch_size": 128}


def machine(count: int, seed: int, frames: int = FRAMES, gain_db: float = 0.0) -> list[FloatArray]:
    """Normal clips [frames, 16] in dB: a load that changes from clip to clip, bands that share it, noise.

    `gain_db` raises three bands: a fault.
    """
    rng, bands = np.random.default_rng(seed), np.arange(MELS)
    level, shape = -60.0 + 10.0 * np.cos(bands / 3.0), np.sin(np.pi * (bands + 1) / MELS)
    clips = []
    for _ in range(count):
        clip = level + 2.0 * rng.standard_normal() * shape + 3.0 * rng.standard_normal((frames, MELS))
        clip[:, 6:9] += gain_db
        clips.append(clip.astype(np.float32))
    return clips


def recipe_of(kind: str = "mahalanobis", **tables: Any) -> Recipe:
    """A recipe for `machine`; keyword arguments are its tables, or single keys."""
    detector: dict[str, Any] = SMALL_DAE if kind == "dae" else {"kind": kind}
    patch_frames = 5 if kind == "dae" else 1
    given: dict[str, Any] = {"features": {"patch_frames": patch_frames}, "detector": detector}
    for table, values in tables.items():
        given[table] = given.get(table, {}) | values if isinstance(values, dict) else values
    return parse_recipe({"name": "test", **given}, "test")


def ensemble_of(*members: Recipe, combine: str = "mean", **tables: Any) -> Recipe:
    """Several recipes behind one score."""
    whole = [member.model_dump(mode="json") for member in members]
    return parse_recipe({"name": "together", "members": whole, "combine": combine, **tables}, "test")


@functools.cache
def fitted(kind: str = "mahalanobis") -> MachineModel:
    """A model of a hundred clips."""
    return MachineModel(recipe_of(kind)).fit(machine(100, seed=0))
