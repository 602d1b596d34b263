"""What goes into the health of a machine, and what comes out of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Literal

from acoustic_ad.health.clip_table import ClipTable
from acoustic_ad.health.excursions import Level
from acoustic_ad.health.hearing import Hearing
from acoustic_ad.health.limits import Limits
from acoustic_ad.health.policy import State
from acoustic_ad.health.trend import Trend

EventKind = Literal["maintenance", "false-alarm", "confirmed-fault"]

BECAME_ALARM: Final = "became an alarm"  # how a warning ends that gets worse


@dataclass(frozen=True, slots=True)
class Event:
    """What people did to a machine, or found out about it."""

    at: datetime
    kind: EventKind
    note: str = ""
    by: str = ""


@dataclass(frozen=True, slots=True)
class StateChange:
    """A machine entered a state."""

    at: datetime
    state: State
    previous: State
    rule: str  # in words: "slow EWMA above its alarm limit"


@dataclass(frozen=True, slots=True)
class Episode:
    """One excursion out of the normal range: what becomes one alarm in the operators' list."""

    level: Level
    raised_at: datetime
    cleared_at: datetime | None  # None: it is still there
    rule: str
    peak_index: float
    worst: tuple[str, ...]  # keys of up to three clips to listen to, the most unusual first
    began_at: datetime  # the estimated beginning of the change that was raised
    label: Literal["false-alarm", "confirmed-fault"] | None = None  # what people found
    cleared_by: str = ""  # in words: "index below 35 for 12 clips", "became an alarm", "maintenance"

    @property
    def key(self) -> str:
        """Stable id of the episode among those of its machine: "alarm 2026-01-05T14:30:00+00:00"."""
        return f"{self.level} {self.raised_at.isoformat()}"


@dataclass(frozen=True, slots=True)
class MachineHealth:
    """How a machine is."""

    state: State
    since: datetime | None
    previous: State
    rule: str
    ne107: str
    heard: State  # what the scored clips alone say: learning, normal, warning or alarm; no_data without any
    index: float | None  # 0..100, 50 the warning limit, 80 the alarm limit; None where there is no scored clip
    trend: Trend | None
    clips: int  # scored clips
    last_clip_at: datetime | None  # of any readable clip
    episodes: tuple[Episode, ...]  # in the order in which they were raised
    changes: tuple[StateChange, ...]
    past_changes: tuple[StateChange, ...]  # and, where no `as_of` told the time, with the silences up to the last clip
    usual_gap_s: float  # without a clip, at most; longer is a silence
    limits: Limits | None  # None without a baseline
    statement: str  # what the limits promise, what was refused; for people
    # What the states rest on, for those who draw it: the clips in order, and the charts over them.
    hearing: Hearing | None = field(compare=False, repr=False)
    scored: ClipTable = field(compare=False, repr=False)
