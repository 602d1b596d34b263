"""`acoustic-ad alarms`: what operators do, as processes; beside running jobs, and across kills."""

from __future__ import annotations

import csv
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cli_process import acoustic_ad, finish, start
from plant import BEGIN, EVERY, Plant, faulty, normal

from acoustic_ad.jobs.lock import hold_lock

PROMISED = {"id", "machine", "level", "raised_at", "cleared_at", "acknowledged_at", "by", "comment", "shelved_until"}


@pytest.fixture(scope="module")
def alarmed(tmp_path_factory: pytest.TempPathFactory) -> Plant:
    """A fan that is in alarm and a pump that is not, told by a job."""
    plant = Plant(tmp_path_factory.mktemp("plant"))
    plant.add_clips("fan", normal(150) + faulty(60))
    plant.add_clips("pump", normal(210, seed=1))
    plant.tell()
    return plant


@pytest.fixture
def plant(alarmed: Plant, tmp_path: Path) -> Plant:
    """One's own copy of it."""
    return alarmed.copy(tmp_path / "plant")


def standing(plant: Plant) -> int:
    """The id of the alarm that stands."""
    (found,) = [alarm["id"] for alarm in plant.alarms() if alarm["level"] == "alarm" and alarm["cleared_at"] is None]
    return int(found)


def test_the_list_is_what_is_promised(alarmed: Plant) -> None:
    found = acoustic_ad("alarms", "list", "--db", alarmed.db, "--json").json
    assert found == alarmed.alarms() and found
    assert {alarm["machine"] for alarm in found} == {"fan"}
    assert all(alarm.keys() >= PROMISED for alarm in found)
    assert [alarm["id"] for alarm in found] == list(range(1, len(found) + 1))
    last = found[-1]
    assert (last["level"], last["cleared_at"], last["state"], last["by"]) == ("alarm", None, "unacknowledged", None)
    assert datetime.fromisoformat(last["raised_at"]) > BEGIN + 150 * EVERY
    assert last["stands_out"] == "+9 dB around 3.4 kHz" and last["rule"]
    began = datetime.fromisoformat(last["began_at"])
    assert BEGIN + 140 * EVERY < began <= datetime.fromisoformat(last["raised_at"])
    assert f"began about {began:%Y-%m-%d %H:%M} UTC" in last["rule"], "in words: since when"
    assert len(last["listen_to"]) == 3 and all((alarmed.sound / clip).exists() for clip in last["listen_to"])
    assert last["audit"][0]["what"] == "raised"
    table = acoustic_ad("alarms", "list", "--db", alarmed.db).out
    assert "ALARM" in table and "unacknowledged" in table and "+9 dB around 3.4 kHz" in table


def test_the_machine_shows_its_alarm(alarmed: Plant) -> None:
    fan, pump = acoustic_ad(*alarmed.score, "--json").json["machines"]
    assert (fan["state"], pump["state"]) == ("alarm", "normal")
    (alarm,) = [alarm for alarm in alarmed.alarms() if alarm["level"] == "alarm"]
    assert {name: fan["alarm"][name] for name in ("id", "raised_at", "acknowledged")} == {
        "id": alarm["id"],
        "raised_at": alarm["raised_at"],
        "acknowledged": False,
    }
    assert pump["alarm"] is None
    assert fan["previous"] in ("normal", "warning") and fan["rule"] and fan["ne107"] and fan["index"] >= 50
    assert "listen to fan/" in fan["next_step"] and fan["listen_to"] == alarm["listen_to"]
    shown = acoustic_ad("status", "--db", alarmed.db).out
    assert f"[alarm {alarm['id']}, unacknowledged]" in shown and "next: listen to fan/" in shown


def test_acknowledging_is_kept_with_name_and_comment(plant: Plant) -> None:
    number = standing(plant)
    said = acoustic_ad("alarms", "ack", str(number), "--by", "Ann", "--comment", "=bearing ordered", "--db", plant.db)
    assert said.out == f"alarm {number} of fan: acknowledged\n"
    for _ in range(2):
        (alarm,) = [alarm for alarm in plant.alarms() if alarm["id"] == number]
        assert (alarm["state"], alarm["by"], alarm["comment"]) == ("acknowledged", "Ann", "=bearing ordered")
        assert datetime.now(UTC) - datetime.fromisoformat(alarm["acknowledged_at"]) < timedelta(minutes=5)
        assert [(entry["what"], entry["by"]) for entry in alarm["audit"]][:2] == [
            ("raised", ""),
            ("acknowledged", "Ann"),
        ]
        plant.tell()
        fan = plant.status()["fan"]
        assert (fan["alarm"]["id"], fan["alarm"]["acknowledged"]) == (number, True)
    assert acoustic_ad(*plant.score, "--exit-on", "alarm", code=4).code == 4, "seen is not mended"


