"""The store: every clip's outcome once, and a ledger of the files they came from.

A clip is (sha256 of its bytes, machine, model digest). So a re-run scores nothing twice, a renamed or copied file is
recognised, a changed file is a new clip, and a re-score with another model adds a row and keeps the old one. The
current row of a clip is the newest: a re-score with a model that had judged the clip before makes its row anew.
Failed clips have one row per (root, clip_id, machine), which goes when the clip is scored after all. Rows and ledger
are written in one transaction: a killed job has stored each batch wholly, or not.
"""

from __future__ import annotations

import heapq
import json
import os
import socket
from collections import Counter
from collections.abc import Collection, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from operator import attrgetter
from pathlib import Path
from types import TracebackType
from typing import Any

import sqlalchemy as sa

from acoustic_ad import __version__
from acoustic_ad.jobs import batch, database
from acoustic_ad.jobs.schema import (
    IS_FAILED,
    STATUSES,
    ClipRow,
    FileFact,
    LedgerEntry,
    MachineRow,
    Status,
    clip_row,
    clip_scores,
    files,
    json_text,
    machines,
    runs,
    utc_text,
    utc_time,
)
from acoustic_ad.jobs.upkeep_schema import machine_days
from acoustic_ad.sound.clip import printable

__all__ = ["STATUSES", "ClipRow", "FileFact", "LedgerEntry", "MachineRow", "Status", "Store"]

_ROWS_AT_ONCE = 2000  # so that reading a large store needs little memory

Key = tuple[str, str]  # (clip_id, machine)


