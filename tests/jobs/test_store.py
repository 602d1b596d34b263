"""The ledger: nothing twice, nothing lost, and what a clip's current row is."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from acoustic_ad.jobs import batch
from acoustic_ad.jobs.store import ClipRow, FileFact, LedgerEntry, MachineRow, Store

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
ROOT = "/plant"


def digest(content: str) -> str:
    return hashlib.sha256(content.encode()).hexdigest()


def clip(clip_id: str, content: str | None = None, **changes: object) -> ClipRow:
    row = ClipRow(
        clip_id, "fan", NOON, "name", digest(content or clip_id), "model-1", 1.5, 0.25, "scored", bands=({"hz": 440.0},)
    )
    return replace(row, **changes)  # type: ignore[arg-type]


def failed(clip_id: str, content: str | None = None, reason: str = "truncated") -> ClipRow:
    row = clip(clip_id, content, score=None, p_value=None, status="failed", reason=reason, detail="12 of 40 bytes")
    return replace(row, model=None, bands=())


def fact_of(row: ClipRow, mtime_ns: int = 1) -> FileFact:
    return FileFact(row.clip_id, row.machine, 1000, mtime_ns, row.sha256)


class Job:
    """A store with one run on one folder."""

    def __init__(self, store: Store, root: str = ROOT) -> None:
        self.store, self.root, self.run = store, root, store.begin_run(root)

    def commit(self, *rows: ClipRow) -> int:
        return self.store.commit(self.run, self.root, rows, [fact_of(row) for row in rows])

    def saw(self, *facts: FileFact) -> int:
        return self.store.commit(self.run, self.root, [], facts)

    def rows(self, keys: object = None) -> list[ClipRow]:
        return list(self.store.rows_of(self.root, keys))  # type: ignore[arg-type]


@pytest.fixture
def job(database: str):
    with Store.open(database) as store:
        yield Job(store)
        assert store.integrity() == []


def test_a_row_comes_back_as_it_went_in(job: Job) -> None:
    row = clip("a.wav", label="anomaly", index=62.5, duration_s=10.0, level_db=-31.25, detail="+9 dB around 3.4 kHz")
    assert job.commit(row) == 1
    (stored,) = job.rows()
    assert stored.scored_at is not None and stored.run_id == job.run
    assert replace(stored, scored_at=None, run_id=None) == row


def test_a_rerun_scores_nothing_twice(job: Job) -> None:
    assert job.commit(clip("a.wav"), clip("b.wav")) == 2
    before = job.rows()
    assert job.commit(clip("a.wav", score=9.0), clip("b.wav", score=9.0)) == 0
    assert job.rows() == before
    assert job.store.files(ROOT)["a.wav", "fan"] == LedgerEntry(1000, 1, 0, digest("a.wav"), "scored", None)
    assert job.store.scored_digests("fan") == {digest("a.wav"): "a.wav", digest("b.wav"): "b.wav"}
    assert job.store.scored_digests("pump") == {}


def test_a_renamed_file_is_recognised_and_keeps_its_first_name(job: Job) -> None:
    job.commit(clip("a.wav"))
    assert job.saw(replace(fact_of(clip("a.wav")), clip_id="renamed.wav", mtime_ns=7)) == 0
    (row,) = job.rows()
    assert (row.clip_id, row.also_known_as) == ("a.wav", ("renamed.wav",))
    assert job.store.files(ROOT)["renamed.wav", "fan"].mtime_ns == 7
    assert job.rows([("renamed.wav", "fan")]) == [row] == job.rows([("a.wav", "fan"), ("renamed.wav", "fan")])
    assert job.rows([("gone.wav", "fan")]) == [] == job.rows([])


def test_copies_in_one_batch_are_one_row(job: Job) -> None:
    assert job.commit(clip("a.wav", "same"), clip("b.wav", "same"), clip("c.wav", "same")) == 1
    assert [(row.clip_id, row.also_known_as) for row in job.rows()] == [("a.wav", ("b.wav", "c.wav"))]


def test_the_same_bytes_of_another_machine_are_another_clip(job: Job) -> None:
    assert job.commit(clip("a.wav", "same"), clip("b.wav", "same", machine="pump")) == 2
    assert [row.also_known_as for row in job.rows()] == [(), ()]


def test_a_batch_does_not_read_what_other_machines_with_the_same_bytes_have(job: Job) -> None:
    """What a batch costs must not grow with the machines whose microphones are dead or played the same recording."""
    for number in range(30):
        job.commit(clip(f"{number}.wav", "same", machine=f"fan {number}"))
    row = clip("new.wav", "same", machine="fan 0", model="model-2")
    with job.store.reading() as connection:
        assert list(batch._find_known(connection, [fact_of(row)])) == [(digest("same"), "fan 0")]


def test_a_touched_file_is_only_remembered(job: Job) -> None:
    job.commit(clip("a.wav"))
    job.saw(fact_of(clip("a.wav"), mtime_ns=99))
    assert job.store.files(ROOT)["a.wav", "fan"].mtime_ns == 99
    assert [row.also_known_as for row in job.rows()] == [()]


def test_a_changed_file_is_a_new_clip_and_the_old_row_stays(job: Job) -> None:
    job.commit(clip("a.wav", "monday"))
    assert job.commit(clip("a.wav", "tuesday", score=3.0)) == 1
    assert [row.score for row in job.rows()] == [3.0]
    assert sorted(row.score or 0.0 for row in job.store.history("fan")) == [1.5, 3.0]


def test_a_rescore_adds_a_row_under_the_first_name_and_time(job: Job) -> None:
    job.commit(clip("a.wav"))
    job.saw(replace(fact_of(clip("a.wav")), clip_id="z.wav"))
    later = clip("z.wav", "a.wav", model="model-2", score=4.0, recorded_at=NOON + timedelta(days=1))
    assert job.store.scored_digests("fan", "model-2") == {}
    assert job.commit(later) == 1
    (row,) = job.rows()
    assert (row.clip_id, row.also_known_as, row.recorded_at) == ("a.wav", ("z.wav",), NOON)
    assert (row.model, row.score) == ("model-2", 4.0)
    assert [row.score for row in job.store.history("fan")] == [4.0]
    assert [row.score for row in job.store.history("fan", model="model-1")] == [1.5]
    with job.store.reading() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM clip_scores").scalar() == 2


def test_a_rescore_with_an_older_model_makes_its_row_the_current_one(job: Job) -> None:
    """After a rollback the older model judges: its row is made anew, and that of the other model stays."""
    job.commit(clip("a.wav"), clip("b.wav"))
    job.commit(clip("a.wav", model="model-2", score=4.0), clip("b.wav", model="model-2", score=5.0))
    assert job.store.digests_of_others("fan", "model-2") == set() == set(job.store.scored_digests("fan", "model-1"))
    assert job.store.digests_of_others("fan", "model-1") == {digest("a.wav"), digest("b.wav")}
    assert job.commit(clip("a.wav", score=1.75), clip("b.wav", score=2.0)) == 2
    assert [(row.model, row.score) for row in job.rows()] == [("model-1", 1.75), ("model-1", 2.0)]
    assert [row.score for row in job.store.history("fan", model="model-2")] == [4.0, 5.0]
    assert set(job.store.scored_digests("fan", "model-1")) == {digest("a.wav"), digest("b.wav")}
    assert job.commit(clip("a.wav", score=9.0)) == 0
    with job.store.reading() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM clip_scores").scalar() == 4


def test_twins_in_a_rescore_are_one_row(job: Job) -> None:
    for model in ("model-1", "model-2", "model-1"):
        job.commit(clip("a.wav", "same", model=model), clip("b.wav", "same", model=model))
    assert [(row.model, row.also_known_as) for row in job.rows()] == [("model-1", ("b.wav",))]


def test_machines_know_how_many_of_their_clips_failed(job: Job) -> None:
    job.commit(clip("a.wav"), failed("b.wav"), failed("c.wav"))
    rows = [MachineRow(name, "normal", None, None, 1, None) for name in ("fan", "pump")]
    job.store.upsert_machines(rows)
    assert [(row.machine, row.failed) for row in job.store.machines()] == [("fan", 2), ("pump", 0)]
    job.commit(clip("b.wav", "mended"))
    assert [row.failed for row in job.store.machines()] == [1, 0]


def test_folders_whose_last_run_was_cut_short(job: Job) -> None:
    other = Job(job.store, "/other")
    assert job.store.cut_short() == ["/other", ROOT]
    job.store.end_run(job.run, {}, 0)
    job.store.end_run(other.run, {}, 3)
    assert job.store.cut_short() == []
    job.store.begin_run(ROOT)
    assert job.store.cut_short() == [ROOT]


def test_a_failed_clip_has_one_row_until_it_is_scored(job: Job) -> None:
    assert job.commit(failed("a.wav", "half")) == 0
    job.commit(failed("a.wav", "half", reason="decode_error"))
    (row,) = job.rows()
    assert (row.status, row.reason, row.model, row.score) == ("failed", "decode_error", None, None)
    assert job.store.files(ROOT)["a.wav", "fan"].reason == "decode_error"
    assert job.store.history("fan") == [] and job.store.scored_digests("fan") == {}
    assert job.commit(clip("a.wav", "whole")) == 1
    assert [row.status for row in job.rows()] == ["scored"]


def test_a_failed_clip_whose_bytes_turn_out_to_be_known_has_no_failed_row_any_more(job: Job) -> None:
    job.commit(clip("a.wav", "good"), failed("b.wav", "bad"))
    job.saw(replace(fact_of(clip("a.wav", "good")), clip_id="b.wav"))
    assert [(row.clip_id, row.also_known_as) for row in job.rows()] == [("a.wav", ("b.wav",))]


def test_an_unreadable_clip_has_a_row_without_a_digest(job: Job) -> None:
    row = replace(failed("a.wav", reason="unreadable"), sha256=None)
    job.commit(row)
    assert [(row.sha256, row.reason) for row in job.rows()] == [(None, "unreadable")]


def test_a_failed_file_that_was_touched_stays_failed(job: Job) -> None:
    job.commit(failed("a.wav"))
    job.saw(fact_of(failed("a.wav"), mtime_ns=5))
    assert job.store.files(ROOT)["a.wav", "fan"] == LedgerEntry(1000, 5, 0, digest("a.wav"), "failed", "truncated")


def test_a_scored_file_that_is_now_damaged_is_failed_and_its_old_score_is_kept(job: Job) -> None:
    job.commit(clip("a.wav", "whole"), clip("b.wav", "whole"))
    job.commit(failed("a.wav", "cut"))
    assert [(row.clip_id, row.status) for row in job.rows()] == [("a.wav", "failed"), ("a.wav", "scored")]
    assert [row.status for row in job.rows([("a.wav", "fan")])] == ["failed"]
    assert len(job.store.history("fan")) == 1


def test_off_and_sensor_fault_are_outcomes_not_failures(job: Job) -> None:
    silent = clip("s.wav", status="sensor_fault", reason="silent", score=None, p_value=None)
    off = clip("o.wav", status="off", score=None, p_value=None)
    assert job.commit(silent, off) == 2
    assert [row.status for row in job.rows()] == ["off", "sensor_fault"]
    assert {row.status for row in job.store.history("fan")} == {"off", "sensor_fault"}


def test_folders_have_ledgers_of_their_own_and_share_clips(job: Job) -> None:
    other = Job(job.store, "/other")
    job.commit(clip("a.wav", "x"), failed("bad.wav"))
    other.commit(failed("bad.wav", reason="empty"))
    other.saw(replace(fact_of(clip("a.wav", "x")), clip_id="copy.wav"))
    assert [(row.clip_id, row.reason) for row in other.rows()] == [("a.wav", None), ("bad.wav", "empty")]
    assert [row.reason for row in job.rows()] == [None, "truncated"]
    assert set(job.store.files("/other")) == {("bad.wav", "fan"), ("copy.wav", "fan")}


@pytest.mark.parametrize(
    "row",
    [
        clip("a.wav", score=None),
        clip("a.wav", score=float("nan")),
        clip("a.wav", model=None),
        clip("a.wav", status="off"),
        replace(failed("a.wav"), score=1.0),
        clip("a.wav", recorded_at=datetime(2026, 1, 1)),
    ],
)
def test_rows_that_contradict_themselves_are_refused_with_all_of_their_batch(job: Job, row: ClipRow) -> None:
    with pytest.raises(ValueError):
        job.commit(clip("good.wav"), row)
    assert job.rows() == [] and job.store.files(ROOT) == {}


def test_a_fact_without_row_of_unknown_bytes_is_refused(job: Job) -> None:
    with pytest.raises(ValueError, match=r"new\.wav"):
        job.saw(fact_of(clip("new.wav")))
    with pytest.raises(ValueError, match="without the fact"):
        job.store.commit(job.run, ROOT, [clip("a.wav")], [])


def test_history_depends_on_when_clips_were_recorded_not_on_when_they_came(
    new_database: Callable[[], str],
) -> None:
    rows = [clip(f"{i}.wav", recorded_at=NOON + timedelta(minutes=i // 2), score=float(i)) for i in range(6)]
    histories = []
    for order in (rows, rows[::-1]):
        with Store.open(new_database()) as store:
            for row in order:
                Job(store).commit(row)
            histories.append([row.clip_id for row in store.history("fan")])
            assert [row.clip_id for row in store.history("fan", limit=3)] == histories[-1][-3:]
    assert histories[0] == histories[1]
    assert [int(name[0]) // 2 for name in histories[0]] == [0, 0, 1, 1, 2, 2]


def test_rows_are_sorted_by_name_whatever_the_order_of_commits(job: Job) -> None:
    for name in ("c.wav", "ä.wav", "a.wav", "Z.wav"):
        job.commit(clip(name) if name != "c.wav" else failed(name))
    assert [row.clip_id for row in job.rows()] == ["Z.wav", "a.wav", "c.wav", "ä.wav"]


def test_machines_and_runs(job: Job) -> None:
    first = MachineRow("fan/=x", "learning", None, None, 3, None)
    alarm = MachineRow("fan/=x", "alarm", NOON, 81.5, 40, NOON, "model-1", {"window": [1.0, 2.0]})
    job.store.upsert_machines([first, replace(first, machine="a")])
    job.store.upsert_machines([alarm])
    job.store.upsert_machines([])
    assert job.store.machines() == [replace(first, machine="a", facts={}), alarm]
    job.store.end_run(job.run, {"found": 3}, 3)
    with job.store.reading() as connection:
        (run,) = connection.exec_driver_sql("SELECT root, exit_code, counts, pid FROM runs").all()
    assert run == (ROOT, 3, '{"found": 3}', os.getpid())


def test_the_tables_that_people_query(tmp_path: Path) -> None:
    """What design promises to whoever opens the file with another tool."""
    with Store.open(tmp_path / "s.db") as store:
        Job(store).commit(clip("a.wav"))
    with sqlite3.connect(tmp_path / "s.db") as connection:
        names = "clip_id, machine, recorded_at, sha256, model, score, p_value, status, reason, bands"
        row = connection.execute(f"SELECT {names} FROM clip_scores").fetchone()
        alarm_columns = [column[1] for column in connection.execute("PRAGMA table_info(alarms)")]
    assert row[2] == "2026-01-05T12:00:00.000000Z" and json.loads(row[-1]) == [{"hz": 440.0}]
    expected = "id machine level raised_at cleared_at acknowledged_at by comment shelved_until"
    assert alarm_columns[:9] == expected.split()


def test_what_a_database_cannot_keep_is_kept_printable(job: Job) -> None:
    job.commit(replace(failed("a.wav"), detail="no \0 and no \udcfe"))
    assert [row.detail for row in job.rows()] == ["no \\x00 and no \\xfe"]


def test_names_that_are_not_utf8_are_stored_printable(tmp_path: Path) -> None:
    with Store.open(os.fsdecode(os.fsencode(tmp_path) + b"/\xff?#%.db")) as store:
        job = Job(store, os.fsdecode(b"/plant/\xff"))
        job.commit(replace(failed("=cmd\n\\xff.wav"), detail=os.fsdecode(b"no \xfe"), machine="größe\n"))
        assert [(row.clip_id, row.detail) for row in job.rows()] == [("=cmd\n\\xff.wav", "no \\xfe")]


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from("wxyz"), st.booleans()), max_size=4)))
def test_whatever_happens_to_the_files_every_file_has_one_current_row(
    new_database: Callable[[], str], batches: list[list[tuple[str, str, bool]]]
) -> None:
    last: dict[str, tuple[str, bool]] = {}
    with Store.open(new_database()) as store:
        job = Job(store)
        for batch in batches:
            files = {name: (content, good) for name, content, good in batch}
            job.commit(
                *(clip(name, content) if good else failed(name, content) for name, (content, good) in files.items())
            )
            last |= files
        for name, (content, good) in last.items():
            (row,) = job.rows([(name, "fan")])
            assert (row.sha256, row.status == "scored") == (digest(content), good)
            assert name in (row.clip_id, *row.also_known_as)
        assert store.integrity() == []
