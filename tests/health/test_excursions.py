"""Excursions: hysteresis, minimum duration and evidence, against a loop that is too plain to be wrong."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from acoustic_ad.health.excursions import Excursion, excursions, shown, supported
from acoustic_ad.health.policy import Policy

POLICY = Policy(clear_clips=3)
INDICES = st.lists(st.sampled_from([0, 20, 34, 36, 49, 51, 60, 79, 81, 100]), min_size=1, max_size=40)


def clip_by_clip(index, believed, first):
    """The rules, one clip after the other."""
    found, state, start, calm = [], "normal", 0, 0
    for clip, (value, may) in enumerate(zip(index, believed, strict=True)):
        clear = POLICY.alarm_clear_index if state == "alarm" else POLICY.warning_clear_index
        calm = sum(1 for _ in iter_back(index, clip, clear))
        may = may and clip >= first
        if state != "alarm" and may and value >= 80:
            if state == "warning":
                found.append(Excursion("warning", start, clip, True))
            state, start = "alarm", clip
        elif state == "normal" and may and value >= 50:
            state, start = "warning", clip
        elif state != "normal" and calm >= POLICY.clear_clips:
            found.append(Excursion(state, start, clip))
            state = "normal"
    if state != "normal":
        found.append(Excursion(state, start, None))
    return found


def iter_back(index, clip, clear):
    while clip >= 0 and index[clip] < clear:
        yield clip
        clip -= 1


@given(INDICES, st.data(), st.integers(0, 5))
def test_as_clip_by_clip(indices, data, first):
    index = np.array(indices, float)
    believed = np.array(data.draw(st.lists(st.booleans(), min_size=index.size, max_size=index.size)))
    assert excursions(POLICY, index, believed, first) == clip_by_clip(index, believed, first)


@given(INDICES, st.data())
def test_the_index_shown_agrees_with_the_state(indices, data):
    index = np.array(indices, float)
    believed = np.array(data.draw(st.lists(st.booleans(), min_size=index.size, max_size=index.size)))
    found = excursions(POLICY, index, believed, 0)
    seen = shown(index, found)
    level = np.array(["normal "] * index.size)
    for one in found:
        level[one.start : one.end] = one.level
    assert (seen[level == "normal "] < 50).all() and (seen[level == "warning"] < 80).all()
    assert (seen <= index).all()
    assert (seen[index < 50] == index[index < 50]).all()


def test_one_episode_for_one_excursion():
    """An index that swings about its limit rings once."""
    index = np.array([0, 52, 48, 53, 47, 55, 40, 51, 49, 30, 36, 30, 52, 30, 30, 30, 10], float)
    assert excursions(POLICY, index, np.ones(index.size, bool), 0) == [Excursion("warning", 1, 15)]


@given(st.lists(st.floats(-3, 8), min_size=1, max_size=30))
def test_evidence_is_that_enough_clips_are_unusual(z):
    expected = [
        sum(value >= POLICY.raise_z for value in z[max(clip - POLICY.persistence_among + 1, 0) : clip + 1])
        >= POLICY.raise_clips
        for clip in range(len(z))
    ]
    assert supported(POLICY, np.array(z)).tolist() == expected
