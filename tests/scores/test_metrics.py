"""Metrics one can trust: golden cases, other people's code, and the conventions of DCASE."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import hmean
from sklearn.metrics import (
    average_precision_score,
    f1_score,
    precision_score,
    recall_score,
    roc_auc_score,
    roc_curve,
)

from acoustic_ad.scores.metrics import (
    arithmetic_mean,
    at_threshold,
    auc,
    bootstrap_interval,
    harmonic_mean,
    pauc,
    separation,
)

GOLDEN: list[dict[str, Any]] = json.loads((Path(__file__).parent / "golden_metrics.json").read_text())
Labels = npt.NDArray[np.int64]
Scores = npt.NDArray[np.float64]


def test_there_are_golden_cases() -> None:
    assert len(GOLDEN) >= 7


@pytest.mark.parametrize("case", GOLDEN, ids=[case["name"] for case in GOLDEN])
def test_golden(case: dict[str, Any]) -> None:
    found = separation(case["labels"], case["scores"])
    assert (found.auc, found.pauc, found.ap) == pytest.approx((case["auc"], case["pauc"], case["ap"]), abs=1e-9)
    assert (found.n_normal, found.n_anomaly) == (case["labels"].count(0), case["labels"].count(1))


def example(seed: int, ties: bool, normals: int = 60, anomalies: int = 40) -> tuple[Labels, Scores]:
    rng = np.random.default_rng(seed)
    labels = np.repeat([0, 1], [normals, anomalies])
    scores = rng.standard_normal(len(labels)) + labels
    return labels, np.round(scores * 2) / 2 if ties else scores


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_equal_to_scikit_learn_and_to_the_definition(seed: int, ties: bool) -> None:
    labels, scores = example(seed, ties)
    found = separation(labels, scores)
    assert found.auc == pytest.approx(roc_auc_score(labels, scores))
    assert found.ap == pytest.approx(average_precision_score(labels, scores))
    assert found.pauc == pytest.approx(roc_auc_score(labels, scores, max_fpr=0.1))

    anomalies, normals = scores[labels == 1][:, None], scores[labels == 0][None, :]
    assert found.auc == pytest.approx(np.mean((anomalies > normals) + 0.5 * (anomalies == normals)))
    # McClish: 1/2 (1 + (area - chance) / (perfect - chance)), areas from 0 to 0.1 under the ROC curve.
    fpr, tpr, _ = roc_curve(labels, scores, drop_intermediate=False)
    grid = np.linspace(0.0, 0.1, 20_001)
    heights = np.interp(grid, fpr + 1e-12 * np.arange(len(fpr)), tpr)
    area = float(np.sum((heights[1:] + heights[:-1]) / 2) * (grid[1] - grid[0]))
    assert found.pauc == pytest.approx(0.5 * (1 + (area - 0.005) / (0.1 - 0.005)), abs=1e-3)


def test_chance_is_one_half_for_auc_and_for_pauc() -> None:
    labels, scores = example(0, ties=False, normals=4000, anomalies=4000)
    noise = scores - labels
    assert auc(labels, noise) == pytest.approx(0.5, abs=0.03)
    assert pauc(labels, noise) == pytest.approx(0.5, abs=0.02)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 1000), st.booleans())
def test_only_the_ranks_count_and_higher_is_more_anomalous(seed: int, ties: bool) -> None:
    labels, scores = example(seed, ties)
    assert auc(labels, np.exp(scores)) == pytest.approx(auc(labels, scores))
    assert auc(labels, -scores) == pytest.approx(1.0 - auc(labels, scores))
    assert auc(labels, scores + 100.0 * labels) == pauc(labels, scores + 100.0 * labels) == 1.0


@pytest.mark.parametrize(
    ("labels", "scores", "message"),
    [
        ([0, 1], [1.0], "same length"),
        ([[0, 1]], [[1.0, 2.0]], "two lists"),
        ([0, 0], [1.0, 2.0], "both 0"),
        ([1, 1], [1.0, 2.0], "both 0"),
        ([0, 2], [1.0, 2.0], "both 0"),
        ([], [], "both 0"),
        ([0, 1, 1], [np.nan, 1.0, np.inf], "2 of 3 scores"),
    ],
)
def test_what_cannot_be_judged_is_refused(labels: Any, scores: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        separation(labels, scores)


def test_decisions_by_hand() -> None:
    found = at_threshold([0, 0, 0, 0, 1, 1, 1], [True, False, False, False, True, True, False])
    assert (found.precision, found.recall, found.false_positive_rate) == pytest.approx((2 / 3, 2 / 3, 1 / 4))
    assert found.f1 == pytest.approx(2 / 3)


@pytest.mark.parametrize("seed", range(5))
def test_decisions_equal_scikit_learn(seed: int) -> None:
    labels, scores = example(seed, ties=False)
    called = scores > 0.8
    found = at_threshold(labels, called)
    assert found.precision == pytest.approx(precision_score(labels, called))
    assert found.recall == pytest.approx(recall_score(labels, called))
    assert found.f1 == pytest.approx(f1_score(labels, called))
    assert found.false_positive_rate == pytest.approx(called[labels == 0].mean())


def test_precision_of_no_decision_is_unknown_not_zero() -> None:
    found = at_threshold([0, 0, 1], [False, False, False])
    assert (found.precision, found.recall, found.false_positive_rate, found.f1) == (None, 0.0, 0.0, 0.0)


def test_interval_holds_the_estimate_and_repeats_itself() -> None:
    labels, scores = example(1, ties=False)
    found = separation(labels, scores)
    low, high = found.auc_ci
    assert 0.0 <= low < found.auc < high <= 1.0
    assert separation(labels, scores).auc_ci == found.auc_ci
    assert separation(labels, scores, seed=1).auc_ci != found.auc_ci


def test_interval_narrows_with_more_clips() -> None:
    widths = []
    for factor in (1, 16):
        low, high = bootstrap_interval(*example(2, False, 30 * factor, 30 * factor), auc, rounds=300)
        widths.append(high - low)
    assert widths[1] < 0.45 * widths[0]


def test_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    truth = 0.7602  # P(N(1, 1) > N(0, 1)) = Phi(1 / sqrt 2)
    covered = [
        low <= truth <= high
        for low, high in (bootstrap_interval(*example(seed, False, 40, 40), auc, rounds=200) for seed in range(80))
    ]
    assert 0.85 <= np.mean(covered) <= 1.0


def test_whole_sessions_are_drawn() -> None:
    # Two recordings of a fault, one plain to hear and one not: forty clips, but only two observations.
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 0, 1, 1], 20)
    scores = rng.standard_normal(80) + np.repeat([0.0, 0.3, 0.2, 3.0], 20)
    sessions = np.repeat(["a", "b", "c", "d"], 20).tolist()
    by_clip, by_session = (bootstrap_interval(labels, scores, auc, groups) for groups in (None, sessions))
    assert by_session[1] - by_session[0] > 1.5 * (by_clip[1] - by_clip[0])
    drawn: set[tuple[int, ...]] = set()

    def spy(_: Labels, drawn_scores: Scores) -> float:
        drawn.add(tuple(np.isin(scores.reshape(4, 20), drawn_scores).sum(axis=1).tolist()))
        return 0.5

    bootstrap_interval(labels, scores, spy, sessions, rounds=50)
    assert all(count in (0, 20) for counts in drawn for count in counts)
    assert len(drawn) > 1


def test_every_round_holds_both_labels() -> None:
    labels, scores = np.array([0] * 30 + [1]), np.arange(31.0)
    assert bootstrap_interval(labels, scores, auc) == (1.0, 1.0)
    mixed = [number % 3 for number in range(31)]  # sessions that hold both labels, and some that do not
    assert bootstrap_interval(labels, scores, auc, mixed, rounds=100) == (1.0, 1.0)


def test_means_over_machines() -> None:
    values = [0.9, 0.6, 0.75]
    assert arithmetic_mean(values) == pytest.approx(0.75)
    assert harmonic_mean(values) == pytest.approx(hmean(values))
    assert harmonic_mean(values) < arithmetic_mean(values)
    assert harmonic_mean([1.0, 0.0]) == pytest.approx(0.0, abs=1e-12)
    for mean in (arithmetic_mean, harmonic_mean):
        with pytest.raises(ValueError, match="no values"):
            mean([])
