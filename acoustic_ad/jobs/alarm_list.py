"""Alarms and events as lists, and as JSON: what was raised, where it stands now, and who did what."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from acoustic_ad.health.alarms import AuditEntry
from acoustic_ad.jobs.alarm_book import WITHDRAWN, book, check_known
from acoustic_ad.jobs.alarm_rows import audit_of, life_at
from acoustic_ad.jobs.alarm_schema import AlarmRow, EventRow
from acoustic_ad.jobs.fleet_report import iso
from acoustic_ad.jobs.schema import utc_time
from acoustic_ad.jobs.store import Store

# States that nobody needs to look at any more.
OVER = ("cleared", WITHDRAWN)


def alarm_list(
    store: Store,
    machine: str | None = None,
    *,
    only_open: bool = False,
    withdrawn: bool = False,
    now: datetime | None = None,
) -> list[tuple[AlarmRow, tuple[AuditEntry, ...]]]:
    """The alarms as they are now, by id, each with its audit trail; UsageError for a machine that nobody knows."""
    if machine is not None:
        with store.reading() as connection:
            check_known(connection, machine)
    alarms, actions = book(store, machine)
    now = now or datetime.now(UTC)
    life = life_at(now)
    found = []
    for stored in alarms:
        done = actions.get(stored.id, [])
        gone = stored.state == WITHDRAWN
        alarm = stored if gone else life(stored, done)
        if (withdrawn or not gone) and not (only_open and alarm.state in OVER):
            found.append((alarm, audit_of(stored, done, now)))
    return found


def alarm_list_json(alarms: list[tuple[AlarmRow, tuple[AuditEntry, ...]]]) -> list[dict[str, Any]]:
    """The document of `alarms list --json`."""
    return [
        alarm_json(alarm)
        | {"audit": [{"at": iso(one.at), "what": one.what, "by": one.by, "comment": one.comment} for one in audit]}
        for alarm, audit in alarms
    ]


def alarm_json(alarm: AlarmRow) -> dict[str, Any]:
    """An alarm as `alarms list --json` shows it."""
    facts = alarm.facts
    return {
        "id": alarm.id,
        "machine": alarm.machine,
        "level": alarm.level,
        "began_at": iso(utc_time(facts.get("began_at"))),  # the change that was raised, as far as charts can tell
        "raised_at": iso(alarm.raised_at),
        "cleared_at": iso(alarm.cleared_at),
        "acknowledged_at": iso(alarm.acknowledged_at),
        "by": alarm.by,
        "comment": alarm.comment,
        "shelved_until": iso(alarm.shelved_until),
        "state": alarm.state,
        "index": alarm.index,
        **{name: facts.get(name) for name in ("rule", "cleared_by", "label", "stands_out", "bands")},
        **{name: facts.get(name) for name in ("listen_to", "next_step")},
    }


def event_json(event: EventRow) -> dict[str, Any]:
    """An event as `events --json` shows it."""
    return {
        "id": event.id,
        "machine": event.machine,
        "at": iso(event.at),
        "kind": event.kind,
        "note": event.note,
        "by": event.by,
        "entered_at": iso(event.entered_at),
    }
