"""One job per store: refused at once, by name, and free when its holder dies."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock
import pytest

from acoustic_ad.errors import LockedError, StoreError
from acoustic_ad.jobs.lock import hold_lock

HOLD = """
import sys, time
from acoustic_ad.jobs.lock import hold_lock
with hold_lock(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def another_job(path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that holds the lock of `path` until its stdin is closed."""
    command = [sys.executable, "-c", HOLD, str(path)]
    with subprocess.Popen(command, cwd=Path(__file__).parents[2], stdin=-1, stdout=-1) as process:
        assert process.stdout is not None and process.stdout.readline() == b"held\n"
        try:
            yield process
        finally:
            process.kill()


def test_a_second_job_is_refused_and_told_by_whom(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    with another_job(path) as holder:
        with pytest.raises(LockedError) as caught, hold_lock(path):
            pass
        for part in (str(path), socket.gethostname(), f"process {holder.pid}", "since 20"):
            assert part in str(caught.value)
        assert caught.value.exit_code == 5
        assert holder.stdin is not None
        holder.stdin.close()
        assert holder.wait() == 0
        with hold_lock(path):
            pass


def test_a_killed_job_leaves_no_lock(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    with another_job(path) as holder:
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        note = tmp_path / "s.db.lock.json"
        assert json.loads(note.read_text())["pid"] == holder.pid  # it had no time to remove it
        with hold_lock(path):
            assert json.loads(note.read_text())["pid"] == os.getpid()
    assert not note.exists()


def test_every_name_of_a_store_is_one_lock(tmp_path: Path) -> None:
    (tmp_path / "link.db").symlink_to(tmp_path / "s.db")
    names = [
        tmp_path / "s.db",
        tmp_path / "link.db",
        f"sqlite:///{tmp_path}/s.db",
        tmp_path / ".." / tmp_path.name / "s.db",
    ]
    for name in names:
        with hold_lock(tmp_path / "s.db"), pytest.raises(LockedError, match=str(os.getpid())), hold_lock(name):
            pass
    with (
        hold_lock(tmp_path / "s.db"),
        hold_lock(tmp_path / "other.db"),
        hold_lock(tmp_path / "models" / ".." / ".train"),
    ):
        pass


def test_the_lock_is_free_after_an_error(tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt), hold_lock(tmp_path / "s.db"):
            raise KeyboardInterrupt
    assert [path.name for path in tmp_path.iterdir()] == ["s.db.lock"]


@pytest.mark.parametrize("note", ["", "{}", "[1]", '{"host": 1, "pid": "x", "since": 2}', "\x00\x1b[31m", None])
def test_a_damaged_note_is_no_obstacle(tmp_path: Path, note: str | None) -> None:
    path = tmp_path / "s.db"
    with hold_lock(path):
        (tmp_path / "s.db.lock.json").unlink()
        if note is not None:
            (tmp_path / "s.db.lock.json").write_text(note)
        with pytest.raises(LockedError, match="held by another job:"), hold_lock(path):
            pass


def test_a_note_cannot_write_to_the_terminal(tmp_path: Path) -> None:
    with hold_lock(tmp_path / "s.db"):
        note = {"host": "\x1b[2J\n", "pid": 1, "since": "x"}
        (tmp_path / "s.db.lock.json").write_text(json.dumps(note))
        with pytest.raises(LockedError) as caught, hold_lock(tmp_path / "s.db"):
            pass
    assert str(caught.value).isprintable()


def test_where_no_lock_can_be_made_nothing_is_left(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("hello")
    cases = [
        (tmp_path, "is a folder"),
        (tmp_path / "text", "not a SQLite database"),
        (tmp_path / "none" / "s.db", "does not exist"),
        ("/proc/s.db", "/proc must be writable"),
        ("postgresql://host/name", "only SQLite databases are one"),
    ]
    for where, problem in cases:
        with pytest.raises(StoreError, match=problem) as caught, hold_lock(where):
            pass
        assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["text"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_said_in_one_line(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(StoreError, match="must be writable"), hold_lock(tmp_path / "s.db"):
            pass
    finally:
        tmp_path.chmod(0o700)


def test_a_file_system_without_locks_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lock that outlives its holder would stop a scheduled job for ever."""
    monkeypatch.setattr(filelock, "FileLock", filelock.SoftFileLock)
    with pytest.raises(StoreError, match="no file locks"), hold_lock(tmp_path / "s.db"):
        pass
    with pytest.raises(StoreError, match="no file locks"), hold_lock(tmp_path / "s.db"):
        pass


def test_a_worker_that_outlives_its_killed_job_does_not_keep_the_lock(tmp_path: Path) -> None:
    code = """
import multiprocessing, sys, time
from acoustic_ad.jobs.lock import hold_lock
with hold_lock(sys.argv[1]):
    worker = multiprocessing.get_context("forkserver").Process(target=time.sleep, args=(60,))
    worker.start()
    print(worker.pid, flush=True)
    sys.stdin.read()
"""
    command = [sys.executable, "-c", code, str(tmp_path / "s.db")]
    with subprocess.Popen(command, cwd=Path(__file__).parents[2], stdin=-1, stdout=-1) as holder:
        assert holder.stdout is not None
        worker = int(holder.stdout.readline())
        holder.kill()
    os.kill(worker, 0)  # alive
    try:
        with hold_lock(tmp_path / "s.db"):
            pass
    finally:
        os.kill(worker, signal.SIGKILL)
