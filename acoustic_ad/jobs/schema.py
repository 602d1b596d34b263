"""What the store keeps of clips and machines: its tables, and the records that stand for their rows.

Alarms, events and what operators did are in `alarm_schema`.

Times are ISO 8601 text in UTC with six decimals ("2026-01-05T14:30:00.000000Z"): the same in SQLite and PostgreSQL,
readable in any tool, and sorting as text is sorting by time. Lists and mappings are JSON text. Text sorts by code
point everywhere, as in Python. How a schema becomes the next one is in `migration`.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final, Literal, cast

import sqlalchemy as sa

from acoustic_ad.jobs.column_types import RowId, Text
from acoustic_ad.sound.clip import printable_text

Status = Literal["scored", "failed", "off", "sensor_fault"]
STATUSES: Final = ("scored", "failed", "off", "sensor_fault")


# --- records ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ClipRow:
    """One outcome of one clip: a row of `clip_scores`, of `--out`, and of a machine's history.

    A row that is not `failed` has `sha256` and `model`, which with `machine` are its identity; only `scored` rows have
    a finite `score` (higher = more anomalous). `recorded_at` has a zone; the store returns it in UTC.
    """

    clip_id: str
    machine: str
    recorded_at: datetime
    recorded_at_source: str  # manifest, name or mtime
    sha256: str | None  # of the file's bytes; None where they could not be read
    model: str | None  # the model's digest; None in failed rows
    score: float | None
    p_value: float | None  # in (0, 1]
    status: Status
    reason: str | None = None  # a code of errors.CLIP_CODES or SENSOR_CODES
    detail: str | None = None  # the reason in words
    bands: tuple[Mapping[str, Any], ...] = ()  # what stands out, as JSON objects
    label: str = "unknown"
    index: float | None = None  # 0..100, the score on a scale that all machines share; 50 is the limit of normal
    duration_s: float | None = None
    level_db: float | None = None
    also_known_as: tuple[str, ...] = ()  # other clip_ids with the same bytes; kept by the store
    scored_at: datetime | None = None  # set by the store
    run_id: int | None = None  # set by the store


@dataclass(frozen=True, slots=True)
class FileFact:
    """What was seen of a file when its bytes were read, for the ledger."""

    clip_id: str
    machine: str
    size: int
    mtime_ns: int
    sha256: str | None  # None where the file could not be read
    ctime_ns: int = 0  # 0: not known, and not compared
    recorded_at: datetime | None = None  # with a zone; None where nobody asked

    @classmethod
    def of(
        cls,
        clip_id: str,
        machine: str,
        stat: os.stat_result,
        sha256: str | None,
        recorded_at: datetime | None = None,
    ) -> FileFact:
        """The fact as `stat`, taken before the bytes were read, tells it."""
        return cls(clip_id, machine, stat.st_size, stat.st_mtime_ns, sha256, stat.st_ctime_ns, recorded_at)

    @property
    def as_unread(self) -> FileFact:
        """The same of a file that could not be read: never taken for untouched, so that it is tried again."""
        return replace(self, size=-1)


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """What the ledger remembers of a file: how it looked, and what became of it."""

    size: int
    mtime_ns: int
    ctime_ns: int
    sha256: str | None
    outcome: Status
    reason: str | None

    def is_still(self, stat: os.stat_result) -> bool:
        """Whether the file looks untouched, so that it need not even be hashed.

        The change time is compared too: recordings of a fixed length all have one size, and copying tools restore
        modification times. A mere rename or chmod therefore costs one hash, and no second score.
        """
        return (
            stat.st_size == self.size
            and stat.st_mtime_ns == self.mtime_ns
            and (self.ctime_ns == 0 or stat.st_ctime_ns == self.ctime_ns)
        )


@dataclass(frozen=True, slots=True)
class MachineRow:
    """A machine's health as of its last clip."""

    machine: str
    state: str  # learning, normal, warning, alarm, off, no_data, sensor_fault
    since: datetime | None  # when it entered that state
    index: float | None  # health index; None where there is no usable clip
    clips: int
    last_clip_at: datetime | None
    model: str | None = None
    facts: Mapping[str, Any] | None = None  # whatever else the health policy keeps, as a JSON object
    failed: int = 0  # failed clips of this machine, counted by the store as it is read


# --- tables ----------------------------------------------------------------------------------------------------------

metadata = sa.MetaData()


def _only(where: sa.ColumnElement[bool]) -> dict[str, Any]:
    """That an index is of some rows only."""
    return {"sqlite_where": where, "postgresql_where": where}


schema_version = sa.Table("schema_version", metadata, sa.Column("version", sa.Integer, nullable=False))

runs = sa.Table(
    "runs",
    metadata,
    sa.Column("id", RowId, primary_key=True),
    sa.Column("root", Text, nullable=False),
    sa.Column("arguments", Text, nullable=False),
    sa.Column("version", Text, nullable=False),
    sa.Column("host", Text, nullable=False),
    sa.Column("pid", sa.Integer, nullable=False),
    sa.Column("started_at", Text, nullable=False),
    sa.Column("ended_at", Text),  # NULL: still running, or killed
    sa.Column("exit_code", sa.Integer),
    sa.Column("counts", Text),
)

