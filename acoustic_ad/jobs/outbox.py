"""The outbox: which changes are news to whom, and what became of the messages that tell of them.

What a target has been told is what stands in the outbox for it, and what it is to be told follows from the alarms in
the store. So a target that is new hears of the alarms that stand, a job that was killed, or that ran without
`--notify`, is made up for by the next one, and no change is told twice.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa

from acoustic_ad.health.records import BECAME_ALARM
from acoustic_ad.jobs import database
from acoustic_ad.jobs.alarm_book import WITHDRAWN, actions_of, alarms_of
from acoustic_ad.jobs.alarm_rows import life_at
from acoustic_ad.jobs.alarm_schema import AlarmRow
from acoustic_ad.jobs.outbox_schema import IS_WAITING, Message, message, outbox
from acoustic_ad.jobs.schema import MachineRow, json_text, utc_text
from acoustic_ad.jobs.store import Store
from acoustic_ad.sound.clip import one_line

MESSAGE_FORMAT: Final = 1
# An alarm that was over before anyone could be told is news for so long; an archive's old ones are none.
NEWS: Final = timedelta(days=7)
# While a message is on its way, no other job takes it; that of a job that died is free after this time.
CLAIM: Final = timedelta(minutes=2)
AT_ONCE: Final = 300  # machines, or targets, in one query

_RANK: Final = {"warning": 1, "alarm": 2}
_ENDS: Final = ("returned", "passed", "withdrawn", "heard_again")  # after which a target knows as much as a new one
_DATA_STATES: Final = ("sensor_fault", "no_data")
_WORDS: Final = {
    "raised": "{level} raised",
    "returned": "{level} is over",
    "passed": "{level} was raised and is over",
    "withdrawn": "{level} withdrawn: the clips no longer tell of it",
    "sensor_fault": "SENSOR FAULT",
    "no_data": "NO DATA",
    "heard_again": "is heard again",
}
# What is told besides, where that is not what stands out and the next step.
_MORE: Final[dict[str, tuple[str, ...]]] = {
    "returned": ("cleared_by",),
    "passed": ("cleared_by", "stands_out"),
    "withdrawn": (),
    "heard_again": (),
}


# --- writing what is news --------------------------------------------------------------------------------------------


def announce(
    connection: sa.Connection, machines: Sequence[MachineRow], targets: Collection[str], now: datetime | None = None
) -> None:
    """Write to the outbox what each target has not been told of these machines, inside the caller's transaction.

    `machines` as they are seen now; their alarms are read. Shelved alarms are not told of.
    """
    if not targets:
        return
    now = now or datetime.now(UTC)
    alarms = _alarms_by_machine(connection, now)
    for start in range(0, len(machines), AT_ONCE):
        some = machines[start : start + AT_ONCE]
        told = _told(connection, {row.machine for row in some}, targets)
        rows = [
            new
            for row in some
            for alarm_or_none in (*alarms.get(row.machine, ()), None)
            for target in sorted(targets)
            if (new := _news(row, alarm_or_none, target, told, now)) is not None
        ]
        database.upsert(connection, outbox, ["target", "subject", "number"], rows, update=False)


def _alarms_by_machine(connection: sa.Connection, now: datetime) -> dict[str, list[AlarmRow]]:
    life, actions = life_at(now), actions_of(connection)
    found: dict[str, list[AlarmRow]] = {}
    for one in alarms_of(connection):
        seen = one if one.state == WITHDRAWN else life(one, actions.get(one.id, []))
        found.setdefault(one.machine, []).append(seen)
    return found


def _told(
    connection: sa.Connection, machines: Collection[str], targets: Collection[str]
) -> dict[tuple[str, str], tuple[int, str, str]]:
    """(target, subject) -> number, kind and level of the last message."""
    columns = (outbox.c.target, outbox.c.subject, outbox.c.number, outbox.c.kind, outbox.c.payload)
    wanted = outbox.c.machine.in_(machines) & outbox.c.target.in_(targets) & ~_has_successor()
    return {
        (row.target, row.subject): (row.number, row.kind, json.loads(row.payload)["level"] or "")
        for row in connection.execute(sa.select(*columns).where(wanted))
    }


def _has_successor() -> sa.ColumnElement[bool]:
    """Whether the target was written to once more of the same."""
    later, own = outbox.alias(), outbox.c
    same = (later.c.target == own.target) & (later.c.subject == own.subject) & (later.c.number > own.number)
    return sa.exists().where(same).correlate(outbox)


def _news(
    row: MachineRow,
    alarm: AlarmRow | None,
    target: str,
    told: dict[tuple[str, str], tuple[int, str, str]],
    now: datetime,
) -> dict[str, Any] | None:
    """What the target is to be told of an alarm, or of the machine's data (None), as a row; None where nothing."""
    subject = f"machine:{row.machine}" if alarm is None else f"alarm:{alarm.id}"
    number, last, level = told.get((target, subject), (0, "", ""))
    kind = _data_kind(row, last) if alarm is None else _alarm_kind(alarm, last, level, now)
    if kind is None:
        return None
    message_id = str(uuid.uuid4())
    return {
        "message_id": message_id,
        "target": target,
        "subject": subject,
        "number": number + 1,
        "machine": row.machine,
        "kind": kind,
        "payload": json_text(_payload(message_id, kind, row, alarm, now)),
        "created_at": utc_text(now),
        "attempts": 0,
    }


