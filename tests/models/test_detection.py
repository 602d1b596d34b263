"""The detection limit is read off the curve as a person would read it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from acoustic_ad.models.detection import DetectionCurve, detection_curves
from acoustic_ad.models.planting import FaultAt, PlantedClip

LEVELS = (1.0, 2.0, 4.0, 8.0)


def curve(*found: float) -> DetectionCurve:
    return DetectionCurve("tone", "a tone", None, None, LEVELS, found)


def test_the_limit_lies_between_levels_where_half_are_found() -> None:
    assert curve(0.0, 0.0, 1.0, 1.0).limit_db == pytest.approx(3.0)
    assert curve(0.0, 0.25, 0.75, 1.0).limit_db == pytest.approx(3.0)
    assert curve(0.0, 0.4, 0.8, 1.0).limit_db == pytest.approx(2.5)
    assert curve(0.0, 0.0, 0.5, 1.0).limit_db == pytest.approx(4.0)
    assert curve(0.0, 0.0, 0.0, 1.0).limit_db == pytest.approx(6.0)


def test_what_is_found_at_once_is_as_faint_as_the_faintest_level() -> None:
    assert curve(0.5, 0.5, 0.6, 1.0).limit_db == 1.0
    assert curve(1.0, 1.0, 1.0, 1.0).limit_db == 1.0


def test_what_is_never_found_has_no_limit() -> None:
    assert curve(0.0, 0.0, 0.0, 0.0).limit_db is None
    assert curve(0.0, 0.2, 0.4, 0.49).limit_db is None


def test_luck_at_a_faint_level_is_not_believed_where_a_louder_one_is_missed() -> None:
    assert curve(0.6, 0.2, 0.6, 1.0).limit_db == pytest.approx(3.5)
    assert curve(1.0, 1.0, 1.0, 0.4).limit_db is None


shares = st.floats(0.0, 1.0)


@given(found=st.tuples(shares, shares, shares, shares))
def test_from_the_limit_on_half_are_found_and_just_below_it_fewer(found: tuple[float, ...]) -> None:
    limit = curve(*found).limit_db
    if limit is None:
        assert found[-1] < 0.5
        return
    above = np.linspace(limit, LEVELS[-1], 50)
    assert (np.interp(above, LEVELS, found) >= 0.5 - 1e-6).all()
    assert limit == LEVELS[0] or min(share for level, share in zip(LEVELS, found, strict=True) if level < limit) < 0.5


def planted(clip: int, level_db: float, kind: str = "tone", low_hz: float | None = 100.0) -> PlantedClip:
    high_hz = None if low_hz is None else 2.0 * low_hz
    fault = FaultAt(kind, f"{kind} at {low_hz}", level_db, low_hz, high_hz)
    return PlantedClip(clip, fault, lambda: np.zeros((1, 1), np.float32))


def test_each_fault_has_its_curve_over_all_clips_and_levels() -> None:
    faults = [planted(clip, level) for level in (8.0, 2.0) for clip in range(4)]
    faults += [planted(0, 2.0, low_hz=400.0), planted(0, 2.0, "broad_noise", None)]
    scores = np.array([5.0, 5.0, 5.0, 1.0, 5.0, 1.0, 1.0, 1.0, 0.0, 9.0])
    tone, high, noise = detection_curves(faults, scores, limit=4.0)
    assert (tone.kind, tone.words, tone.low_hz, tone.high_hz) == ("tone", "tone at 100.0", 100.0, 200.0)
    assert tone.levels_db == (2.0, 8.0) and tone.found == (0.25, 0.75)
    assert high.low_hz == 400.0 and high.found == (0.0,) and high.limit_db is None
    assert noise.low_hz is noise.high_hz is None and noise.found == (1.0,) and noise.limit_db == 2.0


def test_found_means_above_the_limit() -> None:
    (at,) = detection_curves([planted(0, 1.0)], np.array([4.0]), limit=4.0)
    (above,) = detection_curves([planted(0, 1.0)], np.array([np.nextafter(4.0, 5.0)]), limit=4.0)
    assert at.found == (0.0,) and above.found == (1.0,)


def test_nothing_planted_is_no_curve_and_a_missing_score_is_an_error() -> None:
    assert detection_curves([], np.zeros(0), 1.0) == ()
    with pytest.raises(ValueError, match="zip"):
        detection_curves([planted(0, 1.0)], np.zeros(2), 1.0)
