"""What is in a store, and what is wrong with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa

from acoustic_ad.jobs import migration
from acoustic_ad.jobs.alarm_schema import alarms, events
from acoustic_ad.jobs.day_traces import damaged_days
from acoustic_ad.jobs.kept_clips import wrongly_kept
from acoustic_ad.jobs.kept_lives import damaged_lives
from acoustic_ad.jobs.schema import clip_scores, machines, metadata
from acoustic_ad.jobs.store import Store
from acoustic_ad.sound.clip import one_line

MOST_PROBLEMS: Final = 100  # that are told one by one


@dataclass(frozen=True, slots=True)
class StoreCheck:
    """What was found."""

    name: str
    kind: str  # sqlite or postgresql
    schema: int
    rows: dict[str, int]  # table -> rows
    clips: dict[str, int]  # status -> rows of clip_scores
    unfinished: list[str]  # folders whose last run has no end: no problem by itself
    problems: list[str]
    copies: list[str]  # those of the problems that are of copies, which jobs make anew


def check_store(store: Store) -> StoreCheck:
    """Read all of the store. Raises StoreError where even that cannot be done."""
    by_status = sa.select(clip_scores.c.status, sa.func.count()).group_by(clip_scores.c.status)
    with store.reading() as connection:
        rows = {
            table.name: int(connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one())
            for table in metadata.sorted_tables
            if table.name != "schema_version"
        }
        clips: dict[str, int] = {row[0]: row[1] for row in connection.execute(by_status.order_by(clip_scores.c.status))}
        kind, schema = connection.dialect.name, migration.version_of(connection) or 0
        further = _orphans(connection) + damaged_days(connection) + wrongly_kept(connection)
        copies = damaged_lives(connection)
    problems = store.integrity() + further + copies
    return StoreCheck(store.name, kind, schema, rows, clips, store.cut_short(), problems, copies)


def _orphans(connection: sa.Connection) -> list[str]:
    """Alarms and events of machines that the store does not know; foreign keys are the database's to check."""
    found = []
    for table in (alarms, events):
        known = sa.exists().where(machines.c.machine == table.c.machine).correlate(table)
        orphans = connection.execute(sa.select(table.c.id, table.c.machine).where(~known).order_by(table.c.id))
        found += [f"{table.name} {number}: of machine {machine}, which is not known" for number, machine in orphans]
    return found


def check_lines(found: StoreCheck) -> list[str]:
    """For people."""
    rows = ", ".join(f"{count} {table}" for table, count in found.rows.items())
    clips = ", ".join(f"{count} {status}" for status, count in found.clips.items()) or "none"
    lines = [
        f"store      {found.name}",
        f"schema     {found.schema}, {found.kind}",
        f"rows       {rows}",
        f"clips      {clips}",
    ]
    lines += [
        f"unfinished the last `score` of {one_line(root)}: cut short, or still at work" for root in found.unfinished
    ]
    lines += [f"problem    {one_line(problem)}" for problem in found.problems[:MOST_PROBLEMS]]
    if len(found.problems) > MOST_PROBLEMS:
        lines.append(f"problem    and {len(found.problems) - MOST_PROBLEMS} more")
    if found.problems and len(found.problems) == len(found.copies):
        lines.append("verdict    sound but for copies, which the next `score` that hears these machines makes anew")
    elif found.problems:
        lines.append("verdict    not sound: restore a backup, or move the store aside and score the folders anew")
    else:
        lines.append("verdict    sound")
    return lines


def check_json(found: StoreCheck) -> dict[str, Any]:
    """For `--json`: all problems."""
    return {
        "store": found.name,
        "kind": found.kind,
        "schema": found.schema,
        "rows": found.rows,
        "clips": found.clips,
        "unfinished": found.unfinished,
        "problems": found.problems,
        "sound": not found.problems,
    }
