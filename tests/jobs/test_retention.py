"""Pruning takes rows and nothing else: the health of every machine, at every moment, stays what it was."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from plant import BEGIN, Plant, faulty, normal

from acoustic_ad.errors import StoreError
from acoustic_ad.jobs.alarm_book import act, add_event
from acoustic_ad.jobs.alarm_rows import life_at
from acoustic_ad.jobs.alarm_schema import ActionRow, EventRow
from acoustic_ad.jobs.day_traces import Judged, Traces, add_traces, damaged_days, traces_of
from acoustic_ad.jobs.fleet_health import refresh
from acoustic_ad.jobs.retention import Pruned, prune
from acoustic_ad.jobs.store import ClipRow, FileFact, Store
from acoustic_ad.jobs.upkeep_schema import machine_days

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
HOURS = 240
CUTOFF = BEGIN + 9 * DAY  # the second alarm of the fan is younger


def rows_in(plant: Plant) -> list[ClipRow]:
    with Store.open(plant.database, read_only=True) as store:
        return list(store.rows_of(plant.sound))


def pruned(plant: Plant, before: datetime, **options: Any) -> Pruned:
    with Store.open(plant.database) as store:
        done = prune(store, plant.models, before, before + 400 * DAY, **options)
        assert store.integrity() == []
        with store.reading() as connection:
            assert damaged_days(connection) == []
    return done


def told_anew(plant: Plant) -> tuple[Any, ...]:
    """All that is told of the plant, now and of before, after its health has been told again from the store."""
    with Store.open(plant.database) as store:
        refresh(store, plant.models, sorted(plant.digests))
    moments = [(BEGIN + days * DAY).isoformat() for days in (2, 7)]
    return plant.status(), plant.alarms(withdrawn=True), [plant.status_at(moment) for moment in moments]


@pytest.fixture
def plant(new_database: Callable[[], str], tmp_path: Path) -> Plant:
    """Ten days of a fan that was in alarm, was mended, and is in alarm again; of a pump that is well."""
    plant = Plant(tmp_path / "plant", url=new_database())
    fan = [*normal(60), *faulty(12), "off", "failed", "sensor_fault", *normal(25, seed=1)]
    times = plant.add_clips("fan", fan, every=HOUR)
    with Store.open(plant.database) as store:
        refresh(store, plant.models, ["fan"])
        add_event(store, EventRow("fan", times[-1], "maintenance"))
    begin = times[-1] + HOUR
    times = plant.add_clips("fan", [*normal(120, seed=2), *faulty(20)], begin=begin, every=HOUR)
    plant.add_clips("pump", normal(HOURS, seed=3), begin=BEGIN, every=HOUR, ended=True)
    with Store.open(plant.database) as store:
        refresh(store, plant.models, ["fan", "pump"])
        for alarm in plant.alarms():
            if alarm["cleared_at"] is not None:
                act(store, ActionRow(alarm["id"], times[-1], "ack", "Ann", "bearing"), life_at())
    return plant


def test_health_is_the_same_to_the_last_digit_and_alarms_stay(plant: Plant) -> None:
    before, rows = told_anew(plant), rows_in(plant)
    assert before[0]["fan"]["state"] == "alarm" and len(before[1]) >= 2
    done = pruned(plant, CUTOFF + HOUR)
    assert told_anew(plant) == before
    left = rows_in(plant)
    assert len(left) == len(rows) - done.clips and done.clips > 200
    assert {row.clip_id for row in rows if row.recorded_at >= CUTOFF} <= {row.clip_id for row in left}
    assert done.kept == sum(row.recorded_at < CUTOFF and row.status != "failed" for row in left) > 0
    assert all(alarm["listen_to"] and alarm["bands"] for alarm in before[1])


def test_more_clips_after_it_are_judged_as_if_nothing_had_been_pruned(plant: Plant, tmp_path: Path) -> None:
    other = Plant(tmp_path / "other", plant.digests.copy(), plant.counts.copy())
    for one in (plant, other):
        if one is other:
            one.digests.clear()
            one.counts.clear()
            one.add_clips("pump", normal(HOURS, seed=3), every=HOUR)
        else:
            pruned(one, BEGIN + 4 * DAY)
        one.add_clips("pump", faulty(10), begin=BEGIN + 10 * DAY, every=HOUR)
        one.tell()
    for one in (plant, other):
        pruned(one, BEGIN + 8 * DAY)
    ours, theirs = plant.status()["pump"], other.status()["pump"]
    assert ours["state"] == "alarm"
    for name in ("state", "since", "index", "clips", "coverage", "trend", "stands_out"):
        assert ours[name] == theirs[name]


def test_what_an_open_alarm_and_the_baseline_rest_on_keeps_its_rows(plant: Plant) -> None:
    (open_alarm,) = [alarm for alarm in plant.alarms() if alarm["cleared_at"] is None]
    raised = datetime.fromisoformat(open_alarm["raised_at"])
    pruned(plant, BEGIN + 300 * DAY)  # all of it is older than that
    left = [row for row in rows_in(plant) if row.machine == "fan" and row.status == "scored"]
    assert sum(row.recorded_at >= raised for row in left) >= 18
    assert sum(row.recorded_at < raised for row in left) >= 20
    assert [row for row in rows_in(plant) if row.machine == "pump"] == []
    assert plant.status()["pump"]["clips"] == HOURS


def test_a_dry_run_counts_the_same_and_writes_nothing(plant: Plant) -> None:
    cutoff = CUTOFF
    rows = rows_in(plant)
    with Store.open(plant.database, read_only=True) as store:
        would = prune(store, plant.models, cutoff, cutoff, dry_run=True)
    assert rows_in(plant) == rows
    assert pruned(plant, cutoff) == would
    assert pruned(plant, cutoff) == Pruned(kept=would.kept)


def test_files_in_their_folder_stay_known_and_others_leave_the_ledger(plant: Plant) -> None:
    files = sorted((plant.sound / "pump").iterdir())
    for file in files[:100]:
        file.unlink()
    (lost,) = [row for row in rows_in(plant) if row.status == "failed"]
    (plant.sound / lost.clip_id).unlink()
    before = told_anew(plant)
    done = pruned(plant, CUTOFF)
    assert (done.failed, done.forgotten) == (1, 101)
    assert done.clips == done.remembered + 100
    assert told_anew(plant) == before
    report = plant.tell()  # nothing is new, though few of the files have a row
    assert (report.counts["scored"], report.counts["failed"]) == (0, 0)
    assert (
        report.counts["already_scored"]
        == report.counts["found"]
        == len(files) - 100 + len(list((plant.sound / "fan").iterdir()))
    )
    assert told_anew(plant) == before


def test_of_a_folder_that_is_not_there_nothing_is_forgotten(plant: Plant) -> None:
    plant.sound.rename(plant.root / "elsewhere")
    plant.sound.mkdir()  # as a share that is not mounted
    done = pruned(plant, CUTOFF)
    assert (done.failed, done.forgotten) == (0, 0) and done.remembered == done.clips > 200


def test_a_clip_that_is_scored_again_after_it_was_pruned_counts_once(plant: Plant) -> None:
    before = plant.status()["pump"]
    (row, *_) = [row for row in rows_in(plant) if row.machine == "pump"]
    pruned(plant, CUTOFF)
    file = plant.sound / row.clip_id
    with Store.open(plant.database) as store:
        run = store.begin_run(plant.sound)
        assert store.commit(run, plant.sound, [row], [FileFact.of(row.clip_id, "pump", file.stat(), row.sha256)]) == 1
        store.end_run(run, {}, 0)
        refresh(store, plant.models, ["pump"])
    assert plant.status()["pump"] == before
    assert pruned(plant, CUTOFF).clips == 1
    told_anew(plant)
    assert plant.status()["pump"] == before


def judged(at: datetime, status: str, content: str) -> Judged:
    return Judged(at, status, None, None, content, "m", None, None, "2026-01-01T00:00:00Z")


def test_a_trace_gives_way_to_a_newer_one_of_its_content_on_any_day(plant: Plant) -> None:
    """But a broken sensor makes the same bytes at different times, and each was heard."""
    first = [judged(BEGIN, "scored", "a"), judged(BEGIN, "sensor_fault", "silence")]
    again = [judged(BEGIN + 3 * DAY, "scored", "a"), judged(BEGIN + 3 * DAY, "sensor_fault", "silence")]
    with Store.open(plant.database) as store, store.writing() as connection:
        for clips in (first, again, again):
            add_traces(connection, "mixer", Traces(clips), BEGIN + 9 * DAY)
        assert traces_of(connection, "mixer").clips == [first[1], *again]
        assert damaged_days(connection) == []


def test_a_dead_microphone_is_still_heard_of_at_all_its_times(new_database: Callable[[], str], tmp_path: Path) -> None:
    """All its clips are the same bytes: one row, which stays as long as any of its files is young."""
    plant = Plant(tmp_path, url=new_database())
    plant.add_clips("fan", normal(24), every=HOUR)
    silent = tmp_path / "sound" / "fan"
    times = [BEGIN + DAY + number * HOUR for number in range(72)]
    row = ClipRow(
        "fan/0.wav", "fan", times[0], "name", "00", plant.digests["fan"], None, None, "sensor_fault", "silent"
    )
    with Store.open(plant.database) as store:
        run = store.begin_run(plant.sound)
        facts = []
        for number, at in enumerate(times):
            (silent / f"{number}.wav").write_bytes(b"\0")
            facts.append(FileFact.of(f"fan/{number}.wav", "fan", (silent / f"{number}.wav").stat(), "00", at))
        store.commit(run, plant.sound, [row], facts)
        store.end_run(run, {}, 0)
    before = told_anew(plant)
    assert before[0]["fan"]["state"] == "sensor_fault" and before[0]["fan"]["coverage"]["sensor_fault"] == 72
    assert pruned(plant, BEGIN + 2 * DAY).clips == 24
    assert told_anew(plant) == before
    assert pruned(plant, BEGIN + 9 * DAY).clips == 1
    assert told_anew(plant) == before


def test_what_people_enter_meanwhile_is_heeded(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    from acoustic_ad.jobs import retention

    tell, entered = retention.tell, []

    def interrupted(store: Store, *arguments: Any, **options: Any) -> Any:
        if len(entered) < 2:
            with Store.open(plant.database) as other:
                entered.append(add_event(other, EventRow("fan", BEGIN + 9 * DAY, "false-alarm")))
        return tell(store, *arguments, **options)

    monkeypatch.setattr(retention, "tell", interrupted)
    assert pruned(plant, CUTOFF).clips > 200
    assert len(entered) == 2
    with pytest.raises(StoreError, match="kept changing"):
        monkeypatch.setattr(retention, "mark_of", lambda connection, machine: ())
        pruned(plant, BEGIN + 10 * DAY)


def test_runs_of_long_ago_go_and_the_last_of_a_folder_stays(plant: Plant) -> None:
    with Store.open(plant.database) as store:
        for root in ("/other", "/other", plant.sound):
            store.end_run(store.begin_run(root), {}, 0)
        before = datetime.fromisoformat("2999-01-01T00:00Z")
        assert prune(store, plant.models, before, before).runs == 2  # of /other, and the one that pumps were scored in
        assert store.cut_short() == []


def test_a_damaged_day_is_found(plant: Plant) -> None:
    pruned(plant, BEGIN + 5 * DAY)
    with Store.open(plant.database) as store:
        with store.writing() as connection:
            chosen = (machine_days.c.machine == "pump") & (machine_days.c.day == "2026-01-06")
            connection.execute(machine_days.update().where(chosen).values(scored=1))
        with store.reading() as connection:
            assert damaged_days(connection) == ["2026-01-06 of pump: the summary is not that of its trace"]
            assert len(traces_of(connection, "pump").clips) == 5 * 24
    for data in (b"", b"nonsense", Traces().packed()[:-3]):
        with pytest.raises(ValueError, match="damaged"):
            Traces.unpacked(data)


def test_rows_make_room(plant: Plant) -> None:
    """What stays of a pruned clip is a small part of what it took."""
    size = plant.db.stat().st_size if plant.url is None else None
    pruned(plant, BEGIN + 300 * DAY)
    with Store.open(plant.database) as store:
        store.compact()
        assert store.integrity() == []
        with store.reading() as connection:
            traces = connection.exec_driver_sql("SELECT sum(length(trace)), sum(scored) FROM machine_days").one()
    assert traces[0] / traces[1] < 110
    assert size is None or plant.db.stat().st_size < size
