"""The box covers what was planted: tones and bursts at +10 dB, on simulated machines."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from planted_box import SPEC, normal_clips, overlap, planted_clips

from acoustic_ad.scores.localisation import localise
from acoustic_ad.sound.features import LogMel


@functools.cache
def normal_of(machine: str) -> tuple[np.ndarray, np.ndarray]:
    """Mean and spread of normal frames [mels]."""
    frames = np.concatenate([LogMel(SPEC)(clip) for clip in normal_clips(machine)])
    return frames.mean(axis=0), np.maximum(frames.std(axis=0), 0.1)


@pytest.mark.parametrize("kind", ["tone", "burst"])
def test_the_box_covers_what_was_planted(kind: str) -> None:
    front_end, found = LogMel(SPEC), []
    for machine, clip, truth in planted_clips(kind):
        mean, spread = normal_of(machine)
        region = localise(front_end(clip) - mean, spread, SPEC.frame_s)
        box = region and (region.first_frame, region.end_frame, region.first_band, region.end_band)
        found.append(overlap(box, truth) if box else 0.0)
    print(f"{kind}: mean IoU {np.mean(found):.2f} of {len(found)}")
    assert len(found) == 20 and np.mean(found) >= 0.5


def test_nothing_stands_out_where_nothing_differs() -> None:
    assert localise(np.zeros((100, 8)), np.ones(8), 0.032) is None
    with pytest.raises(ValueError, match="do not fit"):
        localise(np.zeros((100, 8)), np.ones(7), 0.032)
