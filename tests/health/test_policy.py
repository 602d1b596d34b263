"""What a policy may say, and the words for what comes of it."""

from __future__ import annotations

import math
from dataclasses import fields
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acoustic_ad.errors import UsageError
from acoustic_ad.health.policy import LIMIT_INDEX, NE107, WORDS, Policy, State, clip_index


def test_every_state_has_its_words():
    assert set(WORDS) == set(NE107) == set(get_args(State))
    assert set(NE107.values()) == {
        "normal", "failure", "check function", "out of specification", "maintenance required",
    }  # fmt: skip


def test_a_table_changes_what_it_names():
    policy = Policy.of({"alarm_per_machine_year": 2, "clear_clips": 6})
    assert (policy.alarm_per_machine_year, policy.clear_clips) == (2, 6)
    assert policy.warning_per_machine_year == Policy().warning_per_machine_year
    assert Policy.of({}) == Policy()


def test_one_number_is_enough():
    assert Policy.of({"false_alarms_per_machine_year": 1}) == Policy()
    rarely = Policy.of({"false_alarms_per_machine_year": 0.5})
    assert (rarely.alarm_per_machine_year, rarely.warning_per_machine_year) == (0.5, 6)
    more = Policy.of({"false_alarms_per_machine_year": 2, "warning_per_machine_year": 50})
    assert (more.alarm_per_machine_year, more.warning_per_machine_year) == (2, 50)


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"alarm_per_machine_year": 2}, "1 contradicts alarm_per_machine_year = 2"),
        ({"false_alarms_per_machine_year": 0}, "0 is not a positive number"),
        ({"false_alarms_per_machine_year": math.nan}, "nan is not a positive number"),
        ({"false_alarms_per_machine_year": "few"}, "'few' is not a number"),
        ({"false_alarms_per_machine_year": True}, "True is not a number"),
    ],
)
def test_one_number_that_is_none_or_contradicts_another(table, words):
    with pytest.raises(UsageError, match=f"^health policy: .*false_alarms_per_machine_year: {words}"):
        Policy.of({"false_alarms_per_machine_year": 1} | table)


def test_all_problems_at_once_each_with_its_key():
    table = {"alarms": 1, "clear_clips": 2.5, "slow_weight": "much", "realarm_days": -1, "z_cap": True}
    with pytest.raises(UsageError) as caught:
        Policy.of(table)
    message = str(caught.value)
    for key in table:
        assert f" {key}: " in message
    assert "\n" not in message, "a message is one line"


@pytest.mark.parametrize(
    ("table", "key"),
    [
        ({"alarm_per_machine_year": 13}, "alarm_per_machine_year"),
        ({"warning_per_machine_year": 5_000}, "warning_per_machine_year"),
        ({"persistence_clips": 6}, "persistence_clips"),
        ({"persistence_among": 13}, "persistence_among"),
        ({"warning_clear_index": 51}, "warning_clear_index"),
        ({"alarm_clear_index": 81}, "alarm_clear_index"),
        ({"small_reference": 1.2}, "small_reference"),
        ({"z_cap": 1.4}, "large_reference"),
        ({"relearn_clips": 5}, "relearn_clips"),
        ({"slow_weight": 1.5}, "slow_weight"),
    ],
)
def test_values_that_contradict_one_another(table, key):
    with pytest.raises(UsageError, match=f"^health policy: {key}: "):
        Policy.of(table)


@pytest.mark.parametrize("name", [field.name for field in fields(Policy)])
@pytest.mark.parametrize("value", [0, -1.0, math.nan, math.inf])
def test_every_number_is_positive_and_finite(name, value):
    with pytest.raises(UsageError, match=name):
        Policy(**{name: value})


@pytest.mark.parametrize(
    ("score", "index"),
    [(2.0, 0.0), (1.0, 0.0), (3.0, 25.0), (4.0, LIMIT_INDEX), (6.0, 100.0), (1e9, 100.0), (-1e9, 0.0)],
)
def test_the_scale_of_a_clips_index(score, index):
    """0 is the median of normal clips (here 2), 50 the limit (here 4), 100 twice as far."""
    assert clip_index(score, typical=2.0, limit=4.0) == index


@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6), st.floats(-1e6, 1e6))
def test_a_clips_index_is_within_its_scale_and_rises_with_the_score(score, typical, limit):
    index = clip_index(score, typical, limit)
    assert 0 <= index <= 100
    assert clip_index(score + 1, typical, limit) >= index
