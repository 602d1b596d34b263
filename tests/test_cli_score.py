"""`acoustic-ad score`: the table, the document, the rows, what is known already, and the exit codes."""

from __future__ import annotations

import csv
import json
import os
import shutil
import sqlite3
from pathlib import Path

import pytest
import soundfile
from cli_process import (
    acoustic_ad,
    clip_name,
    encoded,
    rows_of,
    verdicts,
    wav,
    write_clips,
    write_manifest,
)

from acoustic_ad.jobs.lock import hold_lock

COUNTS = ("found", "scored", "already_scored", "already_failed", "deferred", "failed", "off", "sensor_fault")
MACHINE = {"machine", "state", "since", "index", "clips", "last_clip_at", "alarm"}
ROW = ["clip_id", "machine", "recorded_at", "sha256", "model", "score", "p_value", "status", "reason", "bands"]


def counts(**expected: int) -> dict[str, int]:
    return dict.fromkeys(COUNTS, 0) | expected


def test_the_document(scoring):
    """`score --json` is the document that is promised."""
    document = scoring.run.json
    assert document["run_id"] == 1
    assert document["clips"] == counts(found=44, scored=44)
    assert document["failures"] == []
    assert [machine["machine"] for machine in document["machines"]] == ["fan", "pump"]
    for machine in document["machines"]:
        assert machine.keys() >= MACHINE
        assert machine["state"] in ("normal", "warning", "alarm")  # of 14 clips to go by, the last four are faulty
        assert 0 <= machine["index"] <= 100
        assert machine["clips"] == 22
        assert machine["last_clip_at"] == "2026-01-05T08:21:00Z"
        assert machine["since"].endswith("Z")
        assert (machine["alarm"] is None) == (machine["state"] == "normal")
        if machine["alarm"]:
            assert machine["alarm"].keys() >= {"id", "raised_at", "acknowledged"}
            assert machine["alarm"]["raised_at"] == machine["since"] >= "2026-01-05T08:18:00Z"
    assert scoring.run.err == ""


def test_the_rows(scoring, models):
    """--out has a row for every clip, by the model that is current, and the worst scores are the faulty ones'."""
    rows = rows_of(scoring.path.with_name("all.csv"))
    assert list(rows[0])[: len(ROW)] == ROW
    assert [row["clip_id"] for row in rows] == sorted(f"{m}/{clip_name(n)}" for m in ("fan", "pump") for n in range(22))
    for machine in ("fan", "pump"):
        own = [row for row in rows if row["machine"] == machine]
        digest = json.loads((models / machine / "v0001" / "bundle.json").read_text())["digest"]
        assert {row["model"] for row in own} == {digest}
        assert {(row["status"], row["reason"]) for row in own} == {("scored", "")}
        assert {row["recorded_at_source"] for row in own} == {"name"}
        assert all(0 < float(row["p_value"]) <= 1 for row in own)
        assert [row["label"] for row in own] == ["normal"] * 18 + ["anomaly"] * 4
        scores = [float(row["score"]) for row in own]
        assert min(scores[18:]) > sorted(scores[:18])[-4]
        assert all(isinstance(json.loads(row["bands"]), list) for row in own)


def test_a_second_run_starts_no_worker(recordings, models, db, tmp_path):
    """Nothing is new: said so, at once, and without a second Python process."""
    (tmp_path / "spy").mkdir()
    starts = tmp_path / "starts"
    (tmp_path / "spy" / "sitecustomize.py").write_text(f"open({str(starts)!r}, 'a').write('started\\n')")
    spied = {"PYTHONPATH": str(tmp_path / "spy")}
    again = acoustic_ad("score", recordings, "--models", models, "--db", db, env=spied)
    assert starts.read_text() == "started\n"
    assert "44 already scored" in again.err
    assert "nothing new" in again.err
    lines = again.out.splitlines()
    columns = "machine state index since was clips heard failed last clip false alarms what stands out"
    assert " ".join(lines[0].split()) == columns
    assert [line.split()[0] for line in lines[1:3]] == ["fan", "pump"]