class Store:
    """The database of one or more folders' clips. Use `Store.open`; it is a context manager. Every method can raise
    StoreError."""

    def __init__(self, engine: sa.Engine, name: str) -> None:
        self.name = name
        self._engine = engine

    @classmethod
    def open(cls, path_or_url: str | Path, *, read_only: bool = False, create: bool = True) -> Store:
        """Open a SQLite file or a database URL; a missing SQLite file is made, unless `read_only` or not `create`.

        Raises StoreError, in one line, for what is no store (a folder, a text file, another program's database, one
        of a newer acoustic-ad) and for what cannot be opened or made.
        """
        return cls(*database.open_engine(path_or_url, read_only=read_only, create=create))

    def close(self) -> None:
        """Close all connections; the last one folds the write-ahead log into the database."""
        self._engine.dispose()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """A transaction that sees one state of the store throughout, for queries of one's own."""
        with database.translated(self.name), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """A transaction that is stored whole, or on any exception not at all."""
        with database.translated(self.name), database.writing(self._engine) as connection:
            yield connection

    # --- runs --------------------------------------------------------------------------------------------------------

    def begin_run(self, root: str | Path, arguments: Mapping[str, Any] | None = None) -> int:
        """Note that a job starts on the folder `root`; `arguments` is kept as JSON. Returns the run's id."""
        values = {
            "root": root_text(root),
            "arguments": json_text(dict(arguments or {})),
            "version": __version__,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "started_at": utc_text(datetime.now(UTC)),
        }
        with self.writing() as connection:
            inserted = connection.execute(runs.insert().values(values)).inserted_primary_key
        if inserted is None:
            raise RuntimeError("the database returned no id for the run")
        return int(inserted[0])

    def end_run(self, run_id: int, counts: Mapping[str, Any], exit_code: int) -> None:
        """Note how the run ended. A run without an end was killed, or is still running."""
        ended = {"ended_at": utc_text(datetime.now(UTC)), "exit_code": exit_code, "counts": json_text(dict(counts))}
        with self.writing() as connection:
            connection.execute(runs.update().where(runs.c.id == run_id).values(ended))

    # --- clips -------------------------------------------------------------------------------------------------------

    def files(self, root: str | Path, names: Collection[str] | None = None) -> dict[Key, LedgerEntry]:
        """(clip_id, machine) -> what the ledger remembers, for every file ever seen in the folder `root`; with `names`
        (clip_ids), only of those: then the time does not grow with the ledger."""
        columns = [files.c[name] for name in ("clip_id", "machine", *LedgerEntry.__slots__)]
        query = sa.select(*columns).where(files.c.root == root_text(root))
        known: dict[Key, LedgerEntry] = {}
        with self.reading() as connection:
            for chosen in batch.narrowed(query, files.c.clip_id, names):
                found = connection.execute(chosen)
                known.update({(clip_id, machine): LedgerEntry(*entry) for clip_id, machine, *entry in found})
        return known

    def scored_digests(self, machine: str, model: str | None = None) -> dict[str, str]:
        """sha256 -> first clip_id, of the clips of `machine` that have a row that is not failed; with `model` (a
        digest), of those whose current row is that model's."""
        query = sa.select(clip_scores.c.sha256, clip_scores.c.clip_id).order_by(clip_scores.c.id.desc())
        query = query.where(clip_scores.c.machine == machine, clip_scores.c.status != "failed")
        if model is not None:
            query = query.where(clip_scores.c.model == model, clip_scores.c.id == newest_of(clip_scores))
        with self.reading() as connection:
            return {row.sha256: row.clip_id for row in connection.execute(query)}

    def digests_of_others(self, machine: str, model: str, among: Collection[str] | None = None) -> set[str]:
        """sha256 of the clips of `machine`, or of those `among` them, whose current row is that of another model than
        `model` (a digest)."""
        query = sa.select(clip_scores.c.sha256).where(clip_scores.c.machine == machine, clip_scores.c.model != model)
        query = query.where(clip_scores.c.id == newest_of(clip_scores))
        with self.reading() as connection:
            queries = batch.narrowed(query, clip_scores.c.sha256, among)
            return {digest for chosen in queries for digest in connection.scalars(chosen)}

    def commit(self, run_id: int, root: str | Path, rows: Sequence[ClipRow], facts: Sequence[FileFact]) -> int:
        """Store one batch: outcomes and ledger in one transaction. Returns how many rows that are not failed are new.

        Every row needs the fact of its file. A fact without a row says that its bytes are known already (a renamed,
        copied or touched file). The same holds for a row of the model that gave the clip its current row, in the store
        or in the batch: it is not stored again, and the row that is keeps its clip_id and lists the other in
        `also_known_as`. A row of another model becomes the current one, in place of an older one of its own.
        Raises ValueError for rows that contradict themselves: a bug in the caller, never the user's.
        """
        with self.writing() as connection:
            return batch.store_batch(connection, run_id, root_text(root), rows, facts)

    def rows_of(self, root: str | Path, keys: Container[Key] | None = None) -> Iterator[ClipRow]:
        """The current row of every clip of the folder `root`, by clip_id and machine; each row once.

        `keys` are the (clip_id, machine) to take, as they are named in the folder now; None takes all that the ledger
        knows. Rows are read as they are taken: memory does not grow with their number.
        """
        here = files.c.root == root_text(root)
        same_name = (clip_scores.c.clip_id == files.c.clip_id) & (clip_scores.c.machine == files.c.machine)
        failed = IS_FAILED & (clip_scores.c.root == files.c.root) & same_name & (files.c.outcome == "failed")
        judged = (clip_scores.c.id == newest_of(files)) & (files.c.outcome != "failed")
        last_id = None
        with self.reading() as connection:
            streams = [
                connection.execution_options(yield_per=_ROWS_AT_ONCE).execute(
                    sa.select(clip_scores, files.c.clip_id.label("file"))
                    .select_from(files.join(clip_scores, joined))
                    .where(here)
                    .order_by(clip_scores.c.clip_id, clip_scores.c.machine, clip_scores.c.id)
                )
                for joined in (failed, judged)
            ]
            for row in heapq.merge(*streams, key=attrgetter("clip_id", "machine")):
                # One row may stand for several files of the folder; sorted, they follow one another.
                if row.id != last_id and (keys is None or (row.file, row.machine) in keys):
                    last_id = row.id
                    yield clip_row(row)

    def history(self, machine: str, limit: int | None = None, model: str | None = None) -> list[ClipRow]:
        """The last `limit` clips of `machine` (all where None) that are not failed, oldest recording first.

        Each clip's current row, or the row that `model` (its digest) gave it. The order depends on the clips alone,
        not on when they arrived.
        """
        current = clip_scores.c.id == newest_of(clip_scores)
        chosen = current if model is None else clip_scores.c.model == model
        query = (
            sa.select(clip_scores)
            .where(clip_scores.c.machine == machine, clip_scores.c.status != "failed", chosen)
            .order_by(clip_scores.c.recorded_at.desc(), clip_scores.c.sha256.desc())
            .limit(limit)
        )
        with self.reading() as connection:
            return [clip_row(row) for row in connection.execute(query)][::-1]

    # --- machines ----------------------------------------------------------------------------------------------------

    def upsert_machines(self, rows: Sequence[MachineRow]) -> None:
        """Store the health of machines, in one transaction; what was stored of them before is replaced."""
        with self.writing() as connection:
            write_machines(connection, rows)

    def machines(self) -> list[MachineRow]:
        """Every machine's health, by name, with the number of its failed clips as of now."""
        names = [column.name for column in machines.c if column.name != "updated_at"]
        query = sa.select(*(machines.c[name] for name in names)).order_by(machines.c.machine)
        # By an expression, for else SQLite goes through all rows in the order of a machine's clips, and not through the
        # small index of failed ones.
        name = clip_scores.c.machine.concat("")
        count = sa.select(name, sa.func.count()).where(IS_FAILED).group_by(name)
        days = sa.select(machine_days.c.machine, sa.func.sum(machine_days.c.failed)).group_by(machine_days.c.machine)
        with self.reading() as connection:
            failed: Counter[str] = Counter()
            for query_of in (count, days):
                failed.update({machine: int(clips) for machine, clips in connection.execute(query_of)})
            rows = connection.execute(query).mappings()
            found = [MachineRow(**row, failed=failed[row["machine"]]) for row in rows]
        return [
            replace(
                row,
                since=utc_time(row.since),  # type: ignore[arg-type]  # text, until here
                last_clip_at=utc_time(row.last_clip_at),  # type: ignore[arg-type]
                facts=json.loads(row.facts),  # type: ignore[arg-type]
            )
            for row in found
        ]

    # --- health of the store itself ----------------------------------------------------------------------------------

    def integrity(self) -> list[str]:
        """What is wrong with the database, in words; empty when nothing is. Reads all of it."""
        with self.reading() as connection:
            found = []
            if connection.dialect.name == "sqlite":
                found = [said for (said,) in connection.exec_driver_sql("PRAGMA integrity_check") if said != "ok"]
                found += [
                    f"row {row} of {table} points to a row of {other} that is not there"
                    for table, row, other, _ in connection.exec_driver_sql("PRAGMA foreign_key_check")
                ]
            return found + batch.contradictions(connection)

    def compact(self) -> None:
        """Give the room of deleted rows back to the disk (on a server, to rows to come). Needs a copy's room for it."""
        with database.translated(self.name):
            database.compact(self._engine)

    def cut_short(self) -> list[str]:
        """Folders whose last run has no end: it was killed or interrupted, or is still at work."""
        last = sa.select(sa.func.max(runs.c.id)).group_by(runs.c.root)
        query = sa.select(runs.c.root).where(runs.c.id.in_(last), runs.c.ended_at.is_(None)).order_by(runs.c.root)
        with self.reading() as connection:
            return list(connection.scalars(query))


