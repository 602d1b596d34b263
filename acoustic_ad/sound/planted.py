"""Synthetic faults for recordings of normal sound: what a model can find is seen where nobody has labels.

They are generic (tones, noise, hits, swings, missing strokes, changed bands) and have nothing in common with the
faults of `machine_faults`, so that choosing a model by them is no tuning on simulated machines.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import scipy.fft
from numpy.typing import NDArray

Samples = NDArray[np.float32]
Array = NDArray[np.float64]
Rng = np.random.Generator
Kind = Literal["tone", "narrow_noise", "broad_noise", "impulses", "modulation", "missing_strokes", "band_gain"]

# From hardly there to plain.
LEVELS_DB: Final = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
SMALLEST_POWER: Final = 1e-10  # per sample: faults in digital silence are relative to this

TONES: Final = 7
LOWEST_HZ: Final = 100.0
NOISES_HZ: Final = (250.0, 1000.0, 3000.0, 6000.0)
GAINS_HZ: Final = (400.0, 1500.0, 4500.0)
HITS: Final = ((1200.0, 13.0), (3000.0, 7.0), (5500.0, 23.0))  # resonance, hits a second
RINGING_CYCLES: Final = 8.0  # of the resonance, until it is down by e
JITTER: Final = 0.03  # of the time between hits
SWINGS: Final[tuple[tuple[float | None, float], ...]] = ((None, 3.0), (2000.0, 7.0))  # octave or all, swings a second
STROKE_S: Final = 0.05
LOUD_SHARE: Final = 0.1
DAMPED_TIMES: Final = 3.0  # a missing stroke is damped by this many times the level


@dataclass(frozen=True, slots=True)
class PlantedFault:
    """A fault, and how strong it is.

    `level_db` is the rise of the clip-mean power in the fault's band: the third octave of a tone, of noise or of the
    resonance that hits ring with; all frequencies for broad noise. A changed band rises or falls by it, a swing is
    that many dB up and down, and a missing stroke is damped by three times as much. At 0 nothing is changed.
    """

    kind: Kind
    level_db: float = 0.0
    low_hz: float | None = None  # the band that changes; None: all frequencies
    high_hz: float | None = None
    rate_hz: float = 0.0  # of hits or swings
    sign: int = 1  # -1: the band falls

    @property
    def words(self) -> str:
        """What it is, for people."""
        where = "" if self.low_hz is None or self.high_hz is None else _in_words(np.sqrt(self.low_hz * self.high_hz))
        return {
            "tone": f"a tone at {where}",
            "narrow_noise": f"noise around {where}",
            "broad_noise": "noise at all frequencies",
            "impulses": f"hits ringing at {where}, {self.rate_hz:g} a second",
            "modulation": f"{f'sound around {where}' if where else 'level'} swinging {self.rate_hz:g} times a second",
            "missing_strokes": "missing strokes",
            "band_gain": f"bands around {where} {'louder' if self.sign > 0 else 'quieter'}",
        }[self.kind]


def _in_words(hz: float) -> str:
    return f"{hz:.0f} Hz" if hz < 1000.0 else f"{hz / 1000.0:.1f} kHz"


def planted_faults(sample_rate_hz: int, fmax_hz: float, fmin_hz: float = 0.0) -> tuple[PlantedFault, ...]:
    """The faults, without a level, that lie within the front-end's band and below the Nyquist frequency."""
    top = 0.9 * min(fmax_hz, sample_rate_hz / 2.0)
    bottom = max(LOWEST_HZ, 1.1 * fmin_hz)
    if bottom >= top:
        bottom = max(top / 2.0, fmin_hz)
    found = [PlantedFault("tone", 0.0, *_around(hz, 1 / 3)) for hz in np.geomspace(bottom, top, TONES)]
    found += [PlantedFault("narrow_noise", 0.0, *_around(hz, 1 / 3)) for hz in NOISES_HZ]
    found += [PlantedFault("impulses", 0.0, *_around(hz, 1 / 3), rate) for hz, rate in HITS]
    found += [PlantedFault("band_gain", 0.0, *_around(hz, 1 / 3), sign=sign) for hz in GAINS_HZ for sign in (1, -1)]
    for hz, rate in SWINGS:
        low, high = (None, None) if hz is None else _around(hz, 1.0)
        found.append(PlantedFault("modulation", 0.0, low, high, rate))
    found += [PlantedFault("broad_noise"), PlantedFault("missing_strokes")]
    return tuple(fault for fault in found if fault.high_hz is None or fault.high_hz <= 1.15 * top)


def _around(hz: float, octaves: float) -> tuple[float, float]:
    half = 2.0 ** (octaves / 2.0)
    return float(hz / half), float(hz * half)


def plant(waveform: Samples, sample_rate_hz: int, fault: PlantedFault, rng: Rng) -> Samples:
    """The waveform [samples] with one fault; see `Planter`, which is quicker for many faults."""
    return Planter(waveform, sample_rate_hz).plant(fault, rng)


