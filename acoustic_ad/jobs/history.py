"""A machine's clips as its health needs them: a few numbers of every clip, all columns only of the few that explain."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa

from acoustic_ad.jobs.alarm_book import events_of
from acoustic_ad.jobs.alarm_schema import EventRow, events
from acoustic_ad.jobs.coverage import Heard
from acoustic_ad.jobs.day_traces import Judged, traces_of, without_renewed
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
    clips: list[Judged]  # oldest recording first
    failed: list[Heard]
    events: list[EventRow]
    mark: tuple[Any, ...]  # differs once anything of this has changed

    def heard(self) -> list[Heard]:
        """Every clip, failed ones included."""
        return [Heard(clip.recorded_at, clip.status) for clip in self.clips] + self.failed


@many_rows()
def history_of(store: Store, machine: str) -> History:
    """What is known of a machine now, clips without rows included: those that were pruned."""
    columns = clip_scores.c
    names = (columns.recorded_at, columns.reason, columns.recorded_at_source)
    failed = sa.select(*names).where(columns.machine == machine, IS_FAILED)
    with store.reading() as connection:
        clips = stored_clips(connection, machine)
        lost = [
            Heard(datetime.fromisoformat(at), "failed", reason, source != "mtime")
            for at, reason, source in connection.execute(failed)
        ]
        traces = traces_of(connection, machine)
        if traces.clips:  # what was scored again after it had been pruned counts by its row
            clips = _in_order([*without_renewed(traces.clips, clips), *clips])
        known = events_of(connection, machine)
        return History(machine, _dated(clips), traces.failed + lost, known, mark_of(connection, machine))


def stored_clips(connection: sa.Connection, machine: str) -> list[Judged]:
    """The machine's clips that have a row, oldest first by the recorders' clocks; a broken sensor's at all times."""
    columns = clip_scores.c
    judged = (
        sa.select(columns.id, *(columns[name] for name in Judged._fields))
        .where(columns.machine == machine, ~IS_FAILED)
        .order_by(columns.recorded_at, columns.sha256)
    )
    rows = connection.execute(judged).fetchall()
    newest: dict[str, int] = {}  # of the rows of one content; to ask the store for each row takes twice the time of all
    for row in rows:
        newest[row.sha256] = max(row.id, newest.get(row.sha256, 0))
    clips = [Judged(datetime.fromisoformat(at), *rest) for id_, at, *rest in rows if newest[rest[3]] == id_]
    return _with_twins(connection, machine, clips)


def _in_order(clips: Iterable[Judged]) -> list[Judged]:
    return sorted(clips, key=lambda clip: (clip.recorded_at, clip.sha256))


def _with_twins(connection: sa.Connection, machine: str, clips: list[Judged]) -> list[Judged]:
    """The clips, those of a broken sensor at every time that a file of the same bytes was recorded.

    A dead microphone gives nothing but the same silence: one clip in the store, and yet a machine that is still heard.
    """
    query = sa.select(files.c.sha256, files.c.recorded_at).distinct()
    found = connection.execute(query.where(files.c.machine == machine, IS_BROKEN, files.c.recorded_at.is_not(None)))
    first = {clip.sha256: clip for clip in clips if clip.status == "sensor_fault"}
    twins = {
        clip._replace(recorded_at=datetime.fromisoformat(at)) for content, at in found if (clip := first.get(content))
    }
    return _in_order(twins.union(clips)) if twins else clips


def _dated(clips: list[Judged]) -> list[Judged]:
    """The clips; what was judged before it was recorded counts from when it was judged.

    A recorder's clock that jumps ahead would else be the machine's newest clip for years, and hide that it fell silent.
    Where most clips are from the future, it is this computer's clock that is behind.
    """
    judged = [datetime.fromisoformat(clip.scored_at) for clip in clips]
    ahead = {number for number, at in enumerate(judged) if clips[number].recorded_at > at + AHEAD}
    if not 0 < len(ahead) < len(clips) / 2:
        return clips
    dated = [clip._replace(recorded_at=judged[n]) if n in ahead else clip for n, clip in enumerate(clips)]
    return _in_order(dated)


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
