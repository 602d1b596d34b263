"""What the system refuses: one line that says which limit it was, a code that is not 0, and nothing half-written."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import pytest
from cli_process import AS_USER, NOBODY_IS_REFUSED, acoustic_ad, rows_of, shell, write_clips
from full_disk import needs_mount


@pytest.fixture
def call(models, tmp_path):
    """`acoustic-ad score` of four new clips."""
    write_clips(tmp_path / "sound" / "fan", "fan", range(4))
    files = ("--db", tmp_path / "x.db", "--out", tmp_path / "rows.csv")
    return "score", tmp_path / "sound", "--models", models, *files, "--workers", "1", "--json"


def check_goes_on(call: tuple[str | Path, ...], root: Path) -> None:
    """The next run, under better conditions, finds all that there is."""
    assert acoustic_ad(*call).json["clips"]["found"] == 4
    assert [row["status"] for row in rows_of(root / "rows.csv")] == ["scored"] * 4
    with sqlite3.connect(root / "x.db") as store:
        assert store.execute("pragma integrity_check").fetchone() == ("ok",)
        assert store.execute("select count(*) from clip_scores").fetchone() == (4,)


def test_too_few_open_files(call, tmp_path):
    refused = acoustic_ad(*call, before=shell("ulimit -n 10"), code=1)
    assert "open files" in refused.complaint and "ulimit -n" in refused.complaint
    assert not (tmp_path / "rows.csv").exists()
    check_goes_on(call, tmp_path)


def test_a_folder_for_temporary_files_with_a_long_name(call, tmp_path):
    long = tmp_path / ("x" * 100)
    long.mkdir()
    assert "TMPDIR" in acoustic_ad(*call, env={"TMPDIR": str(long)}, code=1).complaint


@needs_mount
def test_no_shared_memory(call):
    before = ["unshare", "-m", *shell("mount -t tmpfs -o ro none /dev/shm")]
    assert "/dev/shm" in acoustic_ad(*call, before=before, code=1).complaint


@needs_mount
@pytest.mark.parametrize("kib", [16])
def test_a_full_disk(kib, call, models, tmp_path):
    """At the first table: a word about the disk, and a store that is sound."""
    write_clips(tmp_path / "sound" / "fan", "fan", range(4, 300), duration_s=0.5)
    small, copy = tmp_path / "small", tmp_path / "copy"
    small.mkdir()
    commands = f"mount -t tmpfs -o size={kib}k none {small} && trap 'cp -r {small} {copy}' EXIT"
    # Not by exec: what is on the small disk has to be copied afterwards.
    before = ["unshare", "-m", "sh", "-c", f'{commands} && "$@"', "sh"]
    files = ("--db", small / "x.db", "--workers", "1")
    refused = acoustic_ad("score", tmp_path / "sound", "--models", models, *files, before=before, code=1)
    assert "disk is full" in refused.complaint
    left = {file.name for file in copy.iterdir()}
    assert left <= {"x.db", "x.db-wal", "x.db-shm", "x.db.lock"}
    if "x.db" in left:
        with sqlite3.connect(copy / "x.db") as store:
            assert store.execute("pragma integrity_check").fetchone() == ("ok",)


@pytest.mark.skipif(NOBODY_IS_REFUSED, reason="root needs setpriv to be like others")
@pytest.mark.parametrize(
    ("closed", "mode", "words"),
    [
        ("x.db", 0o444, "permissions"),
        (".", 0o555, "writable"),
        ("out", 0o555, "cannot be written"),
    ],
)
def test_rights_that_are_missing(closed, mode, words, db, recordings, own_models, tmp_path):
    """One line that names the place; the database is as it was, and the next run goes on."""
    store, sound, out = Path(shutil.copy(db, tmp_path / "x.db")), tmp_path / "sound", tmp_path / "out"
    db.unlink()
    out.mkdir()
    write_clips(sound / "fan", "fan", [0])  # known: no worker has to start
    call = ("score", sound, "--models", own_models, "--db", store, "--out", out / "rows.csv", "--workers", "1")
    place = tmp_path / closed
    before = place.stat().st_mode
    place.chmod(mode)
    try:
        refused = acoustic_ad(*call, before=AS_USER, code=1)
    finally:
        place.chmod(before)
    assert words in refused.complaint and str(tmp_path) in refused.complaint
    assert not list(out.iterdir())
    after = acoustic_ad(*call, "--json", before=AS_USER).json["clips"]
    assert after["already_scored"] == after["found"] == 1
    assert len(rows_of(out / "rows.csv")) == 1
