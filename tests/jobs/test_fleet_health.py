"""What is kept of machines' health, and what is added when it is read."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from plant import BEGIN, EVERY, Plant, faulty, normal

from acoustic_ad.jobs import fleet_health
from acoustic_ad.jobs.alarm_book import add_event
from acoustic_ad.jobs.alarm_schema import EventRow
from acoustic_ad.jobs.fleet_report import fleet_json, fleet_status
from acoustic_ad.jobs.store import Store
from acoustic_ad.models.registry import Registry


def test_what_people_enter_while_health_is_told_is_not_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The event comes between the reading of the clips and the writing of the health."""
    plant = Plant(tmp_path)
    plant.add_clips("fan", normal(60) + faulty(20))
    tell, told = fleet_health.tell, []

    def interrupted(store: Store, *arguments: object, **options: object) -> object:
        found = tell(store, *arguments, **options)  # type: ignore[arg-type]
        if not told:
            with Store.open(plant.db) as other:
                add_event(other, EventRow("fan", BEGIN + 80 * EVERY, "maintenance"))
        told.append(found)
        return found

    plant.tell()
    assert plant.status()["fan"]["state"] == "alarm"
    monkeypatch.setattr(fleet_health, "tell", interrupted)
    with Store.open(plant.db) as store:
        fleet_health.refresh(store, plant.models, ["fan"])
    assert len(told) == 2
    assert plant.status()["fan"]["state"] == "learning"
    (alarm,) = [alarm for alarm in plant.alarms() if alarm["level"] == "alarm"]
    assert alarm["cleared_by"] == "maintenance"


def test_the_drift_of_the_whole_fleet_is_told_as_such(tmp_path: Path) -> None:
    plant = Plant(tmp_path)
    for number in range(4):
        rng = np.random.default_rng(number)
        zs = rng.standard_normal(20 * 24) + np.repeat([0.0, 1.2], [12 * 24, 8 * 24])
        plant.add_clips(f"fan {number}", np.round(zs, 2).tolist(), every=timedelta(hours=1))
    plant.tell()
    with Store.open(plant.db, read_only=True) as store:
        document = fleet_json(fleet_status(store))
    drift = document["fleet_drift"]
    assert drift is not None and (drift["direction"], drift["machines"]) == ("up", 4)
    assert len(drift["moved"]) == 4 and drift["shift"] == pytest.approx(1.2, abs=0.5)
    begun = datetime.fromisoformat(drift["since"]) - BEGIN
    assert timedelta(days=10) <= begun <= timedelta(days=14)


def test_a_recorder_at_work_that_falls_silent_is_missed_now_and_an_archive_is_not(tmp_path: Path) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    live, archive = Plant(tmp_path / "live"), Plant(tmp_path / "archive")
    times = live.add_clips("fan", normal(60), begin=now - timedelta(hours=40))
    archive.add_clips("fan", normal(60), begin=now - timedelta(days=9))
    for plant in (live, archive):
        plant.tell()
    silent = live.status()["fan"]
    assert (silent["state"], silent["heard"], silent["previous"]) == ("no_data", "normal", "normal")
    assert datetime.fromisoformat(silent["since"]) == times[-1] + timedelta(hours=24)
    assert archive.status()["fan"]["state"] == "normal"
    live.add_clips("fan", normal(1, seed=4), begin=now)
    live.tell()
    assert live.status()["fan"]["state"] == "normal"


def test_a_recorder_whose_clock_jumps_ahead_does_not_hide_that_it_fell_silent(tmp_path: Path) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    plant = Plant(tmp_path)
    times = plant.add_clips("fan", normal(60), begin=now - timedelta(hours=40))
    plant.add_clips("fan", [0.5], begin=now + timedelta(days=20_000))
    plant.tell()
    fan = plant.status()["fan"]
    assert (fan["state"], fan["clips"]) == ("normal", 61)  # heard now, whatever its clock says
    assert times[-1] < datetime.fromisoformat(fan["last_clip_at"]) < now + timedelta(hours=1)
    assert fan["coverage"]["received"] == 61
    with Store.open(plant.db, read_only=True) as store:
        (later,) = fleet_status(store, now=now + timedelta(days=3)).machines
    assert later.row.state == "no_data"


def test_a_computer_whose_clock_is_behind_leaves_the_recordings_their_times(tmp_path: Path) -> None:
    plant = Plant(tmp_path)
    begin = datetime.now(UTC).replace(microsecond=0) + timedelta(days=400)
    times = plant.add_clips("fan", normal(60) + faulty(20), begin=begin)
    plant.tell()
    fan = plant.status()["fan"]
    assert (fan["heard"], fan["last_clip_at"]) == ("alarm", times[-1].isoformat().replace("+00:00", "Z"))


def test_a_policy_that_changed_is_followed_by_the_next_job_though_nothing_is_new(tmp_path: Path) -> None:
    plant = Plant(tmp_path)
    plant.add_clips("fan", normal(60) + faulty(20), ended=True)
    plant.tell()
    assert plant.status()["fan"]["state"] == "alarm"
    judged = plant.digests["fan"]
    plant.add_machine("fan", learning_clips=200)
    assert plant.tell().counts["scored"] == 0
    fan = plant.status()["fan"]
    assert (fan["state"], fan["model"]) == ("learning", judged)
    assert plant.alarms() == [] and plant.alarms(withdrawn=True)
    Registry(plant.models).rollback("fan")
    plant.tell()
    assert plant.status()["fan"]["state"] == "alarm"
    assert [alarm["id"] for alarm in plant.alarms()] == [alarm["id"] for alarm in plant.alarms(withdrawn=True)]


def test_an_interrupted_job_notes_the_clips_and_leaves_the_health_to_the_next(tmp_path: Path) -> None:
    plant = Plant(tmp_path)
    plant.add_clips("fan", normal(60))
    plant.tell()
    times = plant.add_clips("fan", [*faulty(20), "off", "failed"])
    with Store.open(plant.db) as store:
        fleet_health.note_clips(store, ["fan", "new"])
        fan, new = store.machines()
    assert (fan.state, fan.clips, fan.last_clip_at, fan.failed) == ("normal", 80, times[-2], 1)
    assert (new.state, new.clips, new.last_clip_at) == ("no_data", 0, None)
    plant.tell()
    assert plant.status()["fan"]["heard"] == "alarm"
