"""A machine's clips as its health needs them: a few numbers of every clip, all columns only of the few that explain."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, NamedTuple

import numpy as np
import sqlalchemy as sa

from acoustic_ad.health.clip_table import SENSOR_FAULT, micros_of
from acoustic_ad.jobs.alarm_book import events_of
from acoustic_ad.jobs.alarm_schema import EventRow, events
from acoustic_ad.jobs.coverage import Heard
from acoustic_ad.jobs.day_traces import without_renewed
from acoustic_ad.jobs.judged_table import JudgedTable
from acoustic_ad.jobs.kept_clips import ClipsMark, StoredClips, clips_mark, keep_clips, may_keep, read_clips
from acoustic_ad.jobs.many_rows import many_rows
from acoustic_ad.jobs.schema import IS_BROKEN, IS_FAILED, ClipRow, clip_row, clip_scores, files
from acoustic_ad.jobs.store import Store

__all__ = ["History", "Mark", "history_of", "keep_read", "mark_of", "rows_of_contents", "stored_clips"]

_AT_ONCE: Final = 500
AHEAD: Final = timedelta(days=1)  # more than time zones that were mixed up explain


class Mark(NamedTuple):
    """What tells that a machine's clips or events have changed."""

    clips: ClipsMark
    event: int | None
    events: int
    broken: int  # files of a broken sensor


@dataclass(frozen=True, slots=True)
class History:
    """All that the store has of a machine, as of one moment."""

    machine: str
    clips: JudgedTable  # oldest recording first
    failed: list[Heard]
    events: list[EventRow]
    mark: Mark  # differs once anything of this has changed
    stored: StoredClips  # what `clips` were made of


@many_rows()
def history_of(store: Store, machine: str) -> History:
    """What is known of a machine now, clips without rows included: those that were pruned."""
    columns = clip_scores.c
    names = (columns.recorded_at, columns.reason, columns.recorded_at_source)
    failed = sa.select(*names).where(columns.machine == machine, IS_FAILED)
    with store.reading() as connection:
        mark = mark_of(connection, machine)
        stored = read_clips(connection, machine, mark.clips)
        clips = _dated(_with_pruned(stored, _with_twins(connection, machine, _with_rows(stored))))
        lost = [
            Heard(datetime.fromisoformat(at), "failed", reason, source != "mtime")
            for at, reason, source in connection.execute(failed)
        ]
        return History(machine, clips, stored.lost + lost, events_of(connection, machine), mark, stored)


def keep_read(store: Store, history: History) -> None:
    """Let the next one who asks for the history read it fast."""
    if may_keep(history.stored):
        with store.writing() as connection:
            keep_clips(connection, history.machine, history.mark.clips, history.stored)


def stored_clips(connection: sa.Connection, machine: str) -> JudgedTable:
    """The machine's clips that have a row, oldest first by the recorders' clocks; a broken sensor's at all times."""
    stored = read_clips(connection, machine, clips_mark(connection, machine))
    return _with_twins(connection, machine, _with_rows(stored)).in_order()


def _with_rows(stored: StoredClips) -> JudgedTable:
    return stored.clips.take(slice(stored.pruned, None)) if stored.pruned else stored.clips


def _with_pruned(stored: StoredClips, clips: JudgedTable) -> JudgedTable:
    """The clips that have rows, and those that were pruned: what was scored again after that counts by its row."""
    old = stored.clips.take(slice(stored.pruned))
    if not stored.apart:
        old = JudgedTable.of(without_renewed(old, clips))
    return JudgedTable.joined([old, clips]).in_order()


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
    return JudgedTable.joined([clips, replace(clips.take(which), micros=micros)])


def _dated(clips: JudgedTable) -> JudgedTable:
    """The clips; what was judged before it was recorded counts from when it was judged.

    A recorder's clock that jumps ahead would else be the machine's newest clip for years, and hide that it fell silent.
    Where most clips are from the future, it is this computer's clock that is behind.
    """
    ahead = clips.micros > clips.scored_at + AHEAD // timedelta(microseconds=1)
    if not 0 < ahead.sum() < len(clips) / 2:
        return clips
    return replace(clips, micros=np.where(ahead, clips.scored_at, clips.micros)).in_order()


def mark_of(connection: sa.Connection, machine: str) -> Mark:
    """The mark now."""
    known = sa.select(sa.func.max(events.c.id), sa.func.count()).where(events.c.machine == machine)
    seen = sa.select(sa.func.count()).where(files.c.machine == machine, IS_BROKEN)
    event, count = connection.execute(known).one()
    return Mark(clips_mark(connection, machine), event, count, connection.execute(seen).scalar_one())


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