clip_scores = sa.Table(
    "clip_scores",
    metadata,
    sa.Column("id", RowId, primary_key=True),
    sa.Column("clip_id", Text, nullable=False),
    sa.Column("machine", Text, nullable=False),
    sa.Column("recorded_at", Text, nullable=False),
    sa.Column("sha256", Text),
    sa.Column("model", Text),
    sa.Column("score", sa.Double),
    sa.Column("p_value", sa.Double),
    sa.Column("status", Text, nullable=False),
    sa.Column("reason", Text),
    sa.Column("bands", Text, nullable=False),
    sa.Column("recorded_at_source", Text, nullable=False),
    sa.Column("label", Text, nullable=False),
    sa.Column("index", sa.Double),
    sa.Column("detail", Text),
    sa.Column("also_known_as", Text, nullable=False),
    sa.Column("duration_s", sa.Double),
    sa.Column("level_db", sa.Double),
    sa.Column("root", Text, nullable=False),
    sa.Column("scored_at", Text, nullable=False),
    sa.Column("run_id", RowId, sa.ForeignKey("runs.id"), nullable=False),
    # Failed rows have no model, and NULLs are distinct: this is the identity of all other rows.
    sa.UniqueConstraint("sha256", "machine", "model", name="clip_identity"),
    sa.CheckConstraint(f"status IN {STATUSES}", name="known_status"),
    sa.CheckConstraint("(status = 'failed') = (model IS NULL)", name="judged_by_a_model"),
    sa.CheckConstraint("status = 'failed' OR sha256 IS NOT NULL", name="judged_bytes"),
)
sa.Index("clips_by_time", clip_scores.c.machine, clip_scores.c.recorded_at)

# Written into the statement, because SQLite uses a partial index only where it can see the value.
IS_FAILED: Final = clip_scores.c.status == sa.literal_column("'failed'")
_of_failed = (clip_scores.c.root, clip_scores.c.clip_id, clip_scores.c.machine)
sa.Index("one_failed_row", *_of_failed, unique=True, **_only(IS_FAILED))
sa.Index("failed_by_machine", clip_scores.c.machine, **_only(IS_FAILED))
# Of a million clips people label a few.
IS_LABELLED: Final = clip_scores.c.label != sa.literal_column("'unknown'")
sa.Index("labelled_by_time", clip_scores.c.machine, clip_scores.c.recorded_at, **_only(IS_LABELLED))

files = sa.Table(
    "files",
    metadata,
    sa.Column("root", Text, primary_key=True),
    sa.Column("clip_id", Text, primary_key=True),
    sa.Column("machine", Text, primary_key=True),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("mtime_ns", sa.BigInteger, nullable=False),
    sa.Column("ctime_ns", sa.BigInteger, nullable=False),
    sa.Column("sha256", Text),
    sa.Column("outcome", Text, nullable=False),
    sa.Column("reason", Text),
    # Since schema 2. A dead microphone gives the same bytes for days: one clip, but many files, each with its time.
    sa.Column("recorded_at", Text),
    # Since schema 4. When the row of its clip was pruned: the file is known, and still in its folder.
    sa.Column("pruned_at", Text),
)
IS_BROKEN: Final = files.c.outcome == sa.literal_column("'sensor_fault'")
sa.Index("files_of_broken_sensors", files.c.machine, **_only(IS_BROKEN))

machines = sa.Table(
    "machines",
    metadata,
    sa.Column("machine", Text, primary_key=True),
    sa.Column("state", Text, nullable=False),
    sa.Column("since", Text),
    sa.Column("index", sa.Double),
    sa.Column("clips", sa.Integer, nullable=False),
    sa.Column("last_clip_at", Text),
    sa.Column("model", Text),
    sa.Column("facts", Text, nullable=False),
    sa.Column("updated_at", Text, nullable=False),
)


# --- columns and records ---------------------------------------------------------------------------------------------


def utc_text(time: datetime) -> str:
    """`time` (with a zone, else ValueError) as the text that the store keeps; see the module's docstring."""
    if time.tzinfo is None:
        raise ValueError(f"{time} has no time zone")
    return time.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def utc_time(text: str | None) -> datetime | None:
    """The inverse of `utc_text`; None stays None."""
    return None if text is None else datetime.fromisoformat(text)


# One encoder: `json.dumps` makes a new one on each call that has options, and stores write many rows.
_encode = json.JSONEncoder(allow_nan=False, ensure_ascii=False).encode


def json_text(value: object) -> str:
    """`value` as JSON that every reader takes: NaN and infinities become null, undecodable bytes printable."""
    try:
        text = _encode(value)
        if text.isascii() or printable_text(text) == text:
            return text
    except ValueError:  # not finite
        pass
    return _encode(_presentable(value))


def _presentable(value: object) -> object:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str):
        return printable_text(value)
    if isinstance(value, Mapping):
        return {printable_text(str(key)): _presentable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_presentable(item) for item in value]
    return value


def clip_row(row: sa.Row[Any]) -> ClipRow:
    """The record of a row that was selected with all columns of `clip_scores`."""
    return ClipRow(
        clip_id=row.clip_id,
        machine=row.machine,
        recorded_at=datetime.fromisoformat(row.recorded_at),
        recorded_at_source=row.recorded_at_source,
        sha256=row.sha256,
        model=row.model,
        score=row.score,
        p_value=row.p_value,
        status=cast(Status, row.status),
        reason=row.reason,
        detail=row.detail,
        bands=tuple(json.loads(row.bands)),
        label=row.label,
        index=row._mapping["index"],  # row.index is the method of a tuple
        duration_s=row.duration_s,
        level_db=row.level_db,
        also_known_as=tuple(json.loads(row.also_known_as)),
        scored_at=datetime.fromisoformat(row.scored_at),
        run_id=row.run_id,
    )
