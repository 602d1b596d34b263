"""p-values keep their promise, limits agree with them, and nothing that was learnt flatters them."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from clip_evidence import evidence, scores_of, vectors
from hypothesis import given
from hypothesis import strategies as st

from acoustic_ad.errors import BundleError
from acoustic_ad.health.baseline import Baseline
from acoustic_ad.scores.calibration import Calibration, fold_of
from acoustic_ad.scores.clip_score import ScorerKind, make_scorer
from acoustic_ad.scores.evidence import Array, Statistic

numbers = st.floats(-1e6, 1e6).map(lambda value: round(value, 3))
score_lists = st.lists(st.one_of(numbers, st.integers(-3, 3).map(float)), min_size=1, max_size=60)
shares = st.sampled_from([0.001, 0.01, 0.02, 0.05, 0.1, 0.2, 0.25, 0.3, 0.5, 0.9, 0.99])


def test_p_value_by_hand() -> None:
    calibration = Calibration.of([3.0, 1.0, 2.0, 2.0], sessions=2)
    found = {score: calibration.p_value(score) for score in (0.0, 1.0, 1.5, 2.0, 2.5, 3.0, 99.0)}
    assert found == pytest.approx({0.0: 1.0, 1.0: 1.0, 1.5: 0.8, 2.0: 0.8, 2.5: 0.4, 3.0: 0.4, 99.0: 0.2})
    assert calibration.smallest_p == 0.2 and calibration.typical == 2.0
    assert calibration.scores.tolist() == [1.0, 2.0, 2.0, 3.0]


@pytest.mark.parametrize("distribution", ["normal", "heavy", "ties"])
def test_p_values_of_exchangeable_clips_are_valid(distribution: str) -> None:
    rng, trials, n = np.random.default_rng(0), 4000, 19
    draws = {
        "normal": rng.standard_normal((trials, n + 1)),
        "heavy": rng.standard_cauchy((trials, n + 1)),
        "ties": rng.integers(0, 4, (trials, n + 1)).astype(float),
    }[distribution]
    p_values = np.array([Calibration.of(known, n).p_value(fresh) for *known, fresh in draws.tolist()])
    for alpha in (0.05, 0.1, 0.2, 0.5, 0.9):
        error = 3.0 * math.sqrt(alpha * (1 - alpha) / trials)
        assert (p_values <= alpha + 1e-12).mean() <= alpha + error
        if distribution != "ties":  # with n + 1 a multiple of 1 / alpha, the promise is kept exactly
            assert (p_values <= alpha + 1e-12).mean() >= alpha - error


@given(scores=score_lists, score=numbers)
def test_p_values_stay_within_their_range_and_fall_with_the_score(scores: list[float], score: float) -> None:
    calibration = Calibration.of(scores, 1)
    p = calibration.p_value(score)
    assert calibration.smallest_p <= p <= 1.0
    assert calibration.p_value(score + 1.0) <= p <= calibration.p_value(score - 1.0)
    assert calibration.p_value(max(scores) + 1.0) == calibration.smallest_p == 1.0 / (len(scores) + 1)
    assert calibration.p_value(min(scores)) == 1.0


@given(scores=score_lists, p=shares)
def test_limit_agrees_with_the_p_value(scores: list[float], p: float) -> None:
    calibration = Calibration.of(scores, 1)
    limit = calibration.limit(p)
    if p < calibration.smallest_p:
        assert limit == max(scores), "too few clips to tell: the highest score seen stands in"
        return
    above = np.nextafter(limit, np.inf)
    assert calibration.p_value(above) <= p + 1e-9
    assert calibration.p_value(limit) > p


@given(scores=score_lists)
def test_limits_fall_with_p(scores: list[float]) -> None:
    calibration = Calibration.of(scores, 1)
    limits = [calibration.limit(p) for p in (0.001, 0.01, 0.05, 0.1, 0.5, 1.0)]
    assert limits == sorted(limits, reverse=True)
    assert min(scores) <= limits[-1] and limits[0] <= max(scores)


@pytest.mark.parametrize("scores", [[], [1.0, math.nan], [math.inf], [[1.0, 2.0]]])
def test_a_calibration_without_sense_is_refused(scores: list[float]) -> None:
    with pytest.raises(BundleError, match="at least one score"):
        Calibration.of(scores, 1)


def test_a_calibration_is_dated_and_says_what_it_can_promise() -> None:
    calibration = Calibration.of(np.arange(19.0), sessions=3)
    assert calibration.made_at.tzinfo == UTC
    assert abs(datetime.now(UTC) - calibration.made_at) < timedelta(seconds=60)
    promise = calibration.promise()
    assert "19 normal clips" in promise and "3 groups" in promise and "0.05" in promise and "20 clips" in promise


groups = st.lists(st.sampled_from("abcdefghijkl"), min_size=2, max_size=80)


@given(groups=groups, folds=st.integers(2, 12))
def test_folds_keep_groups_together_and_are_balanced(groups: list[str], folds: int) -> None:
    fold = fold_of(groups, folds)
    assert fold.shape == (len(groups),)
    for group in set(groups):
        assert len({int(number) for number, at in zip(fold, groups, strict=True) if at == group}) == 1
    sizes = np.bincount(fold)
    assert len(sizes) == min(folds, len(set(groups))) and (sizes > 0).all(), "no fold is empty or left out"
    # Filled one group at a time, the fullest first fold is ahead of the emptiest by one group at most.
    assert sizes.max() - sizes.min() <= max(Counter(groups).values())


def test_folds_of_equal_groups_are_equal() -> None:
    assert np.bincount(fold_of([number // 4 for number in range(40)], 5)).tolist() == [8] * 5
    assert fold_of(["a", "a", "b", "c"], 5).tolist() == [0, 0, 1, 2]


@pytest.mark.parametrize("kind", ["mahalanobis", "gaussian_mixture"])
@pytest.mark.parametrize("statistics", [("residual",), ("residual", "spectrum")])
def test_cross_fitted_scores_are_those_of_fresh_clips(kind: ScorerKind, statistics: tuple[Statistic, ...]) -> None:
    crossed, fresh, own = [], [], []
    for seed in range(6):
        learnt = evidence(vectors(60, seed), seed)
        scorer = make_scorer(kind, statistics=statistics)
        crossed += scorer.fit(learnt, np.arange(60) // 12).normal.tolist()
        own += scores_of(scorer, learnt).tolist()
        fresh += scores_of(scorer, evidence(vectors(100, 100 + seed), 100 + seed)).tolist()
    assert np.mean(crossed) == pytest.approx(np.mean(fresh), rel=0.15)
    assert np.mean(own) < 0.9 * np.mean(fresh), "scores of learnt clips flatter, which is why they are not used"


RECORDINGS = [("mahalanobis", folds, clips) for folds in (2, 3, 5, 10) for clips in (20, 60)]
RECORDINGS += [(kind, folds, 60) for kind in ("gaussian_mixture", "nearest_neighbour") for folds in (2, 10)]


@pytest.mark.parametrize(("kind", "folds", "clips"), RECORDINGS)
@pytest.mark.parametrize("session_effect", [0.0, 1.0])
def test_however_few_the_recordings_normal_clips_are_not_called_unusual(
    kind: ScorerKind, folds: int, clips: int, session_effect: float
) -> None:
    called = []
    for seed in range(8):
        fold = np.arange(clips) * folds // clips
        scorer = make_scorer(kind)
        learnt = vectors(clips, seed, fold.tolist(), session_effect)
        calibration = Calibration.of(scorer.fit(evidence(learnt), fold).normal, folds)
        fresh = vectors(100, 100 + seed, list(range(100)), session_effect)
        called += [calibration.p_value(scorer.score(clip)) <= 0.1 for clip in evidence(fresh)]
    assert np.mean(called) <= 0.15


@pytest.mark.parametrize(("clips", "of_one"), [(24, 4), (60, 10)])
@pytest.mark.parametrize("effect", [1.0, 3.0])
def test_recordings_at_speeds_of_their_own_do_not_waste_the_promise(clips: int, of_one: int, effect: float) -> None:
    """Left-out recordings are extrapolated to. Uncorrected, 1 or 2 in 100 new clips would have p <= 0.1."""
    p_values: list[float] = []
    fold = np.minimum(np.arange(clips) // of_one, 4)
    for seed in range(20):
        scorer = make_scorer("mahalanobis", statistics=("residual", "spectrum"))
        learnt = evidence(at_speeds(clips, seed, of_one, effect))
        calibration = Calibration.of(scorer.fit(learnt, fold).normal, 6)
        fresh = evidence(at_speeds(60, 500 + seed, 1, effect))
        p_values += [calibration.p_value(scorer.score(clip)) for clip in fresh]
    found = np.array(p_values)
    assert 0.03 <= np.mean(found <= 0.1) <= 0.15
    assert 0.32 <= np.mean(found <= 0.5) <= 0.65  # what errs, errs on the side of fewer false alarms


def test_cross_fitted_scores_are_not_below_those_of_fresh_clips() -> None:
    """Where normal is nearest neighbours: calibrated half a deviation too low, a machine is in ALARM within weeks."""
    z: list[float] = []
    for seed in range(30):
        scorer = make_scorer("nearest_neighbour", statistics=("residual", "spectrum"))
        crossed = scorer.fit(evidence(at_speeds(60, seed, 6, 3.0)), np.arange(60) // 12).normal
        fresh = evidence(at_speeds(60, 500 + seed, 1, 3.0))
        z.append(float(np.mean(Baseline.of(crossed).z_all([scorer.score(clip) for clip in fresh]))))
    assert -0.2 < np.mean(z) < 0.22


def test_copies_of_a_clip_do_not_lower_the_calibration_of_the_others() -> None:
    """A clip that is there three times, in three folds, is at no distance from what the others taught."""
    clips = vectors(60, 1)
    whole = make_scorer("nearest_neighbour").fit(evidence(clips), np.arange(60) // 12).normal
    clips[[13, 37]] = clips[1]
    copied = make_scorer("nearest_neighbour").fit(evidence(clips), np.arange(60) // 12).normal
    others = np.setdiff1d(np.arange(60), [1, 13, 37])
    assert np.median(copied[others]) == pytest.approx(np.median(whole[others]), rel=0.05)


def at_speeds(clips: int, seed: int, of_one: int, effect: float) -> Array:
    """Clips [clips, mels] of which each `of_one` share a speed, a load and a temperature."""
    rng, machine = np.random.default_rng(1000 + seed), np.random.default_rng(7)
    rows = vectors(clips, seed)
    shared = rng.standard_normal((clips // of_one + 1, 3)) @ machine.standard_normal((3, rows.shape[1]))
    return np.asarray(rows + effect * shared[np.arange(clips) // of_one])


def test_calibration_remembers_the_order_and_the_recordings() -> None:
    calibration = Calibration.of([3.0, 1.0, 2.0], 2, session=np.array([0, 0, 1]))
    assert calibration.scores.tolist() == [1.0, 2.0, 3.0]
    assert calibration.order is not None and calibration.session is not None
    assert calibration.order.tolist() == [1, 2, 0] and calibration.session.tolist() == [0, 1, 0]
    for order, session in (([0, 0, 1], [0, 0, 1]), ([0, 1, 2], [0, 0])):
        with pytest.raises(BundleError, match="calibration"):
            replace(calibration, order=np.array(order), session=np.array(session))
