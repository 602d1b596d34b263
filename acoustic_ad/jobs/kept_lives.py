"""The copies of machines' lives, for their pages: to tell a life of years from its clips takes a second each time.

A copy is thinned out (`LifePoints.thinned`), in parts of ten days of which a job writes those that changed: as a rule
the last one, and those that are damaged.

It is written together with the machine's row. Whoever writes clips or events of the machine takes it out in the same
transaction (`upkeep_schema.forget_lives`), and it counts for no other model or policy: lives are then told from their
clips.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import sqlalchemy as sa

from acoustic_ad.health.clip_table import micros_of
from acoustic_ad.health.life_points import COLUMNS, DAY, LifePoints
from acoustic_ad.health.records import StateChange
from acoustic_ad.jobs.alarm_schema import events
from acoustic_ad.jobs.database import upsert
from acoustic_ad.jobs.life import Life, begin_of, is_coarse
from acoustic_ad.jobs.machine_facts import FACTS_FORMAT
from acoustic_ad.jobs.schema import machines, utc_text
from acoustic_ad.jobs.upkeep_schema import forget_lives, kept_lives, life_parts

if TYPE_CHECKING:
    from acoustic_ad.jobs.baselines import Baselines

PART: Final = 10 * DAY
_FORMAT: Final = 1
_HEADS: Final = sa.select(kept_lives.c.machine, kept_lives.c.head, machines.c.clips).join_from(
    kept_lives, machines, kept_lives.c.machine == machines.c.machine
)
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


def packed_life(connection: sa.Connection, baselines: Baselines, machine: str, life: Life) -> PackedLife:
    """The copy of a life that was told by these models."""
    there = _whole_parts(connection, machine)
    points, parts = life.points.thinned(), []
    of_points = points.micros // PART
    of_changes = np.array([micros_of(change.at) // PART for change in life.changes], np.int64)
    for number in np.union1d(of_points, of_changes).tolist():
        here = slice(*np.searchsorted(of_points, (number, number + 1)).tolist())
        low, high = np.searchsorted(of_changes, (number, number + 1)).tolist()
        raw = _raw(points.take(here), life.changes[max(low - 1, 0) : high])
        digest, known = _digest(raw), there.get(number, "")
        if known.startswith(digest):
            parts.append(_Part(number, known, None))
        else:
            data = zlib.compress(raw)
            parts.append(_Part(number, digest + _checksum(data), data))
    head = {
        "format": _FORMAT,
        "told_by": _told_by(baselines, machine),
        "worst": life.worst,
        "usual": life.usual,
        "first": utc_text(life.first),
        "last": utc_text(life.last),
        "usual_gap_s": life.usual_gap_s,
        "parts": _digest_of_all({part.number: part.digest for part in parts}),
    }
    return PackedLife(head, parts)


def keep_life(connection: sa.Connection, machine: str, life: PackedLife) -> None:
    """Write the copy, inside the transaction that writes the machine's row."""
    parts = life_parts.c
    there = _digests(connection, machine)
    if any(part.data is None and there.get(part.number) != part.digest for part in life.parts):
        forget_lives(connection, [machine])
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
    head = {"machine": machine, "head": json.dumps(life.head)}
    upsert(connection, kept_lives, ["machine"], [head], update=True)


def read_life(
    connection: sa.Connection, baselines: Baselines, machine: str, end: datetime | None, days: float | None
) -> Life | None:
    """The copy of a machine's life, as far back as a window of the last days before `end` needs it (None: the last
    clip, all days); None where there is none that these models told and that is fine enough for the window."""
    row = connection.execute(_HEADS.where(machines.c.machine == machine)).first()
    if row is None:
        return None
    try:
        head, life = _of_head(row.head)
    except ValueError:
        return None
    end = end or life.last
    begin = begin_of(life.first, end, days)
    later = sa.select(sa.func.count()).where(events.c.machine == machine, events.c.at > utc_text(life.last))
    if end < life.last or not is_coarse(row.clips, begin, end) or connection.scalar(later):
        return None
    if head["told_by"] != _told_by(baselines, machine) or head["parts"] != _digest_of_all(
        _digests(connection, machine)
    ):
        return None
    try:
        return _with_parts(connection, machine, life, begin).seen_from(end)
    except ValueError:
        return None