def _alarm_kind(alarm: AlarmRow, last: str, level: str, now: datetime) -> str | None:
    known = last == "raised"
    if alarm.state == "shelved":
        return None
    if alarm.state == WITHDRAWN:
        return "withdrawn" if known else None
    if alarm.cleared_at is None:
        return None if known and _RANK[alarm.level] <= _RANK[level] else "raised"
    if alarm.facts.get("cleared_by") == BECAME_ALARM:
        return None  # the alarm that it became is the news
    if known:
        return "returned"
    # What an operator has had in hand is no news.
    return "passed" if not last and not alarm.by and now - alarm.raised_at < NEWS else None


def _data_kind(row: MachineRow, last: str) -> str | None:
    if row.state in _DATA_STATES:
        return None if row.state == last else row.state
    return "heard_again" if last in _DATA_STATES else None


def _payload(message_id: str, kind: str, row: MachineRow, alarm: AlarmRow | None, now: datetime) -> dict[str, Any]:
    level = None if alarm is None else alarm.level
    explained = (row.facts or {}) if alarm is None else alarm.facts
    what = _WORDS[kind].format(level=(level or "").upper())
    names = _MORE.get(kind, ("stands_out", "next_step"))
    more = [str(explained[name]) for name in names if explained.get(name)]
    return {
        "format": MESSAGE_FORMAT,
        "id": message_id,
        "kind": kind,
        "machine": row.machine,
        "level": level,
        "state": row.state,
        "since": _iso(row.since),
        "alarm": None if alarm is None else {"id": alarm.id, "raised_at": _iso(alarm.raised_at), "state": alarm.state},
        "cleared_at": None if alarm is None else _iso(alarm.cleared_at),
        "index": row.index if alarm is None else alarm.index,
        "stands_out": explained.get("stands_out"),
        "listen_to": list(explained.get("listen_to") or []),
        "next_step": explained.get("next_step") or None,
        "created_at": _iso(now),
        "title": f"{one_line(row.machine)}: {what}",
        "text": one_line("; ".join([f"{row.machine}: {what}", *more])),
    }


def _iso(time: datetime | None) -> str | None:
    return None if time is None else utc_text(time)


