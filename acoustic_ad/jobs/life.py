"""A machine's life as its page shows it: what was heard, and the states that followed from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

import numpy as np

from acoustic_ad.health.clip_table import micros_of
from acoustic_ad.health.life_points import LifePoints, bin_begin
from acoustic_ad.health.records import MachineHealth, StateChange
from acoustic_ad.health.states import silence_rule

FEWEST: Final = 5_000  # scored clips of a life that is long
SHORTEST: Final = timedelta(days=30)  # of a window that tenths of days are fine enough for
CALM_Z: Final = 1.0  # of a clip that passes for the healthy machine
_LATEST: Final = 20  # calm clips, of which the calmest pass for usual
_USUAL: Final = 5


@dataclass(frozen=True, slots=True)
class Life:
    """What is shown of all that was heard of a machine, up to a moment."""

    points: LifePoints
    changes: tuple[StateChange, ...]
    worst: tuple[str, ...] | None  # keys of what to listen to, where a WARNING or an ALARM stands
    usual: tuple[str, ...]  # keys of clips of the healthy machine to hold against them, the calmest first
    first: datetime  # clip, scored or not
    last: datetime
    usual_gap_s: float

    def thinned(self) -> Life:
        """As its copy in the store is."""
        return replace(self, points=self.points.thinned())

    def seen_from(self, moment: datetime) -> Life:
        """The life, that is known up to its last clip, seen from a later moment: silence may show by then."""
        if (moment - self.last).total_seconds() <= self.usual_gap_s:
            return self
        silent = self.last + timedelta(seconds=self.usual_gap_s)
        previous = self.changes[-1].state if self.changes else "no_data"
        change = StateChange(silent, "no_data", previous, silence_rule(self.usual_gap_s))
        return replace(self, changes=(*self.changes, change))


def life_of(health: MachineHealth, first: datetime, last: datetime) -> Life:
    """What a machine's health shows, of a machine with clips."""
    standing = max(
        (one for one in health.episodes if one.cleared_at is None),
        key=lambda one: (one.level == "alarm", one.raised_at),
        default=None,
    )
    points = LifePoints.of(health.scored, health.hearing)
    return Life(
        points,
        health.past_changes,
        None if standing is None else standing.worst,
        _usual(points, None if standing is None else standing.began_at),
        first,
        last,
        health.usual_gap_s,
    )


def _usual(points: LifePoints, before: datetime | None) -> tuple[str, ...]:
    """Keys of the calmest of the latest calm clips before a moment; where there are none, of what is not unusual."""
    early = points if before is None else points.take(slice(int(np.searchsorted(points.micros, micros_of(before)))))
    here, calm = early, np.flatnonzero(np.abs(early.z) < CALM_Z)[-_LATEST:]
    if not calm.size:
        here, calm = points, np.flatnonzero(points.z < CALM_Z)[-_LATEST:]
    calmest = calm[np.argsort(np.abs(here.z[calm]), kind="stable")][:_USUAL]
    return tuple(here.key(number) for number in calmest.tolist())


def begin_of(first: datetime, end: datetime, days: float | None) -> datetime:
    """When a window of the last days up to `end` begins (None: all days); a long one with a tenth of a day."""
    whole = days is None or days >= (end - first) / timedelta(days=1)
    begin = first if days is None or whole else end - timedelta(days=days)
    if begin == first or end - begin < SHORTEST:
        return begin
    return max(first, begin - timedelta(microseconds=micros_of(begin) - bin_begin(micros_of(begin))))


def is_coarse(clips: int, begin: datetime, end: datetime) -> bool:
    """Whether a window of a life of so many scored clips is shown by tenths of days."""
    return clips >= FEWEST and end - begin >= SHORTEST


def changes_since(begin: datetime, changes: Sequence[StateChange]) -> tuple[StateChange, ...]:
    """The changes from a moment on, behind the one into the state that held then."""
    first = sum(change.at < begin for change in changes)
    return tuple(changes[max(first - 1, 0) :])