def test_a_shelved_alarm_does_not_end_the_job_with_4(plant: Plant) -> None:
    number = str(standing(plant))
    assert acoustic_ad(*plant.score, "--exit-on", "warning", code=4)
    shelved = acoustic_ad("alarms", "shelve", number, "--for", "8h", "--by", "Bob", "--db", plant.db, "--json").json
    assert shelved["state"] == "shelved"
    left = datetime.fromisoformat(shelved["shelved_until"]) - datetime.now(UTC)
    assert timedelta(hours=7.9) < left < timedelta(hours=8)
    assert acoustic_ad(*plant.score, "--exit-on", "alarm").out.count("ALARM (shelved)") == 1
    assert plant.status()["fan"]["state"] == "alarm"
    back = acoustic_ad("alarms", "unshelve", number, "--by", "Bob", "--db", plant.db)
    assert back.out == f"alarm {number} of fan: unacknowledged\n"
    assert acoustic_ad(*plant.score, "--exit-on", "alarm", code=4)
    whats = [entry["what"].split(" until")[0] for entry in plant.alarms()[-1]["audit"]]
    assert whats[:3] == ["raised", "shelved", "unshelved"]


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["ack", "99", "--by", "Ann"], "no alarm 99"),
        (["shelve", "{id}", "--by", "Ann"], "--until TIME or --for"),
        (["shelve", "{id}", "--by", "Ann", "--for", "8h", "--until", "2099-01-01"], "--until TIME or --for"),
        (["shelve", "{id}", "--by", "Ann", "--until", "2026-01-01"], "that is over"),
        (["shelve", "{id}", "--by", "Ann", "--until", "tomorrow"], "is no time"),
        (["shelve", "{id}", "--by", "Ann", "--for", "a while"], "30min, 8h or 2d"),
        (["unshelve", "{id}", "--by", "Ann"], "is not shelved"),
    ],
)
def test_what_cannot_be_done_is_a_usage_error(plant: Plant, arguments: list[str], word: str) -> None:
    number = str(standing(plant))
    before = plant.alarms()
    words = [argument.replace("{id}", number) for argument in arguments]
    assert word in acoustic_ad("alarms", *words, "--db", plant.db, code=2).complaint
    assert plant.alarms() == before


def test_an_alarm_that_returned_waits_to_be_seen(plant: Plant) -> None:
    number = standing(plant)
    plant.add_clips("fan", normal(150, seed=2))
    plant.tell()
    (alarm,) = [alarm for alarm in plant.alarms() if alarm["id"] == number]
    assert alarm["state"] == "returned" and alarm["cleared_at"] > alarm["raised_at"]
    assert plant.status()["fan"]["alarm"] is None
    assert number in [alarm["id"] for alarm in plant.alarms(only_open=True)]
    acoustic_ad("alarms", "ack", str(number), "--by", "Ann", "--db", plant.db)
    assert number not in [alarm["id"] for alarm in plant.alarms(only_open=True)]
    assert number in [alarm["id"] for alarm in plant.alarms()]


def test_late_clips_move_an_alarm_and_keep_its_number(tmp_path: Path) -> None:
    """The same clips in any order, in any number of runs, are the same timeline and the same alarm."""
    zs = normal(150) + faulty(60)
    whole, pieces = Plant(tmp_path / "whole"), Plant(tmp_path / "pieces")
    whole.add_clips("fan", zs)
    whole.tell()
    pieces.add_clips("fan", zs[175:], begin=BEGIN + 175 * EVERY)
    pieces.add_clips("fan", zs[:100], begin=BEGIN)
    pieces.tell()
    number = standing(pieces)
    acoustic_ad("alarms", "ack", str(number), "--by", "Ann", "--db", pieces.db)
    pieces.add_clips("fan", zs[100:175], begin=BEGIN + 100 * EVERY)
    pieces.tell()

    def times(plant: Plant) -> list[tuple[str, str, str | None]]:
        return sorted((alarm["level"], alarm["raised_at"], alarm["cleared_at"]) for alarm in plant.alarms())

    assert times(pieces) == times(whole)
    (alarm,) = [alarm for alarm in pieces.alarms() if alarm["level"] == "alarm"]
    assert (alarm["id"], alarm["by"]) == (number, "Ann")
    fans = [plant.status()["fan"] for plant in (whole, pieces)]
    for fan in fans:
        fan["alarm"] = {name: fan["alarm"][name] for name in ("level", "raised_at")}
        fan.pop("model")
    assert fans[0] == fans[1]


