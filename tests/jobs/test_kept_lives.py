"""The copy of a machine's life changes nothing of what its page shows, and is written a little at a time."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from plant import BEGIN, Plant, faulty, normal
from test_kept_clips import JOBS, Clip, Known, follow, run_job

from acoustic_ad.health import life_points
from acoustic_ad.health.life_points import BIN, DAY, LifePoints
from acoustic_ad.jobs import fleet_health, kept_lives, life, machine_story
from acoustic_ad.jobs.alarm_book import add_event
from acoustic_ad.jobs.alarm_schema import EventRow
from acoustic_ad.jobs.baselines import Baselines
from acoustic_ad.jobs.fleet_health import note_clips, refresh
from acoustic_ad.jobs.kept_lives import read_life
from acoustic_ad.jobs.machine_story import MachineStory
from acoustic_ad.jobs.retention import prune
from acoustic_ad.jobs.schema import FileFact
from acoustic_ad.jobs.store import Store
from acoustic_ad.jobs.store_check import check_lines, check_store
from acoustic_ad.jobs.upkeep_schema import kept_lives as heads
from acoustic_ad.jobs.upkeep_schema import life_parts
from acoustic_ad.report.page_machine import story_document

WINDOWS = (None, 0.5, 2.0, 3.3, 90.0)
LATER = (None, timedelta(0), timedelta(hours=3), timedelta(days=40))


@contextmanager
def small_lives() -> Iterator[None]:
    """Lives of a day, in parts of one."""
    with ExitStack() as stack:
        stack.enter_context(patch.object(life, "FEWEST", 5))
        stack.enter_context(patch.object(life, "SHORTEST", timedelta(days=1)))
        stack.enter_context(patch.object(kept_lives, "PART", DAY))
        stack.enter_context(patch.object(machine_story, "BINS", 20))
        yield


def story_without(store: Store, baselines: Baselines, **asked: object) -> MachineStory | None:
    with patch.object(machine_story, "read_life", lambda *asked: None):
        return machine_story.machine_story(store, baselines, "fan", **asked)  # type: ignore[arg-type]


@settings(max_examples=25, deadline=None)
@given(JOBS)
def test_the_page_shows_the_same_with_and_without_it(jobs: list[tuple[list[Clip], tuple[str, int]]]) -> None:
    """As for clips: whatever clips, in whatever order, with events and after prunes."""
    with ExitStack() as stack:
        stack.enter_context(small_lives())
        stack.enter_context(patch.object(fleet_health, "Baselines", lambda *asked: Known()))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        store = stack.enter_context(Store.open(folder / "plant.db"))
        (sound := folder / "sound").mkdir()
        (sound / "still here.wav").touch()
        for number, (clips, then) in enumerate(jobs):
            run_job(store, sound, number, clips)
            follow(store, folder / "models", then)
            refresh(store, folder / "models", ["fan"])
            (row,) = store.machines()
            for days in WINDOWS:
                for later in LATER:
                    as_of = None if later is None or row.last_clip_at is None else row.last_clip_at + later
                    asked = {"days": days, "as_of": as_of}
                    shown = machine_story.machine_story(store, Known(), "fan", **asked)  # type: ignore[arg-type]
                    assert shown == story_without(store, Known(), **asked)  # type: ignore[arg-type]


@pytest.fixture
def plant(new_database: Callable[[], str], tmp_path: Path) -> Iterator[Plant]:
    """A fan of three days, in alarm, with a copy of its life."""
    with small_lives():
        plant = Plant(tmp_path, url=new_database())
        plant.add_clips("fan", [*normal(300), *faulty(100), "off", *faulty(40)])
        told(plant)
        yield plant


def told(plant: Plant) -> None:
    with Store.open(plant.database) as store:
        refresh(store, plant.models, ["fan"])


def stored(plant: Plant) -> dict[int, bytes]:
    with Store.open(plant.database) as store, store.reading() as connection:
        rows = connection.execute(sa.select(life_parts.c.part, life_parts.c.data))
        return {row.part: row.data for row in rows}


def copy(plant: Plant, days: float | None = None, end: datetime | None = None) -> life.Life | None:
    with Store.open(plant.database) as store, store.reading() as connection:
        return read_life(connection, Baselines(plant.models), "fan", end, days)


def same(plant: Plant) -> None:
    """What is shown is what the clips say."""
    with Store.open(plant.database) as store:
        baselines = Baselines(plant.models)
        shown = machine_story.machine_story(store, baselines, "fan", days=None)
        assert shown is not None and shown == story_without(store, baselines, days=None)


def change(plant: Plant, statement: sa.Executable) -> None:
    with Store.open(plant.database) as store, store.writing() as connection:
        connection.execute(statement)


def test_a_new_clip_writes_the_last_part_alone(plant: Plant) -> None:
    before = stored(plant)
    assert len(before) == 4
    plant.add_clips("fan", faulty(1))
    told(plant)
    after = stored(plant)
    assert [part for part in after if after[part] != before.get(part)] == [max(before)]
    assert copy(plant) is not None
    same(plant)


def test_a_short_window_reads_no_more_than_it_needs(plant: Plant) -> None:
    whole, window = copy(plant), copy(plant, days=1.0)
    assert whole is not None and window is not None and whole.points.micros[0] < window.points.micros[0]
    read = [datetime.fromtimestamp(int(at) / 1e6, UTC) for at in window.points.micros]
    assert read[-1] == window.last and window.last - timedelta(days=3) < read[0] < window.last - timedelta(days=1)
    assert copy(plant, days=0.5) is None, "tenths of days are too coarse for it"
    assert copy(plant, end=window.last - timedelta(days=1)) is None, "what was then is told from the clips"


def test_clips_that_come_late_change_their_part(plant: Plant) -> None:
    before = stored(plant)
    plant.add_clips("fan", faulty(6), begin=BEGIN + timedelta(hours=30, minutes=5))
    told(plant)
    after = stored(plant)
    assert after[min(before)] == before[min(before)] and after[min(before) + 1] != before[min(before) + 1]
    same(plant)


HEADS = ("", "[]", "null", '{"format": 0}', '{"format": 1}')


FIRST = sa.select(sa.func.min(life_parts.c.part)).scalar_subquery()


@pytest.mark.parametrize(
    "statement",
    [
        *(heads.update().values(head=head) for head in HEADS),
        heads.update().values(head=sa.func.replace(heads.c.head, '"usual_gap_s": ', '"usual_gap_s": null, "before": ')),
        heads.update().values(head=sa.func.replace(heads.c.head, '"first": "2', '"first": "x')),
        life_parts.update().values(digest="0123456789abcdef"),
        life_parts.delete().where(life_parts.c.part == FIRST),
    ],
)
def test_what_does_not_fit_is_not_shown(plant: Plant, statement: sa.Executable) -> None:
    change(plant, statement)
    assert copy(plant) is None
    same(plant)
    with Store.open(plant.database) as store:
        (problem,) = check_store(store).problems
        verdict = check_lines(check_store(store))[-1]
    assert problem.startswith("fan: what its page shows is damaged, and told from its clips meanwhile")
    assert verdict == "verdict    sound but for copies, which the next `score` that hears these machines makes anew"
    plant.add_clips("fan", faulty(1))
    told(plant)
    assert copy(plant) is not None
    same(plant)


@pytest.mark.parametrize("data", [b"no part", b""])
def test_damaged_parts_are_found_and_written_anew_by_the_next_job(plant: Plant, data: bytes) -> None:
    first = min(stored(plant))
    change(plant, life_parts.update().where(life_parts.c.part == first).values(data=data))
    assert copy(plant) is None
    same(plant)
    with Store.open(plant.database) as store:
        (problem,) = check_store(store).problems
    assert problem.startswith("fan: what its page shows is damaged")
    plant.add_clips("fan", faulty(1))
    told(plant)
    assert copy(plant) is not None and stored(plant)[first] != data
    same(plant)


def told_from_clips(plant: Plant) -> None:
    """There is no copy, until the machine is told anew."""
    assert copy(plant) is None
    same(plant)
    told(plant)
    assert copy(plant) is not None
    same(plant)


def test_clips_that_nobody_has_told_yet_are_shown(plant: Plant) -> None:
    """As while a job is at work, and after it was killed."""
    plant.add_clips("fan", faulty(2))
    told_from_clips(plant)


def test_late_clips_of_an_interrupted_job_are_shown(plant: Plant) -> None:
    """They change neither the machine's last clip nor its number of scored ones."""
    plant.add_clips("fan", ["off"] * 30, begin=BEGIN + timedelta(hours=20, minutes=5))
    with Store.open(plant.database) as store:
        note_clips(store, ["fan"])
    told_from_clips(plant)


