"""What is kept of clips for fast reading changes nothing of what is read, nor of what is told from it."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_history import plain_coverage, plain_history, plain_points, plain_recent, plain_speaking
from plant import BEGIN, Plant, baseline, faulty, normal, score_of

from acoustic_ad.health.baseline import Baseline
from acoustic_ad.health.policy import Policy
from acoustic_ad.health.timeline import machine_health
from acoustic_ad.jobs import kept_clips
from acoustic_ad.jobs.alarm_book import add_event
from acoustic_ad.jobs.alarm_schema import EventRow, events
from acoustic_ad.jobs.coverage import Heard
from acoustic_ad.jobs.explanation import speaking_clips
from acoustic_ad.jobs.fleet_health import Told, events_of_history, refresh, tell
from acoustic_ad.jobs.history import history_of, keep_read, mark_of
from acoustic_ad.jobs.kept_clips import clips_mark, forget_clips, read_clips, wrongly_kept
from acoustic_ad.jobs.machine_facts import _latest
from acoustic_ad.jobs.retention import prune
from acoustic_ad.jobs.schema import ClipRow, FileFact, clip_scores, utc_text
from acoustic_ad.jobs.store import Store
from acoustic_ad.jobs.store_check import check_store
from acoustic_ad.jobs.upkeep_schema import kept_clips as table

MODELS = ("model-1", "model-2", "a model that is gone")
SCORED_AT = BEGIN + timedelta(days=90)
REASONS = {"sensor_fault": "silent", "failed": "truncated"}


class Known:
    """Models of which two are at hand."""

    def of(self, machine: str, digests: Collection[str]) -> dict[str, Baseline]:
        known = {MODELS[0]: baseline(), MODELS[1]: Baseline.of(baseline().scores[:80])}
        return {digest: known[digest] for digest in known if digest in digests}

    def policy(self, machine: str) -> Policy:
        return Policy()

    def digest(self, machine: str) -> str:
        return MODELS[0]


@dataclass(frozen=True)
class Clip:
    """One file that a job meets."""

    status: str
    minute: int
    content: int
    model: int
    z: float
    p_value: float | None
    ahead: bool


CLIPS = st.builds(
    Clip,
    st.sampled_from(["scored"] * 6 + ["off", "sensor_fault", "failed"]),
    st.integers(0, 200).map(lambda step: 37 * step),  # five days, and many equal times
    st.integers(0, 150),
    st.sampled_from([0, 0, 0, 1, 2]),
    st.sampled_from([-1.0, 0.0, 0.5, 1.5, 4.0, 6.0]),
    st.sampled_from([None, 0.0, 0.5, 0.001, 1.0]),
    st.sampled_from([False] * 20 + [True]),
)
# What comes after the clips of a job: nothing, maintenance at a minute, or a prune of what is older.
THEN = st.tuples(st.sampled_from(["", "", "maintenance", "false-alarm", "prune"]), st.integers(0, 7400))
JOBS = st.lists(st.tuples(st.lists(CLIPS, min_size=1, max_size=40), THEN), min_size=1, max_size=6)


def row_of(clip: Clip, clip_id: str) -> ClipRow:
    at = BEGIN + timedelta(minutes=clip.minute) + (timedelta(days=4000) if clip.ahead else timedelta(0))
    is_scored, failed = clip.status == "scored", clip.status == "failed"
    return ClipRow(
        clip_id, "fan", at, "name" if clip.content % 3 else "mtime",
        hashlib.sha256(f"{clip.content}".encode()).hexdigest(), None if failed else MODELS[clip.model],
        score_of(clip.z, baseline()) if is_scored else None, clip.p_value if is_scored else None, clip.status,  # type: ignore[arg-type]
        REASONS.get(clip.status), level_db=None if clip.content % 2 else -28.5,
        scored_at=SCORED_AT + timedelta(seconds=clip.minute),
    )  # fmt: skip


def run_job(store: Store, sound: Path, number: int, clips: list[Clip]) -> None:
    rows = [row_of(clip, f"{number} {place}.wav") for place, clip in enumerate(clips)]
    facts = [FileFact(row.clip_id, "fan", 10, 1, row.sha256, 1, row.recorded_at) for row in rows]
    run = store.begin_run(sound)
    store.commit(run, sound, rows, facts)
    store.end_run(run, {}, 0)


def follow(store: Store, models: Path, then: tuple[str, int]) -> None:
    what, minute = then
    at = BEGIN + timedelta(minutes=minute)
    if what == "prune":
        prune(store, models, at, SCORED_AT)
    elif what:
        with store.writing() as connection:
            common = {"note": "", "by": "", "entered_at": utc_text(SCORED_AT)}
            connection.execute(events.insert().values(machine="fan", at=utc_text(at), kind=what, **common))


@contextmanager
def small_parts() -> Iterator[None]:
    with patch.object(kept_clips, "FEWEST", 3), patch.object(kept_clips, "MOST", 25):
        yield


@settings(max_examples=30, deadline=None)
@given(JOBS)
def test_what_is_told_is_what_the_clips_say_one_by_one(jobs: list[tuple[list[Clip], tuple[str, int]]]) -> None:
    """Models that are gone, machines that are off, broken sensors with their twins, clips that come late, at one time,
    again by another model, or after they were pruned; events."""
    with small_parts(), tempfile.TemporaryDirectory() as folder, Store.open(Path(folder) / "plant.db") as store:
        (sound := Path(folder) / "sound").mkdir()
        (sound / "still here.wav").touch()
        for number, (clips, then) in enumerate(jobs):
            run_job(store, sound, number, clips)
            check(store)
            follow(store, Path(folder) / "models", then)
        check(store)
        check(store)


def check(store: Store) -> None:
    history = history_of(store, "fan")
    keep_read(store, history)
    with store.reading() as connection:
        clips, failed = plain_history(connection, "fan")
        assert wrongly_kept(connection) == []
    assert list(history.clips) == clips
    assert sorted(map(repr, history.failed)) == sorted(map(repr, failed))
    told: Told = tell(store, Known(), history)  # type: ignore[arg-type]
    known = Known().of("fan", {clip.model for clip in clips})
    points = plain_points(clips, known)
    assert list(told.points) == points
    assert told.health == machine_health(Policy(), known, points[::-1], events_of_history(history))
    for episode in told.health.episodes:
        assert speaking_clips(episode, told.points) == plain_speaking(episode, points)
    facts = told.row.facts or {}
    assert facts["recent_z"] == plain_recent(points)
    if until := _latest(history):
        heard = [Heard(clip.recorded_at, clip.status) for clip in clips]
        expected, counts, reasons = plain_coverage([*heard, *failed], until)
        found = facts["coverage"]
        assert (found["expected"], found["received"], found["failed"]) == (expected, counts.total(), reasons)
        assert all(found[status] == counts[status] for status in ("scored", "off", "sensor_fault"))


# --- when it is kept, and when it goes -------------------------------------------------------------------------------


@pytest.fixture
def plant(new_database: Callable[[], str], tmp_path: Path) -> Iterator[Plant]:
    """A fan that was in alarm, with its clips kept."""
    with small_parts():
        plant = Plant(tmp_path, url=new_database())
        plant.add_clips("fan", [*normal(60), *faulty(20), "off", "sensor_fault"])
        told(plant)
        yield plant


def told(plant: Plant) -> Any:
    """What is told by what is kept, and then without it."""
    found = []
    for forget in (False, True):
        with Store.open(plant.database) as store:
            with store.writing() as connection:
                assert wrongly_kept(connection) == []
                if forget:
                    forget_clips(connection, ["fan"])
            refresh(store, plant.models, ["fan"])
        found.append((plant.status(), plant.alarms()))
    assert found[0] == found[1]
    return found[0]


def parts(plant: Plant) -> list[int]:
    """How many clips are in each part that is read; none where all rows are."""
    with Store.open(plant.database) as store, store.reading() as connection:
        return list(read_clips(connection, "fan", clips_mark(connection, "fan")).parts)


def change(plant: Plant, statement: sa.Executable) -> None:
    with Store.open(plant.database) as store, store.writing() as connection:
        connection.execute(statement)


def test_clips_that_come_late_are_read_beside_the_parts(plant: Plant) -> None:
    before = told(plant)
    plant.add_clips("fan", normal(2), begin=BEGIN - timedelta(days=1))
    assert parts(plant)
    assert told(plant) != before


def test_a_clip_is_written_down_a_few_times_only(plant: Plant) -> None:
    for _ in range(40):
        plant.add_clips("fan", normal(4))
        with Store.open(plant.database) as store:
            refresh(store, plant.models, ["fan"])
    kept = parts(plant)
    assert sum(kept) == 82 + 160 and parts(plant)
    assert len(kept) < 16 and max(kept) <= kept_clips.MOST + 2 * 4
    told(plant)


@pytest.mark.parametrize(
    "statement",
    [
        table.update().values(data=b""),
        table.update().values(data=b"\x05\0\0\0[1,2]"),
        table.update().where(table.c.part == 0).values(data=b"\x0c\0\0\0{\"format\":0}"),
        table.delete().where(table.c.part == 0),
        table.delete().where(table.c.part == 3),
        clip_scores.delete().where(clip_scores.c.status == "off"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_not_read(plant: Plant, statement: sa.Executable) -> None:
    change(plant, statement)
    assert not parts(plant)
    assert told(plant)
    assert parts(plant)


def test_what_the_rows_do_not_say_is_found_by_the_check_of_the_store(plant: Plant) -> None:
    change(plant, clip_scores.update().where(clip_scores.c.status == "off").values(status="sensor_fault"))
    with Store.open(plant.database) as store:
        (problem,) = check_store(store).problems
    assert problem.startswith("fan: its clips are kept")


def test_a_row_that_takes_the_place_of_one_is_read(plant: Plant) -> None:
    """In SQLite it may even have the number of the old one."""
    with Store.open(plant.database) as store:
        rows = [row for row in store.rows_of(plant.sound) if row.machine == "fan"][-3:]
        for model in ("another", plant.digests["fan"]):
            again = [ClipRow(**{**_fields(row), "model": model, "score": 2.0, "status": "scored"}) for row in rows]
            run = store.begin_run(plant.sound)
            facts = [FileFact(row.clip_id, "fan", 10, 1, row.sha256, 1, row.recorded_at) for row in again]
            store.commit(run, plant.sound, again, facts)
            with store.reading() as connection:
                assert list(history_of(store, "fan").clips) == plain_history(connection, "fan")[0]


def _fields(row: ClipRow) -> dict[str, Any]:
    return {name: getattr(row, name) for name in ClipRow.__slots__}


def test_clips_that_were_pruned_are_kept_with_the_others(plant: Plant) -> None:
    plant.add_clips("fan", normal(60, seed=2), begin=BEGIN + timedelta(days=3))
    before = told(plant)
    with Store.open(plant.database) as store:
        assert prune(store, plant.models, BEGIN + timedelta(days=2), datetime.now(UTC)).clips
    assert not parts(plant)
    assert told(plant) == before
    assert parts(plant)


def test_nothing_is_kept_of_what_has_changed_meanwhile(plant: Plant) -> None:
    change(plant, table.delete())
    with Store.open(plant.database) as store:
        history = history_of(store, "fan")
        plant.add_clips("fan", normal(1))
        keep_read(store, history)
        with store.reading() as connection:
            assert mark_of(connection, "fan") != history.mark
    assert parts(plant) == []


def test_few_clips_are_not_worth_it(tmp_path: Path) -> None:
    plant = Plant(tmp_path)
    plant.add_clips("fan", normal(kept_clips.FEWEST - 1))
    plant.tell()
    assert parts(plant) == []
    plant.add_clips("fan", normal(1))
    plant.tell()
    assert parts(plant) == [kept_clips.FEWEST]
    with Store.open(plant.database) as store:
        add_event(store, EventRow("fan", BEGIN, "maintenance"))
    plant.tell()
    assert parts(plant)
