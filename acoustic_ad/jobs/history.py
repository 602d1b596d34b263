"""A machine's clips as its health needs them: a few numbers of every clip, all columns only of the few that explain."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from operator import itemgetter
from typing import Any, Final

import numpy as np
import sqlalchemy as sa

from acoustic_ad.health.clip_table import SENSOR_FAULT, micros_of
from acoustic_ad.jobs.alarm_book import events_of
from acoustic_ad.jobs.alarm_schema import EventRow, events
from acoustic_ad.jobs.coverage import Heard
from acoustic_ad.jobs.day_traces import Judged, traces_of, without_renewed
from acoustic_ad.jobs.judged_table import JudgedTable
from acoustic_ad.jobs.many_rows import many_rows
from acoustic_ad.jobs.schema import IS_BROKEN, IS_FAILED, ClipRow, clip_row, clip_scores, files
from acoustic_ad.jobs.store import Store
from acoustic_ad.jobs.upkeep_schema import machine_days

__all__ = ["History", "Judged", "history_of", "mark_of", "rows_of_contents", "stored_clips"]

_AT_ONCE: Final = 500
AHEAD: Final = timedelta(days=1)  # more than time zones that were mixed up explain


@dataclass(frozen=True, slots=True)
class History:
    """All that the store has of a machine, as of one moment."""

    machine: str
    clips: JudgedTable  # oldest recording first
    failed: list[Heard]
    events: list[EventRow]
    mark: tuple[Any, ...]  # differs once anything of this has changed


@many_rows()
def history_of(store: Store, machine: str) -> History:
    """What is known of a machine now, clips without rows included: those that were pruned."""
    columns = clip_scores.c
    names = (columns.recorded_at, columns.reason, columns.recorded_at_source)
    failed = sa.select(*names).where(columns.machine == machine, IS_FAILED)
    with store.reading() as connection:
        mark = mark_of(connection, machine)
        clips = stored_clips(connection, machine)
        lost = [
            Heard(datetime.fromisoformat(at), "failed", reason, source != "mtime")
            for at, reason, source in connection.execute(failed)
        ]
        traces = traces_of(connection, machine)
        if traces.clips:  # what was scored again after it had been pruned counts by its row
            old = JudgedTable.of(without_renewed(traces.clips, clips))
            clips = JudgedTable.joined([old, clips]).in_order()
        return History(machine, _dated(clips), traces.failed + lost, events_of(connection, machine), mark)


def stored_clips(connection: sa.Connection, machine: str) -> JudgedTable:
    """The machine's clips that have a row, oldest first by the recorders' clocks; a broken sensor's at all times."""
    columns = clip_scores.c
    judged = sa.select(columns.id, *(columns[name] for name in Judged._fields))
    rows = connection.execute(judged.where(columns.machine == machine, ~IS_FAILED)).fetchall()
    rows = sorted(rows, key=itemgetter(0))
    table = JudgedTable.of_rows([row[1:] for row in rows])
    newest = {content: number for number, content in enumerate(table.keys.tolist())}  # of the rows of one content
    if len(newest) < len(table):
        table = table.take(np.fromiter(newest.values(), np.intp, len(newest)))
    return _with_twins(connection, machine, table.in_order())


def _with_twins(connection: sa.Connection, machine: str, clips: JudgedTable) -> JudgedTable:
    """The clips, those of a broken sensor at every time that a file of the same bytes was recorded.

    A dead microphone gives nothing but the same silence: one clip in the store, and yet a machine that is still heard.
    """
    query = sa.select(files.c.sha256, files.c.recorded_at).distinct()
    found = connection.execute(query.where(files.c.machine == machine, IS_BROKEN, files.c.recorded_at.is_not(None)))
    first = {clips.keys[number]: number for number in np.flatnonzero(clips.status == SENSOR_FAULT).tolist()}
    moments = {
        (number, micros_of(datetime.fromisoformat(at)))
        for content, at in found
        if (number := first.get((content or "").encode())) is not None
    }
    twins = sorted((number, at) for number, at in moments if clips.micros[number] != at)
    if not twins:
        return clips
    which, micros = np.array(twins, np.int64).T
    return JudgedTable.joined([clips, replace(clips.take(which), micros=micros)]).in_order()


def _dated(clips: JudgedTable) -> JudgedTable:
    """The clips; what was judged before it was recorded counts from when it was judged.

    A recorder's clock that jumps ahead would else be the machine's newest clip for years, and hide that it fell silent.
    Where most clips are from the future, it is this computer's clock that is behind.
    """
    ahead = clips.micros > clips.scored_at + AHEAD // timedelta(microseconds=1)
    if not 0 < ahead.sum() < len(clips) / 2:
        return clips
    return replace(clips, micros=np.where(ahead, clips.scored_at, clips.micros)).in_order()


def mark_of(connection: sa.Connection, machine: str) -> tuple[Any, ...]:
    """What tells that a machine's clips or events have changed."""
    clips = sa.select(sa.func.max(clip_scores.c.id), sa.func.count()).where(clip_scores.c.machine == machine)
    known = sa.select(sa.func.max(events.c.id), sa.func.count()).where(events.c.machine == machine)
    seen = sa.select(sa.func.count()).where(files.c.machine == machine, IS_BROKEN)
    pruned = sa.select(sa.func.max(machine_days.c.pruned_at), sa.func.count()).where(machine_days.c.machine == machine)
    return tuple(value for query in (clips, known, seen, pruned) for value in connection.execute(query).one())


def rows_of_contents(store: Store, machine: str, contents: Collection[str]) -> dict[str, ClipRow]:
    """sha256 -> current row, of some clips of a machine."""
    found: dict[str, ClipRow] = {}
    wanted = sorted(set(contents))
    columns = clip_scores.c
    with store.reading() as connection:
        for start in range(0, len(wanted), _AT_ONCE):
            here = columns.sha256.in_(wanted[start : start + _AT_ONCE])
            query = sa.select(clip_scores).where(columns.machine == machine, ~IS_FAILED, here).order_by(columns.id)
            found |= {row.sha256: clip_row(row) for row in connection.execute(query)}  # the newest comes last
    return found
