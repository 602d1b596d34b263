"""A machine's state: a function of its clips in the order of their recording, whatever the order of their arrival."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acoustic_ad.health.policy import LIMIT_INDEX, WORDS, Policy, clip_index
from acoustic_ad.health.timeline import ClipPoint, machine_health

START = datetime(2026, 1, 5, 8, tzinfo=UTC)
POLICY = Policy(window_clips=5, unusual_share=0.6, fewest_clips=3)


def at(minute: int) -> datetime:
    return START + timedelta(minutes=minute)


def scored(*indices: float) -> list[ClipPoint]:
    return [ClipPoint(at(minute), "scored", index, f"{minute}") for minute, index in enumerate(indices)]


points = st.builds(
    lambda minute, status, index, key: ClipPoint(at(minute), status, index if status == "scored" else None, key),
    st.integers(0, 6),  # few, so that many clips share an instant
    st.sampled_from(["scored", "scored", "scored", "off", "sensor_fault"]),
    st.floats(0, 100),
    st.text("abcdef0123456789", min_size=8, max_size=8),
)


@given(st.lists(points, max_size=12, unique_by=lambda point: point.key).flatmap(
    lambda clips: st.tuples(st.just(clips), st.permutations(clips))
))  # fmt: skip
def test_the_order_of_arrival_does_not_matter(clips):
    as_recorded, as_arrived = clips
    assert machine_health(POLICY, as_recorded) == machine_health(POLICY, as_arrived)


@given(st.lists(points, max_size=12))
def test_the_state_is_as_old_as_the_clips_say(clips):
    """`since` is the instant of a clip; there is an index exactly where there is a usable clip."""
    health = machine_health(POLICY, clips)
    assert health.state in WORDS
    instants = [clip.recorded_at for clip in clips]
    assert (health.since is None) == (health.state == "no_data")
    assert health.since is None or health.since in instants
    assert health.last_clip_at == max(instants, default=None)
    usable = [clip for clip in clips if clip.status == "scored"]
    assert health.clips == len(usable)
    assert (health.index is None) == (not usable)
    assert health.index is None or 0 <= health.index <= 100


def test_no_clips_no_data():
    health = machine_health(POLICY, [])
    assert (health.state, health.since, health.index, health.clips, health.last_clip_at) == (
        "no_data", None, None, 0, None,
    )  # fmt: skip


def test_normal_then_unusual_then_normal_again():
    """The state turns at the clip that brings the share over its limit, and back when enough others have followed."""
    normal, odd = 10.0, 80.0
    turning = scored(*[normal] * 5, odd, odd, odd)
    assert machine_health(POLICY, turning[:7]).state == "normal"
    assert machine_health(POLICY, turning[:7]).since == at(0)
    unusual = machine_health(POLICY, turning)
    assert (unusual.state, unusual.since, unusual.index) == ("warning", at(7), odd)
    still = machine_health(POLICY, scored(*[normal] * 5, odd, odd, odd, odd, odd))
    assert (still.state, still.since) == ("warning", at(7))
    back = machine_health(POLICY, scored(*[normal] * 5, odd, odd, odd, normal, normal, normal))
    assert (back.state, back.since) == ("normal", at(10))


def test_a_clip_that_arrives_late_takes_its_place():
    clips = scored(10, 10, 10, 80, 80, 80)
    for order in itertools.permutations(clips, 6):
        assert machine_health(POLICY, order).since == at(5)


def test_what_is_no_sound_of_the_machine_does_not_move_it():
    """Clips of a machine that is off, and of a broken sensor, neither raise nor lower its index."""
    clips = scored(10, 10, 10, 80, 80, 80)
    between = [ClipPoint(at(minute), "off", None, f"x{minute}") for minute in range(6)]
    before, after = machine_health(POLICY, clips), machine_health(POLICY, clips + between)
    assert (after.state, after.index, after.clips) == (before.state, before.index, before.clips)


def faults(minutes: range) -> list[ClipPoint]:
    return [ClipPoint(at(minute), "sensor_fault", None, f"fault {minute}") for minute in minutes]


def test_a_sensor_that_dies_is_not_healthy():
    """One good clip, then silence: no index of the past speaks for a machine that nobody hears any more."""
    health = machine_health(POLICY, scored(10.0) + faults(range(1, 26)))
    assert (health.state, health.since, health.last_clip_at) == ("sensor_fault", at(1), at(25))
    assert (health.heard, health.index, health.clips) == ("normal", 10.0, 1)


@pytest.mark.parametrize("indices", [(10.0,) * 6, (10.0, 80.0, 80.0, 80.0)])
def test_a_sensor_that_is_mended_brings_back_what_was_heard(indices):
    """A fault between scored clips changes nothing of what they say, not even since when."""
    clips = scored(*indices)
    between = [ClipPoint(at(len(indices) - 2), "sensor_fault", None, "zz"), ClipPoint(at(0), "sensor_fault", None, "")]
    assert machine_health(POLICY, clips + between) == machine_health(POLICY, clips)
    broken = machine_health(POLICY, clips + faults(range(20, 22)))
    off = ClipPoint(at(22), "off", None, "off")
    mended = machine_health(POLICY, [*clips, *faults(range(20, 22)), off])
    before = machine_health(POLICY, clips)
    assert (broken.state, broken.since, broken.heard, broken.index) == (
        "sensor_fault", at(20), before.state, before.index,
    )  # fmt: skip
    assert (mended.state, mended.since) == (before.state, before.since)


def test_only_a_broken_sensor():
    silent = [ClipPoint(at(minute), "sensor_fault", None, str(minute)) for minute in range(4)]
    health = machine_health(POLICY, silent)
    assert (health.state, health.since, health.index) == ("sensor_fault", at(0), None)
    assert health.last_clip_at == at(3)


@pytest.mark.parametrize(
    ("score", "index"),
    [(2.0, 0.0), (1.0, 0.0), (3.0, 25.0), (4.0, LIMIT_INDEX), (6.0, 100.0), (1e9, 100.0), (-1e9, 0.0)],
)
def test_the_scale_of_the_index(score, index):
    """0 is the median of normal clips (here 2), 50 the limit (here 4), 100 twice as far."""
    assert clip_index(score, typical=2.0, limit=4.0) == index


@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6), st.floats(-1e6, 1e6))
def test_the_index_is_within_its_scale_and_rises_with_the_score(score, typical, limit):
    index = clip_index(score, typical, limit)
    assert 0 <= index <= 100
    assert clip_index(score + 1, typical, limit) >= index