class Planter:
    """Plants faults into one mono waveform [samples]; its spectrum is computed once.

    Samples may come to lie outside -1..1: clipping them would plant a second fault. Raises ValueError where the
    waveform is empty or not finite.
    """

    def __init__(self, waveform: Samples, sample_rate_hz: int) -> None:
        if waveform.ndim != 1 or not len(waveform) or not np.isfinite(waveform).all():
            raise ValueError("faults are planted into mono samples, at least one, all finite")
        self._waveform = np.asarray(waveform, np.float64)
        self._rate_hz = sample_rate_hz
        self._length = scipy.fft.next_fast_len(len(waveform), real=True)
        self._spectrum = scipy.fft.rfft(self._waveform, self._length)

    def plant(self, fault: PlantedFault, rng: Rng) -> Samples:
        """The waveform with the fault, as long as it was."""
        if fault.level_db == 0.0:
            return self._waveform.astype(np.float32)
        if fault.kind == "tone":
            changed = self._waveform + self._scaled(self._tone(fault, rng), fault)
        elif fault.kind in ("narrow_noise", "broad_noise"):
            changed = self._waveform + self._scaled(self._noise(fault, rng), fault)
        elif fault.kind == "impulses":
            changed = self._waveform + self._scaled(self._hits(fault, rng), fault)
        elif fault.kind == "modulation":
            changed = self._swinging(fault, rng)
        elif fault.kind == "missing_strokes":
            changed = self._without_strokes(fault, rng)
        else:
            gain = 10.0 ** (fault.sign * fault.level_db / 20.0)
            changed = self._waveform + (gain - 1.0) * self._band(fault)
        return np.asarray(changed, np.float32)

    def power(self, low_hz: float | None, high_hz: float | None) -> float:
        """Mean power per sample in a band (None, None: of everything), at least 1e-10."""
        energy = 2.0 * float(np.square(np.abs(self._spectrum[self._bins(low_hz, high_hz)])).sum())
        return float(max(energy / self._length / len(self._waveform), SMALLEST_POWER))

    def _bins(self, low_hz: float | None, high_hz: float | None) -> slice:
        if low_hz is None or high_hz is None:
            return slice(1, None)
        width = self._rate_hz / self._length
        first = int(np.clip(round(low_hz / width), 1, len(self._spectrum) - 1))
        return slice(first, max(first + 1, round(high_hz / width)))

    def _inverse(self, part: slice, values: NDArray[np.complex128]) -> Array:
        spectrum = np.zeros_like(self._spectrum)
        spectrum[part] = values
        return np.asarray(scipy.fft.irfft(spectrum, self._length)[: len(self._waveform)])

    def _band(self, fault: PlantedFault) -> Array:
        part = self._bins(fault.low_hz, fault.high_hz)
        return self._inverse(part, self._spectrum[part])

    def _scaled(self, sound: Array, fault: PlantedFault) -> Array:
        """The sound so loud that it raises the power of the fault's band by its level."""
        rise = 10.0 ** (fault.level_db / 10.0) - 1.0
        own = max(float(np.mean(np.square(sound))), 1e-30)
        return np.asarray(sound * np.sqrt(rise * self.power(fault.low_hz, fault.high_hz) / own))

    def _times(self) -> Array:
        return np.arange(len(self._waveform)) / self._rate_hz

    def _tone(self, fault: PlantedFault, rng: Rng) -> Array:
        return np.asarray(np.sin(2.0 * np.pi * (_centre(fault) * self._times() + rng.random())))

    def _noise(self, fault: PlantedFault, rng: Rng) -> Array:
        """Noise in the band; in all of them, it is coloured as the clip itself, so that every band rises alike."""
        part = self._bins(fault.low_hz, fault.high_hz)
        values = rng.standard_normal((2, *self._spectrum[part].shape))
        colour = np.abs(self._spectrum[part]) if fault.low_hz is None else 1.0
        return self._inverse(part, (values[0] + 1j * values[1]) * colour)

    def _hits(self, fault: PlantedFault, rng: Rng) -> Array:
        """A train of hits, a few percent off time, that ring and die away."""
        count = max(1, round(len(self._waveform) / self._rate_hz * fault.rate_hz))
        at = (np.arange(count) + rng.random() + JITTER * rng.standard_normal(count)) / fault.rate_hz
        train = np.zeros(len(self._waveform))
        train[np.clip((at * self._rate_hz).astype(np.int64), 0, len(train) - 1)] = 1.0
        decay_s = RINGING_CYCLES / _centre(fault)
        times = np.arange(max(1, int(6.0 * decay_s * self._rate_hz))) / self._rate_hz
        ringing = np.exp(-times / decay_s) * np.sin(2.0 * np.pi * _centre(fault) * times)
        spectrum = scipy.fft.rfft(train, self._length) * scipy.fft.rfft(ringing, self._length)
        return np.asarray(scipy.fft.irfft(spectrum, self._length)[: len(train)])

    def _swinging(self, fault: PlantedFault, rng: Rng) -> Array:
        """The level of the band goes up and down; its mean power stays."""
        band = self._waveform if fault.low_hz is None else self._band(fault)
        phase = 2.0 * np.pi * (fault.rate_hz * self._times() + rng.random())
        swung = band * 10.0 ** (fault.level_db * np.sin(phase) / 20.0)
        swung *= np.sqrt(np.mean(np.square(band)) / max(float(np.mean(np.square(swung))), 1e-30))
        return np.asarray(self._waveform - band + swung)

    def _without_strokes(self, fault: PlantedFault, rng: Rng) -> Array:
        """A third of the loudest tenth of the clip, in windows of 50 ms, is damped."""
        window = max(1, round(STROKE_S * self._rate_hz))
        number = np.arange(len(self._waveform)) // window
        energy = np.bincount(number, np.square(self._waveform))
        loud = np.argsort(-energy)[: max(1, round(LOUD_SHARE * len(energy)))]
        gain = np.ones(len(energy))
        gain[rng.permutation(loud)[: max(1, len(loud) // 3)]] = 10.0 ** (-DAMPED_TIMES * fault.level_db / 20.0)
        return np.asarray(self._waveform * gain[number])


def _centre(fault: PlantedFault) -> float:
    if fault.low_hz is None or fault.high_hz is None:
        raise ValueError(f"a planted {fault.kind} needs a band")
    return float(np.sqrt(fault.low_hz * fault.high_hz))
