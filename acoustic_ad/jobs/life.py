"""A machine's life as its page shows it: what was heard, and the states that followed from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from acoustic_ad.health.clip_table import micros_of
from acoustic_ad.health.life_points import LifePoints, bin_begin
from acoustic_ad.health.records import MachineHealth, StateChange
from acoustic_ad.health.states import silence_rule

FEWEST: Final = 5_000  # scored clips of a life that is long
SHORTEST: Final = timedelta(days=30)  # of a window that tenths of days are fine enough for
CALM_BEFORE: Final = timedelta(days=30)  # a clip of the healthy machine is looked for from so long before a change on


class Standing(NamedTuple):
    """The excursion that has not ended, an ALARM before a WARNING."""

    began_at: datetime
    worst: list[str]  # keys of the clips to listen to


@dataclass(frozen=True, slots=True)
class Life:
    """What is shown of all that was heard of a machine, up to a moment."""

    points: LifePoints
    changes: tuple[StateChange, ...]
    standing: Standing | None
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

    def heard_from(self, begin: datetime) -> datetime:
        """From when on points are needed for a window that begins at a moment."""
        return begin if self.standing is None else min(begin, self.standing.began_at - CALM_BEFORE)


def life_of(health: MachineHealth, first: datetime, last: datetime) -> Life:
    """What a machine's health shows, of a machine with clips."""
    standing = max(
        (one for one in health.episodes if one.cleared_at is None),
        key=lambda one: (one.level == "alarm", one.raised_at),
        default=None,
    )
    return Life(
        LifePoints.of(health.scored, health.hearing),
        health.past_changes,
        None if standing is None else Standing(standing.began_at, list(standing.worst)),
        first,
        last,
        health.usual_gap_s,
    )


def begin_of(first: datetime, end: datetime, days: float | None) -> datetime:
    """When a window of the last days up to `end` begins (None: all days); a long one with a tenth of a day."""
    begin = first if days is None else max(first, end - timedelta(days=days))
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
