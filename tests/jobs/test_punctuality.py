"""Missed runs, late clips and old models: said when they are so, and only then."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st
from plant import BEGIN, Plant, normal

from acoustic_ad.jobs.punctuality import (
    Beat,
    LateClips,
    Run,
    beat_of,
    job_notices,
    late_notices,
    missed,
    missed_before,
    overdue,
    run_notices,
)
from acoustic_ad.jobs.schema import runs
from acoustic_ad.jobs.stale_models import changed_keys, stale_models
from acoustic_ad.jobs.store import Store, root_text

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def run_at(start: datetime, *, number: int = 0, took: timedelta = timedelta(minutes=2), every_s: float | None = None,
           code: int | None = 0) -> Run:  # fmt: skip
    ended = None if code is None else start + took
    return Run(number, start, ended, code, {} if every_s is None else {"every_s": every_s}, {})


def hourly(hours: Sequence[float], every_s: float | None = None) -> list[Run]:
    return [run_at(NOON + hour * HOUR, number=number, every_s=every_s) for number, hour in enumerate(hours)]


# --- the beat --------------------------------------------------------------------------------------------------------


def test_a_schedule_is_learnt_from_regular_runs_only():
    assert beat_of([]) is None
    assert beat_of(hourly(range(8))) is None  # seven gaps
    learnt = beat_of(hourly(range(9)))
    assert learnt is not None
    assert (learnt.every_s, learnt.source) == (3600, "learnt")
    one_missed = beat_of(hourly([0, 1, 2, 3, 4, 7, 8, 9, 10, 11]))
    assert one_missed is not None
    assert one_missed.every_s == 3600
    assert beat_of(hourly([0, 1, 1.1, 5, 5.2, 5.3, 9, 20, 21, 30])) is None  # by hand, now and then
    assert beat_of([run_at(NOON + number * timedelta(seconds=5)) for number in range(20)]) is None  # by hand, in a row


def test_what_was_told_counts_more():
    told = beat_of(hourly(range(9), every_s=900))
    assert told is not None
    assert (told.every_s, told.source) == (900, "told")
    assert beat_of(hourly([0], every_s=900)) == Beat(900, "told")


# --- missed runs -----------------------------------------------------------------------------------------------------


@given(number=st.integers(0, 50), jitter=st.floats(-0.4, 0.4))
def test_starts_that_were_missed(number, jitter):
    """A timer that is some minutes early or late has missed nothing."""
    last = run_at(NOON)
    assert missed(last, Beat(3600, "told"), NOON + (number + 1 + jitter) * HOUR) == number


def test_a_long_run_misses_nothing():
    long = run_at(NOON, took=5.5 * HOUR)
    assert missed(long, Beat(3600, "told"), NOON + 6 * HOUR) == 0
    assert missed(long, Beat(3600, "told"), NOON + 9 * HOUR) == 3
    assert missed(run_at(NOON, code=None), Beat(3600, "told"), NOON + 3 * HOUR) == 2  # killed


def test_the_next_run_says_so():
    known = hourly(range(12))
    assert missed_before(known, "/sound", run_at(NOON + 12 * HOUR)) == []
    (notice,) = missed_before(known, "/sound", run_at(NOON + 15 * HOUR))
    assert (notice.kind, notice.about, notice.facts["missed"]) == ("missed_runs", "/sound", 3)
    assert "3 runs were missed" in notice.text
    assert "every 1 h" in notice.text
    (notice,) = missed_before(
        [run_at(NOON, took=timedelta(seconds=5))], "/sound", run_at(NOON + timedelta(seconds=120), every_s=60)
    )
    assert "1 run was missed" in notice.text
    assert missed_before([], "/sound", run_at(NOON, every_s=60)) == []
    # A changed schedule is measured by the new one.
    assert missed_before(hourly([0], every_s=60), "/sound", run_at(NOON + HOUR, every_s=3600)) == []


def test_status_says_so_meanwhile():
    known = hourly(range(12))
    assert overdue(known, "/sound", NOON + 12.3 * HOUR) == []
    (notice,) = overdue(known, "/sound", NOON + 13 * HOUR)
    assert "timer" in notice.text
    assert json.dumps(notice.as_json())
    assert overdue([], "/sound", NOON) == []
    assert overdue(hourly(range(3)), "/sound", NOON + 9000 * HOUR) == []  # no schedule is known


# --- late clips ------------------------------------------------------------------------------------------------------


def test_clips_that_an_earlier_run_should_have_found():
    late = LateClips.after(hourly(range(12)))  # the last began at 23:00
    begun = NOON + 11 * HOUR
    for hours, source in ((0, "name"), (-0.9, "name"), (-30, "mtime")):
        late.take("fan", begun + hours * HOUR, source)
    assert late.as_json() is None
    late.take("fan", begun - 1.1 * HOUR, "name")
    late.take("fan", begun - 20 * HOUR, "manifest")
    late.take("pump", begun - 3 * HOUR, "name")
    kept = late.as_json()
    assert kept == {"clips": {"fan": 2, "pump": 1}, "earliest": (begun - 20 * HOUR).isoformat()}
    (notice,) = late_notices("/sound", kept, run_at(begun + HOUR))
    assert notice.text.startswith("3 clips of fan, pump came late")
    assert "2026-01-05 03:00 UTC" in notice.text
    assert late_notices("/sound", None, run_at(begun)) == []


def test_the_first_run_over_an_archive_finds_nothing_late():
    for known in ([], [run_at(NOON, code=None)], [run_at(NOON, code=1)]):
        late = LateClips.after(known)
        late.take("fan", NOON - 9000 * HOUR, "name")
        assert late.as_json() is None


# --- in a store ------------------------------------------------------------------------------------------------------


@pytest.fixture
def plant(tmp_path) -> Plant:
    plant = Plant(tmp_path)
    plant.add_clips("fan", normal(30))
    return plant


def backdate(store: Store, run: int, started_at: datetime, every_s: float | None = None) -> None:
    """Let a run have begun at another time."""
    changed = {"started_at": started_at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")}
    if every_s is not None:
        changed["arguments"] = json.dumps({"every_s": every_s})
    ended = (started_at + timedelta(seconds=30)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    with store.writing() as connection:
        connection.execute(runs.update().where(runs.c.id == run).values(changed | {"ended_at": ended}))


def test_from_the_store(plant):
    """What a run finds of the ones before it, and what `status` says of the last."""
    now = datetime.now(UTC)
    root = root_text(plant.sound)
    with Store.open(plant.db) as store:
        first = int(store.begin_run(plant.sound, {"every_s": 3600}))
        store.end_run(first, {}, 0)
        backdate(store, first, now - 5 * HOUR, 3600)
        assert [notice.kind for notice in job_notices(store, now) if notice.about == root] == ["missed_runs"]
        second = int(store.begin_run(plant.sound, {"every_s": 3600}))
        late = LateClips(now - 7 * HOUR)
        late.take("fan", now - 9 * HOUR, "name")
        kinds = [notice.kind for notice in run_notices(store, plant.sound, second, late)]
        assert kinds == ["missed_runs", "late_clips"]
        store.end_run(second, {"late": late.as_json()}, 0)
        said = {notice.kind: notice for notice in job_notices(store, now)}
        assert said["missed_runs"].facts["missed"] == 4
        assert said["late_clips"].facts["clips"] == {"fan": 1}
        third = int(store.begin_run(plant.sound, {"every_s": 3600}))
        store.end_run(third, {}, 0)
        backdate(store, second, now - HOUR, 3600)
        assert job_notices(store, now) == []


def test_a_run_of_the_job_notices(plant):
    """`score` itself: a clip that comes late, and that its own folder was not looked at in time."""
    plant.tell()
    assert plant.tell().notices == []
    with Store.open(plant.db) as store, store.reading() as connection:
        last = connection.scalar(sa.select(sa.func.max(runs.c.id)))
    assert last is not None
    with Store.open(plant.db) as store:
        backdate(store, int(last), BEGIN + timedelta(days=300), 3600)
    report = plant.tell()
    assert [notice.kind for notice in report.notices] == ["missed_runs"]
    assert report.notices[0].facts["missed"] > 10


# --- models ----------------------------------------------------------------------------------------------------------


def test_old_models(plant):
    assert stale_models(plant.models, ["fan", "nobody"]) == []
    (notice,) = stale_models(plant.models, ["fan"], now=datetime.now(UTC) + timedelta(days=366))
    assert (notice.kind, notice.facts["machines"], notice.facts["reason"]) == ("stale_model", ["fan"], "age")
    assert "365 days" in notice.text
    assert stale_models(plant.models, ["fan"], timedelta(days=1), datetime.now(UTC) + timedelta(days=2)) != []


def test_models_of_another_recipe(plant, monkeypatch):
    used = {"name": "plant", "detector": {"kind": "mahalanobis"}, "features": {"patch_frames": 3, "n_mels": 8}}
    monkeypatch.setattr("acoustic_ad.jobs.stale_models._installed", lambda name: used)
    (notice,) = stale_models(plant.models, ["fan"])
    assert notice.facts["reason"] == "recipe"
    assert "features.patch_frames" in notice.text
    assert "detector" not in notice.text


def test_no_installed_recipe_differs_from_itself():
    """What a bundle keeps of a recipe holds all that the recipe's file says, in the same words."""
    import tomllib

    from acoustic_ad.recipe import load_recipe
    from acoustic_ad.recipe_files import recipe_files

    assert len(recipe_files()) > 3
    for name, file in recipe_files().items():
        installed = tomllib.loads(file.read_text(encoding="utf-8"))
        used = json.loads(load_recipe(name).model_dump_json())
        assert changed_keys(installed, used) == [], name
        assert changed_keys(installed | {"features": {"hop_s": 9}}, used) == ["features.hop_s"]
