"""What remains of a clip when its row is pruned: the few numbers that the health of its machine is told from.

Health is a pure function of all clips: charts gather from the first clip on, and usual gaps and numbers of clips are
learnt from all that came. So a pruned clip leaves a trace, in the summary of its day: some 80 bytes for a row, a line
in the ledger and their indexes.
"""

from __future__ import annotations

import json
import zlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from statistics import median
from typing import Any, Final, NamedTuple, TypeVar

import sqlalchemy as sa

from acoustic_ad.jobs.coverage import Heard
from acoustic_ad.jobs.database import upsert
from acoustic_ad.jobs.schema import utc_text
from acoustic_ad.jobs.upkeep_schema import machine_days

_DAY: Final = 10  # characters of a time that are its day


class Judged(NamedTuple):
    """A clip that is not failed, by its current row."""

    recorded_at: datetime
    status: str
    score: float | None
    p_value: float | None
    sha256: str
    model: str
    level_db: float | None
    reason: str | None
    scored_at: str


_Clip = TypeVar("_Clip", Judged, Heard)


@dataclass(frozen=True, slots=True)
class Traces:
    """Clips of a machine that have no rows any more."""

    clips: list[Judged] = field(default_factory=list)
    failed: list[Heard] = field(default_factory=list)

    def packed(self) -> bytes:
        """As the store keeps them: JSON, compressed by zlib. Every number comes back digit for digit."""
        clips = [[utc_text(at), *rest] for at, *rest in self.clips]
        failed = [[utc_text(clip.recorded_at), clip.reason, clip.dated] for clip in self.failed]
        text = json.dumps({"clips": clips, "failed": failed}, separators=(",", ":"), allow_nan=False)
        return zlib.compress(text.encode(), 9)

    @classmethod
    def unpacked(cls, data: bytes) -> Traces:
        """The inverse of `packed`. Raises ValueError where the bytes are damaged."""
        try:
            found = json.loads(zlib.decompress(data))
            clips = [Judged(datetime.fromisoformat(at), *rest) for at, *rest in found["clips"]]
            lost = [Heard(datetime.fromisoformat(at), "failed", why, dated) for at, why, dated in found["failed"]]
        except (zlib.error, KeyError, TypeError) as error:
            raise ValueError(f"the trace is damaged: {error}") from error
        return cls(clips, lost)


def traces_of(connection: sa.Connection, machine: str) -> Traces:
    """All of a machine's traces, oldest day first."""
    query = sa.select(machine_days.c.trace).where(machine_days.c.machine == machine).order_by(machine_days.c.day)
    found = Traces()
    for data in connection.scalars(query):
        day = Traces.unpacked(data)
        found.clips.extend(day.clips)
        found.failed.extend(day.failed)
    return found


def without_renewed(old: Iterable[Judged], new: Iterable[Judged]) -> list[Judged]:
    """The `old` ones that `new` ones do not stand for.

    A clip is known by its content, whatever time it is given when it is scored again; but a broken sensor makes the
    same bytes at different times.
    """
    new = list(new)
    contents = {clip.sha256 for clip in new if clip.status != "sensor_fault"}
    moments = {(clip.sha256, clip.recorded_at) for clip in new}
    return [clip for clip in old if clip.sha256 not in contents and (clip.sha256, clip.recorded_at) not in moments]


def add_traces(connection: sa.Connection, machine: str, traces: Traces, now: datetime) -> None:
    """Write them to their days, inside the caller's transaction.

    A clip that has a trace already, because it was scored again after it had been pruned, has the new one only.
    """
    clips, failed = _by_day(traces.clips), _by_day(traces.failed)
    own = clips.keys() | failed.keys()
    known = connection.scalars(sa.select(machine_days.c.day).where(machine_days.c.machine == machine)).all()
    for day in sorted(own.union(known)):
        here = (machine_days.c.machine == machine) & (machine_days.c.day == day)
        data = connection.scalar(sa.select(machine_days.c.trace).where(here))
        before = Traces() if data is None else Traces.unpacked(data)
        kept = without_renewed(before.clips, traces.clips)
        if day not in own and len(kept) == len(before.clips):
            continue
        whole = Traces(sorted([*kept, *clips.get(day, [])], key=_order), [*before.failed, *failed.get(day, [])])
        row = {"machine": machine, "day": day, **summary_of(whole), "trace": whole.packed(), "pruned_at": utc_text(now)}
        upsert(connection, machine_days, ["machine", "day"], [row], update=True)


def summary_of(traces: Traces) -> dict[str, Any]:
    """What people may want to know of a day: how many clips of which outcome, and how unusual they were."""
    counts = Counter(clip.status for clip in traces.clips)
    scores = [clip.score for clip in traces.clips if clip.score is not None]
    levels = [clip.level_db for clip in traces.clips if clip.level_db is not None]
    return {
        "scored": counts["scored"],
        "off": counts["off"],
        "sensor_fault": counts["sensor_fault"],
        "failed": len(traces.failed),
        "score_median": median(scores) if scores else None,
        "score_max": max(scores, default=None),
        "p_value_min": min((clip.p_value for clip in traces.clips if clip.p_value is not None), default=None),
        "level_db_median": median(levels) if levels else None,
    }


def damaged_days(connection: sa.Connection) -> list[str]:
    """Days whose trace cannot be read, or is not what their columns say, in words."""
    found = []
    for row in connection.execute(sa.select(machine_days).order_by(machine_days.c.machine, machine_days.c.day)):
        try:
            said = summary_of(Traces.unpacked(row.trace))
        except ValueError as error:
            found.append(f"{row.day} of {row.machine}: {error}")
            continue
        if any(row._mapping[name] != value for name, value in said.items()):
            found.append(f"{row.day} of {row.machine}: the summary is not that of its trace")
    return found


def _by_day(clips: Iterable[_Clip]) -> dict[str, list[_Clip]]:
    found: dict[str, list[_Clip]] = {}
    for clip in clips:
        found.setdefault(utc_text(clip.recorded_at)[:_DAY], []).append(clip)
    return found


def _order(clip: Judged) -> tuple[datetime, str]:
    return clip.recorded_at, clip.sha256
