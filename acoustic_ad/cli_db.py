"""`acoustic-ad db`: the score store itself: check it, prune it, and take it elsewhere."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from acoustic_ad.console import answer, answer_json, command, complain

db_app = typer.Typer(help="The score store itself: check, prune, export.", no_args_is_help=True)
Db = Annotated[str, typer.Option("--db", envvar="ACOUSTIC_AD_DB", help="Score store: a path, or a database URL.")]
Json = Annotated[bool, typer.Option("--json", help="Answer with one JSON document on stdout.")]

# As SQLAlchemy takes a URL apart.
_WITH_PASSWORD = re.compile(r"postgres\w*(\+\w+)?://([^:/]*:[^@]+@|.*[?&](ssl)?password=)", re.DOTALL)


@db_app.command("check")
@command
def check(db: Db = "acoustic-ad.db", as_json: Json = False) -> None:
    """Read all of the store, and say what is in it and what is wrong with it. Nothing is written, no job waited for.

    Exit codes: 0 nothing is wrong, 1 something is, or the store cannot be read, 2 usage.
    """
    from acoustic_ad.jobs.store import Store
    from acoustic_ad.jobs.store_check import check_json, check_lines, check_store

    with Store.open(db, read_only=True, create=False) as store:
        found = check_store(store)
    if as_json:
        answer_json(check_json(found))
    else:
        answer("\n".join(check_lines(found)))
    raise typer.Exit(1 if found.problems else 0)


@db_app.command("export")
@command
def export(
    out: Annotated[Path, typer.Option("--out", help="Folder for the files; made where it is missing.")],
    db: Db = "acoustic-ad.db",
    as_json: Json = False,
) -> None:
    """Write the store's tables as Parquet, one file a table: clip_scores.parquet, alarms.parquet, ...

    All files are of one moment, whatever a job does meanwhile. Times are time stamps in UTC; lists and objects, such as
    `bands`, are JSON text. A file of an earlier export is replaced when the new one is whole.

    Exit codes: 0, 1 the store cannot be read or a file not be written, 2 usage.
    """
    from acoustic_ad.jobs.store import Store
    from acoustic_ad.jobs.store_export import export_tables
    from acoustic_ad.report.tables import text_table

    with Store.open(db, read_only=True, create=False) as store:
        written = export_tables(store, out)
    if as_json:
        answer_json({"tables": [file.as_json() for file in written]})
    else:
        rows = [(str(file.path), str(file.rows), f"{file.bytes / 1e6:.2f}") for file in written]
        answer(text_table(("file", "rows", "MB"), rows, right=("rows", "MB")))


@db_app.command("prune")
@command
def prune(
    older_than: Annotated[str, typer.Option("--older-than", help="Age of what goes: 400d, 80w.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be pruned.")] = False,
    vacuum: Annotated[bool, typer.Option(help="Give the room that becomes free back to the disk.")] = True,
    db: Db = "acoustic-ad.db",
    models: Annotated[
        Path, typer.Option("--models", envvar="ACOUSTIC_AD_MODELS", help="Folder of the model bundles.")
    ] = Path("models"),
    as_json: Json = False,
) -> None:
    """Take the rows of old clips out of the store; the health of every machine stays what it is, digit for digit.

    Of each pruned clip stays what health is told from, in a summary of its day. Alarms and events stay, and so do the
    clips that any alarm is explained by, all those of an alarm that stands or waits for somebody, and those of the
    baseline after the last maintenance. Files that are still in their folders stay known, and are not scored again.
    The age is by time of recording, in whole days (UTC).

    Exit codes: 0, 1 the store cannot be read or written, 2 usage, 5 a job holds this store.
    """
    from contextlib import nullcontext

    from acoustic_ad.cli_durations import length_of_time
    from acoustic_ad.jobs.database import sqlite_path
    from acoustic_ad.jobs.retention import prune as prune_store
    from acoustic_ad.jobs.store import Store
    from acoustic_ad.jobs.store_lock import hold_store

    now = datetime.now(UTC)
    before = now - length_of_time(older_than, "--older-than")
    file = sqlite_path(db)
    if file is not None and not file.exists():
        Store.open(db, create=False).close()  # refused before its lock is made, which is a file beside it
    alone = nullcontext() if dry_run else hold_store(db)
    with alone, Store.open(db, read_only=dry_run, create=False) as store:
        found = prune_store(store, models, before, now, dry_run=dry_run)
        if vacuum and not dry_run:
            store.compact()
    if as_json:
        answer_json({"before": before.date().isoformat(), "dry_run": dry_run, **asdict(found)})
        return
    verb = "would be pruned" if dry_run else "pruned"
    lines = [
        f"{found.clips} clips recorded before {before:%Y-%m-%d} {verb}, {found.failed} failed ones; "
        f"{found.days} days of machines hold what stays of them",
        f"{found.kept} clips as old stay: alarms or baselines rest on them",
        f"{found.forgotten} files have left their folders and the ledger; {found.remembered} stay in it",
        f"{found.runs} runs and {found.messages} messages {verb}",
    ]
    answer("\n".join(lines))


def refuse_passwords(arguments: Sequence[str]) -> None:
    """End the program, with exit code 2, where an argument is a database URL with a password in it."""
    if any(_WITH_PASSWORD.search(argument) for argument in arguments):
        complain(
            "a database password in the command line can be read by everybody on this computer, and stays in the "
            "shell's history: leave it out of the URL, and give it in PGPASSWORD, in the file that PGPASSFILE names or "
            "in ~/.pgpass, or give the whole URL in ACOUSTIC_AD_DB instead of --db"
        )
        sys.exit(2)
