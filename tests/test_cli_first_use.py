"""What a new user runs into: sensors that die, models that are rolled back, demos twice, calls that lead nowhere."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sqlite3
from pathlib import Path

import pytest
from cli_process import DAE_RECIPE, acoustic_ad, clip_name, finish, rows_of, start, wait_until, wav, write_clips

from acoustic_ad.jobs.store import Store


def digest_of(models: Path, machine: str, version: str) -> str:
    return str(json.loads((models / machine / version / "bundle.json").read_text())["digest"])


# --- sensors ---------------------------------------------------------------------------------------------------------


def test_a_dead_sensor_is_not_healthy(models, broken, tmp_path):
    """One good clip, then silence: the state says so in both languages, and nobody is alarmed."""
    folder = tmp_path / "sound" / "fan"
    write_clips(folder, "fan", [0])
    for number in range(1, 26):
        (folder / clip_name(number)).write_bytes(broken["silent"]() + bytes([number, 0]))
    arguments = ("score", tmp_path / "sound", "--models", models, "--db", tmp_path / "x.db", "--workers", "1")
    scored = acoustic_ad(*arguments, "--json", "--exit-on", "warning").json
    (fan,) = scored["machines"]
    assert (fan["state"], fan["since"], fan["heard"]) == ("sensor_fault", "2026-01-05T08:01:00Z", "learning")
    assert (fan["clips"], fan["last_clip_at"]) == (1, "2026-01-05T08:25:00Z")
    assert scored["clips"]["sensor_fault"] == 25
    shown = acoustic_ad("status", "--db", tmp_path / "x.db").out
    assert "sensor fault" in shown and "silent (digital silence" in shown and "normal" not in shown

    write_clips(folder, "fan", [30])
    (mended,) = acoustic_ad(*arguments, "--json").json["machines"]
    assert (mended["state"], mended["clips"]) == ("learning", 2)


def test_a_sensor_that_breaks_calls_nothing_off(models, broken, tmp_path):
    """A machine that was in alarm before its sensor broke still ends the job with 4, and the table tells both."""
    folder = tmp_path / "sound" / "pump"
    write_clips(folder, "pump", range(14))
    for number in range(18, 22):
        (folder / clip_name(number)).write_bytes(wav("pump", number, fault="cavitation"))
    (folder / clip_name(40)).write_bytes(broken["constant"]())
    (folder / clip_name(41)).write_bytes(b"no sound" * 20)
    db = tmp_path / "x.db"
    arguments = ("score", tmp_path / "sound", "--models", models, "--db", db, "--workers", "1")
    run = acoustic_ad(*arguments, "--exit-on", "warning", code=4)
    line = run.out.splitlines()[1]
    assert "sensor fault" in line and "constant (" in line and "ALARM before that: " in line
    assert "check the microphone and its converter; then: listen to pump/" in run.out
    assert "20 clips: 18 scored, 1 failed, 1 sensor fault" in run.err
    (pump,) = acoustic_ad("status", "--db", db, "--json").json["machines"]
    assert (pump["state"], pump["heard"], pump["failed"], pump["clips"]) == ("sensor_fault", "alarm", 1, 18)
    assert (pump["coverage"]["received"], pump["coverage"]["failed"]) == (20, {"unsupported": 1})
    assert pump["alarm"]["level"] == "alarm"


# --- models ----------------------------------------------------------------------------------------------------------


def test_a_rollback_judges_when_it_is_asked_to(recordings, own_models, recipe, db, tmp_path):
    """`score` says that known clips keep the other version's scores; --rescore gives them those of the current one."""
    shutil.copytree(recordings / "fan", tmp_path / "sound" / "fan")
    write_clips(tmp_path / "sound" / "pump", "pump", range(3))
    other = tmp_path / "other.toml"
    other.write_text(recipe.read_text().replace("n_mels = 32", "n_mels = 24"))
    fan_only = tmp_path / "fan_only"
    shutil.copytree(recordings / "fan", fan_only / "fan")
    acoustic_ad("train", fan_only, "--recipe", other, "--models", own_models, "--workers", "1")
    out = tmp_path / "rows.csv"
    arguments = ("score", tmp_path / "sound", "--models", own_models, "--db", db, "--workers", "1", "--out", out)

    def judged() -> set[str]:
        return {row["model"] for row in rows_of(out) if row["machine"] == "fan"}

    told = acoustic_ad(*arguments)
    assert "22 clips of 1 machine (fan)" in told.err and "--rescore" in told.err
    assert acoustic_ad(*arguments, "--json").json["other_model"] == {"fan": 22}
    versions = {version: digest_of(own_models, "fan", version) for version in ("v0001", "v0002")}
    first = {row["clip_id"]: row["score"] for row in rows_of(out)}
    assert "--rescore" not in acoustic_ad(*arguments, "--rescore").err
    assert judged() == {versions["v0002"]}

    acoustic_ad("models", "rollback", "fan", "--models", own_models)
    assert "22 clips" in acoustic_ad(*arguments).err
    again = acoustic_ad(*arguments, "--rescore", "--json").json
    assert (again["clips"]["scored"], again["clips"]["already_scored"], again["other_model"]) == (22, 3, {})
    assert judged() == {versions["v0001"]}
    assert {row["clip_id"]: row["score"] for row in rows_of(out)} == first
    assert acoustic_ad(*arguments, "--rescore", "--json").json["clips"]["scored"] == 0
    assert "--rescore" not in acoustic_ad(*arguments).err
    with sqlite3.connect(db) as store:
        held = store.execute("select model, count(*) from clip_scores where machine = 'fan' group by model").fetchall()
    assert dict(held) == dict.fromkeys(versions.values(), 22)


