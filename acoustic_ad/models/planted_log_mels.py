"""Faults planted into log-mels, for features that were computed elsewhere: there is no waveform to plant them into."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
Array = npt.NDArray[np.float64]
Rng = np.random.Generator
Change = Callable[[Array, float, Rng], Array]  # (power [frames, mels], dB, rng) -> power with the fault

# Where in the spectrum, as a share of all bands.
PLACES: Final = (0.08, 0.25, 0.45, 0.65, 0.85)
WIDE: Final = 0.15  # of the bands: what a resonance fills
EVERY_FRAMES: Final = (3, 7)
SWING_FRAMES: Final = (5, 12)


def log_mel_faults() -> list[tuple[str, str, Change]]:
    """Kind, words and change of each fault; `level_db` is the rise of the clip-mean power of the bands it is in."""
    found: list[tuple[str, str, Change]] = []
    for place in PLACES:
        where = f"{place:.0%} up the bands"
        found.append(("tone", f"a tone {where}", _added(place, 0.0, noisy=False)))
        found.append(("narrow_noise", f"noise {where}", _added(place, 0.04, noisy=True)))
        found.append(("band_gain", f"louder bands {where}", _gained(place, +1.0)))
        found.append(("band_gain", f"quieter bands {where}", _gained(place, -1.0)))
    found.append(("broad_noise", "noise in all bands", _added(0.5, 1.0, noisy=True)))
    for place, every in zip(PLACES[1:4], (*EVERY_FRAMES, EVERY_FRAMES[0]), strict=True):
        found.append(("impulses", f"hits {place:.0%} up the bands", _hits(place, every)))
    found += [("modulation", f"a swing of all bands over {frames} frames", _swing(frames)) for frames in SWING_FRAMES]
    found.append(("missing_strokes", "missing strokes", _missing))
    return found


def changed_log_mel(log_mel: FloatArray, change: Change, level_db: float, rng: Rng) -> FloatArray:
    """The log-mel [frames, mels] in dB with a fault of `level_db`."""
    power = np.power(10.0, np.asarray(log_mel, np.float64) / 10.0)
    return np.asarray(10.0 * np.log10(np.maximum(change(power, level_db, rng), 1e-30)), np.float32)


def _bands(mels: int, place: float, share: float) -> slice:
    half = max(share * mels / 2.0, 0.5)
    first = int(np.clip(round(place * mels - half), 0, mels - 1))
    return slice(first, max(first + round(2.0 * half), first + 1))


def _rise(level_db: float) -> float:
    return float(10.0 ** (level_db / 10.0) - 1.0)


def _added(place: float, share: float, noisy: bool) -> Change:
    def change(power: Array, level_db: float, rng: Rng) -> Array:
        bands = _bands(power.shape[1], place, share)
        part = power[:, bands]
        # The power of noise in a frame and band is exponentially distributed.
        added = rng.exponential(size=part.shape) if noisy else np.ones(part.shape)
        power[:, bands] = part + _rise(level_db) * part.mean(axis=0) * added
        return power

    return change


def _gained(place: float, sign: float) -> Change:
    def change(power: Array, level_db: float, rng: Rng) -> Array:
        power[:, _bands(power.shape[1], place, 0.08)] *= 10.0 ** (sign * level_db / 10.0)
        return power

    return change


def _hits(place: float, every: int) -> Change:
    def change(power: Array, level_db: float, rng: Rng) -> Array:
        bands = _bands(power.shape[1], place, WIDE)
        hit = np.arange(len(power)) % every == int(rng.integers(every))
        power[:, bands] += _rise(level_db) * power[:, bands].mean(axis=0) * (hit / max(hit.mean(), 1e-9))[:, None]
        return power

    return change


def _swing(frames: int) -> Change:
    def change(power: Array, level_db: float, rng: Rng) -> Array:
        phase = 2.0 * np.pi * (np.arange(len(power)) / frames + rng.random())
        gain = 10.0 ** (level_db * np.sin(phase) / 10.0)
        return np.asarray(power * (gain / gain.mean())[:, None])

    return change


def _missing(power: Array, level_db: float, rng: Rng) -> Array:
    """One loud frame in three, of the loudest tenth, is damped by three times the level."""
    energy = power.sum(axis=1)
    loud = np.flatnonzero(energy >= np.quantile(energy, 0.9))
    power[rng.permutation(loud)[: max(1, len(loud) // 3)]] *= 10.0 ** (-3.0 * level_db / 10.0)
    return power
