"""Tables of the fleet's health for people, and as CSV."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from rich.text import Text

from acoustic_ad.errors import StoreError, UsageError, refusal
from acoustic_ad.health.policy import WORDS, State
from acoustic_ad.jobs.alarm_schema import AlarmRow, EventRow
from acoustic_ad.jobs.fleet_report import FleetStatus, MachineStatus, machine_json
from acoustic_ad.jobs.replay import Replayed, count_of_level
from acoustic_ad.report.rows import csv_cell
from acoustic_ad.report.tables import text_table
from acoustic_ad.sound.clip import one_line, printable_text
from acoustic_ad.whole_file import whole_file

COLOURS: Final = {
    "normal": "green",
    "warning": "yellow",
    "alarm": "bold red",
    "sensor_fault": "magenta",
    "no_data": "magenta",
}
COLUMNS: Final = (
    "machine", "state", "index", "since", "was", "clips", "heard", "failed", "last clip", "false alarms",
    "what stands out",
)  # fmt: skip
NUMBERS: Final = ("index", "clips", "heard", "failed", "false alarms")
CSV_COLUMNS: Final = (
    "machine", "state", "since", "previous", "rule", "ne107", "heard", "index", "trend_per_day", "days_to_alarm",
    "clips", "failed", "last_clip_at", "expected", "received", "scored", "off", "sensor_fault", "failed_by_reason",
    "alarm", "alarm_state", "alarms_per_month", "attainable", "stands_out", "listen_to", "next_step", "model",
)  # fmt: skip


def fleet_table(fleet: FleetStatus) -> str:
    """One row per machine. `heard` are received of expected clips, `false alarms` those to expect in a month."""
    rows = [_row(machine, fleet.seen_at) for machine in fleet.machines]
    return text_table(COLUMNS, rows, right=NUMBERS)


def _row(machine: MachineStatus, seen_at: datetime) -> list[str | Text]:
    row, facts = machine.row, machine.facts
    shelved = " (shelved)" if machine.shelved else ""
    promise = facts.get("false_alarms") or {}
    return [
        row.machine,
        Text(word_of(row.state) + shelved, style=COLOURS.get(row.state, "dim")),
        "-" if row.index is None else f"{row.index:.0f}",
        minute(row.since),
        word_of(str(facts.get("previous") or "")) or "-",
        str(row.clips),
        _heard_of_expected(facts.get("coverage")),
        str(row.failed),
        age(row.last_clip_at, seen_at),
        _to_expect(promise),
        str(facts.get("stands_out") or "-"),
    ]


def fleet_words(fleet: FleetStatus) -> list[str]:
    """What the table has no room for: why, what to listen to, what to do, and what cannot be promised."""
    lines = []
    for machine in fleet.machines:
        lines += _words(machine)
    if fleet.drift is not None:
        lines += ["", one_line(fleet.drift.statement)]
    return ["", *lines] if lines else []


def _words(machine: MachineStatus) -> list[str]:
    facts, name = machine.facts, one_line(machine.row.machine)
    found = []
    if machine.row.state not in ("normal", "off") or machine.heard in ("warning", "alarm"):
        alarm = "" if machine.alarm is None else f" [{machine.alarm.level} {machine.alarm.id}, {machine.alarm.state}]"
        if facts.get("rule"):
            found.append(f"{name}: {facts['rule']}{alarm}")
        if facts.get("listen_to"):
            found.append(f"{name}: listen to {', '.join(map(one_line, facts['listen_to']))}")
        if facts.get("next_step"):
            found.append(f"{name}: next: {one_line(str(facts['next_step']))}")
    if trend := trend_words(facts.get("trend")):
        found.append(f"{name}: {trend}")
    lost = (facts.get("coverage") or {}).get("failed") or {}
    if lost:
        reasons = ", ".join(f"{count} {reason}" for reason, count in lost.items())
        found.append(f"{name}: not judged: {reasons}")
    promise = facts.get("false_alarms") or {}
    if promise and not promise["attainable"]:
        found.append(f"{name}: {one_line(str(promise['statement']))}")
    return found


def trend_words(trend: dict[str, Any] | None) -> str:
    """Where the index is heading, with the interval of the slope; empty where that is not significant."""
    if trend is None or not trend["significant"]:
        return ""
    words = (
        f"the index moves by {trend['per_day']:+.2g} points a day (99 % interval {trend['low']:+.2g} to "
        f"{trend['high']:+.2g}), by the last {trend['days']:.0f} days"
    )
    if trend["days_to_alarm"] is None:
        return words
    return f"{words}; at this slope the alarm limit is {trend['days_to_alarm']:.0f} days away"


def _to_expect(promise: dict[str, Any]) -> str:
    """False ALARMs a month: a range where the calibration clips are too few to tell more."""
    if not promise:
        return "-"
    between = promise.get("alarms_range_per_month")
    if between is None:
        return f"{promise['alarms_per_month']:.2g}/month"
    return f"{between[0]:.1g} to {between[1]:.2g}/month"


def _heard_of_expected(coverage: dict[str, Any] | None) -> str:
    if coverage is None:
        return "-"
    expected = "?" if coverage["expected"] is None else coverage["expected"]
    return f"{coverage['received']}/{expected}"


def word_of(state: str) -> str:
    """A state as people read it; any other text stays as it is."""
    known: dict[str, str] = {str(key): word for key, word in WORDS.items()}
    return known.get(state, state)


def minute(time: datetime | None) -> str:
    """A time to the minute, with its zone, which is UTC."""
    return "-" if time is None else time.astimezone(UTC).strftime("%Y-%m-%d %H:%MZ")


def age(time: datetime | None, now: datetime) -> str:
    """How long ago something was."""
    if time is None:
        return "-"
    seconds = (now - time).total_seconds()
    if seconds < 0:
        return minute(time)
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit} ago"
    return "just now"


# --- CSV -------------------------------------------------------------------------------------------------------------


def check_csv(path: Path) -> None:
    """UsageError where `write_fleet_csv` would not write to `path`."""
    if path.suffix.lower() != ".csv":
        raise UsageError(f"--out {one_line(str(path))}: the name must end with .csv")
    if path.is_dir():
        raise UsageError(f"--out {one_line(str(path))} is a folder: name a file")


def write_fleet_csv(path: Path, fleet: FleetStatus) -> None:
    """One row per machine with all that `status --json` tells, whole or not at all; raises StoreError."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(CSV_COLUMNS)
    for machine in fleet.machines:
        values = csv_values(machine)
        writer.writerow([_cell(values[column]) for column in CSV_COLUMNS])
    target = Path(os.path.realpath(path))
    try:
        with whole_file(target) as file:
            file.write(text.getvalue().encode())
    except OSError as error:
        raise StoreError(f"{one_line(str(target))} cannot be written: {refusal(error)}") from error


