"""The life of a simulated machine through train and score: nights are off, a dying microphone is a sensor fault, and
wear is heard before the failure, but not before it began."""

from __future__ import annotations

import csv
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from cli_process import acoustic_ad, rows_of

from acoustic_ad.jobs.fleet_report import fleet_status_at
from acoustic_ad.jobs.store import Store
from acoustic_ad.sound.simulate import plan_run_to_failure, simulate_run_to_failure
from acoustic_ad.sound.simulated_run import RunOptions

MACHINE = "fan/id_00"
RUN: RunOptions = {
    "days": 20, "clips_per_day": 12, "seed": 4, "fault": "bearing", "onset_day": 10.0, "failure_day": 17.0,
    "duration_s": 1.0, "off_nights": True, "dying_microphone": True,
}  # fmt: skip


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run, trained on its first days and scored on the others."""
    root = tmp_path_factory.mktemp("life")
    data = simulate_run_to_failure(root / "sound", MACHINE, **RUN)
    acoustic_ad("train", data, "--recipe", "mahalanobis", "--models", root / "models")
    scored = ("score", data, "--split", "test", "--models", root / "models", "--db", root / "x.db")
    acoustic_ad(*scored, "--out", root / "rows.csv")
    return root


def test_every_clip_is_what_it_was_recorded_of(life: Path) -> None:
    with (life / "sound" / "manifest.csv").open(newline="") as file:
        truth = {row["path"]: row["truth_state"] for row in csv.DictReader(file)}
    ears = {clip.path: (clip.microphone, clip.running) for clip in plan_run_to_failure(MACHINE, **RUN)}
    rows = rows_of(life / "rows.csv")
    found = {row["clip_id"]: row["status"] for row in rows}
    nights = [found[path] for path in found if truth[path] == "off"]
    assert len(nights) > 60 and set(nights) == {"off"}
    assert {found[path] for path in found if truth[path] == "running"} == {"scored"}
    # Of silences, which are all the same bytes, there is one row.
    assert {found[path] for path, (ear, _) in ears.items() if ear < 0.7 and path in found} == {"sensor_fault"}
    assert sum(ear == 0 for ear, _ in ears.values()) > sum(row["reason"] == "silent" for row in rows) == 1
    assert "off" not in {found[path] for path, (ear, runs) in ears.items() if 0 < ear < 1 and runs}
    off = [row for row in rows if row["status"] == "off"]
    assert all(row["score"] == "" and row["reason"] == "" and row["level_db"] for row in off)
    assert all("below its normal level" in row["detail"] for row in off)
    assert {row["reason"] for row in rows if row["status"] == "sensor_fault"} == {"faint", "silent"}


def test_the_machine_is_each_of_it_in_its_time(life: Path) -> None:
    first = plan_run_to_failure(MACHINE, **RUN)[0].recorded_at

    def state(day: float) -> tuple[str, str]:
        with Store.open(life / "x.db", read_only=True) as store:
            (machine,) = fleet_status_at(store, life / "models", first + timedelta(days=day)).machines
        return machine.row.state, machine.heard

    assert state(9.5) == ("normal", "normal")
    assert state(9.75) == ("off", "normal")
    assert state(16.75) == ("off", "alarm"), "a night calls nothing off"
    assert state(16.25) == ("alarm", "alarm")
    assert state(19.5)[0] == state(20.5)[0] == "sensor_fault", "heard until its last silence"
    assert state(30)[0] == "no_data"


def test_wear_is_heard_before_the_failure_and_not_before_it_began(life: Path) -> None:
    first = plan_run_to_failure(MACHINE, **RUN)[0].recorded_at
    alarms = acoustic_ad("alarms", "list", "--db", life / "x.db", "--json").json
    days = [(datetime.fromisoformat(alarm["raised_at"]) - first) / timedelta(days=1) for alarm in alarms]
    assert days and RUN["onset_day"] < min(days)  # type: ignore[operator]
    (alarm,) = [day for day, one in zip(days, alarms, strict=True) if one["level"] == "alarm"]
    assert alarm < 16
