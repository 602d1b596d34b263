"""What the store keeps for its own upkeep: the days whose clips were pruned, and who holds the locks of a server."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from acoustic_ad.jobs.column_types import RowId, Text
from acoustic_ad.jobs.schema import metadata

# A machine's day, in UTC, of which clips were pruned. The columns are for people; `trace` is what the machine's health
# still needs of each of them, see `retention`.
machine_days = sa.Table(
    "machine_days",
    metadata,
    sa.Column("machine", Text, primary_key=True),
    sa.Column("day", Text, primary_key=True),  # 2026-01-05
    sa.Column("clips", sa.Integer, nullable=False),
    sa.Column("scored", sa.Integer, nullable=False),
    sa.Column("off", sa.Integer, nullable=False),
    sa.Column("sensor_fault", sa.Integer, nullable=False),
    sa.Column("score_median", sa.Double),
    sa.Column("score_max", sa.Double),
    sa.Column("index_median", sa.Double),
    sa.Column("index_max", sa.Double),
    sa.Column("level_db_median", sa.Double),
    sa.Column("trace", sa.LargeBinary, nullable=False),
    sa.Column("pruned_at", Text, nullable=False),
)

# Who holds the lock of a folder on a server. The lock itself is the server's, and dies with its holder; this only names
# it. In SQLite a file beside the database does, and the table stays empty.
job_locks = sa.Table(
    "job_locks",
    metadata,
    sa.Column("root", Text, primary_key=True),
    sa.Column("host", Text, nullable=False),
    sa.Column("pid", sa.Integer, nullable=False),
    sa.Column("since", Text, nullable=False),
    sa.Column("session", RowId, nullable=False),  # the server's process for the holder's connection
)

# The tables of schema 3.
UPKEEP_TABLES: Final = (machine_days, job_locks)