def test_a_run_without_work_loads_no_network(recordings, tmp_path):
    """Also where the current model is one: telling that its scores are its own takes no torch."""
    recipe = tmp_path / "dae.toml"
    recipe.write_text(DAE_RECIPE.format(steps=5))
    shutil.copytree(recordings / "fan", tmp_path / "sound" / "fan")
    where = ("--models", tmp_path / "models", "--workers", "1")
    acoustic_ad("train", tmp_path / "sound", "--recipe", recipe, *where)
    arguments = ("score", tmp_path / "sound", "--db", tmp_path / "x.db", *where)
    acoustic_ad(*arguments)
    imported = acoustic_ad(*arguments, "--json", env={"PYTHONPROFILEIMPORTTIME": "1"}).err
    assert "sqlalchemy" in imported and "acoustic_ad.models.registry" in imported
    assert re.search(r"\| +torch$", imported, re.MULTILINE) is None


@pytest.mark.parametrize("command", [["verify", "NOPE"], ["verify"], ["list"]])
@pytest.mark.parametrize("folder", ["nowhere", "empty", "x" * 300])
def test_models_that_are_not_there(command, folder, tmp_path):
    (tmp_path / "empty").mkdir()
    refused = acoustic_ad("models", *command, "--models", folder, cwd=tmp_path, code=None)
    if (command, folder) == (["list"], "empty"):
        assert refused.code == 0 and "train" in refused.err
    else:
        assert refused.code == 1
        assert folder in refused.complaint and "acoustic-ad train" in refused.complaint


def test_an_unknown_machine_is_not_verified(models):
    refused = acoustic_ad("models", "verify", "NOPE", "--models", models, "--json", code=1)
    assert "'NOPE'" in refused.complaint and "fan, pump" in refused.complaint


def test_stand_ins_are_not_called_recordings(recipe, models, tmp_path):
    write_clips(tmp_path / "sound" / "fan", "fan", range(12))
    arguments = ("--models", tmp_path / "models", "--workers", "1")
    acoustic_ad("train", tmp_path / "sound", "--recipe", recipe, *arguments)
    shown = acoustic_ad("models", "show", "fan", "--models", tmp_path / "models").out
    assert "12 clips, 0 left out" in shown and "5 groups" in shown and "stand-ins" in shown
    assert "5 recordings" not in shown
    named = acoustic_ad("models", "show", "fan", "--models", models).out
    assert "4 groups: the recordings" in named and "stand-ins" not in named


# --- evaluate --------------------------------------------------------------------------------------------------------


def test_evaluate_tells_once_what_it_leaves_out(recordings, own_models, tmp_path):
    """A line per machine and code, and that the means do without the machine."""
    data = Path(shutil.copytree(recordings, tmp_path / "data"))
    for number in (15, 20):
        (data / "fan" / clip_name(number)).write_bytes(b"no sound" * 20)
    (own_models / "pump" / "current").write_text("not JSON")
    run = acoustic_ad("evaluate", data, "--models", own_models, "--workers", "1")
    fan, pump = sorted(line for line in run.err.splitlines() if "not scored" in line)
    assert "fan: 2 clips not scored: unsupported: " in fan and f"(first: fan/{clip_name(15)})" in fan
    assert "pump: 8 clips not scored: bad_model: " in pump
    assert "the means leave out pump" in run.err
    assert len(run.err.splitlines()) == 4  # the recipe comes first
    assert len(acoustic_ad("evaluate", data, "--models", own_models, "--json").json["failures"]) == 10


