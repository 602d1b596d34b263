"""The life of one simulated machine: healthy, wearing, failed; with nights off and a microphone that may die."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, NotRequired, TypedDict, Unpack

from acoustic_ad.errors import UsageError
from acoustic_ad.sound.machine_faults import check_fault
from acoustic_ad.sound.machine_sounds import MachineSpec, draw_machine
from acoustic_ad.sound.simulated_clip import Session, draw_session
from acoustic_ad.sound.simulated_files import (
    DEFAULT_START,
    PlannedClip,
    Progress,
    Recording,
    check_machine_name,
    check_recording,
    utc_start,
    write_clips,
)

NIGHT_FROM_HOUR: Final = 22  # UTC
NIGHT_TO_HOUR: Final = 6
WEAR_EXPONENT: Final = 3.0  # wear goes e^3 = 20 times faster at the failure than at the onset
MICROPHONE_FADES_AT: Final = 0.90  # shares of the whole time: from here on fainter and duller
MICROPHONE_DEAD_AT: Final = 0.95  # and silent from here


class RunOptions(TypedDict):
    """The arguments of `plan_run_to_failure` and `simulate_run_to_failure`."""

    days: int
    clips_per_day: int
    seed: int
    start: NotRequired[datetime]
    fault: NotRequired[str | None]
    onset_day: NotRequired[float | None]
    failure_day: NotRequired[float | None]
    train_days: NotRequired[int | None]
    duration_s: NotRequired[float]
    sample_rate_hz: NotRequired[int]
    snr_db: NotRequired[float]
    off_nights: NotRequired[bool]
    dying_microphone: NotRequired[bool]


def simulate_run_to_failure(
    root: Path, machine: MachineSpec | str, *, on_progress: Progress | None = None, **options: Unpack[RunOptions]
) -> Path:
    """Write the life of `plan_run_to_failure(machine, **options)` below `root`, a new or empty folder.

    Returns the manifest's path; `on_progress(done, total)` is called after each clip. Raises `UsageError` for
    impossible options or a folder that holds something, `AcousticADError` where the disk refuses.
    """
    return write_clips(root, plan_run_to_failure(machine, **options), on_progress)


def plan_run_to_failure(
    machine: MachineSpec | str,
    *,
    days: int,
    clips_per_day: int,
    seed: int,
    start: datetime = DEFAULT_START,
    fault: str | None = None,
    onset_day: float | None = None,
    failure_day: float | None = None,
    train_days: int | None = None,
    duration_s: float = 10.0,
    sample_rate_hz: int = 16000,
    snr_db: float = 6.0,
    off_nights: bool = False,
    dying_microphone: bool = False,
) -> list[PlannedClip]:
    """The clips of one machine at even intervals: healthy, then wearing ever faster from `onset_day` to `failure_day`.

    Days count from `start`; severity stays 1 after the failure; without a `fault` the machine stays healthy. The first
    `train_days` days (default: 60% of the healthy ones) are split train, the rest test; a session is one day. With
    `off_nights` the machine stands still from 22 to 6 h UTC; these clips are sessions of their own and never train.
    With `dying_microphone` the sensor fades from 90% of the time on and is silent from 95%. Nothing is rendered. Raises
    `UsageError` for impossible options.
    """
    spec = draw_machine(machine, seed) if isinstance(machine, str) else machine
    check_machine_name(spec.machine)
    recording = Recording(duration_s, sample_rate_hz, snr_db)
    check_recording(recording, clips_per_day)
    healthy = _healthy_days(spec, days, fault, onset_day, failure_day)
    known_good = min(max(1, int(0.6 * healthy)), int(healthy)) if train_days is None else train_days
    if not 0 <= known_good <= healthy:
        raise UsageError(f"train_days {known_good} does not lie within the {healthy:g} healthy days")
    clips = []
    for index in range(days * clips_per_day):
        day = index / clips_per_day
        at = utc_start(start) + timedelta(seconds=index * 86_400 // clips_per_day)
        running = not off_nights or NIGHT_TO_HOUR <= at.hour < NIGHT_FROM_HOUR
        severity = severity_at(day, onset_day, failure_day)
        clips.append(
            PlannedClip(
                spec=spec,
                session=_session(spec, utc_start(start), int(day), running, seed),
                split="train" if int(day) < known_good and running else "test",
                recorded_at=at,
                recording=recording,
                seed=seed,
                fault=fault if severity > 0 else None,
                severity=severity,
                running=running,
                microphone=microphone_health(day / days) if dying_microphone else 1.0,
            )
        )
    return clips


def severity_at(day: float, onset_day: float | None, failure_day: float | None) -> float:
    """Severity on a day: (e^(k u) - 1) / (e^k - 1), k = 3, with u going from 0 at the onset to 1 at the failure."""
    if onset_day is None or failure_day is None:
        return 0.0
    u = min(1.0, max(0.0, (day - onset_day) / (failure_day - onset_day)))
    return round(math.expm1(WEAR_EXPONENT * u) / math.expm1(WEAR_EXPONENT), 6)


def microphone_health(share: float) -> float:
    """Health of a dying microphone after a share (0..1) of the whole time: 1, then falling linearly, then 0."""
    if share < MICROPHONE_FADES_AT:
        return 1.0
    # It is ill from the first fading clip on, hence strictly below 1.
    left = (MICROPHONE_DEAD_AT - share) / (MICROPHONE_DEAD_AT - MICROPHONE_FADES_AT)
    return min(0.99, max(0.0, left))


def _healthy_days(
    spec: MachineSpec, days: int, fault: str | None, onset_day: float | None, failure_day: float | None
) -> float:
    """Days before the onset, or before the microphone could fade; checks that the story makes sense."""
    if days < 1:
        raise UsageError(f"days must be 1 or more, not {days}")
    if fault is None and onset_day is None and failure_day is None:
        return MICROPHONE_FADES_AT * days
    if fault is None or onset_day is None or failure_day is None:
        raise UsageError("fault, onset_day and failure_day belong together: give all three or none")
    check_fault(spec, fault)
    if not 0 <= onset_day < failure_day <= days:
        raise UsageError(
            f"wear must begin before it ends: 0 <= onset {onset_day} < failure {failure_day} <= {days} days"
        )
    return min(onset_day, MICROPHONE_FADES_AT * days)


def _session(spec: MachineSpec, begin: datetime, day: int, running: bool, seed: int) -> Session:
    """The session of a day. A machine that is off is heard by the same microphone, but in a session of its own."""
    session = draw_session(f"{spec.machine}@{begin + timedelta(days=day):%Y-%m-%d}", seed)
    return session if running else replace(session, name=f"{session.name}-off")
