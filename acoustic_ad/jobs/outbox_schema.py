"""What the store keeps of messages to people and systems: the outbox, from which they are delivered."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from acoustic_ad.jobs.column_types import RowId, Text
from acoustic_ad.jobs.schema import metadata, utc_time

outbox = sa.Table(
    "outbox",
    metadata,
    sa.Column("id", RowId, primary_key=True),
    sa.Column("message_id", Text, nullable=False, unique=True),
    sa.Column("target", Text, nullable=False),
    sa.Column("subject", Text, nullable=False),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("machine", Text, nullable=False),
    sa.Column("kind", Text, nullable=False),
    sa.Column("payload", Text, nullable=False),
    sa.Column("created_at", Text, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("last_error", Text),
    sa.Column("claimed_until", Text),
    sa.Column("sent_at", Text),
    sa.Column("given_up_at", Text),
    # Two jobs that see the same change at once write one message of it.
    sa.UniqueConstraint("target", "subject", "number", name="one_message_a_change"),
)
sa.Index("outbox_by_machine", outbox.c.machine, outbox.c.target)
IS_WAITING = outbox.c.sent_at.is_(None) & outbox.c.given_up_at.is_(None)


@dataclass(frozen=True, slots=True)
class Message:
    """A message to one target: a row of `outbox`.

    `target` is the name of the target, which holds no secret. `subject` is what it tells of (an alarm, or the state of
    a machine's data) and `number` counts the messages of that to this target, so that each is written once.
    """

    id: int
    message_id: str  # the same on every attempt: receivers know a repetition by it
    target: str
    subject: str
    number: int
    machine: str
    kind: str
    payload: Mapping[str, Any]
    created_at: datetime
    attempts: int = 0
    last_error: str | None = None
    sent_at: datetime | None = None
    given_up_at: datetime | None = None

    def as_json(self) -> dict[str, Any]:
        """As `notify outbox --json` lists it."""
        return {
            "id": self.message_id,
            "target": self.target,
            "machine": self.machine,
            "kind": self.kind,
            "created_at": self.payload.get("created_at"),
            "attempts": self.attempts,
            "last_error": self.last_error,
            "given_up": self.given_up_at is not None,
            "text": self.payload.get("text"),
        }


def message(row: sa.Row[Any]) -> Message:
    """The record of a row that was selected with all columns of `outbox`."""
    return Message(
        row.id,
        row.message_id,
        row.target,
        row.subject,
        row.number,
        row.machine,
        row.kind,
        json.loads(row.payload),
        datetime.fromisoformat(row.created_at),
        row.attempts,
        row.last_error,
        utc_time(row.sent_at),
        utc_time(row.given_up_at),
    )
