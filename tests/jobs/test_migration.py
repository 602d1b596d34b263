"""A database of an older acoustic-ad is brought up to date once, wholly or not at all, and keeps every row."""

from __future__ import annotations

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa
from old_schemas import OLD

from acoustic_ad.errors import StoreError
from acoustic_ad.jobs import migration
from acoustic_ad.jobs.alarm_book import book, events_of
from acoustic_ad.jobs.migration import SCHEMA_VERSION
from acoustic_ad.jobs.schema import MachineRow
from acoustic_ad.jobs.store import Store

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)


@pytest.fixture(params=[version for version in OLD if version < SCHEMA_VERSION])
def version(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture
def old(tmp_path: Path, version: int) -> Path:
    """A database of an earlier schema."""
    with sqlite3.connect(tmp_path / "old.db") as database:
        database.executescript(OLD[version])
    database.close()
    return tmp_path / "old.db"


def test_reading_migrates_nothing_and_says_what_does(old: Path, version: int) -> None:
    before = old.read_bytes()
    with pytest.raises(StoreError, match=rf"schema {version}, this one reads {SCHEMA_VERSION}.*acoustic-ad score"):
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


def test_every_earlier_schema_is_tested() -> None:
    missing = set(range(1, SCHEMA_VERSION)) - OLD.keys()
    assert not missing, "add the one that was out before yours to old_schemas"


def test_an_old_database_becomes_what_a_new_one_is(old: Path, tmp_path: Path) -> None:
    for database in (old, tmp_path / "new.db"):
        Store.open(database).close()
    assert columns_of(old) == columns_of(tmp_path / "new.db")
    with sqlite3.connect(old) as database:
        assert database.execute("SELECT version FROM schema_version").fetchall() == [(SCHEMA_VERSION,)]
    database.close()


def test_a_migration_that_fails_half_way_changes_nothing(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = columns_of_any(old)

    def fails(connection: sa.Connection) -> None:
        raise RuntimeError("half way")

    monkeypatch.setattr(migration, "STEPS", (*migration.STEPS, fails))
    with pytest.raises(RuntimeError, match="half way"):
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