def csv_values(machine: MachineStatus) -> dict[str, Any]:
    """A machine by CSV_COLUMNS."""
    values = machine_json(machine)
    coverage, promise = values["coverage"] or {}, values["false_alarms"] or {}
    trend, alarm = values["trend"] or {}, values["alarm"] or {}
    lost = coverage.get("failed") or {}
    return values | {
        "trend_per_day": trend.get("per_day") if trend.get("significant") else None,
        "days_to_alarm": trend.get("days_to_alarm"),
        **{name: coverage.get(name) for name in ("expected", "received", "scored", "off", "sensor_fault")},
        "failed_by_reason": " ".join(f"{reason}={count}" for reason, count in lost.items()),
        "alarm": alarm.get("id"),
        "alarm_state": alarm.get("state"),
        "alarms_per_month": promise.get("alarms_per_month"),
        "attainable": promise.get("attainable"),
        "listen_to": " ".join(values["listen_to"]),
    }


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return repr(value)  # numbers are never escaped: "-0.5" is no formula
    return csv_cell(printable_text("" if value is None else str(value)))


# --- lists -----------------------------------------------------------------------------------------------------------


def alarm_table(alarms: Sequence[AlarmRow]) -> str:
    """One row per alarm."""
    columns = (
        "id",
        "machine",
        "level",
        "state",
        "raised",
        "cleared",
        "by",
        "comment",
        "shelved until",
        "what stands out",
    )
    rows = [
        [
            str(alarm.id),
            alarm.machine,
            word_of(alarm.level),
            alarm.state,
            minute(alarm.raised_at),
            minute(alarm.cleared_at),
            alarm.by or "-",
            alarm.comment or "-",
            minute(alarm.shelved_until),
            str(alarm.facts.get("stands_out") or "-"),
        ]
        for alarm in alarms
    ]
    return text_table(columns, rows, right=("id",))


def event_table(events: Sequence[EventRow]) -> str:
    """One row per event."""
    rows = [
        [str(event.id), event.machine, minute(event.at), event.kind, event.by or "-", event.note or "-"]
        for event in events
    ]
    return text_table(("id", "machine", "at", "kind", "by", "note"), rows, right=("id",))


def replay_table(found: Sequence[Replayed]) -> str:
    """One row per machine: what stands, and what the other policy would have done."""
    columns = (
        "machine",
        "state",
        "warnings",
        "alarms",
        "first alarm",
        "replayed",
        "warnings ",
        "alarms ",
        "first alarm ",
    )
    rows = []
    for one in found:
        row = [one.machine]
        for health in (one.stands, one.replayed):
            alarms = [episode.raised_at for episode in health.episodes if episode.level == "alarm"]
            state: State = health.state
            row += [word_of(state), str(count_of_level(health, "warning")), str(count_of_level(health, "alarm"))]
            row.append(minute(min(alarms, default=None)))
        rows.append(row)
    return text_table(columns, rows, right=("warnings", "alarms", "warnings ", "alarms "))
