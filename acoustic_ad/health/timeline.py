"""The health of a machine over time: a pure function of policy, baselines, clips by time of recording, and events."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from acoustic_ad.health.baseline import Baseline
from acoustic_ad.health.limits import Facts, Limits, limits
from acoustic_ad.health.policy import NE107, Policy, State

Level = Literal["warning", "alarm"]
EventKind = Literal["maintenance", "false-alarm", "confirmed-fault"]


@dataclass(frozen=True, slots=True)
class ClipPoint:
    """A clip on a machine's timeline."""

    recorded_at: datetime  # with a zone
    status: str  # scored, off, sensor_fault; failed clips say nothing of the machine and are left out
    z: float | None  # Baseline.z of its score; None unless scored
    key: str = ""  # the clip's content, e.g. its sha256; with the time it tells duplicates and orders clips
    model: str = ""  # digest, a key of `baselines`
    level_db: float | None = None


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
    label: Literal["false-alarm", "confirmed-fault"] | None = None  # what people found
    cleared_by: str = ""  # in words: "index below 35 for 12 clips", "became an alarm", "maintenance"

    @property
    def key(self) -> str:
        """Stable id of the episode among those of its machine: "alarm 2026-01-05T14:30:00+00:00"."""
        return f"{self.level} {self.raised_at.isoformat()}"


@dataclass(frozen=True, slots=True)
class Trend:
    """The slope of the index; significant only where its interval, which allows for autocorrelation, excludes 0."""

    per_day: float  # index points
    low: float  # interval of the slope
    high: float
    significant: bool
    days_to_alarm: float | None  # at this slope; None unless it is significant and upward
    days: float  # of clips that it stands on


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
    limits: Limits | None  # None without a baseline
    statement: str  # what the limits promise, what was refused; for people


def machine_health(
    policy: Policy,
    baselines: Mapping[str, Baseline],
    clips: Iterable[ClipPoint],
    events: Iterable[Event] = (),
    as_of: datetime | None = None,
) -> MachineHealth:
    """The health after all clips and events up to `as_of`; the order of their arrival does not matter."""
    known = {(clip.recorded_at, clip.key): clip for clip in clips if as_of is None or clip.recorded_at <= as_of}
    ordered = [known[key] for key in sorted(known)]
    scored = [clip for clip in ordered if clip.status == "scored" and clip.z is not None]
    heard: State = "no_data"
    since, index, found = None, None, None
    if scored:
        heard, since = ("learning" if len(scored) < policy.learning_clips else "normal"), scored[0].recorded_at
        index = min(max(25 * (scored[-1].z or 0), 0.0), 100.0)
        baseline = baselines.get(scored[-1].model)
        if baseline is not None:
            facts = Facts(baseline.clips, baseline.recordings, baseline.autocorrelation, 52_560)
            found = limits(policy, facts)
    state: State = heard
    if ordered and ordered[-1].status == "sensor_fault":
        state, since = "sensor_fault", ordered[-1].recorded_at
    elif ordered and ordered[-1].status == "off":
        state, since = "off", ordered[-1].recorded_at
    last = ordered[-1].recorded_at if ordered else None
    return MachineHealth(
        state, since, "no_data", "", NE107[state], heard, index, None, len(scored), last, (), (), found, ""
    )  # fmt: skip
