"""Five machines that exist only as physics: a fan, a pump, a gearbox, a valve, a motor, all healthy.

A rotating machine is a set of lines tied to its shaft (blade passing, gear mesh, rotor slots) or to the mains, plus
flow noise, both heard through the resonances of its own casing. A valve is a train of strokes over a quiet steady
flow. Two hidden quantities move everything jointly from clip to clip, the speed (lines wander over bands and in and
out of resonances) and the load (upper lines grow faster than lower ones), so that normal clips lie on a bent
two-dimensional sheet and not in a ball.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from acoustic_ad.errors import UsageError
from acoustic_ad.sound.synthesis import Reals, Samples, coloured_noise, place, rms, stream, tone

MACHINE_TYPES: Final[tuple[str, ...]] = ("fan", "pump", "gearbox", "valve", "motor")
MAINS_HZ: Final = 50.0
NOMINAL_LOAD: Final = 0.65
LOAD_RANGE: Final = (0.3, 1.0)
STROKE_S: Final = 0.35  # one stroke: opening click, exhaust, closing click; shorter than any interval between strokes


@dataclass(frozen=True)
class Partial:
    """One line at `order` x shaft frequency + `mains` x 50 Hz; its amplitude grows with load ** `load_exponent`."""

    order: float
    mains: float
    amplitude: float
    load_exponent: float


@dataclass(frozen=True)
class MachineSpec:
    """One individual machine. Build it with `draw_machine`: the same name and seed give the same machine.

    Frequencies are those at nominal speed. `bearing_order` and `teeth` are per shaft revolution.
    """

    machine: str
    type: str
    seed: int
    shaft_hz: float
    speed_spread: float  # the speed of a clip is within +- this share of the session's speed
    partials: tuple[Partial, ...]
    resonances: tuple[tuple[float, float], ...]  # (Hz, Q) of the casing
    line_share: float  # share of the power in lines at nominal load
    flow_corner_hz: float  # flow noise falls by 6 dB per octave above
    flow_load_exponent: float
    bearing_order: float
    bearing_resonance_hz: float
    blades: int  # blades, vanes or poles passing per revolution
    teeth: int  # of the gear on the input shaft; 0 without gears
    stroke_interval_s: float  # 0 for machines without strokes
    stroke_modes: tuple[tuple[float, float], ...]  # (Hz, decay in s) of the body that the stroke strikes


@dataclass(frozen=True)
class OperatingPoint:
    """What the process asks of the machine during one clip: speed (ratio to nominal) and load (0.3 to 1)."""

    speed: float
    load: float


@dataclass(frozen=True)
class MachineSound:
    """A healthy machine over one clip of n samples, in parts, scaled so that their sum has an RMS of 1.

    `revolutions` [n] counts shaft turns; `strokes` [k, m] are the strokes one by one, `onsets` [k] their first sample.
    """

    sample_rate_hz: int
    point: OperatingPoint
    revolutions: Reals
    lines: Samples
    flow: Samples
    strokes: Samples
    onsets: npt.NDArray[np.int64]

    @property
    def healthy(self) -> Samples:
        """The sum of all parts, [n], RMS 1."""
        return self.lines + self.flow + place(self.strokes, self.onsets, self.lines.size)


def draw_machine(machine: str, seed: int, type: str | None = None) -> MachineSpec:
    """The individual machine called `machine`, e.g. "fan/id_00".

    `type` is one of `MACHINE_TYPES`; by default the part of the name before the first slash. Raises `UsageError` where
    that is no known type.
    """
    kind = machine.split("/", 1)[0] if type is None else type
    if kind not in MACHINE_TYPES:
        raise UsageError(
            f"unknown machine type {kind!r} (machine {machine!r}): choose one of {', '.join(MACHINE_TYPES)}"
        )
    rng = stream(seed, "machine", machine, kind)
    shaft_hz = float(rng.uniform(23.0, 29.0))
    blades = int(rng.integers(5, 10))
    teeth = int(rng.integers(23, 38)) if kind == "gearbox" else 0
    lines, line_share, flow_corner_hz, flow_exponent = _voice(kind, rng, blades, teeth)
    total = np.sqrt(sum(p.amplitude**2 for p in lines) / 2)
    return MachineSpec(
        machine=machine,
        type=kind,
        seed=seed,
        shaft_hz=shaft_hz,
        speed_spread=_SPEED_SPREAD[kind],
        partials=tuple(
            Partial(p.order, p.mains, p.amplitude * np.sqrt(line_share) / total, p.load_exponent) for p in lines
        ),
        resonances=tuple(
            (float(hz), float(rng.uniform(6, 14))) for hz in np.geomspace(350, 5200, 4) * rng.uniform(0.8, 1.2, 4)
        ),
        line_share=line_share,
        flow_corner_hz=flow_corner_hz,
        flow_load_exponent=flow_exponent,
        bearing_order=float(rng.uniform(3.05, 5.4)),
        bearing_resonance_hz=float(rng.uniform(2400, 4200)),
        blades=blades,
        teeth=teeth,
        stroke_interval_s=float(rng.uniform(0.6, 0.9)) if kind == "valve" else 0.0,
        stroke_modes=tuple((float(rng.uniform(*band)), float(rng.uniform(0.006, 0.02))) for band in _STROKE_BANDS),
    )


# A fan or a gearbox follows its process; a motor on the mains only slips.
_SPEED_SPREAD: Final = {"fan": 0.05, "pump": 0.04, "gearbox": 0.05, "valve": 0.02, "motor": 0.03}
_STROKE_BANDS: Final = ((400.0, 900.0), (1200.0, 2400.0), (2800.0, 5200.0))


def _voice(kind: str, rng: np.random.Generator, blades: int, teeth: int) -> tuple[list[Partial], float, float, float]:
    """Lines, their share of the power, corner of the flow noise in Hz and its load exponent, for a type."""
    if kind == "fan":
        return _harmonics(rng, blades, 12, 0.8), 0.4, float(rng.uniform(500, 1000)), 1.0
    if kind == "pump":
        hum = [Partial(0.0, 2.0 * k, 0.3 / k, 0.3) for k in (1, 2, 3)]
        return _harmonics(rng, 2 * blades, 9, 0.7) + hum, 0.5, float(rng.uniform(900, 1800)), 0.8
    if kind == "gearbox":
        mesh = _harmonics(rng, teeth, 6, 0.6)
        # Every mesh line carries sidebands one shaft turn away: no wheel is perfectly round.
        sides = [Partial(p.order + d, 0.0, 0.25 * p.amplitude, p.load_exponent + 0.3) for p in mesh for d in (-1, 1)]
        return mesh + sides, 0.7, float(rng.uniform(700, 1400)), 0.6
    if kind == "motor":
        hum = [Partial(0.0, 2.0 * k, 1.0 / k, 0.5) for k in (1, 2, 3, 4)]
        bars = int(rng.integers(26, 42))  # rotor slots: their lines sit 2 x mains apart around each slot harmonic
        slots = [
            Partial(float(bars * k), 2.0 * m, (0.5 if m == 0 else 0.3) / k**1.5, 0.5 + 0.3 * k)
            for k in (1, 2, 3)
            for m in (-1, 0, 1)
        ]
        return hum + slots, 0.5, float(rng.uniform(800, 1600)), 0.5
    return [Partial(0.0, 2.0 * k, 1.0 / k, 0.2) for k in (1, 2, 3)], 0.05, float(rng.uniform(1200, 2400)), 0.6


def _harmonics(rng: np.random.Generator, order: int, count: int, fall: float) -> list[Partial]:
    """The 1x line of the shaft and `count` harmonics of `order`; upper harmonics grow faster with load."""
    amplitudes = np.arange(1, count + 1) ** -fall * np.exp(0.3 * rng.standard_normal(count))
    tones = [Partial(float(order * k), 0.0, float(a), 0.3 + 0.2 * k) for k, a in enumerate(amplitudes, 1)]
    return [Partial(1.0, 0.0, 0.4, 0.2), *tones]


def draw_point(spec: MachineSpec, speed_ratio: float, seed: int) -> OperatingPoint:
    """The operating point of the clip with this seed, in a session that runs at `speed_ratio`."""
    rng = stream(seed, "point", spec.machine)
    speed = speed_ratio * (1 + spec.speed_spread * rng.uniform(-1, 1))
    return OperatingPoint(float(speed), float(rng.uniform(*LOAD_RANGE)))


def machine_sound(
    spec: MachineSpec, point: OperatingPoint, samples: int, sample_rate_hz: int, seed: int
) -> MachineSound:
    """The healthy machine at an operating point; `seed` draws phases, flow noise and strokes."""
    rng = stream(seed, "sound", spec.machine)
    revolutions = _revolutions(spec.shaft_hz * point.speed, samples, sample_rate_hz, rng)
    load = point.load / NOMINAL_LOAD
    lines = _lines(spec, point, revolutions, sample_rate_hz, rng)
    flow = _flow(spec, point, samples, sample_rate_hz, rng) * np.float32(
        np.sqrt((1 - spec.line_share) * (0.25 if spec.stroke_interval_s else 1.0)) * load**spec.flow_load_exponent
    )
    strokes, onsets = _strokes(spec, load, samples, sample_rate_hz, rng)
    sway = _sway(samples, sample_rate_hz, rng)
    lines *= sway
    flow *= sway
    total = lines + flow + place(strokes, onsets, samples)
    scale = np.float32(1 / rms(total))
    return MachineSound(sample_rate_hz, point, revolutions, lines * scale, flow * scale, strokes * scale, onsets)


def _revolutions(shaft_hz: float, samples: int, sample_rate_hz: int, rng: np.random.Generator) -> Reals:
    """Shaft turns so far, [samples]. The speed f(t) = f (1 + w cos(2 pi t / T + p)) sways by w = 0.6%; its integral is
    f (t + w T / (2 pi) (sin(2 pi t / T + p) - sin p))."""
    t = np.arange(samples) / sample_rate_hz
    period, phase = rng.uniform(4, 12), rng.uniform(0, 2 * np.pi)
    swing = np.sin(2 * np.pi * t / period + phase) - np.sin(phase)
    return np.asarray(shaft_hz * (t + 0.006 * period / (2 * np.pi) * swing))


def _lines(
    spec: MachineSpec, point: OperatingPoint, revolutions: Reals, sample_rate_hz: int, rng: np.random.Generator
) -> Samples:
    out = np.zeros(revolutions.size, np.float32)
    mains_cycles = np.arange(revolutions.size) * (MAINS_HZ / sample_rate_hz)
    phases = rng.uniform(0, 1, len(spec.partials))
    for partial, phase in zip(spec.partials, phases, strict=True):
        hz = partial.order * spec.shaft_hz * point.speed + partial.mains * MAINS_HZ
        if hz >= 0.48 * sample_rate_hz:
            continue
        amplitude = partial.amplitude * (point.load / NOMINAL_LOAD) ** partial.load_exponent
        amplitude *= float(casing(spec, np.array([hz]))[0])
        out += np.float32(amplitude) * tone(partial.order * revolutions + partial.mains * mains_cycles + phase)
    return out


def _flow(
    spec: MachineSpec, point: OperatingPoint, samples: int, sample_rate_hz: int, rng: np.random.Generator
) -> Samples:
    corner = spec.flow_corner_hz * point.speed**2 * (0.7 + 0.3 * point.load / NOMINAL_LOAD)
    return coloured_noise(rng, samples, sample_rate_hz, lambda hz: casing(spec, hz) / np.sqrt(1 + (hz / corner) ** 2))


def _strokes(
    spec: MachineSpec, load: float, samples: int, sample_rate_hz: int, rng: np.random.Generator
) -> tuple[Samples, npt.NDArray[np.int64]]:
    """Strokes [k, m] and their onsets [k]; none for machines without a stroke."""
    length = int(STROKE_S * sample_rate_hz)
    if not spec.stroke_interval_s:
        return np.zeros((0, length), np.float32), np.zeros(0, np.int64)
    count = int(samples / sample_rate_hz / spec.stroke_interval_s) + 2
    gaps = spec.stroke_interval_s * (1 + 0.2 * rng.uniform(-1, 1, count))
    times = np.cumsum(gaps) - spec.stroke_interval_s * rng.uniform(0.2, 0.9)
    onsets = np.asarray(times * sample_rate_hz, np.int64)
    onsets = onsets[onsets < samples]
    t = np.arange(length) / sample_rate_hz
    exhaust = rng.standard_normal((onsets.size, length), np.float32)
    exhaust *= np.float32(0.35) * np.exp(-t / 0.05, dtype=np.float64).astype(np.float32)
    hits = _click(spec, t) + 0.6 * _click(spec, t - 0.16 - 0.04 * load)
    strength = (1.9 * load**0.4 * np.exp(0.15 * rng.standard_normal(onsets.size))).astype(np.float32)
    return strength[:, None] * (hits.astype(np.float32) + exhaust), onsets


def _click(spec: MachineSpec, t: Reals) -> Reals:
    """The struck body rings in its modes from t = 0."""
    after = np.maximum(t, 0.0)
    ring = [np.exp(-after / decay) * np.sin(2 * np.pi * hz * after) for hz, decay in spec.stroke_modes]
    return np.asarray(np.sum(ring, axis=0) * (t >= 0))


def _sway(samples: int, sample_rate_hz: int, rng: np.random.Generator) -> Samples:
    """Load never stands still: a slow swing of +-10% in amplitude."""
    cycles = np.arange(samples) * (rng.uniform(0.2, 0.8) / sample_rate_hz) + rng.uniform()
    return 1 + np.float32(0.1) * tone(cycles)


def casing(spec: MachineSpec, hz: Reals) -> Reals:
    """Amplification by the casing at each frequency: 1 plus its resonances, each a factor of about 2.5 at its peak."""
    gain = np.ones_like(hz)
    for centre, q in spec.resonances:
        x = hz / centre
        gain += 1.5 / q / np.sqrt((1 - x**2) ** 2 + (x / q) ** 2)
    return gain
