"""The life of one simulated machine: healthy, wearing, failed; with nights off and a microphone that may die."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, NotRequired, TypedDict, Unpack

from acoustic_ad.errors import UsageError
from acoustic_ad.sound.machine_faults import check_fault
from acoustic_ad.sound.machine_sounds import MachineSpec, draw_machine
from acoustic_ad.sound.simulated_clip import draw_session
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


def plan_run_to_failure(machine: MachineSpec | str, **options: Unpack[RunOptions]) -> list[PlannedClip]:
    """The clips of one machine at even intervals: healthy, then wearing ever faster from `onset_day` to `failure_day`.

    Days count from `start`; severity stays 1 after the failure; without a `fault` the machine stays healthy. The first
    `train_days` days (default: 60% of the healthy ones) are split train, the rest test; a session is one day. With
    `off_nights` the machine stands still from 22 to 6 h UTC; these clips are sessions of their own and never train.
    With `dying_microphone` the sensor fades from 90% of the time on and is silent from 95%. Defaults: clips of 10 s at
    16 kHz and 6 dB, running day and night, a good microphone. Nothing is rendered. Raises `UsageError` for impossible
    options.
    """
    spec = draw_machine(machine, options["seed"]) if isinstance(machine, str) else machine
    life = _Life(spec, **options)
    begin, train_days = utc_start(life.start), life.checked_train_days()
    return [life.clip(index, begin, train_days) for index in range(life.days * life.clips_per_day)]


@dataclass(frozen=True)
class _Life:
    """`RunOptions` with their defaults, and the clips that follow from them."""

    spec: MachineSpec
    days: int
    clips_per_day: int
    seed: int
    start: datetime = DEFAULT_START
    fault: str | None = None
    onset_day: float | None = None
    failure_day: float | None = None
    train_days: int | None = None
    duration_s: float = 10.0
    sample_rate_hz: int = 16000
    snr_db: float = 6.0
    off_nights: bool = False
    dying_microphone: bool = False

    @property
    def recording(self) -> Recording:
        return Recording(self.duration_s, self.sample_rate_hz, self.snr_db)

    def checked_train_days(self) -> int:
        """The days of split train; `UsageError` where anything in this life is impossible."""
        check_machine_name(self.spec.machine)
        check_recording(self.recording, self.clips_per_day)
        healthy = self._healthy_days()
        train_days = min(max(1, int(0.6 * healthy)), int(healthy)) if self.train_days is None else self.train_days
        if not 0 <= train_days <= healthy:
            raise UsageError(f"train_days {train_days} does not lie within the {healthy:g} healthy days")
        return train_days

    def _healthy_days(self) -> float:
        """Days before the onset, and before the microphone could fade."""
        if self.days < 1:
            raise UsageError(f"days must be 1 or more, not {self.days}")
        if self.fault is None and self.onset_day is None and self.failure_day is None:
            return MICROPHONE_FADES_AT * self.days
        if self.fault is None or self.onset_day is None or self.failure_day is None:
            raise UsageError("fault, onset_day and failure_day belong together: give all three or none")
        check_fault(self.spec, self.fault)
        if not 0 <= self.onset_day < self.failure_day <= self.days:
            story = f"0 <= onset {self.onset_day} < failure {self.failure_day} <= {self.days} days"
            raise UsageError(f"wear must begin before it ends: {story} does not hold")
        return min(self.onset_day, MICROPHONE_FADES_AT * self.days)

    def clip(self, index: int, begin: datetime, train_days: int) -> PlannedClip:
        """The clip number `index` of this life."""
        day = index / self.clips_per_day
        at = begin + timedelta(seconds=index * 86_400 // self.clips_per_day)
        running = not self.off_nights or NIGHT_TO_HOUR <= at.hour < NIGHT_FROM_HOUR
        severity = severity_at(day, self.onset_day, self.failure_day)
        session = draw_session(f"{self.spec.machine}@{begin + timedelta(days=int(day)):%Y-%m-%d}", self.seed)
        return PlannedClip(
            spec=self.spec,
            # A machine that is off is heard by the same microphone, but in a session of its own: it never trains.
            session=session if running else replace(session, name=f"{session.name}-off"),
            split="train" if int(day) < train_days and running else "test",
            recorded_at=at,
            recording=self.recording,
            seed=self.seed,
            fault=self.fault if severity > 0 else None,
            severity=severity,
            running=running,
            microphone=microphone_health(day / self.days) if self.dying_microphone else 1.0,
        )


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
