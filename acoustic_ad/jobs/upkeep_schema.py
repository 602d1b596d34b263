"""What the store keeps of clips whose rows were pruned: a summary of each of a machine's days."""

from __future__ import annotations

import sqlalchemy as sa

from acoustic_ad.jobs.column_types import Text
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
