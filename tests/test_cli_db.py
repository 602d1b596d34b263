"""`acoustic-ad db`, as a process, and what the command line does with the passwords of databases."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cli_process import acoustic_ad
from plant import BEGIN, Plant, faulty, normal
from pyarrow import parquet

from acoustic_ad.cli_db import refuse_passwords
from acoustic_ad.jobs import store_export
from acoustic_ad.jobs.migration import SCHEMA_VERSION
from acoustic_ad.jobs.store import Store
from acoustic_ad.jobs.store_lock import hold_store


@pytest.fixture(scope="module")
def worn(tmp_path_factory: pytest.TempPathFactory) -> Plant:
    """A fan in alarm, with a clip of every outcome."""
    plant = Plant(tmp_path_factory.mktemp("worn"))
    plant.add_clips("fan", [*normal(60), "off", "failed", "sensor_fault", *faulty(20)], ended=True)
    plant.tell()
    return plant


# --- check -----------------------------------------------------------------------------------------------------------


def test_a_sound_store_is_told_with_what_is_in_it(worn: Plant) -> None:
    before = worn.db.read_bytes()
    found = acoustic_ad("db", "check", "--db", worn.db, "--json").json
    assert (found["sound"], found["problems"], found["schema"], found["kind"]) == (True, [], SCHEMA_VERSION, "sqlite")
    assert found["clips"] == {"failed": 1, "off": 1, "scored": 80, "sensor_fault": 1}
    assert (found["rows"]["clip_scores"], found["rows"]["files"], found["rows"]["machines"]) == (83, 83, 1)
    assert found["rows"]["alarms"] == len(worn.alarms(withdrawn=True)) > 0
    said = acoustic_ad("db", "check", "--db", worn.db).out
    assert "80 scored" in said and said.splitlines()[-1].split() == ["verdict", "sound"]
    assert worn.db.read_bytes() == before


def test_what_is_wrong_is_told_and_is_exit_1(worn: Plant, tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "s.db") as copy, sqlite3.connect(worn.db) as whole:
        whole.backup(copy)
        copy.execute("DELETE FROM clip_scores WHERE status = 'off'")
        copy.execute("DELETE FROM files WHERE outcome = 'failed'")
        copy.execute("DELETE FROM machines")
        copy.execute("UPDATE clip_scores SET run_id = 4711 WHERE status = 'sensor_fault'")
    copy.close()
    found = acoustic_ad("db", "check", "--db", tmp_path / "s.db", "--json", code=1).json
    assert not found["sound"]
    problems = "\n".join(found["problems"])
    for part in ("in the ledger, but without a row", "failed, but not in the ledger", "of machine fan, which is not"):
        assert part in problems
    assert "of clip_scores points to a row of runs that is not there" in problems
    assert "not sound" in acoustic_ad("db", "check", "--db", tmp_path / "s.db", code=1).out


def test_what_cannot_be_checked_is_one_line(tmp_path: Path, worn: Plant) -> None:
    assert "there is no database" in acoustic_ad("db", "check", "--db", tmp_path / "s.db", code=1).complaint
    content = bytearray(worn.db.read_bytes())
    content[4096:] = b"\xa5" * (len(content) - 4096)
    (tmp_path / "s.db").write_bytes(content)
    assert "damaged" in acoustic_ad("db", "check", "--db", tmp_path / "s.db", code=1).complaint


# --- export ----------------------------------------------------------------------------------------------------------


def test_every_table_is_a_file_with_every_row(worn: Plant, tmp_path: Path) -> None:
    out = tmp_path / "made" / "here"
    found = acoustic_ad("db", "export", "--db", worn.db, "--out", out, "--json").json["tables"]
    assert sorted(path.name for path in out.iterdir()) == sorted(f"{one['table']}.parquet" for one in found)
    clips = parquet.read_table(out / "clip_scores.parquet").to_pylist()
    with Store.open(worn.db, read_only=True) as store:
        rows = {row.clip_id: row for row in store.rows_of(worn.sound)}
    assert len(clips) == len(rows) == 83
    for clip in clips:
        row = rows[clip["clip_id"]]
        assert (clip["score"], clip["p_value"], clip["sha256"]) == (row.score, row.p_value, row.sha256)
        assert clip["recorded_at"] == row.recorded_at and clip["recorded_at"].tzinfo is not None
    assert min(clip["recorded_at"] for clip in clips) == BEGIN
    alarms = parquet.read_table(out / "alarms.parquet").to_pylist()
    assert [alarm["id"] for alarm in alarms] == [alarm["id"] for alarm in worn.alarms(withdrawn=True)]
    runs = parquet.read_table(out / "runs.parquet").to_pylist()
    assert all(run["started_at"] < datetime.now(UTC) for run in runs)
    assert "clip_scores.parquet" in acoustic_ad("db", "export", "--db", worn.db, "--out", out).out  # once more


def test_in_pieces_it_is_the_same(worn: Plant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Store.open(worn.db, read_only=True) as store:
        store_export.export_tables(store, tmp_path / "whole")
        monkeypatch.setattr(store_export, "ROWS_AT_ONCE", 7)
        store_export.export_tables(store, tmp_path / "pieces")
    for file in (tmp_path / "whole").iterdir():
        assert parquet.read_table(file).equals(parquet.read_table(tmp_path / "pieces" / file.name))


def test_a_folder_that_cannot_be_is_one_line(worn: Plant, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    assert "--out" in acoustic_ad("db", "export", "--db", worn.db, "--out", tmp_path / "file", code=1).complaint
    (tmp_path / "out" / "clip_scores.parquet" / "x").mkdir(parents=True)
    said = acoustic_ad("db", "export", "--db", worn.db, "--out", tmp_path / "out", code=1).complaint
    assert "cannot be written" in said
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["clip_scores.parquet"]


# --- prune -----------------------------------------------------------------------------------------------------------


def test_old_clips_are_pruned_and_status_stays(tmp_path: Path) -> None:
    plant = Plant(tmp_path)
    plant.add_clips("fan", normal(300), ended=True)
    plant.tell()
    before, size = plant.status(), plant.db.stat().st_size
    arguments = ("db", "prune", "--older-than", "2d", "--json", *plant.where)
    would = acoustic_ad(*arguments, "--dry-run").json
    assert plant.db.stat().st_size == size and (would["clips"], would["dry_run"]) == (300, True)
    assert acoustic_ad(*arguments).json == would | {"dry_run": False}
    assert plant.db.stat().st_size < 0.7 * size  # all files are still there: the ledger stays
    assert plant.status() == before
    assert acoustic_ad("score", plant.sound, *plant.where, "--json").json["clips"]["already_scored"] == 300
    assert acoustic_ad("db", "check", "--db", plant.db, "--json").json["rows"]["machine_days"] == 3
    assert "0 clips recorded before" in acoustic_ad("db", "prune", "--older-than", "2d", *plant.where).out


def test_pruning_waits_for_no_job_and_wants_an_age(worn: Plant, tmp_path: Path) -> None:
    with hold_store(worn.db):
        said = acoustic_ad("db", "prune", "--older-than", "400d", *worn.where, code=5).complaint
        assert "is held by" in said
        acoustic_ad("db", "prune", "--older-than", "400d", "--dry-run", *worn.where)
    assert "--older-than" in acoustic_ad("db", "prune", "--older-than", "long", *worn.where, code=2).complaint
    missing = ("db", "prune", "--older-than", "1d", "--db", tmp_path / "no.db")
    assert "there is no database" in acoustic_ad(*missing, code=1).complaint
    assert not list(tmp_path.iterdir()), "nor a lock beside it"
    assert acoustic_ad("db", "prune", *worn.where, code=2).out == ""


# --- passwords -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        ["status", "--db", "postgresql://me:secret@localhost:1/plant"],
        ["status", "--db=postgresql+psycopg://me:secret@localhost:1/plant"],
        ["status", "--db", "postgres://:secret@localhost:1/plant"],
        ["status", "--db", "postgresql://localhost:1/plant?user=me&password=secret"],
    ],
)
def test_a_password_in_the_command_line_is_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        refuse_passwords(arguments)
    assert caught.value.code == 2
    said = capsys.readouterr().err
    assert "PGPASSWORD" in said and "secret" not in said and said.count("\n") == 1


def test_other_arguments_are_not(capsys: pytest.CaptureFixture[str]) -> None:
    refuse_passwords(["status", "--db", "postgresql://me@localhost:5432/plant", "postgresql:///plant", "a:b@c", "x.db"])
    assert capsys.readouterr().err == ""


def test_a_password_is_told_to_nobody() -> None:
    refused = acoustic_ad("status", "--db", "postgresql://me:secret@localhost:1/plant", code=2)
    assert "secret" not in refused.complaint and "ACOUSTIC_AD_DB" in refused.complaint
    url = {"ACOUSTIC_AD_DB": "postgresql://me:secret@localhost:1/plant?sslpassword=secret"}
    said = acoustic_ad("status", code=1, env=url).complaint
    assert "secret" not in said and "postgresql://me:***@localhost:1/plant" in said and "does not answer" in said
    said = acoustic_ad("status", code=1, env={"ACOUSTIC_AD_DB": "sqlite://me:secret@host/"}).complaint
    assert "secret" not in said and "names no file" in said
