"""One batch of outcomes: which rows are new, which files are known under another name, which failures are over."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from typing import Any, Final, TypeVar

import sqlalchemy as sa

from acoustic_ad.jobs.database import upsert
from acoustic_ad.jobs.kept_clips import forget_clips
from acoustic_ad.jobs.schema import IS_FAILED, ClipRow, FileFact, clip_scores, files, json_text, utc_text
from acoustic_ad.jobs.upkeep_schema import forget_lives
from acoustic_ad.sound.clip import printable_text

Key = tuple[str, str]  # (clip_id, machine)
Columns = dict[str, Any]
Value = TypeVar("Value")

_AT_ONCE: Final = 500  # values in one IN (...): every database takes that many
_IDENTITY: Final = ("sha256", "machine", "model")  # of a row that is not failed


@dataclass(slots=True)
class _Known:
    """The rows that one content has in the store: they share their first name and time, and differ in model."""

    clip_id: str
    recorded_at: str
    recorded_at_source: str
    also_known_as: list[str]
    models: set[str] = field(default_factory=set)
    model: str | None = None  # of the newest row, as are status and reason
    status: str = ""
    reason: str | None = None
    renamed: bool = False


@dataclass(slots=True)
class _Batch:
    """What is in the store of this batch's clips, and what is to be written."""

    run_id: int
    root: str
    now: str
    known: dict[Key, _Known]  # (sha256, machine) ->
    failed: dict[Key, Any]  # (clip_id, machine) -> the failed row
    new: list[Columns] = field(default_factory=list)
    failures: list[Columns] = field(default_factory=list)
    over: list[int] = field(default_factory=list)  # ids of failed rows of clips that are judged after all
    renewed: list[Columns] = field(default_factory=list)  # rows that a newer one of the same model replaces
    ledger: list[Columns] = field(default_factory=list)


def store_batch(
    connection: sa.Connection, run_id: int, root: str, rows: Sequence[ClipRow], facts: Sequence[FileFact]
) -> int:
    """See `Store.commit`, which calls this inside its transaction."""
    row_of = {(row.clip_id, row.machine): row for row in rows}
    fact_of = {(fact.clip_id, fact.machine): fact for fact in facts}
    if len(row_of) != len(rows) or len(fact_of) != len(facts) or not row_of.keys() <= fact_of.keys():
        raise ValueError("a clip twice in one batch, or a row without the fact of its file")
    batch = _Batch(
        run_id, root, utc_text(datetime.now(UTC)), _find_known(connection, facts), _find_failed(connection, root, facts)
    )
    for key, fact in fact_of.items():
        _settle(batch, fact, row_of.get(key))
    _write(connection, batch)
    return len(batch.new)


def _settle(batch: _Batch, fact: FileFact, row: ClipRow | None) -> None:
    """Decide what becomes of one file."""
    key = (fact.clip_id, fact.machine)
    if row is not None:
        _check(row, fact)
    if row is not None and row.status == "failed":
        batch.failures.append(_columns(batch, row) | {"sha256": fact.sha256, "also_known_as": "[]"})
        _remember(batch, fact, row.status, row.reason)
        return
    known = batch.known.get((fact.sha256 or "", fact.machine))
    if row is not None and (known is None or row.model != known.model):
        known = _add(batch, row, known)
    elif known is None:
        before = batch.failed.get(key)
        if before is None or before.sha256 != fact.sha256:
            raise ValueError(f"{fact.clip_id}: no row given, and its bytes are not known for {fact.machine}")
        _remember(batch, fact, "failed", before.reason)
        return
    if fact.clip_id != known.clip_id and fact.clip_id not in known.also_known_as:
        known.also_known_as.append(fact.clip_id)
        known.renamed = True
    if key in batch.failed:
        batch.over.append(batch.failed.pop(key).id)
    _remember(batch, fact, known.status, known.reason)


