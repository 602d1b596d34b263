"""One job per folder on PostgreSQL: refused at once, by name, and free when its holder dies."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from postgres_server import PostgresServer

from acoustic_ad.errors import LockedError, StoreError
from acoustic_ad.jobs.postgres import process_of, program_name
from acoustic_ad.jobs.store_lock import hold_store

HOLD = """
import sys
from acoustic_ad.jobs.store_lock import hold_store
with hold_store(sys.argv[1], sys.argv[2] or None):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def url(postgres: PostgresServer) -> str:
    return postgres.new_database()


@contextmanager
def another_job(url: str, root: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process that holds the lock until its stdin is closed."""
    command = [sys.executable, "-c", HOLD, url, root]
    with subprocess.Popen(command, cwd=Path(__file__).parents[2], stdin=-1, stdout=-1) as process:
        assert process.stdout is not None and process.stdout.readline() == b"held\n"
        try:
            yield process
        finally:
            process.kill()


def test_a_second_job_on_the_folder_is_refused_and_told_by_whom(url: str) -> None:
    with another_job(url, "/plant") as holder:
        with pytest.raises(LockedError) as caught, hold_store(url, "/plant/../plant"):
            pass
        for part in ("/plant in postgresql://", socket.gethostname(), f"process {holder.pid}", "since 20"):
            assert part in str(caught.value)
        assert caught.value.exit_code == 5
        with hold_store(url, "/other"):
            pass
        assert holder.stdin is not None
        holder.stdin.close()
        assert holder.wait() == 0
    with hold_store(url, "/plant"):
        pass


def test_work_on_the_whole_store_wants_it_alone(url: str) -> None:
    refused = pytest.raises(LockedError, match=f"process {os.getpid()}")
    with hold_store(url, "/plant"), hold_store(url, "/other"), refused, hold_store(url):
        pass
    with hold_store(url), pytest.raises(LockedError, match="held by another job"), hold_store(url, "/plant"):
        pass


def test_stores_of_one_server_do_not_disturb_one_another(postgres: PostgresServer, url: str) -> None:
    with hold_store(url, "/plant"), hold_store(postgres.new_database(), "/plant"):
        pass


def test_a_killed_job_leaves_no_lock(url: str) -> None:
    with another_job(url, "/plant") as holder:
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    end = time.monotonic() + 30
    while True:  # the server hears of it a moment later
        try:
            with hold_store(url, "/plant"):
                return
        except LockedError:
            assert time.monotonic() < end
            time.sleep(0.02)


def test_the_lock_is_free_after_an_error(url: str) -> None:
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt), hold_store(url, "/plant"):
            raise KeyboardInterrupt


def test_a_server_that_is_not_there_is_one_line(postgres: PostgresServer, tmp_path: Path) -> None:
    missing = postgres.url("missing")
    for url, problem in [(missing, "createdb"), (f"postgresql:///x?host={tmp_path}", "does not answer")]:
        with pytest.raises(StoreError, match=problem) as caught, hold_store(url, "/plant"):
            pass
        assert "\n" not in str(caught.value)


def test_names_of_processes() -> None:
    assert process_of(program_name()) == (socket.gethostname(), os.getpid())
    assert process_of("psql") is None and process_of(None) is None
