"""A clip scorer's arrays bring back the very scorer, and nothing else is made of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from clip_evidence import MELS, evidence, moved, scores_of, vectors

from acoustic_ad.errors import BundleError, NotFittedError
from acoustic_ad.scores.clip_score import Planted, ScorerKind, StatisticalScorer, make_scorer

FOLD = np.arange(60) // 12
every_kind = pytest.mark.parametrize("kind", ["mahalanobis", "gaussian_mixture", "nearest_neighbour", "auto"])


def new(kind: ScorerKind) -> StatisticalScorer:
    scorer = make_scorer(kind, statistics=("residual", "power"))
    assert isinstance(scorer, StatisticalScorer)
    return scorer


def fitted(kind: ScorerKind) -> StatisticalScorer:
    scorer, learnt = new(kind), evidence(vectors(60, 0))
    rise = np.where(np.arange(MELS) < 3, 0.3, 0.0)
    scorer.fit(
        learnt, FOLD, 0.5, Planted([moved(clip, power=rise, spectrum=rise) for clip in learnt], np.arange(len(learnt)))
    )
    return scorer


@every_kind
def test_state_brings_back_the_very_scorer(kind: ScorerKind) -> None:
    scorer, loaded, clips = fitted(kind), new(kind), evidence(vectors(10, 1))
    loaded.load_state(scorer.state())
    assert np.array_equal(scores_of(scorer, clips), scores_of(loaded, clips))
    assert loaded.chosen == scorer.chosen and loaded.statistics == scorer.statistics
    state = scorer.state()
    assert loaded.state().keys() == state.keys()
    assert all(np.array_equal(value, state[name]) for name, value in loaded.state().items())


@every_kind
def test_a_state_that_does_not_fit_is_refused(kind: ScorerKind) -> None:
    state = fitted(kind).state()
    wrong: list[dict[str, Any]] = [{}, state | {"more": np.ones(3)}, state | {"residual.typo.unit": np.ones(1)}]
    wrong += [state | {"typo.mahalanobis.location": np.ones(3)}, state | {"power.mahalanobis.more": np.ones(1)}]
    for name, value in state.items():
        broken = value.copy()
        broken.flat[0] = np.nan
        wrong.append({key: array for key, array in state.items() if key != name})
        wrong += [state | {name: broken}, state | {name: value[:-1]}, state | {name: value[None]}]
        if name.endswith(".weight"):
            wrong += [state | {name: np.array([bad])} for bad in (-0.1, np.inf)] + [state | {name: np.ones(2)}]
    for hostile in wrong:
        with pytest.raises(BundleError):
            new(kind).load_state(hostile)


@every_kind
def test_a_scorer_that_would_hear_nothing_is_refused(kind: ScorerKind) -> None:
    state = fitted(kind).state()
    deaf = {name: np.zeros(1) if name.endswith(".weight") else value for name, value in state.items()}
    with pytest.raises(BundleError, match="all 0"):
        new(kind).load_state(deaf)


def test_a_state_of_other_statistics_or_another_backend_is_refused() -> None:
    state = fitted("mahalanobis").state()
    only = {name: value for name, value in state.items() if name.startswith("residual.")}
    for hostile in (only, state | {name.replace("power", "spectrum"): value for name, value in state.items()}):
        with pytest.raises(BundleError, match="needs"):
            new("mahalanobis").load_state(hostile)
    with pytest.raises(BundleError, match="needs"):
        new("nearest_neighbour").load_state(state)


def test_a_refused_state_leaves_the_scorer_as_it_was() -> None:
    scorer, clips = fitted("mahalanobis"), evidence(vectors(5, 1))
    before, state = scores_of(scorer, clips), scorer.state()
    with pytest.raises(BundleError):
        scorer.load_state(
            state | {"power.mahalanobis.location": np.zeros(3), "residual.mahalanobis.weight": np.ones(1)}
        )
    assert np.array_equal(scores_of(scorer, clips), before)


@every_kind
def test_nothing_is_said_before_learning(kind: ScorerKind) -> None:
    with pytest.raises(NotFittedError):
        new(kind).score(evidence(vectors(1, 0))[0])
    with pytest.raises(NotFittedError):
        new(kind).state()
