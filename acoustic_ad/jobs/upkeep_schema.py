"""What the store keeps beside rows: of clips that were pruned a summary of each day, and of all what is read fast."""

from __future__ import annotations

from collections.abc import Collection

import sqlalchemy as sa

from acoustic_ad.jobs.column_types import RowId, Text
from acoustic_ad.jobs.schema import metadata

# A machine's day, in UTC, of which clips were pruned; what is counted are those. The columns are for people; `trace` is
# what the machine's health still needs of each clip, see `day_traces`.
machine_days = sa.Table(
    "machine_days",
    metadata,
    sa.Column("machine", Text, primary_key=True),
    sa.Column("day", Text, primary_key=True),  # 2026-01-05
    sa.Column("scored", sa.Integer, nullable=False),
    sa.Column("off", sa.Integer, nullable=False),
    sa.Column("sensor_fault", sa.Integer, nullable=False),
    sa.Column("failed", sa.Integer, nullable=False),
    sa.Column("score_median", sa.Double),
    sa.Column("score_max", sa.Double),
    sa.Column("p_value_min", sa.Double),
    sa.Column("level_db_median", sa.Double),
    sa.Column("trace", sa.LargeBinary, nullable=False),
    sa.Column("pruned_at", Text, nullable=False),
)

# A machine's clips once more, for its health, see `kept_clips`. All numbers are as of when the part was written.
kept_clips = sa.Table(
    "kept_clips",
    metadata,
    sa.Column("machine", Text, primary_key=True),
    sa.Column("part", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("clips", sa.Integer, nullable=False),  # in all parts
    sa.Column("until", RowId, nullable=False),  # id of the newest row in any part
    sa.Column("rows", sa.BigInteger, nullable=False),  # of the machine up to that one, failed ones included
    sa.Column("ids", sa.BigInteger, nullable=False),  # their sum
    sa.Column("days", sa.Integer, nullable=False),  # of `machine_days`
    sa.Column("pruned_at", Text),  # the latest of them
    sa.Column("data", sa.LargeBinary, nullable=False),
)

# A machine's life as its page shows it, see `life`: `head` is JSON, and holds for the row of `machines` that it names.
kept_lives = sa.Table(
    "kept_lives",
    metadata,
    sa.Column("machine", Text, primary_key=True),
    sa.Column("head", Text, nullable=False),
)
life_parts = sa.Table(
    "life_parts",
    metadata,
    sa.Column("machine", Text, primary_key=True),
    sa.Column("part", sa.Integer, primary_key=True, autoincrement=False),  # ten days each, since 1970
    # Of what the data say, and a checksum of their bytes. It stands before them: databases read no further for it.
    sa.Column("digest", Text, nullable=False),
    sa.Column("data", sa.LargeBinary, nullable=False),
)


def forget_lives(connection: sa.Connection, of_machines: Collection[str]) -> None:
    """The copies of these machines' lives are no longer what there is to tell, inside the caller's transaction."""
    if of_machines:
        gone = kept_lives.delete().where(kept_lives.c.machine == sa.bindparam("of_machine"))
        connection.execute(gone, [{"of_machine": machine} for machine in sorted(of_machines)])
