"""From evidence to one number: pooling, and distances that mean the same whatever the units and the cut."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt
import pytest
from clip_evidence import MELS, evidence, vectors
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from acoustic_ad.errors import BundleError, NotFittedError
from acoustic_ad.scores.clip_score import (
    ClipEvidence,
    EvidenceSum,
    Paper,
    ResidualMahalanobis,
    gwrp,
    likeliest_shrinkage,
    make_scorer,
)

Array = npt.NDArray[np.float64]
FOLD = np.arange(60) // 12


def scores_of(scorer: ResidualMahalanobis, clips: list[ClipEvidence]) -> Array:
    return np.array([scorer.score(clip) for clip in clips])


@pytest.mark.parametrize("seed", range(3))
def test_gwrp_runs_from_the_largest_to_the_mean(seed: int) -> None:
    values = np.random.default_rng(seed).standard_normal(50)
    assert gwrp(values, 1.0) == pytest.approx(values.mean())
    assert gwrp(values, 1e-9) == pytest.approx(values.max())
    pooled = [gwrp(values, r) for r in (1e-9, 0.3, 0.6, 0.9, 0.99, 1.0)]
    assert pooled == sorted(pooled, reverse=True)


def test_gwrp_by_hand() -> None:
    assert gwrp(np.array([1.0, 4.0, 2.0]), 0.5) == pytest.approx((4 + 2 / 2 + 1 / 4) / (1 + 1 / 2 + 1 / 4))
    assert gwrp(np.array([3.0]), 0.5) == 3.0


def test_a_short_hit_is_for_gwrp_and_not_for_the_mean() -> None:
    normal, hit = np.ones(300), np.ones(300)
    hit[10] = 4.0
    assert gwrp(hit, 0.5) > 2.0 * gwrp(normal, 0.5)
    assert gwrp(hit, 1.0) < 1.02 * gwrp(normal, 1.0)


def test_paper_pools_the_patch_scores_and_keeps_nothing() -> None:
    clip = dataclasses.replace(evidence(vectors(1, 0))[0], patch_scores=np.array([1.0, 5.0, 3.0]))
    scorer = Paper(gwrp_r=1.0)
    scorer.fit([clip])
    assert scorer.score(clip) == 3.0 and scorer.state() == {}
    assert scorer.cross_fit([clip, clip], np.array([0, 1])).tolist() == [3.0, 3.0]
    scorer.load_state({})
    with pytest.raises(BundleError, match="location"):
        scorer.load_state({"location": np.zeros(3)})


@settings(deadline=None, max_examples=30)
@given(cuts=st.lists(st.integers(1, 39), max_size=6, unique=True))
def test_evidence_gathered_in_parts_is_the_evidence_of_the_whole(cuts: list[int]) -> None:
    rng = np.random.default_rng(0)
    score, residual, latent = rng.random(40), rng.standard_normal((40, MELS)), rng.standard_normal((40, 3))
    patches = rng.standard_normal((40, 5, MELS))
    gathered = EvidenceSum()
    for index in np.split(np.arange(40), sorted(cuts)):
        gathered.add(score[index], residual[index], latent[index], patches[index])
    clip = gathered.clip()
    np.testing.assert_array_equal(clip.patch_scores, score)
    np.testing.assert_allclose(clip.residual_mean, residual.mean(axis=0), atol=1e-12)
    np.testing.assert_allclose(clip.residual_spread, residual.std(axis=0), atol=1e-9)
    np.testing.assert_allclose(clip.latent_mean, latent.mean(axis=0), atol=1e-12)
    np.testing.assert_allclose(clip.spectrum, patches.mean(axis=(0, 1)), atol=1e-12)


def test_no_patches_are_no_evidence() -> None:
    with pytest.raises(ValueError, match="without patches"):
        EvidenceSum().clip()


def test_a_residual_that_never_moves_has_no_spread_rather_than_nan() -> None:
    gathered = EvidenceSum()
    gathered.add(np.ones(9), np.full((9, 2), 1 / 3), np.ones((9, 1)), np.ones((9, 1, 2)))
    assert np.allclose(gathered.clip().residual_spread, 0.0, atol=1e-7)


@pytest.mark.parametrize("fold", [None, FOLD], ids=["no folds", "folds"])
def test_units_of_the_bands_do_not_matter(fold: npt.NDArray[np.int64] | None) -> None:
    units, offset = np.geomspace(0.5, 200.0, MELS), np.linspace(-5, 5, MELS)
    learnt, fresh = vectors(60, 0), vectors(40, 1)
    plain, scaled = ResidualMahalanobis(), ResidualMahalanobis()
    plain.fit(evidence(learnt), fold)
    scaled.fit(evidence(learnt * units + offset), fold)
    np.testing.assert_allclose(
        scores_of(scaled, evidence(fresh * units + offset)), scores_of(plain, evidence(fresh)), rtol=1e-6
    )


def test_the_order_of_clips_and_the_names_of_folds_do_not_matter() -> None:
    rows, fresh = vectors(60, 0), evidence(vectors(20, 1))
    order = np.random.default_rng(3).permutation(60)
    one, other = ResidualMahalanobis(), ResidualMahalanobis()
    first = one.cross_fit(evidence(rows), FOLD)
    second = other.cross_fit(evidence(rows[order]), 100 - 7 * FOLD[order])
    np.testing.assert_allclose(first[order], second, rtol=1e-8)
    np.testing.assert_allclose(scores_of(one, fresh), scores_of(other, fresh), rtol=1e-8)


def test_direction_counts_and_size_does_not() -> None:
    # A fault where normal operation never goes is found although it is smaller than what is normal.
    learnt, fresh = vectors(100, 0), vectors(100, 1)
    across = np.linalg.svd(vectors(2000, 5))[2][-1]  # the direction that normal clips use least
    faulty = fresh + 2.5 * across
    scorer = ResidualMahalanobis()
    scorer.fit(evidence(learnt), np.arange(100) // 10)
    labels = [0] * 100 + [1] * 100
    size = np.square(np.concatenate([fresh, faulty])).mean(axis=1)
    assert roc_auc_score(labels, scores_of(scorer, evidence(np.concatenate([fresh, faulty])))) > 0.9
    assert roc_auc_score(labels, size) < 0.65


def test_score_grows_with_the_fault() -> None:
    scorer, bump = ResidualMahalanobis(), np.zeros(MELS)
    scorer.fit(evidence(vectors(60, 0)), FOLD)
    bump[7] = 1.0
    base = vectors(60, 0).mean(axis=0)
    scores = [scorer.score(evidence(np.array([base + height * bump]))[0]) for height in (0.0, 1.0, 2.0, 4.0, 8.0)]
    assert scores == sorted(scores) and scores[-1] > 3.0


@pytest.mark.parametrize("statistic", ["mean", "spread", "spectrum"])
def test_each_statistic_sees_its_own_fault_and_all_together_every_one(statistic: str) -> None:
    def faulty(clip: ClipEvidence) -> ClipEvidence:
        return dataclasses.replace(
            clip,
            residual_mean=clip.residual_mean + 2.0 * (statistic == "mean"),
            residual_spread=clip.residual_spread + 0.5 * (statistic == "spread"),
            spectrum=clip.spectrum + 3.0 * (statistic == "spectrum"),
        )

    learnt, fresh = evidence(vectors(60, 0), seed=0), evidence(vectors(40, 1), seed=1)
    labels = [0] * 40 + [1] * 40
    for statistics in ((statistic,), ("mean", "spread", "spectrum")):
        scorer = ResidualMahalanobis(statistics)  # type: ignore[arg-type]
        scorer.fit(learnt, FOLD)
        judged = scores_of(scorer, fresh + [faulty(clip) for clip in fresh])
        assert roc_auc_score(labels, judged) > 0.9


def test_no_statistic_outvotes_another_by_its_unit() -> None:
    # A hundred times the spectrum is the same spectrum, also where it stands beside another statistic.
    def louder(clips: list[ClipEvidence]) -> list[ClipEvidence]:
        return [dataclasses.replace(clip, spectrum=100.0 * clip.spectrum) for clip in clips]

    learnt, fresh = evidence(vectors(60, 0), seed=0), evidence(vectors(40, 1), seed=1)
    one, other = ResidualMahalanobis(("mean", "spectrum")), ResidualMahalanobis(("mean", "spectrum"))
    one.fit(learnt, FOLD)
    other.fit(louder(learnt), FOLD)
    np.testing.assert_allclose(scores_of(one, fresh), scores_of(other, louder(fresh)), rtol=1e-6)


def test_more_is_shrunk_where_clips_of_a_session_are_alike() -> None:
    fold = np.arange(200) // 20
    alone = vectors(200, 0)
    # Sessions of twenty clips that are all but copies: ten observations, not two hundred.
    copies = np.repeat(vectors(10, 1), 20, axis=0) + 0.05 * vectors(200, 2)
    assert likeliest_shrinkage(copies, fold) > 4 * likeliest_shrinkage(alone, fold)


def test_shrinking_by_folds_beats_trusting_correlated_clips() -> None:
    sessions = (np.arange(120) // 20).tolist()
    learnt = vectors(120, 0, sessions, session_effect=1.0)
    fresh = vectors(200, 1, list(range(200)), session_effect=1.0)
    labels, bump = [0] * 200 + [1] * 200, np.where(np.arange(MELS) == 5, 3.5, 0.0)
    found = []
    for fold in (np.array(sessions), None):
        scorer = ResidualMahalanobis()
        scorer.fit(evidence(learnt), fold)
        found.append(roc_auc_score(labels, scores_of(scorer, evidence(np.concatenate([fresh, fresh + bump])))))
    assert found[0] > found[1]


@pytest.mark.parametrize("count", [2, 3, 5])
def test_a_handful_of_clips_gives_finite_scores(count: int) -> None:
    for fold in (None, np.zeros(count, np.int64), np.arange(count)):
        scorer = ResidualMahalanobis()
        scorer.fit(evidence(vectors(count, 0)), fold)
        assert np.isfinite(scores_of(scorer, evidence(vectors(10, 1)))).all()


def test_clips_that_are_all_equal_give_finite_scores() -> None:
    rows = np.tile(vectors(1, 0), (20, 1))
    for fold in (None, np.arange(20) // 5):
        scorer = ResidualMahalanobis()
        scorer.fit(evidence(rows), fold)
        same, other = scorer.score(evidence(rows[:1])[0]), scorer.score(evidence(rows[:1] + 1.0)[0])
        assert np.isfinite([same, other]).all() and other > same


def test_state_brings_back_the_very_scorer() -> None:
    fitted, loaded = (ResidualMahalanobis(("mean", "spread")) for _ in range(2))
    fitted.fit(evidence(vectors(60, 0)), FOLD)
    loaded.load_state(fitted.state())
    clips = evidence(vectors(10, 1))
    assert np.array_equal(scores_of(fitted, clips), scores_of(loaded, clips))


def test_a_state_that_does_not_fit_is_refused() -> None:
    fitted = ResidualMahalanobis()
    fitted.fit(evidence(vectors(60, 0)), FOLD)
    state = fitted.state()
    for name, value in state.items():
        rest = {key: array for key, array in state.items() if key != name}
        broken = value.copy()
        broken.flat[0] = np.nan
        for wrong in (rest, state | {"more": value}, state | {name: broken}, state | {name: value[:-1]}):
            with pytest.raises(BundleError):
                ResidualMahalanobis().load_state(wrong)


def test_nothing_is_said_before_learning() -> None:
    scorer = ResidualMahalanobis()
    with pytest.raises(NotFittedError):
        scorer.score(evidence(vectors(1, 0))[0])
    with pytest.raises(NotFittedError):
        scorer.state()


def test_scorers_by_name() -> None:
    assert isinstance(make_scorer("paper", gwrp_r=0.5), Paper)
    assert isinstance(make_scorer("residual_mahalanobis", statistics=("spread",)), ResidualMahalanobis)
    with pytest.raises(ValueError, match="residual_mahalanobis, paper"):
        make_scorer("typo")


def test_a_residual_that_is_not_trusted_does_not_count_beside_the_spectrum() -> None:
    learnt, fresh = evidence(vectors(60, 0), seed=0), evidence(vectors(20, 1), seed=1)
    both, spectrum = ResidualMahalanobis(("mean", "spectrum")), ResidualMahalanobis(("spectrum",))
    crossed = both.cross_fit(learnt, FOLD, trust=0.0)
    assert np.corrcoef(crossed, spectrum.cross_fit(learnt, FOLD))[0, 1] == pytest.approx(1.0)
    faulty = [dataclasses.replace(clip, residual_mean=clip.residual_mean + 50.0) for clip in fresh]
    np.testing.assert_allclose(scores_of(both, faulty), scores_of(both, fresh))
    both.cross_fit(learnt, FOLD, trust=0.5)
    assert (scores_of(both, faulty) > 5.0 * scores_of(both, fresh)).all()


def test_alone_a_residual_is_all_there_is_whatever_it_is_worth() -> None:
    learnt = evidence(vectors(60, 0))
    np.testing.assert_allclose(
        ResidualMahalanobis().cross_fit(learnt, FOLD, trust=0.3), ResidualMahalanobis().cross_fit(learnt, FOLD)
    )
