"""The fleet as people read it, and as spreadsheets do."""

from __future__ import annotations

import csv
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from acoustic_ad.errors import StoreError, UsageError
from acoustic_ad.jobs.alarm_schema import AlarmRow, EventRow
from acoustic_ad.jobs.fleet_report import FleetStatus, MachineStatus
from acoustic_ad.jobs.schema import MachineRow
from acoustic_ad.report.fleet import (
    CSV_COLUMNS,
    alarm_table,
    check_csv,
    event_table,
    fleet_table,
    fleet_words,
    write_fleet_csv,
)

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
COVERAGE = {"days": 1.0, "expected": 144, "received": 140, "scored": 131, "off": 2, "sensor_fault": 3}
FACTS: dict[str, Any] = {
    "heard": "alarm",
    "previous": "warning",
    "rule": "slow EWMA above its alarm limit",
    "ne107": "out of specification",
    "stands_out": "+9 dB around 3.4 kHz",
    "listen_to": ["=cmd.wav", "b.wav"],
    "next_step": "listen to =cmd.wav",
    "false_alarms": {"alarms_per_month": 0.0833, "warnings_per_month": 1.0, "attainable": False, "statement": "cannot"},
    "coverage": COVERAGE | {"failed": {"truncated": 4}},
    "trend": {"per_day": 2.5, "low": 1.8, "high": 3.2, "significant": True, "days_to_alarm": 12.4, "days": 13.6},
}
ALARM = AlarmRow(7, "=fan\n", "alarm", NOON, None, state="shelved", shelved_until=NOON, facts={"stands_out": "x"})


def fleet(**changes: Any) -> FleetStatus:
    row = MachineRow("=fan\n", "alarm", NOON, 91.4, 131, NOON, "m", FACTS | changes, failed=4)
    seen = NOON + timedelta(hours=3)
    return FleetStatus(
        NOON, seen, [MachineStatus(row, ALARM), MachineStatus(MachineRow("new", "no_data", None, None, 0, None))]
    )


def test_the_table_has_a_line_for_each_machine() -> None:
    head, fan, new = fleet_table(fleet()).splitlines()
    assert head.split()[:4] == ["machine", "state", "index", "since"]
    assert "ALARM (shelved)" in fan and "WARNING" in fan and "140/144" in fan and "0.083/month" in fan
    assert "3 h ago" in fan and "+9 dB around 3.4 kHz" in fan and "2026-01-05 12:00" in fan
    assert new.split()[:3] == ["new", "no", "data"] and "\n" not in fan


def test_false_alarms_are_a_range_where_few_clips_tell_no_more() -> None:
    unsure = FACTS["false_alarms"] | {"alarms_range_per_month": [0.0213, 0.171]}
    assert " 0.02 to 0.17/month " in fleet_table(fleet(false_alarms=unsure))


def test_the_words_below_it_say_why_and_what_to_do() -> None:
    text = "\n".join(fleet_words(fleet()))
    for words in (
        "slow EWMA above its alarm limit [alarm 7, shelved]",
        "listen to =cmd.wav, b.wav",
        "next: listen to =cmd.wav",
        "+2.5 points a day (99 % interval +1.8 to +3.2), by the last 14 days; at this slope the alarm limit is 12 days",
        "not judged: 4 truncated",
        ": cannot",
    ):
        assert words in text
    quiet = FleetStatus(NOON, NOON, [MachineStatus(MachineRow("fan", "normal", NOON, 3.0, 9, NOON))])
    assert fleet_words(quiet) == []


def test_a_slope_is_told_only_where_it_is_significant() -> None:
    down = {"per_day": -2.5, "low": -3.2, "high": -1.8, "significant": True, "days_to_alarm": None, "days": 13.6}
    told = "\n".join(fleet_words(fleet(trend=down)))
    assert "-2.5 points a day (99 % interval -3.2 to -1.8)" in told and "away" not in told
    for trend in (None, down | {"low": -6.0, "high": 1.0, "significant": False}):
        assert "points a day" not in "\n".join(fleet_words(fleet(trend=trend)))


def test_the_csv_has_every_column_and_runs_no_formula(tmp_path: Path) -> None:
    out = tmp_path / "fleet.csv"
    write_fleet_csv(out, fleet())
    with out.open(newline="", encoding="utf-8") as file:
        fan, new = list(csv.DictReader(file))
    assert list(fan) == list(CSV_COLUMNS)
    assert fan["machine"] == "'=fan\n" and fan["listen_to"] == "'=cmd.wav b.wav"
    assert (fan["index"], fan["expected"], fan["failed_by_reason"], fan["alarm"]) == ("91.4", "144", "truncated=4", "7")
    assert (fan["attainable"], fan["trend_per_day"], fan["days_to_alarm"]) == ("no", "2.5", "12.4")
    assert (new["state"], new["index"], new["alarm"]) == ("no_data", "", "")
    assert [file.name for file in tmp_path.iterdir()] == ["fleet.csv"]


def test_files_that_cannot_be_written(tmp_path: Path) -> None:
    for path in (tmp_path / "x.json", tmp_path):
        with pytest.raises(UsageError):
            check_csv(path)
    with pytest.raises(StoreError, match="cannot be written"):
        write_fleet_csv(tmp_path / "nowhere" / "x.csv", fleet())


def test_lists_of_alarms_and_events() -> None:
    (_, alarm) = alarm_table([ALARM]).splitlines()
    assert alarm.split()[0] == "7" and "shelved" in alarm and "2026-01-05 12:00" in alarm
    (_, event) = event_table([EventRow("fan", NOON, "maintenance", "new\nbearing", "Ann", 3)]).splitlines()
    assert event.split()[:2] == ["3", "fan"] and "Ann" in event and "bearing" in event
