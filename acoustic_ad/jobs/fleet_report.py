"""How the fleet is at a moment: what is kept of it, with what depends on the present, and its JSON documents."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from acoustic_ad.health.fleet import FleetDrift, fleet_drift
from acoustic_ad.health.policy import NE107
from acoustic_ad.jobs.alarm_book import WITHDRAWN, actions_of, alarms_of
from acoustic_ad.jobs.alarm_ids import pair_up
from acoustic_ad.jobs.alarm_rows import life_at, open_alarm
from acoustic_ad.jobs.alarm_schema import AlarmRow
from acoustic_ad.jobs.baselines import Baselines
from acoustic_ad.jobs.explanation import NO_DATA_STEP
from acoustic_ad.jobs.fleet_health import tell
from acoustic_ad.jobs.history import history_of
from acoustic_ad.jobs.limit_memory import recall_limits
from acoustic_ad.jobs.schema import MachineRow, utc_time
from acoustic_ad.jobs.store import Store


@dataclass(frozen=True, slots=True)
class MachineStatus:
    """A machine at a moment."""

    row: MachineRow
    alarm: AlarmRow | None = None  # the one that stands

    @property
    def shelved(self) -> bool:
        """Whether an operator has put the machine's alarm aside for now."""
        return self.alarm is not None and self.alarm.state == "shelved"

    @property
    def heard(self) -> str:
        """The state by the scored clips alone."""
        return str(self.facts.get("heard") or self.row.state)

    @property
    def facts(self) -> Mapping[str, Any]:
        """What the row keeps beside its columns."""
        return self.row.facts or {}


@dataclass(frozen=True, slots=True)
class FleetStatus:
    """The fleet at a moment: what was recorded up to `as_of`, which in an archive is long before it is `seen_at`."""

    as_of: datetime
    seen_at: datetime
    machines: list[MachineStatus] = field(default_factory=list)
    drift: FleetDrift | None = None


def fleet_status(store: Store, machines: Collection[str] | None = None, now: datetime | None = None) -> FleetStatus:
    """What is kept of all machines, or of some, seen from the present. Needs neither clips nor models."""
    now = now or datetime.now(UTC)
    rows = store.machines()
    present = _present(rows, now)
    with store.reading() as connection:
        alarms, actions = alarms_of(connection), actions_of(connection)
    standing: dict[str, list[AlarmRow]] = {}
    life = life_at(now)
    for alarm in alarms:
        if alarm.state != WITHDRAWN and alarm.cleared_at is None:
            standing.setdefault(alarm.machine, []).append(life(alarm, actions.get(alarm.id, [])))
    found = [
        MachineStatus(_seen_from(row, present), open_alarm(standing.get(row.machine, [])))
        for row in rows
        if machines is None or row.machine in machines
    ]
    return FleetStatus(present, now, found, drift_of(rows))


def fleet_status_at(store: Store, models: Path, as_of: datetime) -> FleetStatus:
    """How every machine was at a moment, from its clips up to then; nothing is written."""
    recall_limits(store)
    baselines = Baselines(models)
    failed = {row.machine: row.failed for row in store.machines()}
    found = []
    for machine in failed:
        history = history_of(store, machine)
        told = tell(store, baselines, history, as_of=as_of)
        with store.reading() as connection:
            stored, actions = alarms_of(connection, machine), actions_of(connection, machine)
        life = life_at(as_of)
        pairs = pair_up(stored, told.alarms)
        alarms = [
            life(replace(alarm, id=stored[pairs[number]].id), actions.get(stored[pairs[number]].id, []))
            if number in pairs
            else alarm
            for number, alarm in enumerate(told.alarms)
        ]
        lost = sum(clip.recorded_at <= as_of for clip in history.failed)
        found.append(MachineStatus(replace(told.row, failed=lost), open_alarm(alarms)))
    return FleetStatus(as_of, as_of, found, drift_of([status.row for status in found]))


def drift_of(rows: Sequence[MachineRow]) -> FleetDrift | None:
    """The drift of the whole fleet, from what is kept of each machine's last weeks."""
    history = {row.machine: (row.facts or {}).get("recent_z", ()) for row in rows}
    return fleet_drift(
        {name: [(datetime.fromisoformat(at), z) for at, z in recent] for name, recent in history.items() if recent}
    )


def _present(rows: Sequence[MachineRow], now: datetime) -> datetime:
    """Now, where any recorder is at work: what is silent now has no data. In an archive, its newest clip."""
    newest = max((row.last_clip_at for row in rows if row.last_clip_at is not None), default=now)
    if any((row.facts or {}).get("live") for row in rows):
        return now
    return min(newest, now)


def _seen_from(row: MachineRow, present: datetime) -> MachineRow:
    """The row, with state `no_data` where the machine has been silent for too long."""
    facts = dict(row.facts or {})
    silent_after = utc_time(facts.get("silent_after"))
    if silent_after is None or present < silent_after or row.state == "no_data":
        return row
    facts |= {
        "previous": row.state,
        "rule": "no clip for longer than usual",
        "ne107": NE107["no_data"],
        "next_step": NO_DATA_STEP,
    }
    return replace(row, state="no_data", since=silent_after, facts=facts)


# --- JSON ------------------------------------------------------------------------------------------------------------


def fleet_json(fleet: FleetStatus) -> dict[str, Any]:
    """The fleet as JSON."""
    drift = None if fleet.drift is None else asdict(fleet.drift) | {"since": iso(fleet.drift.since)}
    return {
        "as_of": iso(fleet.as_of),
        "machines": [machine_json(machine) for machine in fleet.machines],
        "fleet_drift": drift,
    }


def machine_json(machine: MachineStatus) -> dict[str, Any]:
    """A machine's health as JSON."""
    row, facts = machine.row, machine.facts
    return {
        "machine": row.machine,
        "state": row.state,
        "since": iso(row.since),
        "previous": facts.get("previous"),
        "rule": facts.get("rule"),
        "ne107": facts.get("ne107"),
        "heard": machine.heard,
        "index": row.index,
        "trend": facts.get("trend"),
        "clips": row.clips,
        "failed": row.failed,
        "last_clip_at": iso(row.last_clip_at),
        "coverage": facts.get("coverage"),
        "alarm": alarm_in_short(machine.alarm),
        "stands_out": facts.get("stands_out"),
        "listen_to": facts.get("listen_to") or [],
        "next_step": facts.get("next_step") or None,
        "false_alarms": facts.get("false_alarms"),
        "statement": facts.get("statement"),
        "model": row.model,
    }


def alarm_in_short(alarm: AlarmRow | None) -> dict[str, Any] | None:
    """The alarm that stands, as a part of its machine."""
    if alarm is None:
        return None
    return {
        "id": alarm.id or None,
        "level": alarm.level,
        "raised_at": iso(alarm.raised_at),
        "acknowledged": alarm.acknowledged_at is not None,
        "state": alarm.state,
        "shelved_until": iso(alarm.shelved_until),
    }


def iso(time: datetime | None) -> str | None:
    """`time` in UTC, ISO 8601; None stays None."""
    return None if time is None else time.astimezone(UTC).isoformat().replace("+00:00", "Z")
