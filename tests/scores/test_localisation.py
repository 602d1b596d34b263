"""The box covers what was planted: tones and bursts at +10 dB, on simulated machines."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from acoustic_ad.scores.localisation import localise
from acoustic_ad.sound.features import FeatureSpec, LogMel
from acoustic_ad.sound.planted import PlantedFault, Planter, third_octave
from acoustic_ad.sound.simulate import MACHINE_TYPES, simulate_clip

SPEC = FeatureSpec()
BURST_S = 0.8


def overlap(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    """Intersection over union of boxes (first frame, end frame, first band, end band)."""
    wide, high = min(a[1], b[1]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[2], b[2])
    both = max(wide, 0) * max(high, 0)
    return both / ((a[1] - a[0]) * (a[3] - a[2]) + (b[1] - b[0]) * (b[3] - b[2]) - both)


@pytest.mark.parametrize("kind", ["tone", "burst"])
def test_the_box_covers_what_was_planted(kind: str) -> None:
    front_end, rng, found = LogMel(SPEC), np.random.default_rng(0), []
    for machine in MACHINE_TYPES:
        frames = np.concatenate(
            [front_end(simulate_clip(f"{machine}/id_00", duration_s=4.0, seed=i)) for i in range(20)]
        )
        for number in range(4):
            clip = simulate_clip(f"{machine}/id_00", duration_s=4.0, seed=500 + number)
            low, high = third_octave(float(np.exp(rng.uniform(np.log(300), np.log(6000)))))
            fault = PlantedFault("tone" if kind == "tone" else "narrow_noise", 10.0, low, high)
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
            excess, spread = front_end(clip + part) - frames.mean(axis=0), np.maximum(frames.std(axis=0), 0.1)
            region = localise(excess, spread, SPEC.frame_s)
            truth = (first, end, bands[0], bands[-1] + 1)
            box = region and (region.first_frame, region.end_frame, region.first_band, region.end_band)
            found.append(overlap(box, truth) if box else 0.0)
    print(f"{kind}: mean IoU {np.mean(found):.2f} of {len(found)}")
    assert np.mean(found) >= 0.5


def test_nothing_stands_out_where_nothing_differs() -> None:
    assert localise(np.zeros((100, 8)), np.ones(8), 0.032) is None
    with pytest.raises(ValueError, match="do not fit"):
        localise(np.zeros((100, 8)), np.ones(7), 0.032)
