"""A machine's clips once more, as columns in a few large values: to read a year of rows takes ten times as long.

It is a copy, which may go at any time: whoever reads it holds it against the rows, and reads those where it does not
fit. What it cannot see by their numbers, a row that another took the place of, is told to it: see `forget_clips`.
Clips that came since are read from their rows, until they are worth a part of their own. Parts grow as they are joined:
a clip is written down anew a few times only, however many come after it.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, NamedTuple

import numpy as np
import sqlalchemy as sa

from acoustic_ad.health.clip_table import Keys, time_of
from acoustic_ad.jobs.coverage import Heard
from acoustic_ad.jobs.day_traces import Judged, traces_of
from acoustic_ad.jobs.judged_table import JudgedTable
from acoustic_ad.jobs.schema import clip_scores, utc_text
from acoustic_ad.jobs.upkeep_schema import kept_clips, machine_days

FEWEST: Final = 500  # clips in a part of their own
MOST: Final = 20_000  # clips in a part that others still join
_FORMAT: Final = 1
_TYPES: Final = {
    "micros": "<i8",
    "scored_at": "<i8",
    "status": "i1",
    "score": "<f8",
    "p_value": "<f8",
    "level_db": "<f8",
    "model": "<i4",
    "reason": "<i4",
    "keys": "S",
}


class ClipsMark(NamedTuple):
    """What tells that the rows or traces of a machine's clips have changed."""

    newest: int  # id of a row, failed ones included
    rows: int
    ids: int  # their sum
    pruned_at: str | None
    days: int


class _Counted(NamedTuple):
    """The rows of a machine up to one of them, failed ones included."""

    until: int = 0
    rows: int = 0
    ids: int = 0


@dataclass(frozen=True, slots=True)
class StoredClips:
    """All clips of a machine, each content once, in no order: those that were pruned, then those that have rows."""

    clips: JudgedTable
    pruned: int
    lost: list[Heard]  # failed ones that were pruned
    apart: bool  # no content is among both
    parts: Sequence[int] = ()  # how many of the clips, from the first on, each part holds that is kept
    counted: _Counted = field(default_factory=_Counted)
    outdated: bool = False  # parts are kept that do not fit


def clips_mark(connection: sa.Connection, machine: str) -> ClipsMark:
    """The mark now."""
    row, day = clip_scores.c, machine_days.c
    clips = sa.select(sa.func.max(row.id), sa.func.count(), sa.func.sum(row.id)).where(row.machine == machine)
    pruned = sa.select(sa.func.max(day.pruned_at), sa.func.count()).where(day.machine == machine)
    newest, rows, ids = connection.execute(clips).one()
    return ClipsMark(newest or 0, rows, int(ids or 0), *connection.execute(pruned).one())


def read_clips(connection: sa.Connection, machine: str, mark: ClipsMark) -> StoredClips:
    """The machine's clips: the parts that are kept and the rows since, or where those do not fit, all rows."""
    columns = kept_clips.c
    query = sa.select(kept_clips).where(columns.machine == machine).order_by(columns.part)
    parts = connection.execute(query).all()
    found = _from_parts(connection, machine, mark, parts) if parts else None
    return found or _from_rows(connection, machine, outdated=bool(parts))


def may_keep(stored: StoredClips) -> bool:
    """Whether there is anything to do for `keep_clips`."""
    return stored.outdated or (stored.apart and len(stored.clips) - sum(stored.parts) >= FEWEST)


def keep_clips(connection: sa.Connection, machine: str, mark: ClipsMark, stored: StoredClips) -> None:
    """Keep the clips as parts, as far as that is worth it, inside the caller's transaction: as of `mark`."""
    if clips_mark(connection, machine) != mark:
        return
    if stored.outdated:
        forget_clips(connection, [machine])
    parts = list(stored.parts)
    new = len(stored.clips) - sum(parts)
    if not stored.apart or new < FEWEST:
        return
    while parts and parts[-1] < min(2 * new, MOST):
        new += parts.pop()
    first = sum(parts)
    connection.execute(kept_clips.delete().where(kept_clips.c.machine == machine, kept_clips.c.part >= len(parts)))
    common = {"machine": machine, **stored.counted._asdict(), "pruned_at": mark.pruned_at, "days": mark.days}
    common["clips"] = first + new
    for number, begin in enumerate(range(first, first + new, MOST), len(parts)):
        some = stored.clips.take(slice(begin, begin + MOST))
        data = _packed(some, stored.lost if number == 0 else [], max(stored.pruned - begin, 0))
        row = {**common, "part": number, "data": data}
        connection.execute(kept_clips.insert().values(row))


def forget_clips(connection: sa.Connection, machines: Collection[str]) -> None:
    """Drop what is kept of machines, of which rows go or change."""
    for machine in machines:
        connection.execute(kept_clips.delete().where(kept_clips.c.machine == machine))


def wrongly_kept(connection: sa.Connection) -> list[str]:
    """Machines of which other clips are kept than there are, in words."""
    found = []
    machines = connection.scalars(sa.select(kept_clips.c.machine).distinct().order_by(kept_clips.c.machine)).all()
    for machine in machines:
        kept = read_clips(connection, machine, clips_mark(connection, machine))
        there = _from_rows(connection, machine)
        if kept.lost != there.lost or not kept.clips.in_order().equals(there.clips.in_order()):
            found.append(f"{machine}: its clips are kept for its health otherwise than their rows say")
    return found


# --- reading ---------------------------------------------------------------------------------------------------------