def test_nobody_waits_for_a_job(plant: Plant) -> None:
    """Acknowledging works while the database is locked by a job, and while one is at work on the same machine."""
    number = str(standing(plant))
    with hold_lock(plant.db):
        acoustic_ad("alarms", "ack", number, "--by", "Ann", "--db", plant.db)
        acoustic_ad("events", "add", "pump", "maintenance", "--at", "2026-01-05T01:00Z", *plant.where)
    jobs = []
    for attempt in range(3):
        plant.add_clips("fan", faulty(20))
        jobs.append(start(*plant.score, "--json"))
        shelved = acoustic_ad("alarms", "shelve", number, "--by", f"Bob{attempt}", "--for", "2h", "--db", plant.db)
        assert shelved.code == 0
        done = finish(jobs[-1])
        assert done.code == 0, done.err
    (alarm,) = [alarm for alarm in plant.alarms() if alarm["id"] == int(number)]
    assert (alarm["state"], alarm["by"]) == ("shelved", "Bob2")
    assert [entry["by"] for entry in alarm["audit"] if entry["by"]] == ["Ann", "Bob0", "Bob1", "Bob2"]
    with sqlite3.connect(plant.db) as store:
        assert store.execute("pragma integrity_check").fetchone() == ("ok",)
        assert store.execute("select count(*) from alarm_actions").fetchone() == (4,)
    store.close()


def test_a_job_that_was_killed_before_the_alarm_is_made_up_for(plant: Plant) -> None:
    """The rows are there, the run has no end, and nothing is new: the next run raises the alarm all the same."""
    plant.add_clips("pump", faulty(60))
    before = acoustic_ad("status", "--db", plant.db)
    assert "was cut short" in before.err and "pump" in before.out
    assert [alarm["machine"] for alarm in plant.alarms() if alarm["cleared_at"] is None] == ["fan"]
    run = acoustic_ad(*plant.score, "--json").json
    assert run["clips"]["scored"] == 0
    assert [machine["state"] for machine in run["machines"]] == ["alarm", "alarm"]
    assert {alarm["machine"] for alarm in plant.alarms() if alarm["cleared_at"] is None} == {"fan", "pump"}


def test_an_older_store_is_brought_up_to_date_by_a_job_only(plant: Plant) -> None:
    with sqlite3.connect(plant.db) as store:
        store.executescript("DROP TABLE events; DROP TABLE alarm_actions; DELETE FROM alarms;")
        store.executescript("UPDATE schema_version SET version = 1; UPDATE machines SET facts = '{}';")
    store.close()
    for call in (("status",), ("alarms", "list"), ("events", "list")):
        assert "run `acoustic-ad score` once" in acoustic_ad(*call, "--db", plant.db, code=1).complaint
    machines = acoustic_ad(*plant.score, "--json").json["machines"]
    assert [machine["state"] for machine in machines] == ["alarm", "normal"]
    assert standing(plant)


def test_without_alarms(tmp_path: Path) -> None:
    plant = Plant(tmp_path)
    plant.add_clips("fan", normal(40))
    plant.tell()
    assert acoustic_ad("alarms", "list", "--db", plant.db).out == "no alarms\n"
    assert acoustic_ad("alarms", "list", "--db", plant.db, "--json").json == []
    assert acoustic_ad("alarms", "list", "--machine", "fan", "--db", plant.db).out == "no alarms of fan\n"
    unknown = acoustic_ad("alarms", "list", "--machine", "fun", "--db", plant.db, code=2)
    assert "no machine 'fun' in this store; it knows: fan" in unknown.complaint and "status" in unknown.complaint
    assert "no database" in acoustic_ad("alarms", "list", "--db", tmp_path / "no.db", code=1).complaint
    assert not (tmp_path / "no.db").exists()


def test_the_fleet_as_csv(alarmed: Plant, tmp_path: Path) -> None:
    out = tmp_path / "fleet.csv"
    acoustic_ad("status", "--db", alarmed.db, "--out", out)
    with out.open(newline="", encoding="utf-8") as file:
        fan, pump = list(csv.DictReader(file))
    assert (fan["machine"], fan["state"], pump["state"]) == ("fan", "alarm", "normal")
    assert (int(fan["received"]), int(fan["expected"]), int(fan["scored"])) == (210, 210, 210)
    assert float(fan["alarms_per_month"]) > 0 and int(fan["alarm"]) == standing(alarmed)
    assert "must end with .csv" in acoustic_ad("status", "--db", alarmed.db, "--out", "x.txt", code=2).complaint
    assert [file.name for file in tmp_path.iterdir()] == ["fleet.csv"]
