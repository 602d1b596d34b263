"""What the store keeps of alarms: episodes as the clips tell them, what operators did, and what they know of machines.

`alarms` is a view of the machines' episodes that is made anew whenever their clips change; its ids stay. What people
entered (`alarm_actions`, `events`) is only ever added to. Times and JSON are text, as in `schema`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa

from acoustic_ad.jobs.column_types import RowId, Text
from acoustic_ad.jobs.schema import metadata, utc_time

EVENT_KINDS: Final = ("maintenance", "false-alarm", "confirmed-fault")
ACTION_KINDS: Final = ("ack", "shelve", "unshelve")


@dataclass(frozen=True, slots=True)
class EventRow:
    """Something that people know of a machine: a row of `events`."""

    machine: str
    at: datetime
    kind: str  # one of EVENT_KINDS
    note: str = ""
    by: str = ""
    id: int = 0  # set by the store
    entered_at: datetime | None = None  # set by the store


@dataclass(frozen=True, slots=True)
class ActionRow:
    """What an operator did with an alarm: a row of `alarm_actions`."""

    alarm: int  # its id
    at: datetime
    kind: str  # one of ACTION_KINDS
    by: str
    comment: str = ""
    until: datetime | None = None  # of a shelving
    id: int = 0  # set by the store
    machine: str = ""  # set by the store


@dataclass(frozen=True, slots=True)
class AlarmRow:
    """An episode and what became of it: a row of `alarms`.

    `state` is one of the words of `health.alarms`, or `withdrawn`: clips that came late, or a newer model, took the
    episode back. `facts` hold what explains it: rule, stands_out, listen_to, ...
    """

    id: int
    machine: str
    level: str  # warning, alarm
    raised_at: datetime
    cleared_at: datetime | None
    key: str = ""  # of the episode
    state: str = ""
    acknowledged_at: datetime | None = None
    by: str | None = None
    comment: str | None = None
    shelved_until: datetime | None = None
    index: float | None = None  # the highest of the episode
    facts: Mapping[str, Any] = field(default_factory=dict)


events = sa.Table(
    "events",
    metadata,
    sa.Column("id", RowId, primary_key=True),
    sa.Column("machine", Text, nullable=False),
    sa.Column("at", Text, nullable=False),
    sa.Column("kind", Text, nullable=False),
    sa.Column("note", Text, nullable=False),
    sa.Column("by", Text, nullable=False),
    sa.Column("entered_at", Text, nullable=False),
    sa.CheckConstraint(f"kind IN {EVENT_KINDS}", name="known_event"),
)
sa.Index("events_by_machine", events.c.machine, events.c.at)

alarms = sa.Table(
    "alarms",
    metadata,
    sa.Column("id", RowId, primary_key=True),
    sa.Column("machine", Text, nullable=False),
    sa.Column("level", Text, nullable=False),
    sa.Column("raised_at", Text, nullable=False),
    sa.Column("cleared_at", Text),
    sa.Column("acknowledged_at", Text),
    sa.Column("by", Text),
    sa.Column("comment", Text),
    sa.Column("shelved_until", Text),
    # Since schema 2, with defaults because a table cannot be given other columns.
    sa.Column("key", Text, nullable=False, server_default=""),
    sa.Column("state", Text, nullable=False, server_default=""),
    sa.Column("index", sa.Double),
    sa.Column("facts", Text, nullable=False, server_default="{}"),
)
sa.Index("alarms_by_machine", alarms.c.machine, alarms.c.raised_at)

alarm_actions = sa.Table(
    "alarm_actions",
    metadata,
    sa.Column("id", RowId, primary_key=True),
    sa.Column("alarm", RowId, sa.ForeignKey("alarms.id"), nullable=False),
    sa.Column("machine", Text, nullable=False),
    sa.Column("at", Text, nullable=False),
    sa.Column("kind", Text, nullable=False),
    sa.Column("by", Text, nullable=False),
    sa.Column("comment", Text, nullable=False),
    sa.Column("until", Text),
    sa.CheckConstraint(f"kind IN {ACTION_KINDS}", name="known_action"),
)
sa.Index("actions_by_alarm", alarm_actions.c.alarm)

# The tables and columns of schema 2 that schema 1 had not.
NEW_TABLES: Final = (events, alarm_actions)
NEW_ALARM_COLUMNS: Final = (alarms.c.key, alarms.c.state, alarms.c["index"], alarms.c.facts)


def event_row(row: sa.Row[Any]) -> EventRow:
    """The record of a row that was selected with all columns of `events`."""
    entered = datetime.fromisoformat(row.entered_at)
    return EventRow(row.machine, datetime.fromisoformat(row.at), row.kind, row.note, row.by, row.id, entered)


def action_row(row: sa.Row[Any]) -> ActionRow:
    """The record of a row that was selected with all columns of `alarm_actions`."""
    at, until = datetime.fromisoformat(row.at), utc_time(row.until)
    return ActionRow(row.alarm, at, row.kind, row.by, row.comment, until, row.id, row.machine)


def alarm_row(row: sa.Row[Any]) -> AlarmRow:
    """The record of a row that was selected with all columns of `alarms`."""
    return AlarmRow(
        id=row.id,
        machine=row.machine,
        level=row.level,
        raised_at=datetime.fromisoformat(row.raised_at),
        cleared_at=utc_time(row.cleared_at),
        key=row.key,
        state=row.state,
        acknowledged_at=utc_time(row.acknowledged_at),
        by=row.by,
        comment=row.comment,
        shelved_until=utc_time(row.shelved_until),
        index=row._mapping["index"],  # row.index is the method of a tuple
        facts=json.loads(row.facts),
    )
