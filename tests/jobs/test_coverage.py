"""What should have come is told by what usually comes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from acoustic_ad.health.clip_table import STATUSES, micros_of
from acoustic_ad.jobs import coverage
from acoustic_ad.jobs.coverage import Coverage, Heard

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)


def clips(count: int, every: timedelta, begin: datetime = NOON) -> list[Heard]:
    return [Heard(begin + number * every, "scored") for number in range(count)]


def coverage_of(heard: Sequence[Heard], as_of: datetime) -> Coverage | None:
    judged = [clip for clip in heard if clip.status != "failed"]
    micros = np.array([micros_of(clip.recorded_at) for clip in judged], np.int64)
    status = np.array([STATUSES.index(clip.status) for clip in judged], np.int8)
    return coverage.coverage_of(micros, status, [clip for clip in heard if clip.status == "failed"], as_of)


def test_every_clip_is_counted_once_by_what_became_of_it() -> None:
    heard = clips(10, timedelta(minutes=10))
    heard[2] = Heard(heard[2].recorded_at, "off")
    heard[3] = Heard(heard[3].recorded_at, "sensor_fault", "silent")
    heard[4:7] = [Heard(clip.recorded_at, "failed", reason) for clip, reason in zip(heard[4:7], "bab", strict=True)]
    found = coverage_of(heard[::-1], heard[-1].recorded_at)
    assert found is not None
    assert (found.expected, found.received, found.scored, found.off, found.sensor_fault) == (10, 10, 5, 1, 1)
    assert found.failed == {"a": 1, "b": 2}
    assert found.scored + found.off + found.sensor_fault + sum(found.failed.values()) == found.received
    assert found.as_json()["days"] == pytest.approx(90 / 1440, abs=1e-3)


def test_clips_that_stay_away_are_missed() -> None:
    heard = clips(10, timedelta(minutes=10))
    later = coverage_of(heard, heard[-1].recorded_at + timedelta(minutes=100))
    assert later is not None and (later.expected, later.received) == (20, 10)
    del heard[3:6]
    holes = coverage_of(heard, heard[-1].recorded_at)
    assert holes is not None and (holes.expected, holes.received) == (10, 7)


def test_a_machine_that_is_heard_by_day_only_lacks_nothing() -> None:
    days = [NOON + timedelta(days=day) for day in range(8)]
    heard = [clip for day in days for clip in clips(36, timedelta(minutes=10), day)]
    found = coverage_of(heard, NOON + timedelta(days=8))
    assert found is not None and (found.expected, found.received) == (8 * 36, 8 * 36)


def test_nights_are_no_holes_also_in_the_first_days() -> None:
    heard = [clip for day in range(2) for clip in clips(10, timedelta(minutes=10), NOON + timedelta(days=day))]
    heard += clips(5, timedelta(minutes=10), NOON + timedelta(days=2))
    found = coverage_of(heard, heard[-1].recorded_at)
    assert found is not None and (found.expected, found.received) == (25, 25)
    one_night = coverage_of(heard[:20], heard[19].recorded_at)
    assert one_night is not None and (one_night.expected or 0) > 20, "of one night nobody knows that it comes again"


def test_never_are_more_clips_heard_than_were_expected() -> None:
    """Some days bring a clip more than the usual one, and a row of clips has one more than it has gaps."""
    heard = clips(150, timedelta(minutes=29))
    for as_of in (heard[-1].recorded_at, heard[-1].recorded_at + timedelta(days=2), heard[20].recorded_at):
        found = coverage_of(heard, as_of)
        assert found is not None and found.expected is not None and found.expected >= found.received
    whole_days = [
        clip for day in range(5) for clip in clips(24 + day % 2 * 6, timedelta(minutes=30), NOON + timedelta(day))
    ]
    found = coverage_of(whole_days, whole_days[-1].recorded_at)
    assert found is not None and (found.expected, found.received) == (132, 132)


def test_only_the_last_thirty_days_count_and_older_ones_tell_what_is_usual() -> None:
    heard = clips(40 * 24, timedelta(hours=1))
    as_of = NOON + timedelta(days=60)
    found = coverage_of(heard, as_of)
    assert found is not None and found.days == 30
    assert (found.expected, found.received) == (
        30 * 24,
        sum(clip.recorded_at > as_of - timedelta(days=30) for clip in heard),
    )


def test_too_few_clips_tell_nothing() -> None:
    assert coverage_of([], NOON) is None
    assert coverage_of(clips(3, timedelta(hours=1)), NOON - timedelta(hours=1)) is None
    one = coverage_of(clips(1, timedelta(hours=1)), NOON)
    assert one is not None and (one.expected, one.received) == (None, 1)
    same = coverage_of(clips(5, timedelta(0)), NOON)
    assert same is not None and (same.expected, same.received) == (None, 5)
