"""What an unattended store must survive: being killed, a full disk, and files that are no store."""

from __future__ import annotations

import random
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from acoustic_ad.errors import StoreError
from acoustic_ad.jobs.migration import SCHEMA_VERSION
from acoustic_ad.jobs.store import ClipRow, FileFact, Store

BATCH = 50


def batch_of(number: int) -> tuple[list[ClipRow], list[FileFact]]:
    """A batch whose every tenth clip failed."""
    rows, facts = [], []
    for i in range(BATCH):
        name, digest, bad = f"{number}/{i}.wav", f"{number}-{i}", i % 10 == 0
        noon = datetime(2026, 1, 5, 12, tzinfo=UTC)
        outcome = (None, None, None, "failed", "empty") if bad else ("model", 1.0, 0.5, "scored", None)
        rows.append(ClipRow(name, "fan", noon, "name", digest, *outcome))
        facts.append(FileFact(name, "fan", 10, 1, digest))
    return rows, facts


COMMIT_FOR_EVER = """
import sys
sys.path.insert(0, sys.argv[2])
from test_database import Store, batch_of
with Store.open(sys.argv[1]) as store:
    run = store.begin_run("/plant")
    done = max((int(clip_id.split("/")[0]) + 1 for clip_id, _ in store.files("/plant")), default=0)
    print("ready", flush=True)
    while True:
        store.commit(run, "/plant", *batch_of(done))
        done += 1
"""


