"""From evidence to one number: scores that mean the same whatever the units, the order and the company they are in."""

from __future__ import annotations

import dataclasses
from typing import Any, get_args

import numpy as np
import pytest
from clip_evidence import MELS, STATISTICS, Array, evidence, moved, scores_of, vectors
from sklearn.covariance import LedoitWolf
from sklearn.metrics import roc_auc_score

from acoustic_ad.errors import BundleError, NotFittedError
from acoustic_ad.scores.clip_score import (
    CANDIDATES,
    FittedScores,
    Paper,
    Planted,
    ScorerKind,
    StatisticalScorer,
    make_scorer,
)
from acoustic_ad.scores.covariance import Correlations
from acoustic_ad.scores.evidence import ClipEvidence

FOLD = np.arange(60) // 12
KINDS = ("mahalanobis", "gaussian_mixture", "nearest_neighbour")
every_kind = pytest.mark.parametrize("kind", KINDS)


def scorer_of(*statistics: Any, kind: Any = "mahalanobis") -> StatisticalScorer:
    scorer = make_scorer(kind, statistics=statistics or ("residual",))
    assert isinstance(scorer, StatisticalScorer)
    return scorer


def planted(seed: int, **by: float | Array) -> Planted:
    """Sixty clips with a fault, one in each normal clip."""
    return Planted([moved(clip, **by) for clip in evidence(vectors(60, seed), seed)], np.arange(60))


def test_paper_pools_the_patch_scores_and_keeps_nothing() -> None:
    clip = dataclasses.replace(evidence(vectors(1, 0))[0], patch_scores=np.array([1.0, 5.0, 3.0]))
    louder = dataclasses.replace(clip, patch_scores=np.array([7.0]))
    scorer = Paper(gwrp_r=1.0)
    fitted = scorer.fit([clip, clip], np.array([0, 1]), planted=Planted([louder], np.array([0])))
    assert fitted.normal.tolist() == [3.0, 3.0] and fitted.planted.tolist() == [7.0]
    assert scorer.fit([clip], np.array([0])).planted.tolist() == []
    assert scorer.score(clip) == 3.0 and scorer.state() == {} and scorer.statistics == ()
    assert Paper(gwrp_r=1e-9).score(clip) == pytest.approx(5.0)
    scorer.load_state({})
    with pytest.raises(BundleError, match="location"):
        scorer.load_state({"location": np.zeros(3)})


@every_kind
def test_units_of_the_bands_do_not_matter(kind: str) -> None:
    units, offset = np.geomspace(0.5, 200.0, MELS), np.linspace(-5, 5, MELS)
    learnt, fresh = vectors(60, 0), vectors(40, 1)
    plain, scaled = scorer_of(kind=kind), scorer_of(kind=kind)
    plain.fit(evidence(learnt), FOLD)
    scaled.fit(evidence(learnt * units + offset), FOLD)
    np.testing.assert_allclose(
        scores_of(scaled, evidence(fresh * units + offset)), scores_of(plain, evidence(fresh)), rtol=1e-6
    )


@pytest.mark.parametrize("kind", ["mahalanobis", "nearest_neighbour"])  # a mixture begins at clips drawn at random
def test_the_order_of_clips_and_the_names_of_folds_do_not_matter(kind: str) -> None:
    rows, fresh = vectors(60, 0), evidence(vectors(20, 1))
    order = np.random.default_rng(3).permutation(60)
    one, other = scorer_of(kind=kind), scorer_of(kind=kind)
    first = one.fit(evidence(rows), FOLD).normal
    second = other.fit(evidence(rows[order]), 100 - 7 * FOLD[order]).normal
    np.testing.assert_allclose(first[order], second, rtol=1e-8)
    np.testing.assert_allclose(scores_of(one, fresh), scores_of(other, fresh), rtol=1e-8)


