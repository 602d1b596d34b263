"""The guess whether a folder holds something new: wrong either way costs time, and nothing else."""

from __future__ import annotations

import os
from pathlib import Path

from acoustic_ad.jobs.news import has_news

BEFORE, AFTER = 1_700_000_000, 1_700_000_100


def at(path: Path, time: int) -> Path:
    os.utime(path, (time, time))
    return path


def folder(root: Path, *, top: int, machine: int) -> Path:
    """Of one machine, with one clip; folders that were changed at these times."""
    (root / "fan").mkdir(parents=True)
    (root / "fan" / "a.wav").touch()
    at(root / "fan", machine)
    return at(root, top)


def test_all_is_new_to_a_store_that_is_not_there(tmp_path):
    assert has_news(folder(tmp_path / "sound", top=BEFORE, machine=BEFORE), str(tmp_path / "none.db"))


def test_nothing_is_new_that_is_not_there(tmp_path):
    (tmp_path / "empty").mkdir()
    assert not has_news(tmp_path / "empty", str(tmp_path / "none.db"))
    assert not has_news(tmp_path / "missing", str(tmp_path / "none.db"))


def test_what_came_after_the_store_was_written_is_new(tmp_path):
    (tmp_path / "x.db").touch()
    db = str(at(tmp_path / "x.db", BEFORE + 50))
    assert not has_news(folder(tmp_path / "old", top=BEFORE, machine=BEFORE), db)
    assert has_news(folder(tmp_path / "new", top=BEFORE, machine=AFTER), db)
    flat = folder(tmp_path / "flat", top=BEFORE, machine=BEFORE)
    (flat / "b.wav").touch()  # this moment
    assert has_news(flat, db)


def test_what_a_job_writes_beside_the_recordings_is_no_news(tmp_path):
    sound = folder(tmp_path / "sound", top=BEFORE, machine=BEFORE)
    (sound / "x.db").touch()
    at(sound / "x.db", BEFORE + 50)
    for name in ("x.db-wal", "job.prom", "rows.csv"):
        (sound / name).touch()
    assert not has_news(sound, str(sound / "x.db"))


def test_of_a_server_nothing_is_known(tmp_path):
    assert not has_news(folder(tmp_path / "sound", top=AFTER, machine=AFTER), "postgresql://somewhere/db")
