"""Building blocks of simulated sound: random streams, tones, coloured noise, resonances."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
import scipy.fft
import scipy.signal

Samples = npt.NDArray[np.float32]
Reals = npt.NDArray[np.floating]


def stream(seed: int, *words: str) -> np.random.Generator:
    """An independent random stream for each (seed, words): adding a fault must not move the draws of the machine."""
    digest = hashlib.sha256("\0".join([str(seed), *words]).encode("utf-8", "surrogateescape")).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "big"))


def tone(cycles: Reals) -> Samples:
    """sin(2 pi cycles); whole turns are removed in double precision first, so that single precision is enough."""
    return np.asarray(np.sin((2 * np.pi * (cycles - np.rint(cycles))).astype(np.float32)))


def chord(rng: np.random.Generator, cycles: Reals, amplitudes: Mapping[float, float]) -> Samples:
    """Harmonics of `cycles` [n] with the given amplitudes by order and random phases, [n]."""
    out = np.zeros(cycles.size, np.float32)
    for order, amplitude in amplitudes.items():
        out += np.float32(amplitude) * tone(order * cycles + rng.uniform())
    return out


def coloured_noise(
    rng: np.random.Generator, samples: int, sample_rate_hz: int, gain: Callable[[Reals], Reals]
) -> Samples:
    """Gaussian noise [samples], RMS 1, whose amplitude spectrum follows `gain(hz)`.

    The spectrum is drawn directly. The gain is evaluated every few Hz only: all gains used here are smooth.
    """
    length = scipy.fft.next_fast_len(samples, real=True)
    bins = length // 2 + 1
    grid = np.linspace(0, sample_rate_hz / 2, min(bins, 1025))
    shape = np.interp(np.linspace(0, sample_rate_hz / 2, bins), grid, gain(grid)).astype(np.float32)
    spectrum = rng.standard_normal(2 * bins, np.float32).view(np.complex64) * shape
    spectrum[0] = 0
    noise = np.asarray(scipy.fft.irfft(spectrum, length)[:samples], np.float32)
    return unit(noise)


def place(pieces: Samples, onsets: npt.NDArray[np.int64], samples: int) -> Samples:
    """Lay pieces [k, m] into a clip of `samples`; what reaches past the end is cut."""
    out = np.zeros(samples, np.float32)
    for piece, onset in zip(pieces, onsets, strict=True):
        room = out[onset : onset + piece.size]
        room += piece[: room.size]
    return out


def ring(impulses: Reals, hz: float, decay_s: float, sample_rate_hz: int) -> Samples:
    """Impulses [n] through a resonance at `hz` that decays with the time constant `decay_s`."""
    t = np.arange(int(7 * decay_s * sample_rate_hz) + 1) / sample_rate_hz
    kernel = np.exp(-t / decay_s) * np.sin(2 * np.pi * hz * t)
    return np.asarray(scipy.signal.oaconvolve(impulses, kernel)[: impulses.size], np.float32)


def band(hz: Reals, low: float, high: float) -> Reals:
    """Amplitude 1 between two frequencies, falling by 24 dB per octave outside."""
    safe = np.maximum(hz, 1.0)
    return np.asarray(1 / np.sqrt(1 + (low / safe) ** 8) / np.sqrt(1 + (safe / high) ** 8))


def unit(samples: Samples) -> Samples:
    """The same sound with an RMS of 1 (silence stays silence)."""
    return samples / np.float32(rms(samples))


def rms(samples: Reals) -> float:
    """Root mean square; a tiny floor keeps a division by it finite."""
    return max(float(np.sqrt(np.mean(np.square(samples, dtype=np.float64)))), 1e-12)