def _check(row: ClipRow, fact: FileFact) -> None:
    finite = row.score is not None and math.isfinite(row.score)
    if row.sha256 != fact.sha256 and row.status != "failed":
        raise ValueError(f"{row.clip_id}: the row's sha256 is not that of its file")
    if row.status != "failed" and (row.sha256 is None or row.model is None):
        raise ValueError(f"{row.clip_id}: {row.status}, but without sha256 or model")
    if finite != (row.status == "scored"):
        raise ValueError(f"{row.clip_id}: {row.status}, with score {row.score}")


def _add(batch: _Batch, row: ClipRow, known: _Known | None) -> _Known:
    """Queue a new row, which becomes the clip's current one: it replaces an older row of its own model.

    Where another model judged the same bytes, it keeps their first name and time.
    """
    columns = _columns(batch, row)
    if known is None:
        known = _Known(row.clip_id, columns["recorded_at"], row.recorded_at_source, list(row.also_known_as))
        batch.known[columns["sha256"], row.machine] = known
    for name in ("clip_id", "recorded_at", "recorded_at_source", "also_known_as"):
        columns[name] = getattr(known, name)
    if row.model in known.models:
        batch.renewed.append({f"of_{name}": columns[name] for name in _IDENTITY})
    known.models.add(columns["model"])
    known.model, known.status, known.reason = row.model, row.status, row.reason
    batch.new.append(columns)
    return known


def _columns(batch: _Batch, row: ClipRow) -> Columns:
    return {
        "clip_id": row.clip_id,
        "machine": row.machine,
        "recorded_at": utc_text(row.recorded_at),
        "recorded_at_source": row.recorded_at_source,
        "sha256": row.sha256,
        "model": None if row.status == "failed" else row.model,
        "score": row.score,
        "p_value": row.p_value,
        "status": row.status,
        "reason": row.reason,
        "detail": None if row.detail is None else printable_text(row.detail),
        "bands": json_text(list(row.bands)),
        "label": row.label,
        "index": row.index,
        "also_known_as": [],
        "duration_s": row.duration_s,
        "level_db": row.level_db,
        "root": batch.root,
        "scored_at": batch.now if row.scored_at is None else utc_text(row.scored_at),
        "run_id": batch.run_id,
    }


def _remember(batch: _Batch, fact: FileFact, outcome: str, reason: str | None) -> None:
    batch.ledger.append(
        {
            "root": batch.root,
            "clip_id": fact.clip_id,
            "machine": fact.machine,
            "size": fact.size,
            "mtime_ns": fact.mtime_ns,
            "ctime_ns": fact.ctime_ns,
            "sha256": fact.sha256,
            "outcome": outcome,
            "reason": reason,
            "recorded_at": None if fact.recorded_at is None else utc_text(fact.recorded_at),
            "pruned_at": None,
        }
    )


def _write(connection: sa.Connection, batch: _Batch) -> None:
    if batch.over:
        gone = clip_scores.delete().where(clip_scores.c.id == sa.bindparam("failed_id"))
        connection.execute(gone, [{"failed_id": row_id} for row_id in batch.over])
    one_failed_row = ["root", "clip_id", "machine"]
    upsert(connection, clip_scores, one_failed_row, batch.failures, update=True, among=IS_FAILED)
    if batch.renewed:
        same = [clip_scores.c[name] == sa.bindparam(f"of_{name}") for name in _IDENTITY]
        connection.execute(clip_scores.delete().where(*same), batch.renewed)
        forget_clips(connection, {row["of_machine"] for row in batch.renewed})
    for columns in batch.new:  # only now are all names known that this batch gives the clip
        columns["also_known_as"] = json_text(columns["also_known_as"])
    # On PostgreSQL, a job on another folder may be storing the same bytes: its row is as good as ours.
    upsert(connection, clip_scores, _IDENTITY, batch.new, update=False)
    _write_names(connection, batch)
    upsert(connection, files, ["root", "clip_id", "machine"], batch.ledger, update=True)
    # A broken sensor counts at every time that it gave the same bytes.
    forget_lives(
        connection,
        {row["machine"] for row in batch.new}
        | {row["machine"] for row in batch.ledger if row["outcome"] == "sensor_fault"},
    )


