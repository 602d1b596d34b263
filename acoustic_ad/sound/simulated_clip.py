"""One simulated clip: a machine, its fault and its surroundings, as one microphone hears them in one session."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from acoustic_ad.errors import UsageError
from acoustic_ad.sound.machine_faults import fault_change
from acoustic_ad.sound.machine_sounds import MachineSound, MachineSpec, draw_machine, draw_point, machine_sound
from acoustic_ad.sound.synthesis import Samples, chord, coloured_noise, rms, stream, tone, unit

CLIP_LEVEL_DBFS: Final = -28.0  # of a healthy clip, background included, before the session's gain
SOFT_KNEE: Final = 0.8  # full scale is 1; beyond the knee peaks are bent, never cut


@dataclass(frozen=True)
class Session:
    """What stays the same over one recording: the microphone's gain, the day's speed, and the hall around.

    `speed_ratio` is relative to nominal. The background falls by `slope_db_per_octave` and holds a distant machine's
    hum at `hum_hz` with a share `hum_share` of its power.
    """

    name: str
    gain_db: float = 0.0
    speed_ratio: float = 1.0
    slope_db_per_octave: float = -3.0
    hum_hz: float = 49.0
    hum_share: float = 0.1


@dataclass(frozen=True)
class ClipParts:
    """The parts of a clip, each [n] at the level at which the microphone hears it: their sum is the clip.

    `change` is what the fault adds to `machine`, the healthy machine; all zeros for a healthy one. `sound` is that
    machine at an RMS of 1, with its operating point, shaft and strokes.
    """

    machine: Samples
    change: Samples
    background: Samples
    sound: MachineSound

    @property
    def snr_db(self) -> float:
        """Power of the healthy machine over that of the background, in dB."""
        return 20 * float(np.log10(rms(self.machine) / rms(self.background)))


def draw_session(name: str, seed: int) -> Session:
    """A session with its own small deviations: +-1.5 dB gain, +-1% speed, +-0.3 dB/octave, another machine far away."""
    rng = stream(seed, "session", name)
    return Session(
        name=name,
        gain_db=float(rng.uniform(-1.5, 1.5)),
        speed_ratio=float(rng.uniform(0.99, 1.01)),
        slope_db_per_octave=float(rng.uniform(-3.3, -2.7)),
        hum_hz=float(rng.uniform(48.5, 49.9)),  # another motor on the same mains, with its slip
        hum_share=float(rng.uniform(0.05, 0.15)),
    )


def simulate_clip(
    machine: MachineSpec | str,
    *,
    duration_s: float = 10.0,
    sample_rate_hz: int = 16000,
    snr_db: float = 6.0,
    session: Session | None = None,
    fault: str | None = None,
    severity: float = 0.0,
    running: bool = True,
    seed: int,
) -> Samples:
    """One clip, float32 [samples], within -1..1, about -28 dBFS.

    Everything is drawn from `seed` in separate streams, so that the same seed with another severity is the same clip
    with another amount of fault; at severity 0 it is the healthy clip, sample for sample. `snr_db` is the power of the
    healthy machine over that of the background; with `running` off, the background is heard alone at the level that it
    would have. A machine given by name is `draw_machine(name, seed=0)`. Raises `UsageError` for a fault that does not
    fit, a severity outside 0..1, or an impossible duration or rate.
    """
    spec = draw_machine(machine, 0) if isinstance(machine, str) else machine
    recorder = session or Session("nominal")
    if not running:
        samples = clip_samples(duration_s, sample_rate_hz)
        return soft_limit(background(recorder, samples, sample_rate_hz, seed) * _gains(snr_db, recorder)[1])
    parts = simulate_parts(spec, duration_s, sample_rate_hz, snr_db, recorder, fault, severity, seed)
    return soft_limit(parts.machine + parts.change + parts.background)


def simulate_parts(
    spec: MachineSpec,
    duration_s: float,
    sample_rate_hz: int,
    snr_db: float,
    session: Session,
    fault: str | None,
    severity: float,
    seed: int,
) -> ClipParts:
    """The clip of `simulate_clip` before it is summed; same arguments, same errors."""
    samples = clip_samples(duration_s, sample_rate_hz)
    point = draw_point(spec, session.speed_ratio, seed)
    sound = machine_sound(spec, point, samples, sample_rate_hz, seed)
    machine_gain, background_gain = _gains(snr_db, session)
    return ClipParts(
        machine=sound.healthy * machine_gain,
        change=fault_change(spec, sound, fault, severity, seed) * machine_gain,
        background=background(session, samples, sample_rate_hz, seed) * background_gain,
        sound=sound,
    )


def background(session: Session, samples: int, sample_rate_hz: int, seed: int) -> Samples:
    """The hall, [samples], RMS 1: noise that falls with frequency, a distant machine, a level that drifts by 1.5 dB."""
    rng = stream(seed, "background", session.name)
    exponent = (session.slope_db_per_octave + rng.uniform(-0.2, 0.2)) / (20 * np.log10(2))
    noise = coloured_noise(rng, samples, sample_rate_hz, lambda hz: np.maximum(hz, 40.0) ** exponent)
    cycles = np.arange(samples) * (session.hum_hz / sample_rate_hz)
    hum = unit(chord(rng, cycles, {k: 1 / k for k in (1, 2, 3, 4)}))
    mix = np.sqrt(1 - session.hum_share) * noise + np.sqrt(session.hum_share) * hum
    drift_db = 1.5 * tone(np.arange(samples) * (rng.uniform(0.03, 0.2) / sample_rate_hz) + rng.uniform())
    return unit(np.asarray(mix * 10 ** (drift_db / 20), np.float32))


def clip_samples(duration_s: float, sample_rate_hz: int) -> int:
    """Samples in a clip; `UsageError` outside 12 to 384 kHz and 0.5 to 600 s.

    Below 12 kHz the resonances of the machines would lie above half the sample rate.
    """
    if not 12_000 <= sample_rate_hz <= 384_000:
        raise UsageError(f"sample_rate_hz {sample_rate_hz} is outside 12000..384000")
    if not 0.5 <= duration_s <= 600:
        raise UsageError(f"duration_s {duration_s} is outside 0.5..600")
    return round(duration_s * sample_rate_hz)


def soft_limit(samples: Samples) -> Samples:
    """Leave everything below the knee as it is and bend what is above, so that no sample reaches full scale."""
    size = np.abs(samples)
    if size.max(initial=0.0) <= SOFT_KNEE:
        return samples
    room = 0.99 - SOFT_KNEE
    bent = SOFT_KNEE + room * np.tanh((size - SOFT_KNEE) / room)
    return np.where(size > SOFT_KNEE, np.copysign(bent, samples), samples).astype(np.float32)


def _gains(snr_db: float, session: Session) -> tuple[np.float32, np.float32]:
    """Factors for a machine and a background of RMS 1. Their sum stays at the clip level whatever the SNR."""
    if not -60 <= snr_db <= 60:
        raise UsageError(f"snr_db {snr_db} is outside -60..60")
    total = 10 ** ((CLIP_LEVEL_DBFS + session.gain_db) / 20)
    noise = total / np.sqrt(1 + 10 ** (snr_db / 10))
    return np.float32(noise * 10 ** (snr_db / 20)), np.float32(noise)
