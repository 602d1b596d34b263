"""Eleven ways for a machine to go wrong, each a change that is added to its healthy sound.

A fault is the difference between the faulty and the healthy machine over the same clip. It grows from nothing at
severity 0 (exactly zero samples) to plain at severity 1, and its energy never falls in between.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import scipy.signal

from acoustic_ad.errors import UsageError
from acoustic_ad.sound.machine_sounds import MAINS_HZ, MachineSound, MachineSpec
from acoustic_ad.sound.synthesis import (
    Reals,
    Samples,
    band,
    chord,
    coloured_noise,
    place,
    ring,
    rms,
    stream,
    tone,
    unit,
)

ROTATING: Final = ("fan", "pump", "gearbox", "motor")

Change = Callable[[MachineSpec, MachineSound, float, np.random.Generator], Samples]


@dataclass(frozen=True)
class Fault:
    """A kind of fault: the machine types it fits, and its level at severity 1 in dB relative to the healthy machine.

    `change(spec, sound, severity, rng)` gives the samples to add, [n]. `level_db` is None where the change is made from
    the machine's own sound and has no level of its own.
    """

    name: str
    types: tuple[str, ...]
    level_db: float | None
    change: Change


def faults_of(machine_type: str) -> tuple[str, ...]:
    """The faults that a machine type can have; `UsageError` for an unknown type."""
    names = tuple(name for name, fault in _FAULTS.items() if machine_type in fault.types)
    if not names:
        known = ", ".join(sorted({t for fault in _FAULTS.values() for t in fault.types}))
        raise UsageError(f"unknown machine type {machine_type!r}: choose one of {known}")
    return names


def fault_change(spec: MachineSpec, sound: MachineSound, fault: str | None, severity: float, seed: int) -> Samples:
    """What the fault adds to `sound.healthy`, [n], in units of the healthy machine's RMS; zeros at severity 0.

    Raises `UsageError` for an unknown fault, one that does not fit the machine, or a severity outside 0..1.
    """
    if not 0.0 <= severity <= 1.0:
        raise UsageError(f"severity {severity} of fault {fault!r} is outside 0..1")
    if fault is not None:
        check_fault(spec, fault)
    if fault is None or severity == 0.0:
        return np.zeros(sound.lines.size, np.float32)
    kind = _FAULTS[fault]
    change = kind.change(spec, sound, severity, stream(seed, "fault", fault, spec.machine))
    if kind.level_db is None:
        return change
    return change * np.float32(10 ** (kind.level_db / 20) * severity / rms(change))


def check_fault(spec: MachineSpec, fault: str) -> None:
    """`UsageError` unless the fault is known and fits the machine."""
    if fault not in faults_of(spec.type):
        raise UsageError(f"fault {fault!r} does not fit a {spec.type}: choose one of {', '.join(faults_of(spec.type))}")


def bearing_hz(spec: MachineSpec, sound: MachineSound) -> float:
    """How often rolling elements pass a spall in the outer race during this clip, in Hz."""
    return spec.bearing_order * spec.shaft_hz * sound.point.speed


def _bearing(spec: MachineSpec, sound: MachineSound, severity: float, rng: np.random.Generator) -> Samples:
    """Each rolling element hits the spall and the housing rings. Slip makes the hits wander by 1% of their spacing."""
    hits = np.arange(1, int(sound.revolutions[-1] * spec.bearing_order))
    turns = (hits + 0.01 * rng.standard_normal(hits.size)) / spec.bearing_order
    # The spall is loaded once per shaft turn more than elsewhere.
    weight = (1 + 0.3 * np.cos(2 * np.pi * turns)) * np.exp(0.1 * rng.standard_normal(hits.size))
    return ring(_at_turns(sound, turns, weight), spec.bearing_resonance_hz, 0.0015, sound.sample_rate_hz)


def _imbalance(spec: MachineSpec, sound: MachineSound, severity: float, rng: np.random.Generator) -> Samples:
    """A rotating force: the 1x line grows, its 2x follows, and the whole sound is modulated once per turn."""
    phase = rng.uniform()
    once = tone(sound.revolutions + phase)
    twice = tone(2 * sound.revolutions + phase)
    return np.asarray(0.7 * once + 0.3 * twice + 0.7 * once * sound.healthy, np.float32)


def _looseness(spec: MachineSpec, sound: MachineSound, severity: float, rng: np.random.Generator) -> Samples:
    """A loose foot: half orders, and a rattle that strikes at irregular moments, mostly once every second turn."""
    half_orders = chord(rng, sound.revolutions, {k: 1 / k for k in (0.5, 1.5, 2.5, 3.5, 4.5)})
    strikes = 2 * np.arange(int(sound.revolutions[-1] / 2)) + rng.normal(1.0, 0.25, int(sound.revolutions[-1] / 2))
    weight = rng.exponential(1.0, strikes.size)
    rattle = ring(_at_turns(sound, strikes, weight), spec.resonances[1][0], 0.004, sound.sample_rate_hz)
    return unit(half_orders) + unit(rattle)


def _gear_tooth(spec: MachineSpec, sound: MachineSound, severity: float, rng: np.random.Generator) -> Samples:
    """A cracked tooth: once per turn the mesh gives way, which rings the casing and modulates the mesh line."""
    turns = np.arange(int(sound.revolutions[-1])) + rng.uniform(0.2, 0.8)
    weight = np.asarray(np.exp(0.15 * rng.standard_normal(turns.size)))
    knock = ring(_at_turns(sound, turns, weight), spec.resonances[2][0], 0.003, sound.sample_rate_hz)
    # The dip lasts a few teeth out of all: a raised cosine to a high power of the angle since the crack.
    dip = (0.5 + 0.5 * np.cos(2 * np.pi * (sound.revolutions - turns[0]))) ** 12
    mesh = dip.astype(np.float32) * tone(spec.teeth * sound.revolutions + rng.uniform())
    return unit(knock) + unit(mesh)


def _cavitation(spec: MachineSpec, sound: MachineSound, severity: float, rng: np.random.Generator) -> Samples:
    """Vapour bubbles collapse: bursts of crackling high noise, gathered by the passing vanes."""
    rate = sound.sample_rate_hz
    crackle = coloured_noise(rng, sound.lines.size, rate, lambda hz: band(hz, 1500.0, 7000.0))
    collapses = (rng.random(sound.lines.size) < 40.0 / rate) * rng.exponential(1.0, sound.lines.size)
    decay = np.exp(-np.arange(int(0.02 * rate)) / (0.004 * rate))
    bursts = scipy.signal.oaconvolve(collapses, decay)[: sound.lines.size]
    vanes = 1 + 0.6 * tone(spec.blades * sound.revolutions)
    return np.asarray(crackle * (0.25 + bursts.astype(np.float32)) * vanes, np.float32)


def _leak(spec: MachineSpec, sound: MachineSound, severity: float, rng: np.random.Generator) -> Samples:
    """Gas through a gap: a steady hiss with nothing below 2.5 kHz."""
    return coloured_noise(rng, sound.lines.size, sound.sample_rate_hz, lambda hz: band(hz, 2500.0, 12000.0))


def _rub(spec: MachineSpec, sound: MachineSound, severity: float, rng: np.random.Generator) -> Samples:
    """Rotor touches stator over part of each turn: scraping noise, gated once per revolution."""
    scrape = coloured_noise(rng, sound.lines.size, sound.sample_rate_hz, lambda hz: band(hz, 800.0, 4500.0))
    contact = (0.5 + 0.5 * tone(sound.revolutions + rng.uniform())) ** 4
    return np.asarray(scrape * contact, np.float32)


def _electrical_hum(spec: MachineSpec, sound: MachineSound, severity: float, rng: np.random.Generator) -> Samples:
    """A loose lamination or coil: twice the mains frequency, and its harmonics up to 1 kHz, slowly falling."""
    cycles = np.arange(sound.lines.size) * (2 * MAINS_HZ / sound.sample_rate_hz)
    return chord(rng, cycles, {k: k**-0.5 for k in range(1, 11)})


def _blocked(spec: MachineSpec, sound: MachineSound, severity: float, rng: np.random.Generator) -> Samples:
    """A blocked inlet: the flow noise above 600 Hz loses up to 60% of its amplitude and a low surge appears."""
    high = scipy.signal.butter(2, 600.0, "highpass", fs=sound.sample_rate_hz, output="sos")
    lost = np.asarray(scipy.signal.sosfilt(high, sound.flow), np.float32)
    surge = coloured_noise(rng, sound.lines.size, sound.sample_rate_hz, lambda hz: band(hz, 60.0, 250.0))
    return np.float32(-0.6 * severity) * lost + np.float32(0.35 * severity) * surge


def _missing_stroke(spec: MachineSpec, sound: MachineSound, severity: float, rng: np.random.Generator) -> Samples:
    """Up to 80% of the strokes do not come. Which ones is drawn once, so a worse valve misses those and more."""
    count = sound.onsets.size
    order = rng.permutation(count)
    missing = order[: int(0.8 * severity * count + rng.uniform())]
    return -place(sound.strokes[missing], sound.onsets[missing], sound.lines.size)


def _sticking(spec: MachineSpec, sound: MachineSound, severity: float, rng: np.random.Generator) -> Samples:
    """Stick-slip: the plug moves in two jumps, part of each stroke coming 0.05 to 0.2 s late."""
    delay = (rng.uniform(0.05, 0.2, sound.onsets.size) * sound.sample_rate_hz).astype(np.int64)
    late = np.float32(0.8 * severity)
    before = place(sound.strokes, sound.onsets, sound.lines.size)
    return late * (place(sound.strokes, sound.onsets + delay, sound.lines.size) - before)


def _at_turns(sound: MachineSound, turns: Reals, weight: Reals) -> Reals:
    """Impulses [n] of the given weights at the moments when the shaft has made `turns` revolutions."""
    inside = (turns >= 0) & (turns < sound.revolutions[-1])
    where = np.interp(turns[inside], sound.revolutions, np.arange(sound.revolutions.size))
    return np.asarray(np.bincount(where.astype(np.int64), weight[inside], sound.revolutions.size), np.float64)


_FAULTS: Final[dict[str, Fault]] = {
    fault.name: fault
    for fault in (
        Fault("bearing", ROTATING, -13.0, _bearing),
        Fault("imbalance", ROTATING, -3.0, _imbalance),
        Fault("looseness", ROTATING, -4.5, _looseness),
        Fault("gear_tooth", ("gearbox",), -9.0, _gear_tooth),
        Fault("cavitation", ("pump",), -4.5, _cavitation),
        Fault("leak", ("pump", "valve"), -9.0, _leak),
        Fault("rub", ("fan", "motor"), -9.0, _rub),
        Fault("electrical_hum", ("motor", "valve"), -10.0, _electrical_hum),
        Fault("blocked", ("fan", "pump"), None, _blocked),
        Fault("missing_stroke", ("valve",), None, _missing_stroke),
        Fault("sticking", ("valve",), None, _sticking),
    )
}
FAULTS: Final[tuple[str, ...]] = tuple(_FAULTS)
