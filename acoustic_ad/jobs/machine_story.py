"""A machine's whole story as people read it: its scores, charts and states over time, thinned out to what one sees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import numpy as np

from acoustic_ad.health.clip_table import Numbers, micros_of, time_of
from acoustic_ad.health.life_points import LifePoints
from acoustic_ad.health.timeline import StateChange
from acoustic_ad.jobs.alarm_book import events_of
from acoustic_ad.jobs.alarm_list import alarm_list
from acoustic_ad.jobs.alarm_schema import AlarmRow, EventRow
from acoustic_ad.jobs.baselines import Baselines
from acoustic_ad.jobs.fleet_health import tell
from acoustic_ad.jobs.history import history_of, rows_of_contents
from acoustic_ad.jobs.kept_lives import read_life
from acoustic_ad.jobs.life import Life, begin_of, changes_since, is_coarse, life_of
from acoustic_ad.jobs.many_rows import many_rows
from acoustic_ad.jobs.schema import ClipRow
from acoustic_ad.jobs.store import Store

BINS: Final = 300  # of the time axis: two points each are more than a phone can show
WORST: Final = 3  # clips to listen to


@dataclass(frozen=True, slots=True)
class StoryPoint:
    """A scored clip on the timeline."""

    at: datetime
    z: float  # against the baseline of its time
    index: float  # health index after it
    slow: float  # slow EWMA after it, on the scale of the index
    row: ClipRow | None  # None: it was pruned


@dataclass(frozen=True, slots=True)
class MachineStory:
    """What is shown of one machine."""

    machine: str
    points: tuple[StoryPoint, ...]  # of each stretch of time the most unusual clip and a usual one, by time
    clips: int  # scored clips in the window, of which `points` are some
    changes: tuple[StateChange, ...]
    alarms: tuple[AlarmRow, ...]
    events: tuple[EventRow, ...]
    begin: datetime
    end: datetime
    worst: tuple[ClipRow, ...]  # to listen to, the most unusual first
    usual: ClipRow | None  # a clip of the healthy machine to hold against them


@many_rows()
def machine_story(
    store: Store, baselines: Baselines, machine: str, *, days: float | None, as_of: datetime | None = None
) -> MachineStory | None:
    """The story of the last `days` days (None: all) up to `as_of` (None: the last clip); None without a clip.

    States and charts rest on everything that was heard before the window, too. Long windows of long lives are told by
    tenths of days, from the copy in the store where there is one: of each, two clips can be listened to, not more.
    """
    with store.reading() as connection:
        life = read_life(connection, baselines, machine, as_of, days)
        events = events_of(connection, machine)
    life = life or _told(store, baselines, machine, days, as_of)
    if life is None:
        return None
    end = as_of or life.last
    begin = begin_of(life.first, end, days)
    window = life.points.since(micros_of(begin))
    chosen = window.take(_chosen(window, begin, end))
    keys = [chosen.key(number) for number in range(len(chosen))]
    # Where nothing stands out: the most unusual clips, in the place of pruned ones the next of the timeline.
    to_hear = life.worst or dict.fromkeys([*_worst(window, WORST), *_worst(chosen)])
    rows = rows_of_contents(store, machine, {*keys, *to_hear, *life.usual})
    worst = [rows[key] for key in to_hear if key in rows][:WORST]
    usual = [rows[key] for key in life.usual if key in rows]
    return MachineStory(
        machine,
        _points(chosen, keys, rows),
        int(window.stands_for.sum()),
        changes_since(begin, life.changes),
        tuple(alarm for alarm, _ in alarm_list(store, machine)),
        tuple(one for one in events if begin <= one.at),
        begin,
        end,
        tuple(worst),
        next((row for row in usual if row not in worst), usual[0] if usual else None),
    )


def _told(store: Store, baselines: Baselines, machine: str, days: float | None, as_of: datetime | None) -> Life | None:
    """The machine's life from all its clips, thinned out as its copy would be."""
    history = history_of(store, machine)
    seen = history.clips.until(as_of)
    if not seen:
        return None
    health = tell(store, baselines, history, as_of=as_of).health
    life = life_of(health, history.clips.at(0), history.clips.at(seen - 1))
    end = as_of or life.last
    return life.thinned() if is_coarse(health.clips, begin_of(life.first, end, days), end) else life


def _chosen(points: LifePoints, begin: datetime, end: datetime) -> Numbers:
    """Numbers of the clips to show: of each part of the window the most unusual one, the middle one and the last."""
    if len(points) <= 2 * BINS:
        return np.arange(len(points))
    first = micros_of(begin)
    bins = np.minimum((points.micros - first) * BINS // max(micros_of(end) - first, 1), BINS - 1)
    starts = np.flatnonzero(np.diff(bins, prepend=-1))
    found: set[int] = {len(points) - 1}
    for low, high in zip(starts.tolist(), [*starts.tolist()[1:], len(points)], strict=True):
        order = low + np.argsort(points.z[low:high], kind="stable")
        clips = np.cumsum(points.stands_for[order])
        found |= {int(order[-1]), int(order[np.searchsorted(clips, clips[-1] / 2)])}
    return np.array(sorted(found), np.intp)


def _points(chosen: LifePoints, keys: Sequence[str], rows: dict[str, ClipRow]) -> tuple[StoryPoint, ...]:
    return tuple(
        StoryPoint(
            time_of(chosen.micros[number]),
            float(chosen.z[number]),
            float(chosen.index[number]),
            float(chosen.slow[number]),
            rows.get(key),
        )
        for number, key in enumerate(keys)
    )


def _worst(points: LifePoints, most: int | None = None) -> list[str]:
    """Keys of clips, the most unusual first."""
    by_z = np.lexsort((points.micros, -points.z))
    return [points.key(number) for number in by_z[:most].tolist()]
