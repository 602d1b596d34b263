"""The fleet as the page takes it: a row per machine, worst first."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise
from typing import Any, Final

from acoustic_ad.health.policy import WORDS
from acoustic_ad.jobs.fleet_report import FleetStatus, MachineStatus, iso, machine_json
from acoustic_ad.jobs.schema import utc_time

# Worst first; what nobody hears comes before what is well.
ORDER: Final = ("alarm", "warning", "sensor_fault", "no_data", "learning", "normal", "off")
SPARKS: Final = 30  # points of a sparkline


def worst_first(fleet: FleetStatus) -> list[MachineStatus]:
    """The machines by state, alarms that an operator has shelved behind those that stand, then by index."""

    def rank(machine: MachineStatus) -> tuple[int, bool, float, str]:
        state = machine.row.state
        place = ORDER.index(state) if state in ORDER else len(ORDER)
        # A machine that was switched off, or lost its microphone, in an alarm is in it still.
        if machine.heard in ("alarm", "warning") and state not in ("alarm", "warning"):
            place = ORDER.index("sensor_fault")
        return place, machine.shelved, -(machine.row.index or 0.0), machine.row.machine

    return sorted(fleet.machines, key=rank)


def fleet_rows(machines: list[MachineStatus]) -> list[dict[str, Any]]:
    """A row for each machine, as small as it can be: there may be thousands."""
    return [_row(machine) for machine in machines]


def state_words() -> dict[str, str]:
    """State -> what people read."""
    return {str(state): word for state, word in WORDS.items()}


def since_words(stands_out: str, began: datetime) -> str:
    """'+9 dB around 3.4 kHz since 2026-05-14 UTC'."""
    return f"{stands_out} since {began.astimezone(UTC):%Y-%m-%d} UTC"


def _row(machine: MachineStatus) -> dict[str, Any]:
    facts = machine_json(machine)
    coverage = facts["coverage"] or {}
    row = {
        "name": facts["machine"],
        "state": facts["state"],
        "heard": facts["heard"],
        "since": facts["since"],
        "index": None if facts["index"] is None else round(facts["index"]),
        "clips": facts["clips"],
        "failed": facts["failed"],
        "last": facts["last_clip_at"],
        "got": coverage.get("received"),
        "due": coverage.get("expected"),
        "out": _sentence(machine, facts["stands_out"]),
        "spark": _spark(machine),
        "alarm": None if machine.alarm is None else f"{machine.alarm.level} {machine.alarm.id}, {machine.alarm.state}",
    }
    return {name: value for name, value in row.items() if value not in (None, [], 0) or name == "index"}


def _sentence(machine: MachineStatus, stands_out: str | None) -> str | None:
    """What stands out, and since when it has been so."""
    if not stands_out:
        return None
    began = None if machine.alarm is None else utc_time(machine.alarm.facts.get("began_at")) or machine.alarm.raised_at
    return stands_out if began is None else since_words(stands_out, began)


def _spark(machine: MachineStatus) -> list[int]:
    """The last weeks in tenths of a standard deviation of normal clips, at most 30 numbers: the worst of each part."""
    values = [float(z) for _, z in machine.facts.get("recent_z") or ()]
    if len(values) > SPARKS:
        cuts = [round(number * len(values) / SPARKS) for number in range(SPARKS + 1)]
        values = [max(values[low:high]) for low, high in pairwise(cuts)]
    return [round(10 * value) for value in values]


def fleet_facts(fleet: FleetStatus) -> dict[str, Any]:
    """What holds for the whole fleet."""
    return {
        "as_of": iso(fleet.as_of),
        "seen_at": iso(fleet.seen_at),
        "drift": None if fleet.drift is None else fleet.drift.statement,
    }
