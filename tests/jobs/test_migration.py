"""A database of an older acoustic-ad is brought up to date once, wholly or not at all, and keeps every row."""

from __future__ import annotations

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa

from acoustic_ad.errors import StoreError
from acoustic_ad.jobs import migration
from acoustic_ad.jobs.alarm_book import book, events_of
from acoustic_ad.jobs.schema import SCHEMA_VERSION, MachineRow
from acoustic_ad.jobs.store import Store

# As schema 1 was made.
SCHEMA_1 = """
CREATE TABLE alarms (
    id INTEGER NOT NULL,
    machine TEXT NOT NULL,
    level TEXT NOT NULL,
    raised_at TEXT NOT NULL,
    cleared_at TEXT,
    acknowledged_at TEXT,
    "by" TEXT,
    comment TEXT,
    shelved_until TEXT,
    PRIMARY KEY (id)
);
CREATE TABLE clip_scores (
    id INTEGER NOT NULL,
    clip_id TEXT NOT NULL,
    machine TEXT NOT NULL,
    recorded_at TEXT NOT NULL,
    sha256 TEXT,
    model TEXT,
    score DOUBLE,
    p_value DOUBLE,
    status TEXT NOT NULL,
    reason TEXT,
    bands TEXT NOT NULL,
    recorded_at_source TEXT NOT NULL,
    label TEXT NOT NULL,
    "index" DOUBLE,
    detail TEXT,
    also_known_as TEXT NOT NULL,
    duration_s DOUBLE,
    level_db DOUBLE,
    root TEXT NOT NULL,
    scored_at TEXT NOT NULL,
    run_id INTEGER NOT NULL,
    PRIMARY KEY (id),
    CONSTRAINT clip_identity UNIQUE (sha256, machine, model),
    CONSTRAINT known_status CHECK (status IN ('scored', 'failed', 'off', 'sensor_fault')),
    CONSTRAINT judged_by_a_model CHECK ((status = 'failed') = (model IS NULL)),
    CONSTRAINT judged_bytes CHECK (status = 'failed' OR sha256 IS NOT NULL),
    FOREIGN KEY(run_id) REFERENCES runs (id)
);
CREATE TABLE files (
    root TEXT NOT NULL,
    clip_id TEXT NOT NULL,
    machine TEXT NOT NULL,
    size BIGINT NOT NULL,
    mtime_ns BIGINT NOT NULL,
    ctime_ns BIGINT NOT NULL,
    sha256 TEXT,
    outcome TEXT NOT NULL,
    reason TEXT,
    PRIMARY KEY (root, clip_id, machine)
);
CREATE TABLE machines (
    machine TEXT NOT NULL,
    state TEXT NOT NULL,
    since TEXT,
    "index" DOUBLE,
    clips INTEGER NOT NULL,
    last_clip_at TEXT,
    model TEXT,
    facts TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    PRIMARY KEY (machine)
);
CREATE TABLE runs (
    id INTEGER NOT NULL,
    root TEXT NOT NULL,
    arguments TEXT NOT NULL,
    version TEXT NOT NULL,
    host TEXT NOT NULL,
    pid INTEGER NOT NULL,
    started_at TEXT NOT NULL,
    ended_at TEXT,
    exit_code INTEGER,
    counts TEXT,
    PRIMARY KEY (id)
);
CREATE TABLE schema_version (
    version INTEGER NOT NULL
);
INSERT INTO "schema_version" VALUES(1);
CREATE INDEX alarms_by_machine ON alarms (machine, raised_at);
CREATE INDEX clips_by_time ON clip_scores (machine, recorded_at);
CREATE UNIQUE INDEX one_failed_row ON clip_scores (root, clip_id, machine) WHERE status = 'failed';
"""
ROWS_1 = """
INSERT INTO runs VALUES (1, '/plant', '{}', '0.1', 'host', 1, '2026-01-05T12:00:00.000000Z', NULL, NULL, NULL);
INSERT INTO clip_scores VALUES (1, 'a.wav', 'fan', '2026-01-05T12:00:00.000000Z', 'ab', 'model-1', 1.5, 0.25, 'scored',
    NULL, '[]', 'name', 'unknown', 20.0, NULL, '[]', 10.0, -28.0, '/plant', '2026-01-05T12:01:00.000000Z', 1);
INSERT INTO files VALUES ('/plant', 'a.wav', 'fan', 10, 1, 1, 'ab', 'scored', NULL);
INSERT INTO machines VALUES ('fan', 'warning', '2026-01-05T12:00:00.000000Z', 20.0, 1, '2026-01-05T12:00:00.000000Z',
    'model-1', '{"heard": "warning", "stands_out": "+9 dB around 3.4 kHz"}', '2026-01-05T12:01:00.000000Z');
INSERT INTO alarms VALUES (7, 'fan', 'alarm', '2026-01-05T12:00:00.000000Z', NULL, NULL, NULL, NULL, NULL);
"""
NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A database of schema 1 with a row in every table."""
    with sqlite3.connect(tmp_path / "old.db") as database:
        database.executescript(SCHEMA_1 + ROWS_1)
    database.close()
    return tmp_path / "old.db"


def test_reading_migrates_nothing_and_says_what_does(old: Path) -> None:
    before = old.read_bytes()
    with pytest.raises(StoreError, match=r"schema 1, this one reads 3.*acoustic-ad score"):
        Store.open(old, read_only=True)
    assert old.read_bytes() == before
    assert sorted(path.name for path in old.parent.iterdir()) == ["old.db"]


def test_writing_brings_it_up_to_date_and_keeps_every_row(old: Path) -> None:
    with Store.open(old, create=False) as store:
        assert store.integrity() == []
        assert [(row.clip_id, row.score) for row in store.rows_of("/plant")] == [("a.wav", 1.5)]
        facts = {"heard": "warning", "stands_out": "+9 dB around 3.4 kHz"}
        assert store.machines() == [MachineRow("fan", "warning", NOON, 20.0, 1, NOON, "model-1", facts)]
        assert store.cut_short() == ["/plant"]
        (alarm,), actions = book(store)
        assert (alarm.id, alarm.machine, alarm.level, alarm.raised_at) == (7, "fan", "alarm", NOON)
        with store.reading() as connection:
            assert events_of(connection) == []
        assert actions == {}
    with Store.open(old, read_only=True) as store:  # from now on
        assert len(store.machines()) == 1


def columns_of(database: Path) -> dict[str, list[tuple[object, ...]]]:
    with Store.open(database, read_only=True) as store, store.reading() as connection:
        look = sa.inspect(connection)
        return {
            table: [(column["name"], str(column["type"]), column["nullable"]) for column in look.get_columns(table)]
            + sorted((str(index["name"]),) for index in look.get_indexes(table))
            for table in look.get_table_names()
        }


def test_an_old_database_becomes_what_a_new_one_is(old: Path, tmp_path: Path) -> None:
    for database in (old, tmp_path / "new.db"):
        Store.open(database).close()
    assert columns_of(old) == columns_of(tmp_path / "new.db")
    with sqlite3.connect(old) as database:
        assert database.execute("SELECT version FROM schema_version").fetchall() == [(SCHEMA_VERSION,)]
    database.close()


def test_a_migration_that_fails_half_way_changes_nothing(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = columns_of_any(old)

    monkeypatch.setattr(migration, "NEW_ALARM_COLUMNS", [*migration.NEW_ALARM_COLUMNS, None])
    with pytest.raises(AttributeError):
        Store.open(old)
    assert columns_of_any(old) == before
    monkeypatch.undo()
    Store.open(old).close()
    assert columns_of_any(old) != before


def columns_of_any(database: Path) -> list[str]:
    with sqlite3.connect(database) as connection:
        found = [text for (text,) in connection.execute("SELECT sql FROM sqlite_master ORDER BY name")]
    connection.close()
    return found


def test_several_that_open_it_at_once_migrate_it_once(old: Path) -> None:
    def look(number: int) -> int:
        with Store.open(old) as store:
            return len(book(store)[0])

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(look, range(8))) == [1] * 8
