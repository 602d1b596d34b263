"""The copies of machines' lives, for their pages: to tell a life of years from its clips takes a second each time.

A copy is thinned out (`LifePoints.thinned`), in parts of ten days of which a job writes those that changed: as a rule
the last one. It is written together with the machine's row, and counts for no other: where a row was written without
it, or by another format, lives are told from their clips.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, NamedTuple

import numpy as np
import sqlalchemy as sa

from acoustic_ad.health.clip_table import micros_of
from acoustic_ad.health.life_points import COLUMNS, DAY, LifePoints
from acoustic_ad.health.records import StateChange
from acoustic_ad.jobs.alarm_schema import events
from acoustic_ad.jobs.database import upsert
from acoustic_ad.jobs.life import Life, Standing, begin_of, is_coarse
from acoustic_ad.jobs.schema import MachineRow, machines, utc_text
from acoustic_ad.jobs.upkeep_schema import kept_lives, life_parts

PART: Final = 10 * DAY
_FORMAT: Final = 1
_OF_ROW: Final = ("state", "since", "index", "clips", "last_clip_at", "model")  # what tells a row from those before it
_TYPES: Final = {"micros": "<i8", "z": "<f4", "index": "<f4", "slow": "<f4", "stands_for": "<i4", "keys": "S"}


class _Part(NamedTuple):
    number: int
    digest: str
    data: bytes | None  # None: as it is in the store


@dataclass(frozen=True, slots=True)
class PackedLife:
    """A life as the store keeps it, what is there already left out."""

    head: dict[str, Any]
    parts: list[_Part]


def packed_life(connection: sa.Connection, machine: str, life: Life) -> PackedLife:
    """The copy of a life."""
    there = _digests(connection, machine)
    points, parts = life.points.thinned(), []
    of_points = points.micros // PART
    of_changes = np.array([micros_of(change.at) // PART for change in life.changes], np.int64)
    for number in np.union1d(of_points, of_changes).tolist():
        here = slice(*np.searchsorted(of_points, (number, number + 1)).tolist())
        low, high = np.searchsorted(of_changes, (number, number + 1)).tolist()
        raw = _raw(points.take(here), life.changes[max(low - 1, 0) : high])
        digest = _digest(raw)
        parts.append(_Part(number, digest, None if there.get(number) == digest else zlib.compress(raw)))
    head = {
        "format": _FORMAT,
        "standing": None if life.standing is None else [utc_text(life.standing.began_at), life.standing.worst],
        "first": utc_text(life.first),
        "last": utc_text(life.last),
        "usual_gap_s": life.usual_gap_s,
        "parts": _digest_of_all({part.number: part.digest for part in parts}),
    }
    return PackedLife(head, parts)


def keep_life(connection: sa.Connection, row: MachineRow, life: PackedLife) -> None:
    """Write the copy beside the machine's row, inside the caller's transaction."""
    machine, parts = row.machine, life_parts.c
    there = _digests(connection, machine)
    if any(part.data is None and there.get(part.number) != part.digest for part in life.parts):
        connection.execute(kept_lives.delete().where(kept_lives.c.machine == machine))
        return  # another job wrote to it meanwhile
    for gone in there.keys() - {part.number for part in life.parts}:
        connection.execute(life_parts.delete().where(parts.machine == machine, parts.part == gone))
    changed = [
        {"machine": machine, "part": part.number, "digest": part.digest, "data": part.data}
        for part in life.parts
        if part.data is not None
    ]
    if changed:
        upsert(connection, life_parts, ["machine", "part"], changed, update=True)
    of_row = [_stored(getattr(row, name)) for name in _OF_ROW]
    head = json.dumps({**life.head, "row": of_row})
    upsert(connection, kept_lives, ["machine"], [{"machine": machine, "head": head}], update=True)


def read_life(connection: sa.Connection, machine: str, end: datetime | None, days: float | None) -> Life | None:
    """The copy of a machine's life, as far back as a window of the last days before `end` needs it (None: the last
    clip, all days); None where there is no copy that fits the machine's row and is fine enough for the window."""
    row = connection.execute(sa.select(machines).where(machines.c.machine == machine)).mappings().first()
    text = connection.scalar(sa.select(kept_lives.c.head).where(kept_lives.c.machine == machine))
    head = {} if text is None else json.loads(text)
    if row is None or head.get("format") != _FORMAT or head["row"] != [row[name] for name in _OF_ROW]:
        return None
    life = _of_head(head)
    end = end or life.last
    begin = begin_of(life.first, end, days)
    later = sa.select(sa.func.count()).where(events.c.machine == machine, events.c.at > utc_text(life.last))
    if end < life.last or not is_coarse(row["clips"], begin, end) or connection.scalar(later):
        return None
    if _digest_of_all(_digests(connection, machine)) != head["parts"]:
        return None
    return _with_parts(connection, machine, life, begin, end)