def root_text(root: str | Path) -> str:
    """The folder's absolute path as the ledger knows it: printable, links not followed."""
    return printable(os.path.abspath(root))  # noqa: PTH100  # Path.absolute keeps "..": two names for one folder


def write_machines(connection: sa.Connection, rows: Sequence[MachineRow]) -> None:
    """See `Store.upsert_machines`, inside the caller's transaction."""
    now = utc_text(datetime.now(UTC))
    values = [
        {
            "machine": row.machine,
            "state": row.state,
            "since": None if row.since is None else utc_text(row.since),
            "index": row.index,
            "clips": row.clips,
            "last_clip_at": None if row.last_clip_at is None else utc_text(row.last_clip_at),
            "model": row.model,
            "facts": json_text(dict(row.facts or {})),
            "updated_at": now,
        }
        for row in rows
    ]
    database.upsert(connection, machines, ["machine"], values, update=True)


def newest_of(table: sa.Table) -> sa.ScalarSelect[Any]:
    """The id of the newest row, not failed, of the content and machine that stand in a row of `table`."""
    row = clip_scores.alias("newest").c
    same = (row.sha256 == table.c.sha256) & (row.machine == table.c.machine)
    return sa.select(sa.func.max(row.id)).where(same, row.model.is_not(None)).correlate(table).scalar_subquery()
