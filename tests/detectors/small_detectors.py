"""Detectors small enough to fit in a moment, and patches of a machine simple enough for them."""

from __future__ import annotations

import contextlib
import functools
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from acoustic_ad.detectors.base import Detector, Options, detector_class, detectors
from acoustic_ad.recipe import load_recipe
from acoustic_ad.recipe_files import recipe_files

FloatArray = npt.NDArray[np.float32]
FRAMES, MELS = SHAPE = (5, 16)
CLIP_PATCHES = 24
FAULTY_BANDS = slice(6, 9)
# Whatever of these a detector has as an option is made small; widths are of convolutions.
SMALL = {"steps": 60, "batch_size": 64, "check_every_steps": 20, "hidden": 32, "layers": 2, "latent": 4}
SMALL |= {"width": 4, "d_width": 4, "stages": 2}


def small_options(kind: str, options: dict[str, Any]) -> Options:
    """The options made small, as far as the detector has them and they do not contradict one another."""
    options_of = detector_class(kind).Options
    for key, value in SMALL.items():
        if key in options_of.model_fields:
            with contextlib.suppress(ValidationError):
                options_of(**options | {key: value})
                options = options | {key: value}
    return options_of(**options)


def cases() -> dict[str, tuple[str, Options]]:
    """Every detector with its defaults, and as each installed recipe sets it, each once: name -> (kind, options)."""
    found = {f"{kind}, defaults": (kind, small_options(kind, {})) for kind in detectors()}
    for judge in (judge for name in recipe_files() for judge in load_recipe(name).judges):
        case = judge.detector.kind, small_options(judge.detector.kind, judge.detector.options)
        if case not in found.values():
            found[f"recipe {judge.name}"] = case
    return found


CASES = cases()


def make(case: str, seed: int = 0) -> Detector:
    """A detector that has learnt nothing."""
    kind, options = CASES[case]
    return detector_class(kind)(options, SHAPE, seed)


@functools.cache
def fitted(case: str, seed: int = 0) -> Detector:
    """The case's detector, fitted to normal clips 0."""
    detector = make(case, seed)
    detector.fit(normal(40, seed=0))
    return detector


def normal(clips: int, seed: int, gain: float = 0.0) -> FloatArray:
    """Patches [clips * CLIP_PATCHES, 5, 16] of a machine with two sources that share bands, unit variance per band.

    `gain` raises three bands, in standard deviations: a fault that the sources cannot bring about.
    """
    rng = np.random.default_rng(seed)
    count = clips * CLIP_PATCHES
    bands = np.arange(MELS)
    shapes = np.stack([np.cos(np.pi * bands / MELS), np.sin(2 * np.pi * bands / MELS)])  # [2, mels]
    sources = rng.standard_normal((count, 1, 2)) + 0.3 * rng.standard_normal((count, FRAMES, 2))
    loud = sources @ shapes + 0.5 * rng.standard_normal((count, FRAMES, MELS))
    loud /= np.sqrt(1.09 * np.square(shapes).sum(axis=0) + 0.25)
    loud[:, :, FAULTY_BANDS] += gain
    return np.asarray(loud, np.float32)