def test_what_is_known_and_what_is_new(models, db, scoring, tmp_path):
    """Renamed and copied files are known, changed ones and the same sound in other bytes are new clips."""
    folder = tmp_path / "sound"
    write_clips(folder / "fan", "fan", range(4))
    first = rows_of(scoring.path.with_name("all.csv"))[:4]
    (folder / "fan" / clip_name(0)).rename(folder / "fan" / "renamed.wav")
    shutil.copy(folder / "fan" / clip_name(1), folder / "fan" / "copied.WAV")
    (folder / "fan" / clip_name(2)).write_bytes(wav("fan", 99))
    sound, _ = soundfile.read(folder / "fan" / clip_name(3), dtype="int16")
    (folder / "fan" / "same.flac").write_bytes(encoded(sound, "FLAC"))
    arguments = ("score", folder, "--models", models, "--db", db, "--workers", "1")
    new, everything = tmp_path / "new.jsonl", tmp_path / "all.csv"
    done = acoustic_ad(*arguments, "--json", "--out", new, "--new-only").json
    assert done["clips"] == counts(found=6, scored=2, already_scored=4)
    found = {row["clip_id"]: row for row in map(json.loads, new.read_text().splitlines())}
    assert list(found) == [f"fan/{clip_name(2)}", "fan/same.flac"]
    assert found["fan/same.flac"]["score"] == float(first[3]["score"])
    assert found["fan/same.flac"]["p_value"] == float(first[3]["p_value"])
    assert isinstance(found["fan/same.flac"]["bands"], list)

    assert acoustic_ad(*arguments, "--out", everything, "--json").json["clips"]["already_scored"] == 6
    rows = {row["clip_id"]: row for row in rows_of(everything)}
    assert len(rows) == 5  # the copy is named in the row of its twin
    assert rows[f"fan/{clip_name(0)}"]["score"] == first[0]["score"]
    assert json.loads(rows[f"fan/{clip_name(0)}"]["also_known_as"]) == ["fan/renamed.wav"]
    assert json.loads(rows[f"fan/{clip_name(1)}"]["also_known_as"]) == ["fan/copied.WAV"]
    assert rows[f"fan/{clip_name(2)}"]["score"] not in [row["score"] for row in first]
    with sqlite3.connect(db) as store:
        assert store.execute("select count(*) from clip_scores").fetchone() == (44 + 2,)


def test_which_clips(recordings, models, db, tmp_path):
    """--split narrows, a flat folder takes its machine's name, and Parquet holds the same rows."""
    from pyarrow import parquet

    arguments = ("--models", models, "--db", db, "--json")
    out = tmp_path / "test.parquet"
    tested = acoustic_ad("score", recordings, *arguments, "--split", "test", "--out", out).json
    assert tested["clips"] == counts(found=16, already_scored=16)
    table = parquet.read_table(out).to_pylist()
    assert [row["clip_id"] for row in table] == [f"{m}/{clip_name(n)}" for m in ("fan", "pump") for n in range(14, 22)]
    assert all(isinstance(row["score"], float) and row["recorded_at"].year == 2026 for row in table)

    write_clips(tmp_path / "flat", "pump", range(3))
    flat = acoustic_ad("score", tmp_path / "flat", *arguments, "--machine", "pump").json
    assert flat["clips"] == counts(found=3, already_scored=3)
    unnamed = acoustic_ad("score", tmp_path / "flat", *arguments, code=3).json
    assert {failure["code"] for failure in unnamed["failures"]} == {"no_model"}
    assert [machine["machine"] for machine in unnamed["machines"]] == ["flat"]
    assert unnamed["machines"][0]["state"] == "no_data"