def test_another_judgement_of_the_same_clips_is_shown(plant: Plant) -> None:
    with Store.open(plant.database) as store:
        rows = [row for row in store.rows_of(plant.sound) if row.status == "scored"][:40]
        again = [replace(row, model="another", score=9.0, p_value=1e-3, scored_at=None) for row in rows]
        facts = [FileFact(row.clip_id, "fan", 10, 1, row.sha256, 1, row.recorded_at) for row in again]
        store.commit(store.begin_run(plant.sound), plant.sound, again, facts)
    told_from_clips(plant)


def test_files_of_a_broken_sensor_that_are_heard_again_are_shown(plant: Plant) -> None:
    plant.add_clips("fan", ["sensor_fault"])
    told(plant)
    assert copy(plant) is not None
    with Store.open(plant.database) as store:
        (row,) = [row for row in store.rows_of(plant.sound) if row.status == "sensor_fault"]
        fact = FileFact("again.wav", "fan", 10, 1, row.sha256, 1, row.recorded_at - timedelta(hours=9))
        store.commit(store.begin_run(plant.sound), plant.sound, [], [fact])
    told_from_clips(plant)


def test_an_event_that_nobody_has_told_yet_is_shown(plant: Plant) -> None:
    with Store.open(plant.database) as store:
        add_event(store, EventRow("fan", BEGIN + timedelta(days=1), "maintenance"))
    told_from_clips(plant)


