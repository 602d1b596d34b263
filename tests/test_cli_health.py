"""`acoustic-ad status --as-of`, `health replay`, `events` and `models recalibrate`, as processes."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cli_process import acoustic_ad
from plant import BEGIN, EVERY, Plant, faulty, normal

from acoustic_ad.models.registry import Registry


def iso(time: datetime) -> str:
    return time.astimezone(UTC).isoformat().replace("+00:00", "Z")


def machine_of(document: dict[str, Any], name: str = "fan") -> dict[str, Any]:
    (found,) = [machine for machine in document["machines"] if machine["machine"] == name]
    return found


def status(plant: Plant, *options: str) -> dict[str, Any]:
    found: dict[str, Any] = acoustic_ad("status", *plant.where, "--json", *options).json
    return found


@pytest.fixture(scope="module")
def worn(tmp_path_factory: pytest.TempPathFactory) -> Plant:
    """A fan that was well for 150 clips and is in alarm since."""
    plant = Plant(tmp_path_factory.mktemp("worn"))
    plant.add_clips("fan", normal(150) + faulty(60))
    plant.tell()
    return plant


# --- states ----------------------------------------------------------------------------------------------------------


def test_any_moment_can_be_asked_for(worn: Plant) -> None:
    before = worn.db.read_bytes()
    early = worn.status_at(iso(BEGIN + 5 * EVERY))
    assert (early["state"], early["clips"]) == ("learning", 6)
    well = worn.status_at(iso(BEGIN + 149 * EVERY))
    assert (well["state"], well["clips"], well["alarm"]) == ("normal", 150, None)
    assert well["coverage"]["received"] == 150
    ill, now = worn.status_at(iso(BEGIN + 209 * EVERY)), worn.status()["fan"]
    assert ill == now and ill["state"] == "alarm" and ill["alarm"]["id"]
    assert worn.status_at("2025-01-01T00:00Z")["state"] == "no_data"
    late = status(worn, "--as-of", "2026-03-01")
    assert late["as_of"] == "2026-03-01T00:00:00Z"
    silent = machine_of(late)
    assert (silent["state"], silent["previous"], silent["heard"]) == ("no_data", "alarm", "alarm")
    assert worn.db.read_bytes() == before
    assert "is no time" in acoustic_ad("status", *worn.where, "--as-of", "noon", code=2).complaint


def test_off_and_sensor_fault_are_never_mixed_with_health(tmp_path: Path) -> None:
    plant = Plant(tmp_path)
    plant.add_clips("fan", [*normal(60), *["off"] * 20])
    plant.tell()
    off = plant.status()["fan"]
    assert (off["state"], off["heard"], off["previous"], off["clips"]) == ("off", "normal", "normal", 60)
    assert off["since"] == iso(BEGIN + 60 * EVERY) and off["coverage"]["off"] == 20
    plant.add_clips("fan", ["sensor_fault"] * 3)
    plant.tell()
    broken = plant.status()["fan"]
    assert (broken["state"], broken["heard"], broken["ne107"]) == ("sensor_fault", "normal", "failure")
    assert broken["index"] == off["index"], "neither moves the statistic"
    assert "check the microphone" in broken["next_step"] and "silent" in broken["stands_out"]
    plant.add_clips("fan", normal(30, seed=3))
    plant.tell()
    assert plant.status()["fan"]["state"] == "normal"
    assert plant.alarms() == []


def test_a_machine_that_fell_silent_has_no_data(tmp_path: Path) -> None:
    """In an archive, the newest clip of any machine is the present; what stopped days before has no data."""
    plant = Plant(tmp_path)
    plant.add_clips("fan", normal(60))
    plant.add_clips("pump", normal(600, seed=1))
    plant.tell()
    fan, pump = plant.status()["fan"], plant.status()["pump"]
    assert (fan["state"], fan["previous"], fan["heard"], pump["state"]) == ("no_data", "normal", "normal", "normal")
    assert datetime.fromisoformat(fan["since"]) > datetime.fromisoformat(fan["last_clip_at"])
    assert "check the recorder" in fan["next_step"] and fan["ne107"] == "check function"
    assert "no data" in acoustic_ad("status", "--db", plant.db).out


def test_failed_clips_are_told_by_reason(tmp_path: Path) -> None:
    plant = Plant(tmp_path)
    plant.add_clips("fan", [*normal(30), *["failed"] * 4, *normal(6, seed=2)])
    plant.tell()
    fan = plant.status()["fan"]
    assert (fan["failed"], fan["coverage"]["failed"]) == (4, {"truncated": 4})
    assert (fan["coverage"]["expected"], fan["coverage"]["received"], fan["coverage"]["scored"]) == (40, 40, 36)
    shown = acoustic_ad("status", "--db", plant.db).out
    assert "40/40" in shown and "fan: not judged: 4 truncated" in shown


def test_a_store_from_before_the_models_went_away(worn: Plant, tmp_path: Path) -> None:
    """Without bundles, p-values stand in: less is known, nothing breaks."""
    told = acoustic_ad("status", "--db", worn.db, "--models", tmp_path, "--as-of", "2026-01-06", "--json").json
    assert machine_of(told)["clips"] == 145 and machine_of(told)["state"] in ("learning", "normal")


OF_MACHINE: dict[str, Any] = {
    "machine": str, "state": str, "since": str, "previous": str, "rule": str, "ne107": str, "heard": str,
    "index": float | int, "trend": dict | None, "clips": int, "failed": int, "last_clip_at": str,
    "coverage": dict, "alarm": dict, "stands_out": str, "listen_to": list, "next_step": str, "false_alarms": dict,
    "statement": str, "model": str,
}  # fmt: skip
OF_ALARM = {"id": int, "level": str, "raised_at": str, "acknowledged": bool, "state": str, "shelved_until": str | None}
OF_COVERAGE = {
    "days": float, "expected": int, "received": int, "scored": int, "off": int, "sensor_fault": int, "failed": dict,
}  # fmt: skip
OF_PROMISE = {
    "alarms_per_month": float, "alarms_range_per_month": list | None, "warnings_per_month": float, "attainable": bool,
    "statement": str,
}  # fmt: skip


def fits(value: dict[str, Any], keys: dict[str, Any]) -> bool:
    return set(value) == set(keys) and all(isinstance(value[key], kind) for key, kind in keys.items())


def test_the_document_of_status_is_what_is_promised(worn: Plant) -> None:
    document = acoustic_ad("status", *worn.where, "--json").json
    assert (
        set(document) == {"as_of", "cut_short", "notices", "machines", "fleet_drift"}
        and document["fleet_drift"] is None
    )
    (fan,) = document["machines"]
    assert fits(fan, OF_MACHINE) and fits(fan["alarm"], OF_ALARM)
    assert fits(fan["coverage"], OF_COVERAGE) and fits(fan["false_alarms"], OF_PROMISE)
    assert (fan["state"], fan["ne107"], len(fan["listen_to"])) == ("alarm", "out of specification", 3)
    assert 80 <= fan["index"] <= 100 and fan["false_alarms"]["alarms_per_month"] == pytest.approx(1 / 12, rel=0.2)
    for time in (document["as_of"], fan["since"], fan["last_clip_at"], fan["alarm"]["raised_at"]):
        assert time.endswith("Z") and datetime.fromisoformat(time)
    early = acoustic_ad("status", *worn.where, "--as-of", "2020-01-01T00:00Z", "--json").json["machines"][0]
    assert (early["state"], early["since"], early["index"], early["alarm"], early["clips"]) == (
        "no_data", None, None, None, 0,
    )  # fmt: skip


# --- replay ----------------------------------------------------------------------------------------------------------


def test_replay_shows_both_and_writes_nothing(worn: Plant, tmp_path: Path) -> None:
    policy = tmp_path / "deaf.toml"
    policy.write_text('name = "x"\n[health]\nlearning_clips = 300\nfalse_alarms_per_machine_year = 2\n')
    before = worn.db.read_bytes()
    document = acoustic_ad("health", "replay", "--policy", policy, *worn.where, "--json").json
    asked = ("learning_clips", "alarm_per_machine_year", "warning_per_machine_year")
    assert [document["policy"][key] for key in asked] == [300, 2, 24]
    fan = machine_of(document)
    assert fan["stands"]["alarms"] == 1 and fan["stands"]["state"] == "alarm"
    assert fan["replayed"]["alarms"] == 0 and fan["replayed"]["state"] == "learning"
    assert fan["stands"]["episodes"][-1]["level"] == "alarm" and fan["replayed"]["episodes"] == []
    table = acoustic_ad("health", "replay", "--policy", policy, "--machine", "fan", *worn.where).out
    assert "ALARM" in table and "learning" in table
    unknown = acoustic_ad("health", "replay", "--policy", policy, "--machine", "fun", *worn.where, code=2)
    assert "no machine 'fun' in this store; it knows: fan" in unknown.complaint
    assert worn.db.read_bytes() == before


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("alarms = 3", "unknown key"),
        ("learning_clips = -1", "learning_clips"),
        ("learning_clips = 'many'", "learning_clips"),
        ("false_alarms_per_machine_year = 2\nalarm_per_machine_year = 1", "2 contradicts alarm_per_machine_year = 1"),
        ("not toml", "not TOML"),
        ("health = 3", "must be a table"),
        (None, "No such file"),
    ],
)
def test_policies_that_are_none(worn: Plant, tmp_path: Path, text: str | None, word: str) -> None:
    policy = tmp_path / "policy.toml"
    if text is not None:
        policy.write_text(text)
    refused = acoustic_ad("health", "replay", "--policy", policy, *worn.where, code=2)
    assert word in refused.complaint and "--policy" in refused.complaint
    assert len(refused.err.splitlines()) == 1


# --- events and feedback ---------------------------------------------------------------------------------------------


def test_maintenance_begins_a_new_baseline(tmp_path: Path) -> None:
    """A machine that sounds different after its overhaul learns what is normal anew, and its alarm ends."""
    plant = Plant(tmp_path)
    times = plant.add_clips("fan", normal(150) + faulty(40))
    plant.tell()
    assert plant.status()["fan"]["state"] == "alarm"
    at = iso(times[-1] + timedelta(minutes=5))
    added = acoustic_ad(
        "events",
        "add",
        "fan",
        "maintenance",
        "--at",
        at,
        "--note",
        "new bearing",
        "--by",
        "Ann",
        *plant.where,
        "--json",
    ).json
    assert (added["kind"], added["at"], added["note"], added["by"]) == ("maintenance", at, "new bearing", "Ann")
    plant.add_clips("fan", [z + 2.0 for z in normal(20, seed=5)])
    plant.tell()
    assert plant.status()["fan"]["state"] == "learning"
    plant.add_clips("fan", [z + 2.0 for z in normal(200, seed=6)])
    plant.tell()
    assert plant.status()["fan"]["state"] == "normal"
    listed = acoustic_ad("events", "list", "--db", plant.db, "--json").json
    assert listed == {"events": [added]}
    assert "new bearing" in acoustic_ad("events", "list", "--db", plant.db).out


@pytest.mark.parametrize(("trained", "state"), [(timedelta(days=1), "normal"), (-timedelta(days=1), "learning")])
def test_a_model_learnt_after_the_maintenance_needs_no_new_baseline(
    tmp_path: Path, trained: timedelta, state: str
) -> None:
    """One learnt from recordings of before the maintenance does."""
    plant = Plant(tmp_path)
    times = plant.add_clips("fan", normal(150) + faulty(40))
    plant.tell()
    repaired = times[-1] + timedelta(minutes=5)
    acoustic_ad("events", "add", "fan", "maintenance", "--at", iso(repaired), *plant.where)
    assert plant.status()["fan"]["state"] == "learning"
    plant.add_machine("fan", newest=repaired + trained)
    plant.add_clips("fan", normal(30, seed=5), begin=repaired + timedelta(days=2))
    plant.tell()
    fan = plant.status()["fan"]
    assert (fan["state"], fan["since"] >= iso(repaired)) == (state, True)


def test_an_event_counts_at_once(tmp_path: Path) -> None:
    """Without a job in between."""
    plant = Plant(tmp_path)
    times = plant.add_clips("fan", normal(150) + faulty(40))
    plant.tell()
    acoustic_ad("events", "add", "fan", "false-alarm", "--at", iso(times[-1]), *plant.where)
    labels = [alarm["label"] for alarm in plant.alarms()]
    assert labels[-1] == "false-alarm"


def test_events_that_are_none(worn: Plant) -> None:
    for arguments, word in (
        (("fan", "party"), "maintenance, false-alarm, confirmed-fault"),
        (("fun", "maintenance"), "no machine 'fun'"),
        (("fan", "maintenance", "--at", "soon"), "is no time"),
        (("fan", "maintenance", "--at", "2199-01-01T00:00Z"), "has not come yet"),
    ):
        assert word in acoustic_ad("events", "add", *arguments, *worn.where, code=2).complaint
    assert acoustic_ad("events", "list", "--db", worn.db).out.startswith("no events yet")
    assert acoustic_ad("events", "list", "--machine", "fan", "--db", worn.db).out.startswith("no events of fan yet")
    unknown = acoustic_ad("events", "list", "--machine", "fun", "--db", worn.db, code=2)
    assert "no machine 'fun' in this store; it knows: fan" in unknown.complaint and "status" in unknown.complaint


def test_confirmed_normals_join_the_calibration_only_when_asked_and_never_in_an_alarm(tmp_path: Path) -> None:
    plant = Plant(tmp_path)
    times = plant.add_clips("fan", normal(150) + faulty(30))
    plant.tell()
    grow = ("models", "recalibrate", "fan", "--confirmed-normals", *plant.where)
    at = iso(times[-1])
    acoustic_ad("events", "add", "fan", "false-alarm", "--at", at, *plant.where)
    refused = acoustic_ad(*grow, code=1)
    assert "in alarm since" in refused.complaint
    plant.add_clips("fan", normal(150, seed=2))
    plant.tell()
    before = Registry(plant.models).info("fan")
    done = acoustic_ad(*grow, "--json").json
    assert (done["before"], done["version"], done["joined"] >= 20) == ("v0001", "v0002", True)
    after = Registry(plant.models).info("fan")
    assert after.calibration.n == before.calibration.n + done["joined"] == done["calibration_clips"]
    assert (after.training, after.detection) == (before.training, before.detection)
    assert after.extra["recalibrated_from"] == "v0001" and after.digest != before.digest
    model, _ = Registry(plant.models).load("fan")
    assert model.calibration is not None and model.calibration.order is not None
    again = acoustic_ad(*grow, code=1)
    assert "no clip to join" in again.complaint
    assert "--confirmed-normals" in acoustic_ad("models", "recalibrate", "fan", *plant.where, code=2).complaint
    acoustic_ad("models", "rollback", "fan", "--models", plant.models)
    assert json.loads((plant.models / "fan" / "current").read_text())["current"] == "v0001"
