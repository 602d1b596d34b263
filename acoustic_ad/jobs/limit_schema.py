"""What the store keeps of limits: those that were found, so that the next job need not simulate them again."""

from __future__ import annotations

import sqlalchemy as sa

from acoustic_ad.jobs.column_types import Text
from acoustic_ad.jobs.schema import metadata

found_limits = sa.Table(
    "found_limits",
    metadata,
    sa.Column("kind", Text, primary_key=True),  # JSON of all that decides them
    sa.Column("limits", Text, nullable=False),  # JSON
)