def test_direction_counts_and_size_does_not() -> None:
    # A fault where normal operation never goes is found although it is smaller than what is normal.
    learnt, fresh = vectors(100, 0), vectors(100, 1)
    across = np.linalg.svd(vectors(2000, 5))[2][-1]  # the direction that normal clips use least
    faulty = fresh + 2.5 * across
    scorer = scorer_of()
    scorer.fit(evidence(learnt), np.arange(100) // 10)
    labels = [0] * 100 + [1] * 100
    size = np.square(np.concatenate([fresh, faulty])).mean(axis=1)
    assert roc_auc_score(labels, scores_of(scorer, evidence(np.concatenate([fresh, faulty])))) > 0.9
    assert roc_auc_score(labels, size) < 0.65


@every_kind
def test_score_grows_with_the_fault(kind: str) -> None:
    scorer, bump = scorer_of(kind=kind), np.zeros(MELS)
    scorer.fit(evidence(vectors(60, 0)), FOLD)
    bump[7] = 1.0
    base = vectors(60, 0).mean(axis=0)
    scores = [scorer.score(evidence(np.array([base + height * bump]))[0]) for height in (0.0, 1.0, 2.0, 4.0, 8.0)]
    assert scores == sorted(scores) and scores[-1] > 3.0


@pytest.mark.parametrize("statistic", STATISTICS)
def test_each_statistic_sees_its_own_fault_and_all_together_every_one(statistic: str) -> None:
    step = {"residual": 2.0, "spectrum": 3.0, "latent": 10.0}.get(statistic, 0.5)
    learnt, fresh = evidence(vectors(60, 0), seed=0), evidence(vectors(40, 1), seed=1)
    labels = [0] * 40 + [1] * 40
    others = {"residual", "residual_spread", "spectrum"} - {statistic}
    for statistics, least in (((statistic,), 0.9), ((statistic, *sorted(others)), 0.9), (tuple(sorted(others)), None)):
        scorer = scorer_of(*statistics)
        scorer.fit(learnt, FOLD)
        found = roc_auc_score(labels, scores_of(scorer, fresh + [moved(clip, **{statistic: step}) for clip in fresh]))
        assert found > least if least else found == pytest.approx(0.5), (
            "whoever is not asked about a statistic is deaf to it"
        )


@pytest.mark.parametrize("statistic", STATISTICS)
def test_no_statistic_outvotes_another_by_its_unit(statistic: str) -> None:
    # A hundred times the spectrum is the same spectrum, also where it stands beside another statistic.
    def louder(clips: list[ClipEvidence]) -> list[ClipEvidence]:
        return [moved(clip, **{statistic: 99.0 * clip.statistics[statistic]}) for clip in clips]

    learnt, fresh = evidence(vectors(60, 0), seed=0), evidence(vectors(40, 1), seed=1)
    one, other = (scorer_of("residual", "spectrum", statistic) for _ in range(2))
    one.fit(learnt, FOLD)
    other.fit(louder(learnt), FOLD)
    np.testing.assert_allclose(scores_of(one, fresh), scores_of(other, louder(fresh)), rtol=1e-6)


def test_shrinking_by_folds_beats_trusting_correlated_clips() -> None:
    sessions = np.arange(120) // 20
    learnt = vectors(120, 0, sessions.tolist(), session_effect=1.0)
    fresh = vectors(200, 1, list(range(200)), session_effect=1.0)
    labels, bump = [0] * 200 + [1] * 200, np.where(np.arange(MELS) == 5, 3.5, 0.0)
    tested = np.concatenate([fresh, fresh + bump])
    scorer = scorer_of()
    scorer.fit(evidence(learnt), sessions)
    found = Correlations.of(learnt)
    trusting = found.whitening(float(LedoitWolf().fit((learnt - found.mean) / found.deviation).shrinkage_))
    alone = np.square((tested - found.mean) @ trusting).sum(axis=1)
    assert roc_auc_score(labels, scores_of(scorer, evidence(tested))) > roc_auc_score(labels, alone)


@every_kind
@pytest.mark.parametrize("count", [4, 5, 6])
def test_a_handful_of_clips_gives_finite_scores(kind: str, count: int) -> None:
    for fold in (np.arange(count) % 2, np.arange(count)):
        scorer = scorer_of(kind=kind)
        assert np.isfinite(scorer.fit(evidence(vectors(count, 0)), fold).normal).all()
        assert np.isfinite(scores_of(scorer, evidence(vectors(10, 1)))).all()


def test_one_fold_is_refused_rather_than_judged_by_itself() -> None:
    with pytest.raises(ValueError, match="one fold"):
        scorer_of().fit(evidence(vectors(60, 0)), np.zeros(60, np.int64))


@every_kind
def test_what_is_planted_is_judged_as_its_clip_is(kind: str) -> None:
    learnt, scorer = evidence(vectors(60, 0)), scorer_of("residual", "spectrum", kind=kind)
    found = scorer.fit(learnt, FOLD, Planted(learnt[::-1], np.arange(60)[::-1].copy()))
    np.testing.assert_allclose(found.planted, found.normal[::-1], rtol=1e-9)
    assert scorer.fit(learnt, FOLD).planted.shape == (0,)
    np.testing.assert_array_equal(scorer.fit(learnt, FOLD).normal, found.normal)


def test_scorers_by_name() -> None:
    assert isinstance(make_scorer("paper", gwrp_r=0.5), Paper)
    for kind in KINDS:
        assert scorer_of("spectrum", "power", kind=kind).components == (("spectrum", kind), ("power", kind))
    assert scorer_of(kind="auto").components is None and scorer_of(kind="auto").statistics == STATISTICS
    assert {*KINDS, "paper", "auto"} == set(get_args(ScorerKind))
    with pytest.raises(ValueError, match=r"'typo'.*mahalanobis.*paper"):
        make_scorer("typo")  # type: ignore[arg-type]


def weights_of(scorer: StatisticalScorer) -> dict[str, float]:
    return {key.partition(".")[0]: float(value[0]) for key, value in scorer.state().items() if key.endswith("weight")}


def test_a_statistic_that_differs_from_recording_to_recording_counts_for_little() -> None:
    """A speed of its own in every recording: what left-out recordings say of the spectrum is all over the place."""
    speeds = np.repeat([0.0, 0.1, -0.1, 3.0, -4.0, 6.0], 10)  # of sixty clips; FOLD keeps tens together
    direction = np.random.default_rng(5).standard_normal(vectors(1, 0).shape[1])
    learnt = [
        moved(clip, spectrum=10.0 * speed * direction)
        for clip, speed in zip(evidence(vectors(60, 0), seed=0), speeds, strict=True)
    ]
    faulty = Planted([moved(clip, spectrum=3.0 * direction, modulation=3.0) for clip in learnt], np.arange(60))
    both = scorer_of("modulation", "spectrum")
    both.fit(learnt, np.arange(60) // 10, faulty)
    weights = weights_of(both)
    assert sum(weights.values()) == pytest.approx(2.0) and weights["spectrum"] < 0.5 * weights["modulation"]


def test_a_statistic_that_finds_nothing_of_what_was_planted_counts_for_little() -> None:
    scorer = scorer_of("residual", "modulation", "power")
    scorer.fit(evidence(vectors(60, 0), 0), FOLD, planted(0, residual=3.0, power=3.0))
    weights = weights_of(scorer)
    assert sum(weights.values()) == pytest.approx(3.0)
    assert weights["modulation"] < 0.3 * min(weights["residual"], weights["power"])


def test_where_nothing_was_planted_or_found_every_statistic_counts_the_same() -> None:
    scorer, learnt = scorer_of("residual", "modulation"), evidence(vectors(60, 0), 0)
    scorer.fit(learnt, FOLD)
    assert weights_of(scorer) == {"residual": 1.0, "modulation": 1.0}
    centre = moved(
        learnt[0],
        **{
            name: np.mean([c.statistics[name] for c in learnt], axis=0) - learnt[0].statistics[name]
            for name in ("residual", "modulation")
        },
    )
    scorer.fit(learnt, FOLD, Planted([centre], np.array([0])))
    assert weights_of(scorer) == {"residual": 1.0, "modulation": 1.0}


def test_clouds_stand_beside_the_other_statistics() -> None:
    scorer = make_scorer("nearest_neighbour", statistics=("residual",), clouds=("modulation",))
    assert isinstance(scorer, StatisticalScorer)
    assert scorer.components == (("residual", "nearest_neighbour"), ("modulation", "mahalanobis"))


# --- auto ------------------------------------------------------------------------------------------------------------


def test_auto_chooses_from_every_statistic_and_backend() -> None:
    assert {statistic for statistic, _ in CANDIDATES} == set(STATISTICS)
    assert {name for _, name in CANDIDATES} == set(KINDS) and len(set(CANDIDATES)) == len(CANDIDATES)


def auto(**by: float | Array) -> tuple[StatisticalScorer, FittedScores]:
    scorer = scorer_of(kind="auto")
    return scorer, scorer.fit(evidence(vectors(60, 0)), FOLD, planted(7, **by))


@pytest.mark.parametrize("statistic", [name for name in STATISTICS if name not in ("residual", "spectrum", "latent")])
def test_auto_takes_the_statistic_that_finds_what_was_planted(statistic: str) -> None:
    step = np.where(np.arange(MELS) == 3, 0.6, 0.0)
    scorer, found = auto(**{statistic: step})
    assert scorer.chosen[0][0] == statistic and len(scorer.chosen) <= 3
    assert np.median(found.planted) > np.quantile(found.normal, 0.9)
    fresh = evidence(vectors(40, 1), seed=1)
    scores = scores_of(scorer, fresh + [moved(clip, **{statistic: step}) for clip in fresh])
    assert roc_auc_score([0] * 40 + [1] * 40, scores) > 0.85


def test_auto_looks_at_planted_faults_and_at_nothing_else() -> None:
    with pytest.raises(NotFittedError, match="nothing was planted"):
        scorer_of(kind="auto").fit(evidence(vectors(60, 0)), FOLD)
    step = np.where(np.arange(MELS) == 3, 0.6, 0.0)
    scorer, _ = auto(power=step)
    other = scorer_of(kind="auto")
    learnt = [dataclasses.replace(clip, patch_scores=clip.patch_scores * 0.0) for clip in evidence(vectors(60, 0))]
    other.fit(learnt, FOLD, planted(7, power=step))
    assert other.chosen == scorer.chosen


def test_auto_passes_over_statistics_of_no_width() -> None:
    def without_code(clips: list[ClipEvidence]) -> list[ClipEvidence]:
        return [dataclasses.replace(clip, statistics={**clip.statistics, "latent": np.zeros(0)}) for clip in clips]

    scorer = scorer_of(kind="auto")
    faulty = Planted(without_code(list(planted(7, residual=2.0).clips)), np.arange(60))
    scorer.fit(without_code(evidence(vectors(60, 0))), FOLD, faulty)
    assert scorer.chosen and all(statistic != "latent" for statistic, _ in scorer.chosen)
