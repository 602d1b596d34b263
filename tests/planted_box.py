"""Tones and bursts planted into simulated clips, and the box of time and frequency that each of them fills."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy import ndimage

from acoustic_ad.sound.features import FeatureSpec, LogMel
from acoustic_ad.sound.planted import PlantedFault, Planter, third_octave
from acoustic_ad.sound.simulate import MACHINE_TYPES, simulate_clip

SPEC = FeatureSpec()
BURST_S, DURATION_S = 0.8, 4.0
Box = tuple[float, float, float, float]  # first frame, end frame, first band, end band


def overlap(a: Box, b: Box) -> float:
    """Intersection over union."""
    wide, high = min(a[1], b[1]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[2], b[2])
    both = max(wide, 0) * max(high, 0)
    return both / ((a[1] - a[0]) * (a[3] - a[2]) + (b[1] - b[0]) * (b[3] - b[2]) - both)


def normal_clips(machine: str, count: int = 20) -> list[np.ndarray]:
    """Healthy clips to learn from."""
    return [simulate_clip(f"{machine}/id_00", duration_s=DURATION_S, seed=number) for number in range(count)]


def planted_clips(kind: str, level_db: float = 10.0, each: int = 4) -> Iterator[tuple[str, np.ndarray, Box]]:
    """(machine type, samples, box) of clips not learnt from, with a `tone` throughout or a `burst` of noise."""
    front_end, rng = LogMel(SPEC), np.random.default_rng(0)
    for machine in MACHINE_TYPES:
        for number in range(each):
            clip = simulate_clip(f"{machine}/id_00", duration_s=DURATION_S, seed=500 + number)
            low, high = third_octave(float(np.exp(rng.uniform(np.log(300), np.log(6000)))))
            fault = PlantedFault("tone" if kind == "tone" else "narrow_noise", level_db, low, high)
            part = Planter(clip, SPEC.sample_rate_hz).plant(fault, rng) - clip
            first, end = 0, 1 + len(clip) // SPEC.hop
            if kind == "burst":
                first = int(rng.integers(10, 80))
                end = first + round(BURST_S / SPEC.frame_s)
                part[: first * SPEC.hop] = part[end * SPEC.hop :] = 0.0
            # What rose by 3 dB or more, around the band that rose most.
            power = [
                np.power(10.0, front_end(sound)[first:end].astype(float) / 10.0).mean(axis=0) for sound in (part, clip)
            ]
            ratio = power[0] / power[1]
            runs, _ = ndimage.label(ratio >= min(1.0, ratio.max()))
            bands = np.flatnonzero(runs == runs[ratio.argmax()])
            yield machine, clip + part, (first, end, int(bands[0]), int(bands[-1]) + 1)
