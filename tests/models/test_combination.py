"""Several judges' scores become one, to which a weak judge does no harm."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from acoustic_ad.errors import BundleError
from acoustic_ad.models.combination import Combination, helpful
from acoustic_ad.scores.choice import detection
from acoustic_ad.scores.clip_score import FittedScores

Array = npt.NDArray[np.float64]


def member(seed: int, rise: float = 0.0, faults: slice = slice(None), unit: float = 1.0) -> FittedScores:
    """A member that scores some of what is planted `rise` of its own deviations higher than normal clips."""
    rng = np.random.default_rng(seed)
    planted = rng.standard_normal(300)
    planted[faults] += rise
    return FittedScores(5.0 + unit * rng.standard_normal(100), 5.0 + unit * planted)


def test_the_combined_score_is_the_mean_of_the_z_scores() -> None:
    scores = [FittedScores(np.array([1.0, 3.0]), np.zeros(0)), FittedScores(np.array([10.0, 30.0]), np.zeros(0))]
    combination = Combination.of(scores)
    assert combination.mean.tolist() == [2.0, 20.0] and combination.deviation.tolist() == [1.0, 10.0]
    assert combination([4.0, 40.0]) == pytest.approx(2.0)
    np.testing.assert_allclose(combination(np.array([[4.0, 2.0, 1.0], [40.0, 20.0, 30.0]])), [2.0, 0.0, 0.0])


def test_the_unit_of_a_member_does_not_matter() -> None:
    plain, scaled = ([member(0, 2.0), member(1, 1.0, unit=unit)] for unit in (1.0, 1e6))
    rows = [np.stack([found.planted for found in scores]) for scores in (plain, scaled)]
    np.testing.assert_allclose(Combination.of(plain)(rows[0]), Combination.of(scaled)(rows[1]), rtol=1e-9)


def test_a_member_that_says_the_same_of_all_normal_clips_gives_no_nan() -> None:
    combination = Combination.of([member(0), FittedScores(np.ones(100), np.ones(300))])
    assert np.isfinite(combination([5.0, 1.0])) and np.isfinite(combination([5.0, 1.1]))


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_member_that_does_not_hear_is_left_out(place: int) -> None:
    members = [member(0, 2.0), member(1, 2.0)]
    members.insert(place, member(2))
    assert helpful(members, "mean") == [number for number in range(3) if number != place]


def test_a_member_that_is_wrong_is_left_out_however_loud_it_is() -> None:
    assert helpful([member(0, 2.0), member(1, -5.0, unit=1e6), member(2, 2.0)], "mean") == [0, 2]


def test_members_that_hear_different_faults_are_all_kept() -> None:
    thirds = [member(seed, 6.0, slice(100 * seed, 100 * seed + 100)) for seed in range(3)]
    assert helpful(thirds, "mean") == [0, 1, 2]


def test_members_alike_are_all_kept_as_none_of_them_does_harm() -> None:
    assert helpful([member(seed, 2.0) for seed in range(4)], "mean") == [0, 1, 2, 3]


@pytest.mark.parametrize("seed", range(5))
def test_what_is_kept_finds_no_less_than_all_members_do(seed: int) -> None:
    rng = np.random.default_rng(seed)
    members = [member(int(rng.integers(1000)), float(rise)) for rise in rng.uniform(-1.0, 2.0, 5)]

    def found(numbers: list[int]) -> float:
        own = [members[number] for number in numbers]
        combination = Combination.of(own)
        return detection(combination([one.normal for one in own]), combination([one.planted for one in own]))

    kept = helpful(members, "mean")
    assert kept == sorted(set(kept)) and kept
    assert found(kept) >= found(list(range(5)))


def test_best_keeps_the_one_that_finds_most() -> None:
    assert helpful([member(0, 0.5), member(1, 1.5, unit=0.01), member(2, 1.0)], "best") == [1]
    assert helpful([member(0, 1.0), member(0, 1.0)], "best") == [0], "ties go to the first"


@pytest.mark.parametrize("combine", ["mean", "best"])
def test_a_single_member_is_kept_without_any_planted_fault(combine: str) -> None:
    assert helpful([FittedScores(np.ones(10), np.zeros(0))], combine) == [0]  # type: ignore[arg-type]


def test_state_brings_back_the_very_combination() -> None:
    combination = Combination.of([member(0), member(1, unit=7.0)])
    loaded = Combination.from_state(combination.state(), 2)
    assert loaded([5.0, 6.0]) == combination([5.0, 6.0])


TWO = np.ones(2)
WRONG: list[dict[str, Array]] = [
    {},
    {"mean": TWO},
    {"deviation": TWO},
    {"mean": TWO, "deviation": TWO, "more": TWO},
    {"mean": TWO, "deviation": np.ones(3)},
    {"mean": np.ones(3), "deviation": TWO},
    {"mean": np.ones(3), "deviation": np.ones(3)},
    {"mean": TWO[None], "deviation": TWO[None]},
    {"mean": TWO, "deviation": np.array([1.0, 0.0])},
    {"mean": TWO, "deviation": np.array([1.0, -1.0])},
    {"mean": TWO, "deviation": np.array([1.0, np.nan])},
]


@pytest.mark.parametrize("state", WRONG)
def test_a_state_that_does_not_fit_is_refused(state: dict[str, Array]) -> None:
    with pytest.raises(BundleError, match="ensemble"):
        Combination.from_state(state, 2)
