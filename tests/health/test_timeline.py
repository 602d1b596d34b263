"""A machine's health: a function of its clips in the order of their recording, whatever the order of their arrival."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta, timezone
from itertools import pairwise

import numpy as np
import pytest
from health_clips import MODEL, START, at, autoregressive, of_status, plain_limits, scored
from hypothesis import given
from hypothesis import strategies as st

from acoustic_ad.health import hearing
from acoustic_ad.health.baseline import Baseline
from acoustic_ad.health.policy import NE107, Policy
from acoustic_ad.health.timeline import ClipPoint, Event, machine_health

POLICY = Policy(learning_clips=3, relearn_clips=100, clear_clips=3)
BASELINES = {MODEL: Baseline.of(np.random.default_rng(0).standard_normal(200))}


@pytest.fixture(autouse=True)
def _no_simulation(monkeypatch):
    monkeypatch.setattr(hearing, "limits", plain_limits)


def health_of(clips, events=(), as_of=None, policy=POLICY):
    return machine_health(policy, BASELINES, clips, events, as_of)


def quiet(count, seed=0):
    return np.clip(np.random.default_rng(seed).standard_normal(count), -2, 1.2)


points = st.builds(
    lambda minute, status, z, key: ClipPoint(at(minute), status, z if status == "scored" else None, key, MODEL),
    st.integers(0, 60),  # few, so that many clips share an instant
    st.sampled_from(["scored"] * 8 + ["off", "sensor_fault"]),
    st.sampled_from([-1.0, 0.0, 1.0, 3.0, 4.0]),
    st.text("abcdef", min_size=2, max_size=2),
)
histories = st.lists(points, max_size=60, unique_by=lambda point: (point.recorded_at, point.key))
events = st.lists(
    st.builds(Event, st.integers(0, 60).map(at), st.sampled_from(["maintenance", "false-alarm", "confirmed-fault"])),
    max_size=3,
)


# --- order -----------------------------------------------------------------------------------------------------------


@given(st.data())
def test_the_order_of_arrival_and_duplicates_do_not_matter(data):
    clips, told = data.draw(histories), data.draw(events)
    arrived = data.draw(st.permutations(clips + clips[: len(clips) // 2]))
    first = machine_health(POLICY, BASELINES, clips, told, at(100))
    assert machine_health(POLICY, BASELINES, arrived, data.draw(st.permutations(told)), at(100)) == first


def test_maintenance_twice_before_the_next_clip_begins_with_the_first():
    """What was said after the first is not taken back when the second becomes known."""
    clips = [ClipPoint(at(minute), "scored", -1.0, "aa", MODEL) for minute in (0, 1, 2, 4)]
    told = [Event(at(3), "maintenance"), Event(at(4), "maintenance")]
    changes = machine_health(POLICY, BASELINES, clips, told).changes
    assert [(one.at, one.state) for one in changes if one.at >= at(3)] == [(at(3), "learning")]


@given(histories, events, st.integers(0, 60))
def test_the_past_is_never_rewritten(clips, told, minute):
    """What was raised, and when the state changed, up to a moment is the same whatever comes later."""
    early = machine_health(POLICY, BASELINES, [one for one in clips if one.recorded_at <= at(minute)],
                           [one for one in told if one.at <= at(minute)])  # fmt: skip
    late = machine_health(POLICY, BASELINES, clips, told)
    assert [(one.level, one.raised_at, one.rule) for one in early.episodes] == [
        (one.level, one.raised_at, one.rule) for one in late.episodes if one.raised_at <= at(minute)
    ]
    assert list(early.changes) == [one for one in late.changes if one.at <= at(minute)]


@given(histories, events)
def test_states_and_changes_agree(clips, told):
    health = health_of(clips, told)
    assert health.ne107 == NE107[health.state]
    for before, after in zip(health.changes, health.changes[1:], strict=False):
        assert before.state == after.previous != after.state and before.at < after.at
    assert (health.state == "no_data") == (not clips)
    if clips:
        assert health.changes[-1].state == health.state and health.changes[-1].previous == health.previous
        assert health.last_clip_at == max(clip.recorded_at for clip in clips)
    usable = [clip for clip in clips if clip.status == "scored"]
    maintained = max((event.at for event in told if event.kind == "maintenance"), default=None)
    current = usable and (maintained is None or max(clip.recorded_at for clip in usable) >= maintained)
    assert health.clips == len(usable) and (health.index is None) == (not current)
    if current and health.heard in ("normal", "learning"):
        assert health.index < 50
    standing = [one for one in health.episodes if one.cleared_at is None]
    assert [one.level for one in standing] == ([health.heard] if health.heard in ("warning", "alarm") else [])


# --- states ----------------------------------------------------------------------------------------------------------


def test_no_clips_no_data():
    health = health_of([])
    assert (health.state, health.since, health.index, health.clips, health.last_clip_at, health.limits) == (
        "no_data", None, None, 0, None, None,
    )  # fmt: skip


def test_learning_then_normal():
    learning, normal = health_of(scored([0.0, 3.0])), health_of(scored([0.0, 3.0, 0.0]))
    assert (learning.state, learning.rule) == ("learning", "fewer than 3 scored clips")
    assert (normal.state, normal.previous, normal.since) == ("normal", "learning", at(2))


@pytest.mark.parametrize("wild", [5.0, 8.0])
def test_one_anomalous_clip_means_nothing(wild):
    z = quiet(200, seed=1)
    z[z >= 1.0] = 0.9
    z[100] = wild
    assert health_of(scored(z)).episodes == ()


def test_a_change_raises_a_warning_then_an_alarm_and_says_why():
    z = np.concatenate([quiet(100), np.full(30, 1.6)])
    z[[120, 122, 125]] = 3.9, 3.8, 3.7
    health = health_of(scored(z))
    assert (health.state, health.index > 80, health.ne107) == ("alarm", True, "out of specification")
    warning, alarm = health.episodes
    assert (warning.level, warning.cleared_by, warning.cleared_at) == ("warning", "became an alarm", alarm.raised_at)
    assert (alarm.level, alarm.cleared_at, alarm.key) == ("alarm", None, f"alarm {alarm.raised_at.isoformat()}")
    assert at(99) <= alarm.began_at <= at(102) <= warning.raised_at < alarm.raised_at <= at(115)
    assert set(alarm.worst) == {"clip 120", "clip 122", "clip 125"}
    assert "above its alarm limit" in health.rule and alarm.rule == health.rule
    assert health.rule.endswith(f"the change began about {alarm.began_at:%Y-%m-%d %H:%M} UTC")


def test_a_slow_drift_is_found_by_the_slow_chart():
    z = quiet(1_500) + np.linspace(0, 1.5, 1_500)
    first = next(one for one in health_of(scored(z)).episodes if one.level == "alarm")
    assert first.rule.startswith("slow EWMA above its alarm limit")
    assert health_of(scored(z)).trend.significant


def test_back_to_normal_after_enough_calm_clips():
    z = np.concatenate([quiet(60), np.full(12, 3.0), np.full(60, -1.0)])
    health = health_of(scored(z))
    (episode,) = [one for one in health.episodes if one.level == "alarm"]
    assert (health.state, health.rule) == ("normal", episode.cleared_by)
    assert episode.cleared_by == "index below 50 for 3 clips"
    assert episode.raised_at < episode.cleared_at < at(60 + 12 + 30)


def test_what_is_no_sound_of_the_machine_does_not_move_it():
    """Clips of a machine that is off, and of a broken sensor, neither raise nor lower its index."""
    clips = scored(np.concatenate([quiet(50), np.full(6, 2.4)]))
    between = of_status("off", np.arange(0.5, 50)) + of_status("sensor_fault", np.arange(20.2, 40))
    with_them, without = health_of(clips + between), health_of(clips)
    assert (with_them.state, with_them.index, with_them.since) == (without.state, without.index, without.since)
    assert with_them.episodes == without.episodes


@pytest.mark.parametrize("status", ["off", "sensor_fault"])
def test_off_and_broken_sensors_are_states_of_their_own(status):
    """In the middle of an alarm, too; and what was heard comes back as old as it was."""
    clips = scored(np.concatenate([quiet(50), np.full(12, 3.0)]))
    silent = of_status(status, range(62, 70))
    before, during = health_of(clips), health_of(clips + silent)
    after = health_of(clips + silent + scored([3.0], first=70))
    assert (during.state, during.since, during.previous, during.heard) == (status, at(62), "alarm", "alarm")
    assert (after.state, after.since, after.previous) == ("alarm", before.since, status)


def test_only_a_broken_sensor():
    health = health_of(of_status("sensor_fault", range(4)))
    assert (health.state, health.since, health.index, health.last_clip_at) == ("sensor_fault", at(0), None, at(3))


def test_silence_is_no_data_where_the_time_is_known():
    clips = scored(quiet(100))
    assert health_of(clips).state == "normal", "there is no time but that of the clips"
    assert health_of(clips, as_of=at(99) + timedelta(hours=23)).state == "normal"
    silent = health_of(clips, as_of=at(99) + timedelta(hours=25))
    assert (silent.state, silent.since, silent.heard) == ("no_data", at(99) + timedelta(hours=24), "normal")
    again = health_of(clips + scored([0.0], first=700), as_of=at(701))
    assert [one.state for one in again.changes] == ["learning", "normal", "no_data", "normal"]


def test_as_of_a_moment_nothing_later_exists():
    clips = scored(np.concatenate([quiet(50), np.full(30, 3.0)]))
    assert health_of(clips, as_of=at(49)) == health_of(clips[:50], as_of=at(49))
    assert health_of(clips, [Event(at(60), "maintenance")], as_of=at(49)) == health_of(clips[:50], as_of=at(49))


# --- maintenance -----------------------------------------------------------------------------------------------------


def repaired(offset, count=400):
    """An alarm, then maintenance, then clips with another mean."""
    z = np.concatenate([quiet(50), np.full(20, 3.5), quiet(count, seed=3) + offset])
    return scored(z), [Event(at(69.5), "maintenance", "new bearing", "Ida")]


def test_maintenance_ends_the_alarm_and_learns_a_new_baseline():
    clips, told = repaired(1.0)
    learning = health_of(clips[:80], told)
    assert (learning.state, learning.since, learning.heard) == ("learning", at(69.5), "learning")
    assert (learning.episodes[-1].cleared_at, learning.episodes[-1].cleared_by) == (at(69.5), "maintenance")
    after = health_of(clips, told)
    assert (after.state, after.index < 50) == ("normal", True)
    assert not [one for one in after.episodes if one.raised_at > at(69.5)]
    assert after.limits.facts.clips == POLICY.relearn_clips, "the promise is that of the new, smaller baseline"
    kept = health_of(clips)
    assert kept.state in ("warning", "alarm"), "without the event, one sigma above the old normal is news"


def test_a_new_baseline_hears_as_well_as_the_old_one():
    clips, told = repaired(1.0)
    worse = clips[:-60] + [replace(clip, z=clip.z + 2.5) for clip in clips[-60:]]
    assert health_of(worse, told).state == "alarm"


def test_a_fault_that_is_still_there_is_not_learnt():
    clips, told = repaired(4.0)
    health = health_of(clips, told)
    assert health.state == "alarm"
    assert "sounds like a fault" in health.statement and "train a new model" in health.statement
    assert health.limits.facts.clips == 200


def test_a_machine_that_has_not_settled_is_not_learnt():
    clips, told = repaired(0.0)
    drifting = clips[:70] + [replace(clip, z=n * 0.035) for n, clip in enumerate(clips[70:180])]
    health = health_of(drifting, told)
    assert "has not settled" in health.statement


def test_maintenance_after_the_last_clip():
    clips, _ = repaired(0.0, count=0)
    health = health_of(clips, [Event(at(80), "maintenance")])
    assert (health.state, health.since, health.episodes[-1].cleared_at) == ("learning", at(80), at(80))


def test_a_model_that_was_trained_after_the_maintenance_knows_it():
    clips, told = repaired(0.0)
    newer = {MODEL: Baseline.of(BASELINES[MODEL].scores, newest=at(75))}
    health = machine_health(POLICY, newer, clips, told)
    assert not any(one.state == "learning" and one.at >= at(69) for one in health.changes)
    assert health.limits.facts.clips == 200


# --- facts -----------------------------------------------------------------------------------------------------------


def test_the_clip_rate_is_measured_on_scored_clips():
    half = [clip for clip in scored(quiet(2_000)) if clip.recorded_at.hour < 12]
    assert health_of(half).limits.facts.clips_per_year == pytest.approx(72 * 365.25, rel=0.1)
    assert health_of(scored(quiet(200))).limits.facts.clips_per_year == pytest.approx(144 * 365.25, rel=0.02)


def test_a_model_that_is_gone_has_the_limits_of_the_poorest_there_is():
    clips = scored(quiet(30))
    gone = [replace(clip, model="gone") for clip in clips]
    assert health_of(gone).limits.facts.clips == 200
    assert "a guess" in health_of(gone).statement
    nothing = machine_health(POLICY, {}, gone)
    assert nothing.limits is not None and nothing.limits.facts.clips == 50


def test_two_models_in_one_history():
    """After a new model was promoted, the chart goes on; each clip has the limits of its own model."""
    baselines = BASELINES | {"new": Baseline.of(np.random.default_rng(1).standard_normal(60))}
    clips = scored(np.concatenate([quiet(50), np.full(5, 2.2)]))
    mixed = clips[:50] + [replace(clip, model="new") for clip in clips[50:]]
    health = machine_health(POLICY, baselines, mixed)
    assert health.limits.facts.clips == 60
    assert health.index == health_of(clips).index, "plain limits are the same for both"


def test_people_label_episodes():
    clips, _ = repaired(0.0)
    false = health_of(clips, [Event(at(75), "false-alarm")])
    assert [one.label for one in false.episodes if one.raised_at < at(75)].count("false-alarm") >= 1
    assert false.state == health_of(clips).state and false.index == health_of(clips).index
    confirmed = health_of(clips, [Event(at(75), "false-alarm"), Event(at(76), "confirmed-fault")])
    assert confirmed.episodes[-1].label == "confirmed-fault"


def test_times_of_any_zone_are_one_time():
    clips = scored(np.concatenate([quiet(50), np.full(12, 3.0)]))
    elsewhere = timezone(timedelta(hours=5))
    moved = [replace(clip, recorded_at=clip.recorded_at.astimezone(elsewhere)) for clip in clips]
    assert health_of(moved).since == health_of(clips).since > START


# --- clocks ----------------------------------------------------------------------------------------------------------


def shifted(clips, first, by):
    """The clips from number `first` on were recorded by a clock that is off by so much."""
    return [*clips[:first], *(replace(clip, recorded_at=clip.recorded_at + by) for clip in clips[first:])]


def said(health):
    rules = [(one.level, one.rule.partition(";")[0]) for one in health.episodes]  # without the date of the beginning
    return health.state, health.heard, round(health.index, 6), rules


def test_a_zone_that_changes_with_the_season_is_nothing():
    """Times with their offset, as of the night in which summer ends: the same moments."""
    clips = scored(np.concatenate([quiet(60), np.full(12, 3.0)]))
    summer, winter = timezone(timedelta(hours=2)), timezone(timedelta(hours=1))
    local = [
        replace(c, recorded_at=c.recorded_at.astimezone(summer if n < 30 else winter)) for n, c in enumerate(clips)
    ]
    assert health_of(local, as_of=at(80)) == health_of(clips, as_of=at(80))


@pytest.mark.parametrize("hours", [-1, 1])
def test_recorders_that_write_local_times_without_a_zone(hours):
    """An hour comes twice, or not at all: no clip is lost, nothing is raised for it, and no data is missed."""
    calm = scored(np.concatenate([quiet(60), quiet(100, seed=3)]))
    health = health_of(shifted(calm, 60, timedelta(hours=hours)), as_of=at(170))
    assert (health.state, health.clips, health.episodes) == ("normal", 160, ())
    assert [one.state for one in health.changes] == ["learning", "normal"]
    worn = scored(np.concatenate([quiet(60), np.full(12, 3.0)]))
    assert said(health_of(shifted(worn, 60, timedelta(hours=max(hours, 0))))) == said(health_of(worn))


@pytest.mark.parametrize("first", [0, 20, 150])
def test_a_clock_that_began_again_in_1970_does_not_make_the_clips_rare(first):
    """Limits follow the clip rate; with these clips counted, it would be three a year, and evidence would be cheap."""
    clips = scored(quiet(200))
    reset = [replace(clip, recorded_at=clip.recorded_at - timedelta(days=20_000)) for clip in clips[first : first + 5]]
    health = health_of([*clips[:first], *reset, *clips[first + 5 :]])
    assert health.limits.facts.clips_per_year == pytest.approx(144 * 365.25, rel=0.1)
    assert (health.state, health.episodes) == ("normal", ())


def test_two_campaigns_half_a_year_apart_have_the_rate_of_each():
    clips = scored(quiet(400))
    health = health_of(shifted(clips, 200, timedelta(days=180)))
    assert health.limits.facts.clips_per_year == pytest.approx(144 * 365.25, rel=0.02)


def test_clips_that_are_rarer_than_once_a_month():
    rare = [replace(clip, recorded_at=START + 40 * n * timedelta(days=1)) for n, clip in enumerate(scored(quiet(20)))]
    assert health_of(rare).state == "normal"


# --- chatter ---------------------------------------------------------------------------------------------------------


@given(st.lists(st.sampled_from([-1.0, 0.0, 1.0, 1.6, 2.5, 4.0]), min_size=30, max_size=150))
def test_an_alarm_does_not_chatter(z):
    """Between two that begin there are at least the clips that a return to normal takes, and never do two stand."""
    episodes = health_of(scored(z)).episodes
    for before, after in pairwise(episodes):
        assert before.cleared_at is not None and before.cleared_at <= after.raised_at
    for level in ("warning", "alarm"):
        begun = [one.raised_at for one in episodes if one.level == level]
        assert all(late - early >= at(POLICY.clear_clips) - at(0) for early, late in pairwise(begun))


# --- a new baseline --------------------------------------------------------------------------------------------------


def test_a_new_baseline_allows_for_neighbours_that_depend_on_one_another():
    """A hundred such clips lie closer together than the machine's clips do in the long run."""
    rng = np.random.default_rng(5)
    drawn = autoregressive(rng, 0.9, 400, 100)
    dependent = [hearing.centre_and_spread(z, 0.9)[1] for z in drawn]
    assert np.sqrt(np.mean(np.square(dependent))) == pytest.approx(1.0, abs=0.05)
    assert np.mean(drawn.std(axis=1)) < 0.92
    assert (
        sum(bool(hearing.unfit(z, 0.9)) for z in drawn)
        < 0.02 * len(drawn)
        < sum(bool(hearing.unfit(z, 0.0)) for z in drawn)
    )
    wild = np.append(rng.standard_normal(99), 8.0)
    assert hearing.centre_and_spread(wild, 0.0)[1] == pytest.approx(np.std(wild[:-1]), rel=0.15)
