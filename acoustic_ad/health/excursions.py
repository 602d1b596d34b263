"""Excursions of the health index out of its normal range, without chatter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from acoustic_ad.health.policy import ALARM_INDEX, WARNING_INDEX, Policy

Array = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Level = Literal["warning", "alarm"]

JUST_BELOW = 0.1  # index points: an index whose limit was not believed is shown below it


@dataclass(frozen=True, slots=True)
class Excursion:
    """From the clip that raised it to the clip that ended it, by number; end None: it is still there."""

    level: Level
    start: int
    end: int | None
    became_alarm: bool = False  # a warning that ended as an alarm began


def supported(policy: Policy, z: Array) -> Bools:
    """Whether enough of the latest clips [T] are unusual themselves to raise anything: one never is enough."""
    unusual = np.cumsum(np.concatenate([np.zeros(policy.persistence_among, int), z >= policy.raise_z]))
    found: Bools = unusual[policy.persistence_among :] - unusual[: z.size] >= policy.raise_clips
    return found


def excursions(policy: Policy, index: Array, believed: Bools, first: int) -> list[Excursion]:
    """The excursions of an index [T] from clip `first` on; `believed` [T] says where one may be raised.

    A warning is raised at index 50, an alarm at 80. Each ends when the index has been below its clear level for
    `clear_clips` clips in a row; a warning also when it becomes an alarm.
    """
    may = believed & (np.arange(index.size) >= first)
    warn, alarm = np.flatnonzero(may & (index >= WARNING_INDEX)), np.flatnonzero(may & (index >= ALARM_INDEX))
    calm_warning = np.flatnonzero(_calm(index < policy.warning_clear_index, policy.clear_clips))
    calm_alarm = np.flatnonzero(_calm(index < policy.alarm_clear_index, policy.clear_clips))
    found = []
    at = _next(warn, first)
    while at is not None:
        alarm_at = _next(alarm, at)
        calm_at = _next(calm_warning, at)
        if alarm_at is not None and (calm_at is None or alarm_at < calm_at):
            if alarm_at > at:
                found.append(Excursion("warning", at, alarm_at, became_alarm=True))
            calm_at = _next(calm_alarm, alarm_at)
            found.append(Excursion("alarm", alarm_at, calm_at))
        else:
            found.append(Excursion("warning", at, calm_at))
        at = None if calm_at is None else _next(warn, calm_at)
    return found


def shown(index: Array, found: list[Excursion]) -> Array:
    """The index [T] as people see it: never in the range of a state that was not raised."""
    top = np.full(index.size, WARNING_INDEX - JUST_BELOW)
    for one in found:
        top[one.start : one.end] = 100.0 if one.level == "alarm" else ALARM_INDEX - JUST_BELOW
    limited: Array = np.minimum(index, top)
    return limited


def _calm(below: Bools, clips: int) -> Bools:
    """Whether the latest `clips` clips, and not fewer, are all below [T]."""
    number = np.arange(below.size)
    latest_not = np.maximum.accumulate(np.where(below, -1, number)) if below.size else number
    found: Bools = number - latest_not >= clips
    return found


def _next(places: npt.NDArray[np.intp], at: int) -> int | None:
    """The first of the ascending places that is not before `at`."""
    number = int(np.searchsorted(places, at))
    return int(places[number]) if number < places.size else None
