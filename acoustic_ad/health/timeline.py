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
    index: float | None  # 0..100, 50 is the limit; None where there is no usable clip
    clips: int  # scored clips behind it, over all time
    last_clip_at: datetime | None  # of any readable clip


def machine_health(policy: Policy, clips: Iterable[ClipPoint]) -> MachineHealth:
    """The health after all clips; their order of arrival does not matter, clips without an index do not move it."""
    ordered = sorted(clips, key=lambda clip: (clip.recorded_at, clip.key))
    state: State = "no_data"
    since: datetime | None = None
    index: float | None = None
    scored: list[float] = []
    for clip in ordered:
        if clip.status == "scored" and clip.index is not None:
            scored.append(clip.index)
            window = scored[-policy.window_clips :]
            index = median(window)
            now: State = _state(policy, window)
        else:
            now = "sensor_fault" if clip.status == "sensor_fault" and not scored else state
        if now != state:
            state, since = now, clip.recorded_at
    return MachineHealth(state, since, index, len(scored), ordered[-1].recorded_at if ordered else None)


def _state(policy: Policy, window: list[float]) -> State:
    beyond = sum(value >= LIMIT_INDEX for value in window)
    if len(window) < policy.fewest_clips:
        return "normal" if beyond < len(window) else "warning"
    return "warning" if beyond >= policy.unusual_share * len(window) else "normal"
