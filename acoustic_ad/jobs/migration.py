"""From the schema of an older acoustic-ad to this one's, inside one transaction: all of it, or nothing.

A new table or column: declare it in a schema module, and append to `STEPS` a function that adds it. A column that joins
a table needs a default, or may be NULL. Steps that are out stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import sqlalchemy as sa
from sqlalchemy.schema import CreateColumn

from acoustic_ad.jobs.alarm_schema import NEW_ALARM_COLUMNS, NEW_TABLES
from acoustic_ad.jobs.limit_schema import found_limits
from acoustic_ad.jobs.outbox_schema import outbox
from acoustic_ad.jobs.schema import clip_scores, files, metadata, schema_version
from acoustic_ad.jobs.upkeep_schema import kept_clips, kept_lives, life_parts, machine_days


def _to_schema_2(connection: sa.Connection) -> None:
    """Events, what operators do with alarms, what explains an alarm, and the times of files."""
    add_tables(connection, *NEW_TABLES)
    add_columns(connection, *NEW_ALARM_COLUMNS, files.c.recorded_at)
    for index in files.indexes:
        index.create(connection, checkfirst=True)


def _add_outbox(connection: sa.Connection) -> None:
    """Messages to people and systems."""
    add_tables(connection, outbox)


def _add_machine_days(connection: sa.Connection) -> None:
    """What remains of clips that are pruned, and which files in the ledger are theirs."""
    add_tables(connection, machine_days)
    add_columns(connection, files.c.pruned_at)


def _add_found_limits(connection: sa.Connection) -> None:
    """Limits that need no simulation any more."""
    add_tables(connection, found_limits)


def _add_kept_clips(connection: sa.Connection) -> None:
    """Clips that health reads fast, and failed ones that it finds fast."""
    add_tables(connection, kept_clips)
    for index in clip_scores.indexes:
        index.create(connection, checkfirst=True)


def _add_kept_lives(connection: sa.Connection) -> None:
    """Lives that pages show without telling them anew, and labelled clips that they find fast."""
    add_tables(connection, kept_lives, life_parts)
    for index in clip_scores.indexes:
        index.create(connection, checkfirst=True)


# Step n (from 0) makes schema n + 2 of schema n + 1. The schema that was out before a new step goes to the tests, too.
STEPS: Final[tuple[Callable[[sa.Connection], None], ...]] = (
    _to_schema_2,
    _add_outbox,
    _add_machine_days,
    _add_found_limits,
    _add_kept_clips,
    _add_kept_lives,
)
SCHEMA_VERSION: Final = 1 + len(STEPS)


def create(connection: sa.Connection) -> None:
    """All tables of this schema, in an empty database."""
    metadata.create_all(connection)
    connection.execute(schema_version.insert().values(version=SCHEMA_VERSION))


def version_of(connection: sa.Connection) -> int | None:
    """The schema's number; None where the table of it is empty."""
    return connection.execute(sa.select(sa.func.max(schema_version.c.version))).scalar()


def migrate(connection: sa.Connection) -> None:
    """Bring an older schema up to this one, step by step; rows stay as they are."""
    for step in STEPS[(version_of(connection) or 1) - 1 :]:
        step(connection)
    connection.execute(schema_version.update().values(version=SCHEMA_VERSION))


# --- what steps are made of ------------------------------------------------------------------------------------------


def add_tables(connection: sa.Connection, *tables: sa.Table) -> None:
    """The tables with their indexes; those that are there stay."""
    for table in tables:
        table.create(connection, checkfirst=True)


def add_columns(connection: sa.Connection, *columns: sa.Column[object]) -> None:
    """The columns; those that are there stay, as where an earlier step has made the table with all of this schema."""
    for column in columns:
        present = {found["name"] for found in sa.inspect(connection).get_columns(column.table.name)}
        if column.name not in present:
            text = CreateColumn(column).compile(dialect=connection.dialect)
            connection.exec_driver_sql(f"ALTER TABLE {column.table.name} ADD COLUMN {text}")
