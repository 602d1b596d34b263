"""A machine's whole story as people read it: its scores, charts and states over time, thinned out to what one sees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import numpy as np
import numpy.typing as npt

from acoustic_ad.health.charts import SLOW
from acoustic_ad.health.clip_table import ClipTable, micros_of
from acoustic_ad.health.hearing import Hearing
from acoustic_ad.health.policy import ALARM_INDEX, WARNING_INDEX
from acoustic_ad.health.timeline import StateChange
from acoustic_ad.jobs.alarm_list import alarm_list
from acoustic_ad.jobs.alarm_schema import AlarmRow, EventRow
from acoustic_ad.jobs.baselines import Baselines
from acoustic_ad.jobs.fleet_health import Told, tell
from acoustic_ad.jobs.history import history_of, rows_of_contents
from acoustic_ad.jobs.many_rows import many_rows
from acoustic_ad.jobs.schema import ClipRow
from acoustic_ad.jobs.store import Store

Array = npt.NDArray[np.float64]

BINS: Final = 300  # of the time axis: two points each are more than a phone can show
WORST: Final = 3  # clips to listen to


@dataclass(frozen=True, slots=True)
class StoryPoint:
    """A scored clip on the timeline."""

    at: datetime
    z: float  # against the baseline of its time
    index: float  # health index after it
    slow: float  # slow EWMA after it, on the scale of the index
    row: ClipRow


@dataclass(frozen=True, slots=True)
class MachineStory:
    """What is shown of one machine."""

    machine: str
    told: Told
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

    States and charts rest on everything that was heard before the window, too.
    """
    history = history_of(store, machine)
    told = tell(store, baselines, history, as_of=as_of)
    scored, hearing = told.health.scored, told.health.hearing
    seen = history.clips.until(as_of)
    if not seen:
        return None
    first, last = history.clips.at(0), history.clips.at(seen - 1)
    end = last if as_of is None else as_of
    begin = first if days is None else max(first, end - timedelta(days=days))
    chosen = _chosen(scored, hearing, begin, end)
    worst, usual = _to_hear(told, scored, begin)
    wanted = {scored.key(number) for number in chosen} | {*worst, *([usual] if usual else [])}
    rows = rows_of_contents(store, machine, wanted)
    return MachineStory(
        machine,
        told,
        _points(scored, hearing, [number for number in chosen if scored.key(number) in rows], rows),
        int(((micros_of(begin) <= scored.micros) & (scored.micros <= micros_of(end))).sum()),
        told.health.changes,
        tuple(alarm for alarm, _ in alarm_list(store, machine)),
        tuple(one for one in history.events if begin <= one.at),
        begin,
        end,
        tuple(rows[key] for key in worst if key in rows),
        rows.get(usual or ""),
    )


def _chosen(scored: ClipTable, hearing: Hearing | None, begin: datetime, end: datetime) -> list[int]:
    """Numbers of the clips to show: of each part of the window the most unusual one, the middle one and the last."""
    if hearing is None:
        return []
    first = int(np.searchsorted(hearing.times, begin.timestamp()))
    times, z = hearing.times[first:], hearing.z[first:]
    if times.size <= 2 * BINS:
        return list(range(first, len(scored)))
    span = max(end.timestamp() - begin.timestamp(), 1.0)
    bins = np.minimum(((times - begin.timestamp()) / span * BINS).astype(np.intp), BINS - 1)
    starts = np.flatnonzero(np.diff(bins, prepend=-1))
    found: set[int] = {times.size - 1}
    for low, high in zip(starts.tolist(), [*starts.tolist()[1:], times.size], strict=True):
        order = np.argsort(z[low:high], kind="stable")
        found |= {low + int(order[-1]), low + int(order[order.size // 2])}
    return [first + number for number in sorted(found)]


def _points(
    scored: ClipTable, hearing: Hearing | None, chosen: Sequence[int], rows: dict[str, ClipRow]
) -> tuple[StoryPoint, ...]:
    if hearing is None:
        return ()
    slow = _slow_index(hearing)
    return tuple(
        StoryPoint(
            scored.at(number),
            float(hearing.z[number]),
            float(hearing.index[number]),
            float(slow[number]),
            rows[scored.key(number)],
        )
        for number in chosen
    )


def _slow_index(hearing: Hearing) -> Array:
    """The slow EWMA [T] on the scale of the index: 50 at its own warning limit, 80 at its own alarm limit."""
    charts = [next(n for n, chart in enumerate(one.charts) if chart.chart == SLOW) for one in hearing.limits]
    limits = np.array(
        [[one.charts[n].warning, one.charts[n].alarm] for one, n in zip(hearing.limits, charts, strict=True)]
    )
    warning, alarm = limits[hearing.which].T
    value = hearing.statistics[charts[0]]
    beyond = WARNING_INDEX + (value - warning) * (ALARM_INDEX - WARNING_INDEX) / (alarm - warning)
    found: Array = np.clip(np.where(value <= warning, value / warning * WARNING_INDEX, beyond), 0.0, 100.0)
    return found


def _to_hear(told: Told, scored: ClipTable, begin: datetime) -> tuple[list[str], str | None]:
    """Keys of the three clips to listen to, and of one of the healthy machine, the latest before what stands out."""
    episodes = told.health.episodes
    standing = [one for one in episodes if one.cleared_at is None]
    last = max(standing, key=lambda one: (one.level == "alarm", one.raised_at), default=None)
    recent = np.flatnonzero(scored.micros >= micros_of(begin))
    by_z = recent[np.lexsort((scored.micros[recent], -scored.z[recent]))]
    worst = list(last.worst) if last is not None else [scored.key(number) for number in by_z[:WORST].tolist()]
    before = last.began_at if last is not None else datetime.max.replace(tzinfo=UTC)
    calm = np.flatnonzero((scored.micros < micros_of(before)) & (np.abs(scored.z) < 1.0)).tolist() or [
        number for number in np.flatnonzero(scored.z < 1.0).tolist() if scored.key(number) not in worst
    ]
    usual = min(calm[-20:], key=lambda number: abs(scored.z[number]), default=None)
    return worst, None if usual is None else scored.key(usual)