def damaged_lives(connection: sa.Connection) -> list[str]:
    """Machines whose copy cannot be read, in words."""
    found = []
    for row in connection.execute(_HEADS.order_by(machines.c.machine)):
        try:
            head, life = _of_head(row.head)
            if head["parts"] != _digest_of_all(_digests(connection, row.machine)):
                raise ValueError("its parts are not those that it names")
            _with_parts(connection, row.machine, life, life.first)
        except ValueError as error:
            found.append(f"{row.machine}: what its page shows is damaged, and told from its clips meanwhile: {error}")
    return found


def _with_parts(connection: sa.Connection, machine: str, life: Life, begin: datetime) -> Life:
    """The life with those of its parts that a window needs, the one before it included: what the window began with."""
    first, columns = micros_of(begin) // PART, life_parts.c
    before = sa.select(sa.func.max(columns.part)).where(columns.machine == machine, columns.part < first)
    since = connection.scalar(before)
    query = sa.select(columns.data, columns.digest).where(columns.machine == machine)
    query = query.where(columns.part >= (first if since is None else since)).order_by(columns.part)
    parts = [_unpacked(*part) for part in connection.execute(query)]
    # Each part begins with the change before it, if there is one.
    changes = list(dict.fromkeys(change for _, some in parts for change in some))
    points = LifePoints.joined([points for points, _ in parts if len(points)] or [LifePoints.none()])
    return replace(life, points=points, changes=tuple(changes))


def _of_head(text: str) -> tuple[dict[str, Any], Life]:
    """What a head says, and the life without its parts. Raises ValueError where it is damaged, or of another format."""
    try:
        head = json.loads(text)
        if head["format"] != _FORMAT or not {"told_by", "parts"} <= head.keys():
            raise ValueError("of another format")
        worst = None if head["worst"] is None else tuple(head["worst"])
        first, last = (datetime.fromisoformat(head[name]) for name in ("first", "last"))
        return head, Life(LifePoints.none(), (), worst, tuple(head["usual"]), first, last, float(head["usual_gap_s"]))
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{type(error).__name__} {error}") from error


def _told_by(baselines: Baselines, machine: str) -> str:
    """What a life depends on beside clips and events."""
    return _digest(repr((FACTS_FORMAT, baselines.digest(machine), baselines.policy(machine))).encode())


def _digests(connection: sa.Connection, machine: str) -> dict[int, str]:
    columns = life_parts.c
    query = sa.select(columns.part, columns.digest).where(columns.machine == machine)
    return {row.part: row.digest for row in connection.execute(query)}


def _whole_parts(connection: sa.Connection, machine: str) -> dict[int, str]:
    """The digests of the parts that are what they were when they were written."""
    columns = life_parts.c
    found = connection.execute(sa.select(columns.part, columns.digest, columns.data).where(columns.machine == machine))
    return {part: digest for part, digest, data in found if digest.endswith(_checksum(data))}


def _digest_of_all(parts: dict[int, str]) -> str:
    return _digest(repr(sorted(parts.items())).encode())


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def _checksum(data: Any) -> str:
    return f" {zlib.crc32(data):08x}" if isinstance(data, bytes) else " no bytes"


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
    except (zlib.error, TypeError) as error:
        raise ValueError(str(error)) from error
    if not digest.startswith(_digest(raw)):
        raise ValueError("its digest is another")
    begin = 4 + int.from_bytes(raw[:4], "little")
    head = json.loads(raw[4:begin])
    columns = {}
    for name, kind in _TYPES.items():
        columns[name] = np.frombuffer(raw, f"S{head['width']}" if kind == "S" else kind, head["points"], begin)
        begin += columns[name].nbytes
    changes = [StateChange(datetime.fromisoformat(at), *rest) for at, *rest in head["changes"]]
    return LifePoints(**columns), changes