def test_kill_9_between_any_two_instructions_leaves_whole_batches(tmp_path: Path) -> None:
    database, chance = tmp_path / "s.db", random.Random(5)
    before = 0
    for _ in range(5):
        command = [sys.executable, "-c", COMMIT_FOR_EVER, str(database), str(Path(__file__).parent)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None and writer.stdout.readline() == b"ready\n"
            time.sleep(chance.uniform(0.05, 0.4))
            writer.send_signal(signal.SIGKILL)
        with Store.open(database) as store:
            assert store.integrity() == []
            ledger = store.files("/plant")
            rows = {(row.clip_id, row.status) for row in store.rows_of("/plant")}
        assert rows == {(clip_id, entry.outcome) for (clip_id, _), entry in ledger.items()}
        batches = [int(clip_id.split("/")[0]) for clip_id, _ in ledger]
        assert all(batches.count(number) == BATCH for number in set(batches))
        assert len(ledger) >= before  # what an earlier round committed is still there
        before = len(ledger)
    assert before > 0


def test_an_exception_inside_a_transaction_undoes_all_of_it(tmp_path: Path) -> None:
    with Store.open(tmp_path / "s.db") as store:
        run = store.begin_run("/plant")
        with pytest.raises(KeyboardInterrupt), store.writing() as connection:
            connection.exec_driver_sql("DELETE FROM runs")
            raise KeyboardInterrupt
        store.commit(run, "/plant", *batch_of(0))
        assert store.integrity() == []


def test_a_full_disk_is_one_clear_line_and_undoes_the_batch(tmp_path: Path) -> None:
    with Store.open(tmp_path / "s.db") as store:
        run = store.begin_run("/plant")
        store.commit(run, "/plant", *batch_of(0))
        with store.reading() as connection:  # as when the disk had no page left
            connection.exec_driver_sql("PRAGMA max_page_count=1")
        with pytest.raises(StoreError, match="disk is full") as caught:
            for number in range(1, 100):
                store.commit(run, "/plant", *batch_of(number))
        assert "\n" not in str(caught.value)
    with Store.open(tmp_path / "s.db") as store:
        assert store.integrity() == []
        assert len(store.files("/plant")) % BATCH == 0


def test_a_creation_that_fails_leaves_no_file(tmp_path: Path) -> None:
    code = "import resource, signal, sys\nfrom acoustic_ad.jobs.store import Store\n"
    code += f"resource.setrlimit(resource.RLIMIT_FSIZE, (0, {resource.RLIM_INFINITY}))\n"
    code += "from acoustic_ad.errors import StoreError\ntry:\n    Store.open(sys.argv[1])\n"
    code += "except StoreError as error:\n    sys.stdout = None\n    sys.exit(7)\n"
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "s.db")], cwd=root, check=False)
    assert done.returncode == 7
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_store_is_refused_untouched(tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("not a database, but long enough for a header")
    foreign = tmp_path / "foreign.db"
    with sqlite3.connect(foreign) as connection:
        connection.execute("CREATE TABLE songs (title)")
    shutil.copy(foreign, tmp_path / "foreign.before")
    cases = [
        (tmp_path, "is a folder"),
        (text, "not a SQLite database"),
        (foreign, "another program.*songs"),
        (tmp_path / "no" / "s.db", "does not exist"),
        (text / "s.db", "does not exist"),
        ("/dev/null", "not a regular file"),
        ("/proc/s.db", "database /proc/s.db"),
        ("", "empty name"),
        ("sqlite://", "names no file"),
        ("mysql://u:secret@h/d", "only SQLite and PostgreSQL"),
        ("sqlite:///" + str(text), "not a SQLite database"),
    ]
    for where, problem in cases:
        with pytest.raises(StoreError, match=problem) as caught:
            Store.open(where)
        assert "\n" not in str(caught.value) and "secret" not in str(caught.value)
    assert text.read_text().startswith("not a database")
    assert foreign.read_bytes() == (tmp_path / "foreign.before").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["foreign.before", "foreign.db", "notes.txt"]


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    with Store.open(tmp_path / "s.db") as store, store.writing() as connection:
        connection.exec_driver_sql(f"UPDATE schema_version SET version = {SCHEMA_VERSION + 1}")
    with pytest.raises(StoreError, match=rf"newer acoustic-ad.*schema {SCHEMA_VERSION + 1}"):
        Store.open(tmp_path / "s.db")


def test_damage_is_a_store_error(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    with Store.open(path) as store:
        run = store.begin_run("/plant")
        for number in range(10):
            store.commit(run, "/plant", *batch_of(number))
    content = bytearray(path.read_bytes())
    content[4096:] = b"\xa5" * (len(content) - 4096)
    path.write_bytes(content)
    with pytest.raises(StoreError, match="damaged"), Store.open(path) as store:
        store.files("/plant")
    path.write_bytes(b"SQLite format 3\x00" + b"\xff" * 200)
    with pytest.raises(StoreError, match="damaged"):
        Store.open(path)


def test_reading_needs_a_store_and_writes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    for options in ({"read_only": True}, {"create": False}):
        with pytest.raises(StoreError, match="there is no database"):
            Store.open(path, **options)
    assert list(tmp_path.iterdir()) == []
    with Store.open(path) as writer:
        run = writer.begin_run("/plant")
        with Store.open(path, read_only=True) as reader:
            writer.commit(run, "/plant", *batch_of(0))
            assert len(reader.files("/plant")) == BATCH
            with pytest.raises(StoreError, match="cannot be written"):
                reader.begin_run("/plant")
    path.write_bytes(b"")
    with pytest.raises(StoreError, match="empty database"):
        Store.open(path, read_only=True)
    with Store.open(path) as store:  # an empty file is a store to be
        assert store.machines() == []


def test_rows_can_be_read_while_others_are_written(tmp_path: Path) -> None:
    with Store.open(tmp_path / "s.db") as store:
        run = store.begin_run("/plant")
        store.commit(run, "/plant", *batch_of(0))
        rows = store.rows_of("/plant")
        next(rows)
        store.commit(run, "/plant", *batch_of(1))
        assert len(list(rows)) == BATCH - 1  # the state at its start
        abandoned = store.rows_of("/plant")
        next(abandoned)
        abandoned.close()


def test_sqlite_is_set_up_to_lose_nothing(tmp_path: Path) -> None:
    with Store.open(f"sqlite:///{tmp_path}/s.db") as store, store.reading() as connection:
        settings = ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        found = [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in settings]
    assert found == ["wal", 2, 1, 30_000]


def test_a_store_is_opened_while_somebody_writes_to_it(tmp_path):
    """Of a database that is not in WAL mode yet, as after a restore, SQLite says at once that it is locked."""
    path = tmp_path / "x.db"
    Store.open(path).close()
    writer = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    assert writer.execute("pragma journal_mode=delete").fetchone() == ("delete",)
    writer.execute("begin immediate")
    ends = threading.Timer(0.5, writer.close)
    ends.start()
    try:
        Store.open(path).close()
    finally:
        ends.join()
    reader = sqlite3.connect(path)
    assert reader.execute("pragma journal_mode").fetchone() == ("wal",)
    reader.close()