def damaged_lives(connection: sa.Connection) -> list[str]:
    """Machines whose copy cannot be read, in words."""
    found = []
    for row in connection.execute(sa.select(life_parts).order_by(life_parts.c.machine, life_parts.c.part)):
        try:
            _unpacked(row.data, row.digest)
        except ValueError as error:
            found.append(f"{row.machine}: part {row.part} of what its page shows is damaged: {error}")
    return found


def _with_parts(connection: sa.Connection, machine: str, life: Life, begin: datetime, end: datetime) -> Life | None:
    """The life with what is needed of its parts, the one before the window included: what it began with."""
    first, columns = micros_of(life.heard_from(begin)) // PART, life_parts.c
    before = sa.select(sa.func.max(columns.part)).where(columns.machine == machine, columns.part < first)
    since = connection.scalar(before)
    query = sa.select(columns.data, columns.digest).where(columns.machine == machine)
    query = query.where(columns.part >= (first if since is None else since)).order_by(columns.part)
    try:
        parts = [_unpacked(*part) for part in connection.execute(query)]
    except ValueError:
        return None
    # Each part begins with the change before it, if there is one.
    changes = list(dict.fromkeys(change for _, some in parts for change in some))
    points = LifePoints.joined([points for points, _ in parts if len(points)] or [LifePoints.none()])
    return replace(life, points=points, changes=tuple(changes)).seen_from(end)


def _of_head(head: dict[str, Any]) -> Life:
    standing = None
    if head["standing"] is not None:
        began, worst = head["standing"]
        standing = Standing(datetime.fromisoformat(began), worst)
    first, last = (datetime.fromisoformat(head[name]) for name in ("first", "last"))
    return Life(LifePoints.none(), (), standing, first, last, head["usual_gap_s"])


def _stored(value: Any) -> Any:
    return utc_text(value) if isinstance(value, datetime) else value


def _digests(connection: sa.Connection, machine: str) -> dict[int, str]:
    columns = life_parts.c
    query = sa.select(columns.part, columns.digest).where(columns.machine == machine)
    return {row.part: row.digest for row in connection.execute(query)}


def _digest_of_all(parts: dict[int, str]) -> str:
    return _digest(repr(sorted(parts.items())).encode())


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def _raw(points: LifePoints, changes: Sequence[StateChange]) -> bytes:
    head = {
        "points": len(points),
        "width": points.keys.itemsize,
        "changes": [[utc_text(one.at), one.state, one.previous, one.rule] for one in changes],
    }
    text = json.dumps(head).encode()
    columns = (getattr(points, name).astype(_TYPES[name], copy=False).tobytes() for name in COLUMNS)
    return b"".join([len(text).to_bytes(4, "little"), text, *columns])


def _unpacked(data: bytes, digest: str) -> tuple[LifePoints, list[StateChange]]:
    """The inverse of `_raw`, compressed. Raises ValueError for what is damaged."""
    try:
        raw = zlib.decompress(data)
    except zlib.error as error:
        raise ValueError(str(error)) from error
    if _digest(raw) != digest:
        raise ValueError("its digest is another")
    begin = 4 + int.from_bytes(raw[:4], "little")
    head = json.loads(raw[4:begin])
    columns = {}
    for name, kind in _TYPES.items():
        columns[name] = np.frombuffer(raw, f"S{head['width']}" if kind == "S" else kind, head["points"], begin)
        begin += columns[name].nbytes
    changes = [StateChange(datetime.fromisoformat(at), *rest) for at, *rest in head["changes"]]
    return LifePoints(**columns), changes
