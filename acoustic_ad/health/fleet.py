"""Drift of the whole fleet at once: weather, a new product or a microphone batch, not fifty failing bearings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

DAY_S: Final = 86_400.0
MOST_DAYS: Final = 60  # how far back it looks
BEFORE_DAYS: Final = 5  # at least so many days before the change, to tell what a machine's days were like
AFTER_DAYS: Final = 2  # and after it
FEWEST_MACHINES: Final = 3
MOVED_SHARE: Final = 0.6  # of the machines, in the same direction
MOVED_T: Final = 4.0  # a machine has moved when its days differ by so many standard errors ...
MOVED_Z: Final = 0.3  # ... and by so much of a normal clip's deviation


@dataclass(frozen=True, slots=True)
class FleetDrift:
    """Most machines moved in the same direction at the same time, and have stayed there."""

    since: datetime  # the day, at 0 h UTC
    direction: Literal["up", "down"]  # up: sounds less normal than before
    moved: tuple[str, ...]  # the machines that moved that way
    machines: int  # all that had enough clips to tell
    shift: float  # median over those that moved, in standard deviations of a normal clip
    statement: str  # for people


def fleet_drift(history: Mapping[str, Sequence[tuple[datetime, float]]]) -> FleetDrift | None:
    """The drift in the machines' clips (time of recording, Baseline.z) of the last 60 days; None where there is none.

    Each machine's days become medians. For every day on which the change may have begun, a machine has moved when its
    medians from that day on differ from those before by four standard errors, and all of the latest days lie on that
    side too. The likeliest day is taken at which at least three machines moved, and 60 % of those that can tell.
    """
    names = sorted(name for name, clips in history.items() if clips)
    if len(names) < FEWEST_MACHINES:
        return None
    medians, first_day = _daily_medians([history[name] for name in names])
    best: tuple[float, int, Array, npt.NDArray[np.bool_]] | None = None
    for day in range(BEFORE_DAYS, medians.shape[1] - AFTER_DAYS + 1):
        shift, moved = _moved(medians, day)
        balance = (day * (medians.shape[1] - day)) ** 0.5  # as in the likelihood of a change point
        for direction in (1.0, -1.0):
            same = moved & (np.sign(shift) == direction)
            strength = float(np.abs(shift[same]).sum()) * balance
            if _is_drift(same, shift) and (best is None or strength > best[0]):
                best = strength, day, shift, same
    if best is None:
        return None
    _, day, shift, same = best
    return _drift([name for name, one in zip(names, same, strict=True) if one], first_day + day, shift, same)


def _is_drift(same: npt.NDArray[np.bool_], shift: Array) -> bool:
    can_tell = int(np.isfinite(shift).sum())
    return int(same.sum()) >= max(FEWEST_MACHINES, MOVED_SHARE * can_tell)


def _drift(moved: Sequence[str], day: int, shift: Array, same: npt.NDArray[np.bool_]) -> FleetDrift:
    since = datetime.fromtimestamp(day * DAY_S, UTC)
    size = float(np.median(shift[same]))
    machines = int(np.isfinite(shift).sum())
    how = "less" if size > 0 else "more"
    statement = (
        f"{len(moved)} of {machines} machines sound {how} normal since {since:%Y-%m-%d} UTC, by {abs(size):.1f} sigma "
        "at the median: look for what they share (weather, product, microphones) before looking at each machine"
    )
    return FleetDrift(since, "up" if size > 0 else "down", tuple(moved), machines, size, statement)


def _daily_medians(histories: Sequence[Sequence[tuple[datetime, float]]]) -> tuple[Array, int]:
    """Medians [machines, days], NaN on days without clips, and the number of the first day since 1970."""
    days = [np.array([int(at.timestamp() // DAY_S) for at, _ in clips]) for clips in histories]
    last = max(int(one.max()) for one in days)
    first = max(min(int(one.min()) for one in days), last - MOST_DAYS + 1)
    medians = np.full((len(histories), last - first + 1), np.nan)
    for row, number, clips in zip(medians, days, histories, strict=True):
        z = np.array([value for _, value in clips])
        for day in np.unique(number[number >= first]):
            row[day - first] = np.median(z[number == day])
    return medians, first


def _moved(medians: Array, day: int) -> tuple[Array, npt.NDArray[np.bool_]]:
    """The shifts [machines] at a day, NaN where too few days can tell, and which of them are more than chance."""
    before, after = medians[:, :day], medians[:, day:]
    shift = np.full(len(medians), np.nan)
    moved = np.zeros(len(medians), bool)
    for number, (old, new) in enumerate(zip(before, after, strict=True)):
        old, new = old[np.isfinite(old)], new[np.isfinite(new)]
        if old.size < BEFORE_DAYS or new.size < AFTER_DAYS:
            continue
        change = float(np.median(new) - np.median(old))
        deviation = 1.4826 * float(np.median(np.abs(old - np.median(old)))) + 0.02  # of days that are all alike
        error = deviation * 1.25 * (1 / old.size + 1 / new.size) ** 0.5  # of medians
        stayed = bool((np.sign(new[-AFTER_DAYS:] - np.median(old)) == np.sign(change)).all())
        shift[number] = change
        moved[number] = stayed and abs(change) > max(MOVED_T * error, MOVED_Z)
    return shift, moved
