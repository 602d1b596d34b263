"""How the store writes things down."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateIndex, CreateTable

from acoustic_ad.jobs.schema import FileFact, LedgerEntry, clip_scores, json_text, metadata, utc_text, utc_time

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)


def test_is_still_compares_size_and_both_times(tmp_path: Path) -> None:
    file = tmp_path / "a.wav"
    file.write_bytes(b"1234")
    fact = FileFact.of("a.wav", "fan", file.stat(), "ab")
    entry = LedgerEntry(fact.size, fact.mtime_ns, fact.ctime_ns, fact.sha256, "scored", None)
    assert entry.is_still(file.stat())
    assert not replace(entry, size=5).is_still(file.stat())
    assert not replace(entry, mtime_ns=5).is_still(file.stat())
    assert not replace(entry, ctime_ns=5).is_still(file.stat())  # other bytes, with the old mtime restored
    assert replace(entry, ctime_ns=0).is_still(file.stat())


def test_times_are_text_that_sorts() -> None:
    east = datetime(2026, 1, 5, 14, 0, 0, 250_000, timezone(timedelta(hours=2)))
    assert utc_text(east) == "2026-01-05T12:00:00.250000Z" > utc_text(NOON) > utc_text(datetime(999, 1, 1, tzinfo=UTC))
    assert utc_time(utc_text(east)) == east and utc_time(None) is None
    assert json_text({"a": [float("nan"), 1.0, (float("inf"),)]}) == '{"a": [null, 1.0, [null]]}'


def test_the_schema_can_be_said_to_postgresql() -> None:
    for table in metadata.sorted_tables:
        assert "CREATE TABLE" in str(CreateTable(table).compile(dialect=postgresql.dialect()))
    indexes = [str(CreateIndex(index).compile(dialect=postgresql.dialect())) for index in clip_scores.indexes]
    assert any("UNIQUE" in index and "WHERE status = 'failed'" in index for index in indexes)
