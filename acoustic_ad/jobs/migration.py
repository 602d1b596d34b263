"""From the schema of an older acoustic-ad to this one's, inside one transaction: all of it, or nothing."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.schema import CreateColumn

from acoustic_ad.jobs.alarm_schema import NEW_ALARM_COLUMNS, NEW_TABLES
from acoustic_ad.jobs.outbox_schema import outbox
from acoustic_ad.jobs.schema import SCHEMA_VERSION, files, metadata, schema_version


def create(connection: sa.Connection) -> None:
    """All tables of this schema, in an empty database."""
    metadata.create_all(connection)
    connection.execute(schema_version.insert().values(version=SCHEMA_VERSION))


def version_of(connection: sa.Connection) -> int | None:
    """The schema's number; None where the table of it is empty."""
    return connection.execute(sa.select(sa.func.max(schema_version.c.version))).scalar()


def migrate(connection: sa.Connection) -> None:
    """Bring an older schema up to this one, step by step; rows stay as they are."""
    if (version_of(connection) or 0) < 2:
        _to_schema_2(connection)
    if (version_of(connection) or 0) < 3:
        _add_outbox(connection)
    connection.execute(schema_version.update().values(version=SCHEMA_VERSION))


def _to_schema_2(connection: sa.Connection) -> None:
    """Events, what operators do with alarms, what explains an alarm, and the times of files."""
    for table in NEW_TABLES:
        table.create(connection)
    for column in (*NEW_ALARM_COLUMNS, files.c.recorded_at):
        present = {found["name"] for found in sa.inspect(connection).get_columns(column.table.name)}
        if column.name not in present:
            text = CreateColumn(column).compile(dialect=connection.dialect)
            connection.exec_driver_sql(f"ALTER TABLE {column.table.name} ADD COLUMN {text}")
    for index in files.indexes:
        index.create(connection, checkfirst=True)


def _add_outbox(connection: sa.Connection) -> None:
    """Messages to people and systems."""
    outbox.create(connection, checkfirst=True)