def _write_names(connection: sa.Connection, batch: _Batch) -> None:
    renamed = [
        {"of_sha256": sha256, "of_machine": machine, "names": json_text(known.also_known_as)}
        for (sha256, machine), known in batch.known.items()
        if known.renamed
    ]
    if renamed:
        columns = clip_scores.c
        same_clip = (columns.sha256 == sa.bindparam("of_sha256")) & (columns.machine == sa.bindparam("of_machine"))
        update = clip_scores.update().where(same_clip, columns.model.is_not(None))
        connection.execute(update.values(also_known_as=sa.bindparam("names")), renamed)


# --- what the store holds --------------------------------------------------------------------------------------------


def _find_known(connection: sa.Connection, facts: Iterable[FileFact]) -> dict[Key, _Known]:
    columns = clip_scores.c
    names = ["clip_id", "recorded_at", "recorded_at_source", "also_known_as"]
    names += ["sha256", "machine", "model", "status", "reason"]
    known: dict[Key, _Known] = {}
    query = sa.select(*(columns[name] for name in names)).where(columns.model.is_not(None)).order_by(columns.id)
    for some in _chunks({(fact.sha256, fact.machine) for fact in facts if fact.sha256 is not None}):
        # Machines beside: microphones that are dead or played the same recording give many of them the same bytes.
        digests, machines = (sorted(set(values)) for values in zip(*some, strict=True))
        for row in connection.execute(query.where(columns.sha256.in_(digests), columns.machine.in_(machines))):
            first = _Known(row.clip_id, row.recorded_at, row.recorded_at_source, json.loads(row.also_known_as))
            clip = known.setdefault((row.sha256, row.machine), first)
            clip.models.add(row.model)
            clip.model, clip.status, clip.reason = row.model, row.status, row.reason
    return known


def _find_failed(connection: sa.Connection, root: str, facts: Iterable[FileFact]) -> dict[Key, Any]:
    columns = clip_scores.c
    query = sa.select(columns.id, columns.clip_id, columns.machine, columns.sha256, columns.reason)
    failed = {}
    for names in _chunks({fact.clip_id for fact in facts}):
        here = query.where(IS_FAILED, columns.root == root, columns.clip_id.in_(names))
        failed.update({(row.clip_id, row.machine): row for row in connection.execute(here)})
    return failed


def contradictions(connection: sa.Connection) -> list[str]:
    """Where ledger and rows do not fit each other, in words; empty when they do."""
    row, file = clip_scores.c, files.c
    same_file = (row.root == file.root) & (row.clip_id == file.clip_id) & (row.machine == file.machine)
    same_clip = (row.sha256 == file.sha256) & (row.machine == file.machine) & row.model.is_not(None)
    no_row = sa.select(file.clip_id, file.machine)
    no_file = sa.select(row.clip_id, row.machine)
    # Three plain queries, because an index is of no use inside OR or CASE.
    rowless = [
        no_row.where(file.outcome == "failed", ~sa.exists().where(IS_FAILED & same_file).correlate(files)),
        no_row.where(
            file.outcome != "failed", file.pruned_at.is_(None), ~sa.exists().where(same_clip).correlate(files)
        ),
    ]
    fileless = [no_file.where(IS_FAILED, ~sa.exists().where(same_file).correlate(clip_scores))]
    found = [(row, "in the ledger, but without a row") for query in rowless for row in connection.execute(query)]
    found += [(row, "failed, but not in the ledger") for query in fileless for row in connection.execute(query)]
    return [f"{row.clip_id} of {row.machine}: {problem}" for row, problem in found]


def narrowed(
    query: sa.Select[Any], column: sa.ColumnElement[str], values: Iterable[str] | None
) -> Iterator[sa.Select[Any]]:
    """Queries that together are `query` where `column` is one of `values`; None is all of it."""
    if values is None:
        yield query
    else:
        for some in _chunks(values):
            yield query.where(column.in_(some))


def _chunks(values: Iterable[Value]) -> Iterator[list[Value]]:
    iterator = iter(values)
    while chunk := list(islice(iterator, _AT_ONCE)):
        yield chunk