def test_another_model_tells_from_the_clips(plant: Plant) -> None:
    plant.add_machine("fan", learning_clips=200)
    told_from_clips(plant)


def test_the_usual_clip_may_be_older_than_the_window(tmp_path: Path) -> None:
    """A machine that was well, stood for half a year, and starts broken."""
    with small_lives():
        plant = Plant(tmp_path)
        times = plant.add_clips("fan", normal(200))
        plant.add_clips("fan", faulty(60), begin=BEGIN + timedelta(days=180))
        told(plant)
        assert copy(plant) is not None
        with Store.open(plant.database) as store:
            story = machine_story.machine_story(store, Baselines(plant.models), "fan", days=90.0)
        assert story is not None and story.usual is not None and times[0] <= story.usual.recorded_at <= times[-1]
        assert abs(story.usual.score - np.median([row.score for row in story.worst])) > 1.0
        same(plant)


def test_events_after_the_last_clip_are_told_from_the_clips(plant: Plant) -> None:
    found = copy(plant)
    assert found is not None
    with Store.open(plant.database) as store:
        add_event(store, EventRow("fan", found.last + timedelta(hours=1), "maintenance"))
    told(plant)
    assert copy(plant, end=found.last + timedelta(days=2)) is None
    same(plant)


def test_a_life_that_was_written_meanwhile_is_not_mixed_with_another(plant: Plant) -> None:
    """Two jobs tell a machine at once: of the parts that one left alone, the other writes one."""
    with Store.open(plant.database) as store:
        with store.reading() as connection:
            baselines = Baselines(plant.models)
            found = read_life(connection, baselines, "fan", None, None)
            assert found is not None
            packed = kept_lives.packed_life(connection, baselines, "fan", found)
        assert all(part.data is None for part in packed.parts)
        change(plant, life_parts.update().where(life_parts.c.part == packed.parts[0].number).values(digest="other"))
        with store.writing() as connection:
            kept_lives.keep_life(connection, "fan", packed)
    assert copy(plant) is None