def test_listed_twice_and_missing(models, db, tmp_path):
    """A manifest may list a file twice, for one machine or for two, and name files that are not there."""
    write_clips(tmp_path, "fan", range(3))
    rows = [(clip_name(number), "fan", "", "", "") for number in (0, 1, 2, 0, 0)]
    rows += [("gone.wav", "fan", "", "", "")] * 2 + [(clip_name(0), "pump", "", "", "")]
    data = write_manifest(tmp_path, rows)
    arguments = ("score", data, "--models", models, "--db", db, "--workers", "1", "--json")
    first = acoustic_ad(*arguments, code=3)
    assert first.json["clips"] == counts(found=5, scored=1, already_scored=3, failed=1)
    assert first.json["ignored"] == {"listed twice": 3}
    assert [(failure["clip_id"], failure["code"]) for failure in first.json["failures"]] == [("gone.wav", "unreadable")]
    assert acoustic_ad(*arguments).json["clips"] == counts(found=5, already_scored=4, already_failed=1)


def test_machines_without_a_usable_model(recordings, own_models, db, tmp_path):
    """One of several: its clips fail, exit 3. None at all, or the only one refused: the job fails, exit 1."""
    write_clips(tmp_path / "sound" / "fan", "fan", range(2))
    write_clips(tmp_path / "sound" / "stranger", "fan", range(2))
    arguments = ("--db", db, "--workers", "1")
    for _ in range(2):
        found = acoustic_ad("score", tmp_path / "sound", "--models", own_models, *arguments, "--json", code=3)
        assert found.json["clips"] == counts(found=4, already_scored=2, failed=2)
        assert {failure["code"] for failure in found.json["failures"]} == {"no_model"}
        assert len(found.err.splitlines()) == 1
        assert "stranger: 2 clips not scored: no_model" in found.err
    none = acoustic_ad("score", recordings, "--models", tmp_path / "nowhere", "--db", tmp_path / "new.db", code=1)
    assert "nowhere" in none.complaint
    assert "acoustic-ad train" in none.complaint

    write_clips(tmp_path / "new" / "fan", "fan", range(30, 32))
    weights = own_models / "fan" / "v0001" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"evil")
    refused = acoustic_ad("score", tmp_path / "new", "--models", own_models, *arguments, code=1)
    assert "weights.safetensors" in refused.complaint
    write_clips(tmp_path / "new" / "pump", "pump", range(30, 32))
    found = acoustic_ad("score", tmp_path / "new", "--models", own_models, *arguments, "--json", code=3).json
    assert found["clips"] == counts(found=4, scored=2, failed=2)
    assert {failure["code"] for failure in found["failures"]} == {"bad_model"}


def test_rescore_keeps_the_old_rows(recordings, own_models, db, recipe, tmp_path):
    """Another model judges known clips when it is asked to, and only then."""
    shutil.copytree(recordings / "fan", tmp_path / "sound" / "fan")
    other = tmp_path / "other.toml"
    other.write_text(recipe.read_text().replace("n_mels = 32", "n_mels = 24"))
    acoustic_ad("train", tmp_path / "sound", "--recipe", other, "--models", own_models, "--workers", "1")
    arguments = ("score", tmp_path / "sound", "--models", own_models, "--db", db, "--workers", "1", "--json")
    out = tmp_path / "rows.csv"
    assert acoustic_ad(*arguments).json["clips"]["already_scored"] == 22
    assert acoustic_ad(*arguments, "--rescore", "--out", out).json["clips"] == counts(found=22, scored=22)
    digest = json.loads((own_models / "fan" / "v0002" / "bundle.json").read_text())["digest"]
    assert {row["model"] for row in rows_of(out)} == {digest}
    assert acoustic_ad(*arguments, "--rescore").json["clips"] == counts(found=22, already_scored=22)
    with sqlite3.connect(db) as store:
        held = store.execute("select model, count(*) from clip_scores where machine = 'fan' group by model").fetchall()
    assert sorted(count for _, count in held) == [22, 22]


