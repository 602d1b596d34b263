"""Faults planted into normal clips, in the waveform: how faint may one be and still be found?

Nobody has labels when a model is trained, so its scorers are chosen, and its detection limit told, by faults made here.
They are plain acoustics and know nothing of the simulator's machines: choosing by them is no tuning on its faults.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
import numpy.typing as npt
import scipy  # its parts load when first asked for: scipy.fft takes a third of a second, and scoring does without

from acoustic_ad.sound.envelopes import gain_of, tukey

Samples = npt.NDArray[np.float32]

KINDS: Final = ("tone", "narrow_noise", "broad_noise", "impulses", "modulation", "missing_strokes", "band_gain")
LEVELS_DB: Final = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)

SIXTH_OCTAVE: Final = 2.0 ** (1.0 / 6.0)  # from the middle of a third octave to its edge
# Mean power per sample of what counts as silence: about the rounding noise of 16 bits, spread evenly over the spectrum.
SILENCE_POWER: Final = 1e-10
TAPER_S, RESONANCE_Q, IMPULSE_JITTER = 0.05, 12.0, 0.03  # the jitter is a share of their spacing
# Strokes are short: to be as plain as a lasting change they must lose more, at 8 dB nearly all of their sound.
STROKE_DAMPING, STROKE_S, STROKE_RAMP_S, STROKE_FRAME_S = 3.0, 0.2, 0.01, 0.02
STROKE_EVERY_S: Final = 2.5  # of the clip's length, at most one is missing


@dataclass(frozen=True, slots=True)
class PlantedFault:
    """A fault to plant. `level_db`, 0..60, says how strong it is; at 0 nothing changes.

    | kind | band | what `level_db` means |
    |---|---|---|
    | tone | a third octave | rise of the clip-mean power in the band: a sine in its middle |
    | narrow_noise | a third octave | the same: noise, flat within the band |
    | broad_noise | none | the same, in every band alike: noise with the clip's own long-term spectrum |
    | impulses | a third octave | the same: hits, `rate_hz` a second, that ring in the middle of the band |
    | modulation | any or none | the level swings by +- `level_db`, `rate_hz` times a second; the mean power stays |
    | missing_strokes | none | the power of some of the loudest 0.2 s stretches falls by 3 x `level_db` |
    | band_gain | any or none | the power in the band rises by it, or falls by it where `lowers` |

    Broad noise is coloured because white noise would raise the bands where a machine is quiet by tens of dB before its
    total power rose by one: it would be plain at every level. Raises `ValueError` for values that make no sense.
    """

    kind: str
    level_db: float
    low_hz: float | None = None  # the band that it changes; None: the whole spectrum
    high_hz: float | None = None
    rate_hz: float | None = None  # how often impulses come, or the level swings
    lowers: bool = False  # a band gain that takes away

    def __post_init__(self) -> None:
        whole, (low_hz, high_hz) = self.low_hz is None and self.high_hz is None, self.band_hz
        rated = self.kind in ("impulses", "modulation")
        checks = {
            f"must be one of {', '.join(KINDS)}": self.kind in KINDS,
            f"level {self.level_db} dB is outside 0..60": 0.0 <= self.level_db <= 60.0,
            f"{self.low_hz}..{self.high_hz} Hz is no band": whole or 0.0 < low_hz < high_hz < math.inf,
            "needs a band, low_hz and high_hz": not whole or self.kind not in ("tone", "narrow_noise", "impulses"),
            "has no band": whole or self.kind not in ("broad_noise", "missing_strokes"),
            f"rate_hz {self.rate_hz} is not above 0": not rated or 0.0 < (self.rate_hz or 0.0) < math.inf,
            "has no rate_hz": rated or self.rate_hz is None,
            "cannot lower, only band_gain can": not self.lowers or self.kind == "band_gain",
        }
        if wrong := [what for what, right in checks.items() if not right]:
            raise ValueError(f"planted fault of kind {self.kind!r}: {'; '.join(wrong)}")

    @property
    def band_hz(self) -> tuple[float, float]:
        """`low_hz` and `high_hz`; from 0 to infinity for the whole spectrum."""
        return (0.0 if self.low_hz is None else self.low_hz, math.inf if self.high_hz is None else self.high_hz)

    @property
    def centre_hz(self) -> float:
        """The geometric middle of the band; NaN for the whole spectrum."""
        return math.sqrt(math.prod(self.band_hz))

    @property
    def words(self) -> str:
        """What it is, for people; the level is not in it."""
        (low_hz, high_hz), where, rate = self.band_hz, f" at {_hz_in_words(self.centre_hz)}", f"{self.rate_hz or 0.0:g}"
        if high_hz > 1.5 * low_hz:
            where = f" from {_hz_in_words(low_hz)} to {_hz_in_words(high_hz)}" if low_hz else ""
        return {
            "tone": f"a tone{where}",
            "narrow_noise": f"noise{where}",
            "broad_noise": "noise over the whole spectrum",
            "impulses": f"impulses ringing{where}, {rate} a second",
            "modulation": f"a level that swings {rate} times a second{where}",
            "missing_strokes": "missing strokes",
            "band_gain": ("less" if self.lowers else "more") + f" sound{where}",
        }[self.kind]


def planted_faults(sample_rate_hz: int, fmax_hz: float, fmin_hz: float = 0.0) -> tuple[PlantedFault, ...]:
    """The faults to plant, about 24, at level 0: use `dataclasses.replace(fault, level_db=...)` with `LEVELS_DB`.

    Their bands lie between `fmin_hz` (about 100 Hz where that is lower) and `fmax_hz` or half the rate; between close
    limits several places are one. Raises `ValueError` where nothing lies between.
    """
    limit = min(fmax_hz, sample_rate_hz / 2.0)
    if not 0.0 <= fmin_hz < limit:
        raise ValueError(f"no band between {fmin_hz:g} Hz and {limit:g} Hz (fmax, or half of {sample_rate_hz} Hz)")
    top = limit / SIXTH_OCTAVE
    bottom = min(max(100.0, fmin_hz * SIXTH_OCTAVE), top)
    middle = math.sqrt(bottom * top)

    def at(share: float) -> tuple[float, float]:
        return third_octave(bottom * (top / bottom) ** share)

    resonances = [hz for hz in (1200.0, 3000.0, 5500.0) if bottom <= hz <= top] or [middle]
    impulses = zip(map(third_octave, resonances), (23.0, 13.0, 7.0), strict=False)
    faults = [
        *(PlantedFault("tone", 0.0, *at(share)) for share in np.linspace(0.0, 1.0, 7).tolist()),
        *(PlantedFault("narrow_noise", 0.0, *at(share)) for share in (0.15, 0.4, 0.65, 0.9)),
        PlantedFault("broad_noise", 0.0),
        *(PlantedFault("impulses", 0.0, *band, rate_hz=rate) for band, rate in impulses),
        *(PlantedFault("modulation", 0.0, rate_hz=rate) for rate in (2.3, 7.1)),
        PlantedFault("modulation", 0.0, middle / math.sqrt(2.0), middle * math.sqrt(2.0), rate_hz=4.3),
        PlantedFault("missing_strokes", 0.0),
        *(PlantedFault("band_gain", 0.0, *at(share)) for share in (0.2, 0.7)),
        *(PlantedFault("band_gain", 0.0, *at(share), lowers=True) for share in (0.45, 0.95)),
        PlantedFault("band_gain", 0.0, max(limit / 4.0, bottom), limit, lowers=True),
    ]
    return tuple(dict.fromkeys(faults))


def third_octave(centre_hz: float) -> tuple[float, float]:
    """Lower and upper edge, in Hz, of the third octave around `centre_hz`."""
    return centre_hz / SIXTH_OCTAVE, centre_hz * SIXTH_OCTAVE


def plant(waveform: Samples, sample_rate_hz: int, fault: PlantedFault, rng: np.random.Generator) -> Samples:
    """One fault in one clip: see `Planter`, which is cheaper for several."""
    return Planter(waveform, sample_rate_hz).plant(fault, rng)


class Planter:
    """A clip, float mono [n], into which faults are planted; its spectrum is computed once.

    `level_db` is relative to the clip's own power in the band: loudness does not matter. What is added to a band of
    digital silence is relative to `SILENCE_POWER`; changes of sound (gain, swing, missing strokes) leave silence alone.
    A clip too short for a swing or two impulses gets part of a swing or one impulse; a band too narrow for the clip is
    one bin wide. A constant offset is no sound, and stays. Raises `ValueError` if empty, not [n], or with NaN or Inf.
    """

    def __init__(self, waveform: Samples, sample_rate_hz: int) -> None:
        self._waveform: Samples = np.array(waveform, np.float32)
        size = self._waveform.size
        if self._waveform.shape != (size,) or size == 0 or sample_rate_hz <= 0 or not np.isfinite(self._waveform).all():
            raise ValueError(f"planting needs finite samples [n], not {self._waveform.shape} at {sample_rate_hz} Hz")
        self._rate_hz = sample_rate_hz
        self._sound: Samples = self._waveform - np.float32(self._waveform.mean(dtype=np.float64))
        # The clip is cut out of a longer sound: faded ends keep strong low bands from spilling into faint high ones.
        share = min(2.0 * TAPER_S * sample_rate_hz / size, 0.25)
        taper = tukey(size + 2, share)[1:-1].astype(np.float32)  # without the zeros at its ends
        self._tapered, self._taper_mean = self._sound * taper, float(taper.mean())
        self._length = scipy.fft.next_fast_len(max(size, 16), real=True)
        self._spectrum = scipy.fft.rfft(self._tapered, self._length)
        # Mean power per sample of each bin and its mirror image (Parseval). Bin 0, the rest of the offset, is unused.
        per_sample = 2.0 / (self._length * float(np.dot(taper, taper)))
        self._power = per_sample * np.square(np.abs(self._spectrum), dtype=np.float64)

    def plant(self, fault: PlantedFault, rng: np.random.Generator) -> Samples:
        """The clip with the fault, float32 [n]; the same for the same fault and state of `rng`.

        Nothing is clipped, samples may exceed 1: clipping would add harmonics that tell how loud the clip was recorded,
        and the level would not be what it says. Raises `ValueError` for a band whose middle is above half the rate.
        """
        if fault.centre_hz >= self._rate_hz / 2.0:
            raise ValueError(f"{fault.words} is above half of the clip's rate, {self._rate_hz} Hz")
        if fault.level_db == 0.0:
            return self._waveform.copy()
        match fault.kind:
            case "tone":
                return self._with(self._sine(fault.centre_hz, rng), fault)
            case "narrow_noise" | "broad_noise":
                return self._with(self._noise(fault, rng), fault)
            case "impulses":
                return self._with(self._impulses(fault, rng), fault)
            case "modulation":
                return self._modulated(fault, rng)
            case "missing_strokes":
                damped_db = -STROKE_DAMPING * fault.level_db * self._missing(rng)
                return self._waveform + (gain_of(damped_db) - np.float32(1.0)) * self._sound
        gain = 10.0 ** ((-fault.level_db if fault.lowers else fault.level_db) / 20.0)
        return self._waveform + np.float32(gain - 1.0) * self._band_sound(fault)

    def _with(self, part: Samples, fault: PlantedFault) -> Samples:
        """The clip with `part` [n], which lies in the band, at the gain that lets the power there rise by the level.

        At gain a it rises by a^2 power + 2 a overlap, the mean square of the part and its mean product with the clip.
        Sound in step with the clip's own (a tone on a hum) must add to it, not cancel it: the sign is the overlap's.
        """
        bins = self._bins(fault)
        silence = SILENCE_POWER * (bins.stop - bins.start) / self._power.size
        rise = max(float(self._power[bins].sum()), silence) * (10.0 ** (fault.level_db / 10.0) - 1.0)
        overlap = float(np.dot(self._tapered, part)) / (part.size * self._taper_mean)
        power = np.square(part, dtype=np.float64).mean()
        gain = rise / (math.sqrt(overlap * overlap + power * rise) + abs(overlap))
        return self._waveform + np.float32(math.copysign(gain, overlap)) * part

    def _sine(self, hz: float, rng: np.random.Generator) -> Samples:
        """[n], of amplitude 1 and random phase. Whole turns go before single precision comes."""
        turns = np.arange(self._waveform.size) * (hz / self._rate_hz) + rng.random()
        turns -= np.rint(turns)
        return np.asarray(np.sin(turns.astype(np.float32) * np.float32(2.0 * np.pi)))

    def _noise(self, fault: PlantedFault, rng: np.random.Generator) -> Samples:
        bins = self._bins(fault)
        spectrum = np.zeros(self._power.size, np.complex64)
        spectrum[bins] = rng.standard_normal(2 * (bins.stop - bins.start), np.float32).view(np.complex64)
        spectrum *= self._colour if fault.low_hz is None else 1.0
        return self._heard(spectrum)

    def _impulses(self, fault: PlantedFault, rng: np.random.Generator) -> Samples:
        spacing, size = self._rate_hz / (fault.rate_hz or 1.0), self._waveform.size
        order = np.arange(int(size / spacing) + 1)
        at = (order + rng.random() + IMPULSE_JITTER * rng.standard_normal(order.size)) * spacing
        at = at[(at >= 0.0) & (at < size)]
        at = at if at.size else rng.random(1) * size / 2.0
        weight = np.exp(0.1 * rng.standard_normal(at.size))
        hits = np.bincount(at.astype(np.int64), weight, self._length).astype(np.float32)
        # Two resonators in a row, a hammer and what it strikes: the ring decays and 98% of it is in the third octave.
        # The skirts of one alone would stand out where the machine is quiet, not in the band that is named.
        ratio = np.maximum(np.arange(self._power.size), 0.5) * (self._rate_hz / self._length / fault.centre_hz)
        detuned = (1j * RESONANCE_Q * (ratio - 1.0 / ratio)).astype(np.complex64)
        return self._heard(scipy.fft.rfft(hits) / np.square(1.0 + detuned))

    def _modulated(self, fault: PlantedFault, rng: np.random.Generator) -> Samples:
        sound = self._band_sound(fault)
        gain = gain_of(np.float32(fault.level_db) * self._sine(fault.rate_hz or 1.0, rng))
        before, after = (np.square(samples, dtype=np.float64).mean() for samples in (sound, sound * gain))
        kept = np.float32(math.sqrt(before / after) if after > 0.0 else 1.0)
        return self._waveform + (kept * gain - np.float32(1.0)) * sound

    def _missing(self, rng: np.random.Generator) -> Samples:
        """[n], 1 in the stretches that lose their sound, 0 outside: half of the loudest moments, drawn at random.

        Those are peaks within 6 dB of the loudest 20 ms. A stretch opens a quarter before, as strokes rise in no time.
        """
        size, stretch_size = self._sound.size, round(STROKE_S * self._rate_hz)
        frame = min(max(round(STROKE_FRAME_S * self._rate_hz), 1), size)
        energy = np.square(self._sound[: size // frame * frame], dtype=np.float64).reshape(-1, frame).sum(axis=1)
        apart, most = max(math.ceil(stretch_size / frame), 1), 2 * max(1, round(size / self._rate_hz / STROKE_EVERY_S))
        from scipy.signal import find_peaks

        loud = find_peaks(np.pad(energy, 1), height=energy.max() / 4.0, distance=apart)[0] - 1
        loudest = loud[np.argsort(-energy[loud], kind="stable")][:most]
        stretch = tukey(stretch_size, 2.0 * STROKE_RAMP_S / STROKE_S)
        missing = np.zeros(size + 2 * stretch_size, np.float32)
        for moment in rng.permutation(loudest)[: math.ceil(loudest.size / 2)].tolist():
            start = stretch_size + round((moment + 0.5) * frame - stretch_size / 4)
            missing[start : start + stretch_size] = stretch
        return missing[stretch_size : stretch_size + size]

    def _bins(self, fault: PlantedFault) -> slice:
        """The bins within the band, without that of the offset; at least one."""
        low, high = (min(hz, self._rate_hz) * self._length / self._rate_hz for hz in fault.band_hz)
        first = min(max(math.ceil(low), 1), self._power.size - 1)
        return slice(first, max(first + 1, min(math.ceil(high), self._power.size)))

    def _band_sound(self, fault: PlantedFault) -> Samples:
        """The clip's sound in the band [n]; it fades over a sixth of an octave beyond, as an abrupt edge would ring."""
        if fault.low_hz is None:
            return self._sound
        low, high = (hz * self._length / self._rate_hz for hz in fault.band_hz)
        bins = np.arange(max(int(low / SIXTH_OCTAVE), 1), min(int(high * SIXTH_OCTAVE) + 2, self._power.size))
        octaves = np.log2(np.maximum(low / bins, bins / high))
        spectrum = np.zeros(self._power.size, np.complex64)
        spectrum[bins] = self._spectrum[bins] * (0.5 + 0.5 * np.cos(np.pi * np.clip(6.0 * octaves, 0.0, 1.0)))
        return self._heard(spectrum)

    def _heard(self, spectrum: npt.NDArray[np.complexfloating]) -> Samples:
        return np.asarray(scipy.fft.irfft(spectrum, self._length)[: self._waveform.size], np.float32)

    @cached_property
    def _colour(self) -> Samples:
        """Amplitude of the long-term spectrum per bin: mean power of the third octave around it, flat in silence."""
        bins = np.arange(self._power.size)
        first = np.maximum((bins / SIXTH_OCTAVE).astype(np.int64), 1)
        last = np.maximum(np.minimum((bins * SIXTH_OCTAVE).astype(np.int64) + 1, bins.size), first + 1)
        below = np.concatenate([[0.0], np.cumsum(self._power)])
        density = (below[last] - below[first]) / (last - first)
        return np.asarray(np.sqrt(np.maximum(density, SILENCE_POWER / bins.size)), np.float32)


def _hz_in_words(hz: float) -> str:
    return f"{hz:.0f} Hz" if hz < 999.5 else f"{hz / 1000.0:.1f} kHz"