def shown(plant: Plant, days: float | None) -> MachineStory:
    with Store.open(plant.database) as store:
        story = machine_story.machine_story(store, Baselines(plant.models), "fan", days=days)
    assert story is not None
    return story


def test_a_usual_clip_of_each_part_is_shown_whatever_the_window(tmp_path: Path) -> None:
    """Thinned twice, the middle is still the middle: a healthy machine does not look louder from a distance."""
    with small_lives():
        plant = Plant(tmp_path)
        plant.add_clips("fan", normal(900))
        told(plant)
        assert copy(plant) is not None
        for days in (0.9, 1.0, 3.0, None):
            story = shown(plant, days)
            z = np.array([point.z for point in story.points])
            usual = np.sort(z)[: len(z) // 2]  # of each part one is the most unusual
            assert len(z) >= 20 and abs(np.median(usual)) < 0.35, (days, len(z), np.median(usual))


@pytest.mark.parametrize("days", [3652059.0, 1e9, 1e300, float("inf")])
def test_more_days_than_there_are_is_all(plant: Plant, days: float) -> None:
    assert shown(plant, days) == shown(plant, None)


def test_pruned_clips_stay_on_the_timeline_and_are_not_listened_to(tmp_path: Path) -> None:
    with small_lives():
        plant = Plant(tmp_path)
        plant.add_clips("fan", normal(500))
        told(plant)
        before = shown(plant, None)
        cut = min(row.recorded_at for row in before.worst).replace(hour=0, minute=0) + timedelta(days=1)
        with Store.open(plant.database) as store:
            assert prune(store, plant.models, cut, datetime.now(UTC)).clips
        after = shown(plant, None)
        assert [point.z for point in after.points] == [point.z for point in before.points]
        assert after.points[0].row is None and after.points[-1].row is not None and after.clips == before.clips == 500
        assert len(before.worst) == len(after.worst) == 3 and all(row.recorded_at >= cut for row in after.worst)
        document = story_document(after)
        assert document["clip"][0] is None and document["p"][0] is None and document["clip"][-1] is not None
        same(plant)


def test_a_life_of_few_clips_has_no_copy(tmp_path: Path) -> None:
    plant = Plant(tmp_path)
    plant.add_clips("fan", normal(life.FEWEST - 1))
    told(plant)
    assert stored(plant) == {} and copy(plant) is None
    plant.add_clips("fan", normal(1))
    told(plant)
    assert len(stored(plant)) == 5 and copy(plant) is not None
    same(plant)


def test_of_each_tenth_of_a_day_the_most_unusual_clip_and_the_middle_one_are_left() -> None:
    rng = np.random.default_rng(0)
    micros = np.sort(rng.choice(40 * BIN // 1000, 900, replace=False)) * 1000 + 20_000 * DAY
    z = rng.standard_normal(900).astype(np.float32)
    keys = np.array([f"{number:03d}" for number in range(900)], np.bytes_)
    every = LifePoints(micros, z, z + 1, z + 2, np.ones(900, np.int32), keys)
    thin = every.thinned()
    assert thin.stands_for.sum() == 900 and thin.micros[-1] == micros[-1] and (np.diff(thin.micros) > 0).all()
    for number in np.unique(micros // BIN).tolist():
        own, left = z[micros // BIN == number], thin.z[thin.micros // BIN == number]
        assert own.max() in left and np.sort(own)[(own.size - 1) // 2] in left
        assert left.size <= 3 and thin.stands_for[thin.micros // BIN == number].sum() == own.size
    middle = np.repeat(thin.z, thin.stands_for)
    assert abs(np.median(middle) - np.median(z)) < 0.1
    assert (thin.index == thin.z + 1).all() and (thin.slow == thin.z + 2).all()
    again = thin.thinned()
    assert again.stands_for.sum() == 900 and again.micros.tolist() == thin.micros.tolist()
    assert len(life_points.LifePoints.none().thinned()) == 0