def test_plain_folders_carry_no_labels(models, tmp_path):
    write_clips(tmp_path / "fan", "fan", range(3))
    refused = acoustic_ad("evaluate", tmp_path, "--models", models, code=1)
    assert "plain folders carry no labels" in refused.complaint and "manifest build" in refused.complaint


# --- demo ------------------------------------------------------------------------------------------------------------


def test_a_demo_is_made_anew(tmp_path):
    """After a Ctrl-C and after an end; what somebody else put there stays."""
    demo = ("demo", tmp_path / "demo", "--only-simulate")
    process = start(*demo)
    assert wait_until(lambda: list(tmp_path.glob("demo/sound/*/*/*.wav")), 60)
    os.kill(process.pid, signal.SIGINT)
    assert finish(process).code == 130
    (tmp_path / "demo" / "notes.txt").write_text("mine")
    (tmp_path / "demo" / "models").mkdir()
    for _ in range(2):
        assert acoustic_ad(*demo).out.strip() == str(tmp_path / "demo" / "sound" / "manifest.csv")
    assert not (tmp_path / "demo" / "models").exists()
    assert (tmp_path / "demo" / "notes.txt").read_text() == "mine"


def test_folders_that_no_demo_made(tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "sound").write_text("mine")
    for folder, code, word in (
        (tmp_path / "full", 2, "not empty"),
        ("/dev/null", 1, "folder"),
        ("/proc/x", 1, "/proc/x"),
    ):
        refused = acoustic_ad("demo", folder, code=code, cwd=tmp_path)
        assert word in refused.complaint
    assert list(tmp_path.iterdir()) == [tmp_path / "full"]
    assert (tmp_path / "full" / "sound").read_text() == "mine"


# --- answers ---------------------------------------------------------------------------------------------------------


def test_links_and_names_for_rows(recordings, models, db, tmp_path):
    (tmp_path / "data.txt").write_text("old")
    (tmp_path / "link.csv").symlink_to("data.txt")
    (tmp_path / "full.csv").symlink_to("/dev/full")
    arguments = ("score", recordings, "--models", models, "--db", db, "--out")
    assert acoustic_ad(*arguments, tmp_path / "link.csv").code == 0
    assert (tmp_path / "data.txt").read_text().startswith("clip_id,")
    assert "device" in acoustic_ad(*arguments, tmp_path / "full.csv", code=2).complaint
    assert "too long" in acoustic_ad(*arguments, tmp_path / ("n" * 300 + ".csv"), code=2).complaint


def test_a_version_that_nobody_can_read():
    with Path("/dev/full").open("w") as full:
        assert "No space left" in acoustic_ad("--version", stdout=full, code=1).err


def test_a_status_without_machines_says_what_to_do(tmp_path):
    Store.open(tmp_path / "new.db").close()
    shown = acoustic_ad("status", "--db", tmp_path / "new.db")
    assert "acoustic-ad score" in shown.out and shown.err == ""
    document = acoustic_ad("status", "--db", tmp_path / "new.db", "--json").json
    assert (document["machines"], document["cut_short"], document["fleet_drift"]) == ([], [], None)


def test_one_clip_is_one_clip(models, tmp_path):
    write_clips(tmp_path / "fan", "fan", [0])
    run = acoustic_ad("score", tmp_path, "--models", models, "--db", tmp_path / "x.db", "--workers", "1")
    assert "1 clip: 1 scored" in run.err


@pytest.mark.parametrize(
    ("command", "default"),
    [
        ("score", "(default: 30 + a tenth of its length)"),
        ("evaluate", "(default: 30 + a tenth of its length)"),
        ("train", "(default: 30 + a tenth of its length)"),
        ("manifest build", "(default: FOLDER/manifest.csv)"),
    ],
)
def test_help_shows_defaults(command, default):
    from typer.testing import CliRunner

    from acoustic_ad.cli import app

    shown = CliRunner(env={"COLUMNS": "300"}).invoke(app, [*command.split(), "--help"]).output
    assert default in shown
    assert re.search(r" \.(?!\w)", shown) is None
