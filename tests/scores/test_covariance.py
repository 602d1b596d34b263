"""Whitening whitens, and the shrinkage is what clips of other recordings ask for."""

from __future__ import annotations

import numpy as np
import pytest
from clip_evidence import vectors
from scipy.stats import multivariate_normal
from sklearn.covariance import LedoitWolf

from acoustic_ad.scores.covariance import SHRINKAGES, Correlations, likeliest_shrinkage


def test_whitened_rows_are_uncorrelated_and_of_unit_variance() -> None:
    rows = vectors(400, 0, mels=8) * np.geomspace(0.1, 50.0, 8) + 3.0
    found = Correlations.of(rows)
    white = (rows - found.mean) @ found.whitening(0.0)
    np.testing.assert_allclose(np.cov(white, rowvar=False, bias=True), np.eye(8), atol=1e-9)


def test_with_full_shrinkage_only_the_deviations_count() -> None:
    rows = vectors(100, 0)
    found = Correlations.of(rows)
    square = np.square((rows - rows.mean(axis=0)) / rows.std(axis=0)).sum(axis=1)
    np.testing.assert_allclose(np.square((rows - found.mean) @ found.whitening(1.0)).sum(axis=1), square)


@pytest.mark.parametrize("shrinkage", [0.01, 0.3, 0.95])
def test_the_surprise_is_twice_the_negative_log_likelihood(shrinkage: float) -> None:
    rows, fresh = vectors(50, 0, mels=6), vectors(20, 1, mels=6)
    deviation = rows.std(axis=0)
    correlation = (1 - shrinkage) * np.corrcoef(rows, rowvar=False) + shrinkage * np.eye(6)
    normal = multivariate_normal(rows.mean(axis=0), correlation * np.outer(deviation, deviation))
    wanted = -2.0 * normal.logpdf(fresh).sum() - fresh.size * np.log(2.0 * np.pi)
    assert Correlations.of(rows).surprise(fresh, shrinkage) == pytest.approx(wanted)


def test_a_band_that_never_moves_claims_no_endless_distance() -> None:
    rows = vectors(40, 0, mels=4)
    rows[:, 2] = 1.0
    found = Correlations.of(rows)
    assert np.isfinite(found.whitening(0.01)).all() and found.deviation[2] == 0.02


def test_more_is_shrunk_where_clips_of_a_session_are_alike() -> None:
    fold = np.arange(200) // 20
    alone = vectors(200, 0)
    # Sessions of twenty clips that are all but copies: ten observations, not two hundred.
    copies = np.repeat(vectors(10, 1), 20, axis=0) + 0.05 * vectors(200, 2)
    assert likeliest_shrinkage(copies, fold) > 4 * likeliest_shrinkage(alone, fold)


def test_the_shrinkage_is_the_best_of_those_on_offer_for_the_left_out_folds() -> None:
    rows, fold = vectors(60, 0), np.arange(60) // 12
    surprise = [
        sum(Correlations.of(rows[fold != f]).surprise(rows[fold == f], shrinkage) for f in range(5))
        for shrinkage in SHRINKAGES
    ]
    assert likeliest_shrinkage(rows, fold) == SHRINKAGES[np.argmin(surprise)]


@pytest.mark.parametrize("clips", [2, 3, 40])
def test_without_two_folds_it_is_that_of_ledoit_and_wolf(clips: int) -> None:
    rows = vectors(clips, 0)
    own = LedoitWolf().fit((rows - rows.mean(axis=0)) / rows.std(axis=0)).shrinkage_
    found = likeliest_shrinkage(rows, np.zeros(clips, np.int64))
    assert found == pytest.approx(max(own, 0.01)) and 0.01 <= found <= 1.0


@pytest.mark.parametrize("folds", [2, 3, 5])
def test_units_and_the_order_of_clips_do_not_matter(folds: int) -> None:
    rows, fold = vectors(60, 0), np.arange(60) % folds
    order = np.random.default_rng(0).permutation(60)
    units = np.geomspace(0.5, 200.0, rows.shape[1])
    assert likeliest_shrinkage(units * rows - 7.0, fold) == likeliest_shrinkage(rows, fold)
    assert likeliest_shrinkage(rows[order], 9 - fold[order]) == likeliest_shrinkage(rows, fold)