def _from_parts(connection: sa.Connection, machine: str, mark: ClipsMark, parts: Sequence[Any]) -> StoredClips | None:
    last = parts[-1]
    before = _Counted(last.until, last.rows, last.ids)
    if (last.pruned_at, last.days) != (mark.pruned_at, mark.days):
        return None
    try:
        unpacked = [_unpacked(part.data) for part in parts]
    except ValueError:
        return None
    tables = [table for table, *_ in unpacked]
    whole = JudgedTable.joined(tables)
    fresh = _rows_since(connection, machine, mark, before, whole)
    if fresh is None or len(whole) != last.clips:
        return None
    new = _newest(fresh)
    if _have_common(whole.keys, new.keys):  # scored again, or heard again after it was pruned
        return None
    (_, lost, _), pruned = unpacked[0], sum(pruned for *_, pruned in unpacked)
    clips = JudgedTable.joined([whole, new])
    return StoredClips(clips, pruned, lost, True, [len(table) for table in tables], _counted(fresh, before))


def _from_rows(connection: sa.Connection, machine: str, outdated: bool = False) -> StoredClips:
    rows = _rows_after(connection, machine, 0)
    traces = traces_of(connection, machine)
    old, new = JudgedTable.of(traces.clips), _newest(rows)
    apart = set(old.keys.tolist()).isdisjoint(new.keys.tolist())
    clips = JudgedTable.joined([old, new.in_order()])
    return StoredClips(clips, len(old), traces.failed, apart, (), _counted(rows, _Counted()), outdated)


def _rows_since(
    connection: sa.Connection, machine: str, mark: ClipsMark, before: _Counted, whole: JudgedTable
) -> list[Any] | None:
    """The rows that came after those of the parts; None where those are no longer what they were.

    To look at the numbers of all rows takes long, and most clips come as they are recorded. Where the latest recordings
    are not all that came, the sums say so: what went had lower numbers than what came.
    """
    for since in (utc_text(time_of(whole.micros.max())) if len(whole) else "", ""):
        rows = _rows_after(connection, machine, before.until, since)
        if (mark.rows - len(rows), mark.ids - sum(row.id for row in rows)) == (before.rows, before.ids):
            return rows
    return None


def _rows_after(connection: sa.Connection, machine: str, until: int, since: str = "") -> list[Any]:
    """The rows that came later than one, as they came, recorded at a time or later."""
    columns = clip_scores.c
    query = sa.select(columns.id, *(columns[name] for name in Judged._fields))
    query = query.where(columns.machine == machine, columns.id > until, columns.recorded_at >= since)
    return sorted(connection.execute(query).fetchall(), key=lambda row: row[0])


def _newest(rows: Sequence[Any]) -> JudgedTable:
    """The clips that are not failed, of each content by its newest row."""
    table = JudgedTable.of_rows([row[1:] for row in rows if row.status != "failed"])
    newest = {content: number for number, content in enumerate(table.keys.tolist())}
    if len(newest) == len(table):
        return table
    return table.take(np.fromiter(newest.values(), np.intp, len(newest)))


def _counted(rows: Sequence[Any], before: _Counted) -> _Counted:
    """Up to the newest row that is no failed one: those may go when their files can be read after all."""
    until = max((row.id for row in rows if row.status != "failed"), default=before.until)
    ids = [row.id for row in rows if row.id <= until]
    return _Counted(until, before.rows + len(ids), before.ids + sum(ids))


def _have_common(many: Keys, few: Keys) -> bool:
    """Whether a key is among both: by their beginnings first, which are quickly compared as numbers."""
    if not many.size or not few.size:
        return False
    here, there = (keys.astype("S8").view(np.uint64) for keys in (many, few))
    known = np.sort(there)
    places = np.minimum(np.searchsorted(known, here), known.size - 1)
    alike = many[known[places] == here]
    return not set(alike.tolist()).isdisjoint(few.tolist())


# --- as bytes --------------------------------------------------------------------------------------------------------


def _packed(table: JudgedTable, lost: Sequence[Heard], pruned: int) -> bytes:
    head = {
        "format": _FORMAT,
        "clips": len(table),
        "width": table.keys.itemsize,
        "pruned": min(pruned, len(table)),
        "models": table.models,
        "reasons": table.reasons,
        "lost": [[utc_text(clip.recorded_at), clip.reason, clip.dated] for clip in lost],
    }
    text = json.dumps(head).encode()
    columns = (getattr(table, name).astype(kind, copy=False).tobytes() for name, kind in _TYPES.items())
    return b"".join([len(text).to_bytes(4, "little"), text, *columns])


def _unpacked(data: bytes) -> tuple[JudgedTable, list[Heard], int]:
    """Clips, failed ones that were pruned, and how many of the clips were. Raises ValueError for what is no part."""
    begin = 4 + int.from_bytes(data[:4], "little")
    try:
        head = json.loads(data[4:begin])
        if head["format"] != _FORMAT:
            raise ValueError("of another version")
        columns = dict(_columns(data, begin, head["clips"], head["width"]))
        lost = [Heard(datetime.fromisoformat(at), "failed", why, dated) for at, why, dated in head["lost"]]
        table = JudgedTable(**columns, models=tuple(head["models"]), reasons=tuple(head["reasons"]))
        return table, lost, head["pruned"]
    except (KeyError, TypeError) as error:
        raise ValueError(f"damaged: {error}") from error


def _columns(data: bytes, begin: int, clips: int, width: int) -> Iterator[tuple[str, Any]]:
    for name, kind in _TYPES.items():
        column = np.frombuffer(data, f"S{width}" if kind == "S" else kind, clips, begin)
        begin += column.nbytes
        yield name, column
