"""The state of a machine over time: a pure function of the policy and the clips, in the order of their recording."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from statistics import median

from acoustic_ad.health.policy import LIMIT_INDEX, Policy, State


@dataclass(frozen=True, slots=True)
class ClipPoint:
    """A clip on a machine's timeline."""

    recorded_at: datetime
    status: str  # scored, off, sensor_fault; failed clips say nothing of the machine
    index: float | None  # 0..100; None unless scored
    key: str = ""  # orders clips of the same instant, so that the order of arrival never matters


@dataclass(frozen=True, slots=True)
class MachineHealth:
    """How a machine is."""

    state: State
    since: datetime | None  # when the clip was recorded that brought the state about
    heard: State  # what the scored clips alone say: a sensor that broke later does not take it back
    index: float | None  # 0..100, 50 is the limit; None where there is no usable clip
    clips: int  # scored clips behind it, over all time
    last_clip_at: datetime | None  # of any readable clip


def machine_health(policy: Policy, clips: Iterable[ClipPoint]) -> MachineHealth:
    """The health after all clips; their order of arrival does not matter, clips without an index do not move it.

    While the newest clips show a broken sensor, the machine is in `sensor_fault`, since the first of them. The next
    clip without that fault brings back what was heard, as old as it is.
    """
    ordered = sorted(clips, key=lambda clip: (clip.recorded_at, clip.key))
    heard: State = "no_data"
    since: datetime | None = None
    broken_since: datetime | None = None
    index: float | None = None
    scored: list[float] = []
    for clip in ordered:
        if clip.status == "sensor_fault":
            broken_since = broken_since or clip.recorded_at
            continue
        broken_since = None
        if clip.status == "scored" and clip.index is not None:
            scored.append(clip.index)
            window = scored[-policy.window_clips :]
            index = median(window)
            now = _state(policy, window)
            if now != heard:
                heard, since = now, clip.recorded_at
    last_clip_at = ordered[-1].recorded_at if ordered else None
    if broken_since is not None:
        return MachineHealth("sensor_fault", broken_since, heard, index, len(scored), last_clip_at)
    return MachineHealth(heard, since, heard, index, len(scored), last_clip_at)


def _state(policy: Policy, window: list[float]) -> State:
    beyond = sum(value >= LIMIT_INDEX for value in window)
    if len(window) < policy.fewest_clips:
        return "normal" if beyond < len(window) else "warning"
    return "warning" if beyond >= policy.unusual_share * len(window) else "normal"