@pytest.mark.parametrize(
    ("arguments", "code", "word"),
    [
        (["--db", "."], 1, "folder"),
        (["--db", "text.db"], 1, "not a SQLite database"),
        (["--db", "/proc/x.db"], 1, "/proc"),
        (["--db", "nowhere/x.db"], 1, "does not exist"),
        (["--out", "rows.xlsx"], 2, ".csv, .jsonl, .parquet"),
        (["--exit-on", "smoke"], 2, "warning or alarm"),
        (["--split", "tset"], 2, "train, calibration, test"),
        (["--machine", "fan"], 2, "--machine"),
        (["--out", "nowhere/rows.csv"], 1, "nowhere"),
    ],
)
def test_calls_that_cannot_work(arguments, code, word, recordings, models, db, tmp_path):
    """One line that says why; what is wrong with the call itself is said before anything is done."""
    (tmp_path / "text.db").write_text("my diary\n")
    before = db.read_bytes()
    refused = acoustic_ad("score", recordings, "--models", models, "--db", db, *arguments, code=code, cwd=tmp_path)
    assert word in refused.complaint
    assert (tmp_path / "text.db").read_text() == "my diary\n"
    if code == 2:
        assert db.read_bytes() == before


def test_nothing_there(models, tmp_path):
    """An unmounted share must not look like good news."""
    arguments = ("--models", models, "--db", tmp_path / "x.db")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").write_text("no sound")
    for folder in (tmp_path / "empty", tmp_path / "missing"):
        assert str(folder) in acoustic_ad("score", folder, *arguments, code=1).complaint
    meant = acoustic_ad("score", tmp_path / "empty", *arguments, "--allow-empty", "--json")
    assert meant.json["clips"] == counts()
    assert meant.json["machines"] == []
    assert meant.json["ignored"] == {"not audio": 1}


def test_another_job_holds_the_database(recordings, models, db):
    with hold_lock(db):
        refused = acoustic_ad("score", recordings, "--models", models, "--db", db, code=5)
        assert f"process {os.getpid()}" in refused.complaint
        assert acoustic_ad("status", "--db", db).code == 0  # reading never locks
    assert acoustic_ad("score", recordings, "--models", models, "--db", db).code == 0


def test_defaults_from_the_environment(recordings, models, db, tmp_path):
    named = {"ACOUSTIC_AD_MODELS": str(models), "ACOUSTIC_AD_DB": str(db)}
    assert acoustic_ad("score", recordings, "--json", env=named, cwd=tmp_path).json["clips"]["already_scored"] == 44
    assert acoustic_ad("status", env=named, cwd=tmp_path).out.count("normal") == 2


def test_output_that_nobody_takes(recordings, models, db):
    """A reader that went away is no news; a full disk is a failure, also for what is not the answer."""
    arguments = ("score", recordings, "--models", models, "--db", db)
    read, write = os.pipe()
    os.close(read)
    gone = acoustic_ad(*arguments, "--json", stdout=write)
    os.close(write)
    assert gone.err == ""
    with Path("/dev/full").open("w") as full:
        for call in (arguments, ("score", "--help")):
            refused = acoustic_ad(*call, stdout=full, code=1)
            assert "No space left" in refused.err.splitlines()[-1]


def test_a_job_that_was_cut_short_leaves_no_stale_health(recordings, models, db):
    """All clips were stored, then the job was killed: the next one has nothing to score, and yet the health to tell."""
    with sqlite3.connect(db) as store:
        store.execute("delete from machines")
        store.execute("update runs set ended_at = null")
    found = acoustic_ad("score", recordings, "--models", models, "--db", db, "--json").json
    assert [(machine["machine"], machine["clips"]) for machine in found["machines"]] == [("fan", 22), ("pump", 22)]


def test_names_that_spreadsheets_would_run(models, db, tmp_path):
    folder = tmp_path / "=cmd()"
    write_clips(folder, "fan", [0])
    out = tmp_path / "rows.csv"
    acoustic_ad("score", tmp_path, "--models", models, "--db", db, "--out", out, "--workers", "1", code=3)
    with out.open(newline="") as file:
        (row,) = list(csv.DictReader(file))
    assert row["machine"] == "'=cmd()"
    assert row["clip_id"] == f"'=cmd()/{clip_name(0)}"
    assert verdicts(out) == {}