def trial_payload(now: datetime | None = None) -> dict[str, Any]:
    """The message of `acoustic-ad notify test`."""
    return {
        "format": MESSAGE_FORMAT,
        "id": str(uuid.uuid4()),
        "kind": "test",
        "machine": None,
        "created_at": _iso(now or datetime.now(UTC)),
        "title": "acoustic-ad: test message",
        "text": "acoustic-ad: this is a test, no machine is concerned",
    }


# --- what becomes of it ----------------------------------------------------------------------------------------------


def waiting(store: Store, targets: Iterable[str] | None = None) -> list[Message]:
    """What is still to be delivered, to all targets or to some, oldest first."""
    query = sa.select(outbox).where(IS_WAITING).order_by(outbox.c.id)
    if targets is not None:
        query = query.where(outbox.c.target.in_(list(targets)))
    with store.reading() as connection:
        return [message(row) for row in connection.execute(query)]


def given_up(store: Store) -> list[Message]:
    """What could not be delivered within the age limit."""
    query = sa.select(outbox).where(outbox.c.given_up_at.is_not(None)).order_by(outbox.c.id)
    with store.reading() as connection:
        return [message(row) for row in connection.execute(query)]


def claim(store: Store, number: int) -> bool:
    """Take a message (its `id`) for delivery; False where it is sent already, or another job has it in hand."""
    now = datetime.now(UTC)
    change = outbox.update().where(outbox.c.id == number, IS_WAITING)
    free = outbox.c.claimed_until.is_(None) | (outbox.c.claimed_until < utc_text(now))
    with store.writing() as connection:
        if connection.dialect.name != "sqlite":  # whose lock leaves one job at a time: any other claim is of a dead one
            change = change.where(free)
        values = {"claimed_until": utc_text(now + CLAIM), "attempts": outbox.c.attempts + 1}
        return connection.execute(change.values(values)).rowcount == 1


def mark_sent(store: Store, number: int) -> None:
    """The target has taken the message."""
    _mark(store, number, sent_at=utc_text(datetime.now(UTC)), last_error=None)


def mark_failed(store: Store, number: int, reason: str) -> None:
    """The target has not taken the message: the next run tries again."""
    _mark(store, number, last_error=reason)


def _mark(store: Store, number: int, **values: object) -> None:
    with store.writing() as connection:
        connection.execute(outbox.update().where(outbox.c.id == number).values(claimed_until=None, **values))


def give_up_older_than(store: Store, age: timedelta) -> list[Message]:
    """Give up what has waited for longer than `age`, to whatever target, and return it: it must be told."""
    now = datetime.now(UTC)
    old = IS_WAITING & (outbox.c.created_at < utc_text(now - age))
    with store.writing() as connection:
        found = [message(row) for row in connection.execute(sa.select(outbox).where(old).order_by(outbox.c.id))]
        for one in found:
            connection.execute(outbox.update().where(outbox.c.id == one.id).values(given_up_at=utc_text(now)))
    return found


def prune_messages(connection: sa.Connection, before: datetime, now: datetime, dry_run: bool = False) -> int:
    """Delete messages that are sent or given up, and older than `before`, and return how many; or only count them.

    What a target was told last of an alarm that stands, or of data that are missing, stays: it would be told again.
    """
    old = ~IS_WAITING & (outbox.c.created_at < utc_text(min(before, now - NEWS)))
    others = outbox.alias()
    unfinished = sa.exists().where(
        others.c.target == outbox.c.target,
        others.c.subject == outbox.c.subject,
        sa.or_(others.c.sent_at.is_(None) & others.c.given_up_at.is_(None), others.c.number > outbox.c.number),
    )
    done = old & (_has_successor() | (outbox.c.kind.in_(_ENDS) & ~unfinished.correlate(outbox)))
    ids = connection.scalars(sa.select(outbox.c.id).where(done)).all()
    for start in range(0, 0 if dry_run else len(ids), AT_ONCE):
        connection.execute(outbox.delete().where(outbox.c.id.in_(ids[start : start + AT_ONCE])))
    return len(ids)
