"""The book of alarms: what was raised, what operators did with it, and what they know of their machines.

Everything here is one transaction of the store each. Nobody waits for a job: the job's lock is not asked for, and what
an operator enters while a job runs is in the book when the job brings it up to date.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

import sqlalchemy as sa

from acoustic_ad.errors import UsageError
from acoustic_ad.jobs.alarm_ids import pair_up
from acoustic_ad.jobs.alarm_schema import (
    ActionRow,
    AlarmRow,
    EventRow,
    action_row,
    alarm_actions,
    alarm_row,
    alarms,
    event_row,
    events,
)
from acoustic_ad.jobs.schema import json_text, utc_text
from acoustic_ad.jobs.store import Store
from acoustic_ad.jobs.upkeep_schema import forget_lives
from acoustic_ad.sound.clip import one_line, printable_text

WITHDRAWN = "withdrawn"  # the state of an alarm whose episode the clips no longer tell

# What becomes of an alarm by what operators did: its state, who acknowledged it, until when it is shelved.
Life = Callable[[AlarmRow, Sequence[ActionRow]], AlarmRow]


# --- reading ---------------------------------------------------------------------------------------------------------


def alarms_of(connection: sa.Connection, machine: str | None = None) -> list[AlarmRow]:
    """All alarms, or those of a machine, by id."""
    query = sa.select(alarms).order_by(alarms.c.id)
    if machine is not None:
        query = query.where(alarms.c.machine == machine)
    return [alarm_row(row) for row in connection.execute(query)]


def actions_of(connection: sa.Connection, machine: str | None = None) -> dict[int, list[ActionRow]]:
    """Alarm's id -> what was done with it, in the order in which it was."""
    query = sa.select(alarm_actions).order_by(alarm_actions.c.id)
    if machine is not None:
        query = query.where(alarm_actions.c.machine == machine)
    found: dict[int, list[ActionRow]] = {}
    for row in connection.execute(query):
        found.setdefault(row.alarm, []).append(action_row(row))
    return found


def events_of(connection: sa.Connection, machine: str | None = None) -> list[EventRow]:
    """All events, or those of a machine, by when they were."""
    query = sa.select(events).order_by(events.c.machine, events.c.at, events.c.id)
    if machine is not None:
        query = query.where(events.c.machine == machine)
    return [event_row(row) for row in connection.execute(query)]


def book(store: Store, machine: str | None = None) -> tuple[list[AlarmRow], dict[int, list[ActionRow]]]:
    """The alarms and what was done with each, as of one moment."""
    with store.reading() as connection:
        return alarms_of(connection, machine), actions_of(connection, machine)


# --- writing ---------------------------------------------------------------------------------------------------------


def add_event(store: Store, event: EventRow) -> EventRow:
    """Keep an event; returns it with its id. Raises UsageError for a machine that the store does not know."""
    with store.writing() as connection:
        check_known(connection, event.machine)
        now = datetime.now(UTC)
        values = {
            "machine": event.machine,
            "at": utc_text(event.at),
            "kind": event.kind,
            "note": printable_text(event.note),
            "by": printable_text(event.by),
            "entered_at": utc_text(now),
        }
        inserted = connection.execute(events.insert().values(values)).inserted_primary_key
        forget_lives(connection, [event.machine])
    return replace(event, id=int(inserted[0]) if inserted else 0, entered_at=now)


def act(store: Store, action: ActionRow, life: Life) -> AlarmRow:
    """Keep what an operator does with an alarm; returns the alarm as it is then.

    Raises UsageError where there is no such alarm, or where it cannot be done to it.
    """
    with store.writing() as connection:
        row = connection.execute(sa.select(alarms).where(alarms.c.id == action.alarm)).one_or_none()
        if row is None:
            raise UsageError(f"there is no alarm {action.alarm}: see `acoustic-ad alarms list`")
        alarm = alarm_row(row)
        _check_possible(alarm, action)
        values = {
            "alarm": alarm.id,
            "machine": alarm.machine,
            "at": utc_text(action.at),
            "kind": action.kind,
            "by": printable_text(action.by),
            "comment": printable_text(action.comment),
            "until": None if action.until is None else utc_text(action.until),
        }
        connection.execute(alarm_actions.insert().values(values))
        found = life(alarm, actions_of(connection, alarm.machine).get(alarm.id, []))
        connection.execute(alarms.update().where(alarms.c.id == alarm.id).values(_columns(found)))
    return found


def settle(connection: sa.Connection, machine: str, episodes: Sequence[AlarmRow], life: Life) -> None:
    """Make the machine's alarms those of its `episodes` (in time, ids not yet given), inside the caller's transaction.

    An episode that was known, or overlaps one that was, keeps its id and what operators did with it. One that is told
    no more is withdrawn; if it is told again, it is the old one.
    """
    stored = alarms_of(connection, machine)
    done = actions_of(connection, machine)
    gone = [number for number, old in enumerate(stored) if old.state == WITHDRAWN]
    pairs = pair_up(stored, episodes, gone)
    for number, episode in enumerate(episodes):
        if number in pairs:
            old = stored[pairs[number]]
            found = life(replace(episode, id=old.id), done.get(old.id, []))
            if found != old:
                connection.execute(alarms.update().where(alarms.c.id == old.id).values(_columns(found)))
        else:
            connection.execute(alarms.insert().values(_columns(life(episode, []))))
    for number, old in enumerate(stored):
        if number not in pairs.values() and old.state != WITHDRAWN:
            over = {"state": WITHDRAWN, "cleared_at": utc_text(old.cleared_at or old.raised_at)}
            connection.execute(alarms.update().where(alarms.c.id == old.id).values(over))


def check_known(connection: sa.Connection, machine: str) -> None:
    """Raises UsageError for a machine that the store does not know, naming it and some that it knows."""
    from acoustic_ad.jobs.schema import machines

    known = connection.scalars(sa.select(machines.c.machine).order_by(machines.c.machine)).all()
    if machine not in known:
        some = ", ".join(one_line(name) for name in known[:5]) or "none yet"
        raise UsageError(
            f"no machine {one_line(machine)!r} in this store; it knows: {some} (`acoustic-ad status` lists all)"
        )


def _check_possible(alarm: AlarmRow, action: ActionRow) -> None:
    if alarm.state == WITHDRAWN:
        raise UsageError(f"alarm {alarm.id} was withdrawn: the clips no longer tell of it")
    if action.kind == "shelve" and alarm.cleared_at is not None:
        raise UsageError(f"alarm {alarm.id} has returned to normal: there is nothing to shelve")
    if action.kind == "unshelve" and (alarm.shelved_until is None or alarm.shelved_until <= action.at):
        raise UsageError(f"alarm {alarm.id} is not shelved")


def _columns(alarm: AlarmRow) -> Mapping[str, object]:
    def text(time: datetime | None) -> str | None:
        return None if time is None else utc_text(time)

    values: dict[str, object] = {
        "machine": alarm.machine,
        "level": alarm.level,
        "raised_at": text(alarm.raised_at),
        "cleared_at": text(alarm.cleared_at),
        "acknowledged_at": text(alarm.acknowledged_at),
        "by": alarm.by,
        "comment": alarm.comment,
        "shelved_until": text(alarm.shelved_until),
        "key": alarm.key,
        "state": alarm.state,
        "index": alarm.index,
        "facts": json_text(dict(alarm.facts)),
    }
    return values
