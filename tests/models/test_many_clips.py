"""Thousands of clips of one machine: all are learnt, some judge, and nothing is kept that grows with their square."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.covariance import LedoitWolf

from acoustic_ad.detectors import mahalanobis, training
from acoustic_ad.detectors.base import detector_class
from acoustic_ad.models import machine_sound
from acoustic_ad.models.machine_model import MachineModel
from acoustic_ad.models.machine_sound import MOST_JUDGED, chosen_to_judge
from acoustic_ad.recipe import parse_recipe
from acoustic_ad.scores import distances
from acoustic_ad.scores.backends import cross_fit
from acoustic_ad.scores.calibration import fold_of, numbered

RNG = np.random.default_rng(0)
RECIPE = parse_recipe(
    {
        "name": "m",
        "features": {"patch_frames": 1, "n_mels": 4},
        "detector": {"kind": "mahalanobis"},
        "scorer": {"kind": "nearest_neighbour"},
    },
    "m",
)


def test_all_clips_judge_until_there_are_very_many() -> None:
    assert np.array_equal(chosen_to_judge(np.arange(MOST_JUDGED) % 5), np.arange(MOST_JUDGED))
    fold = np.arange(7 * MOST_JUDGED) % 5
    fold[:3] = 5  # a fold of three clips
    needed = [3, 4, 7 * MOST_JUDGED - 1]
    chosen = chosen_to_judge(fold, needed)
    assert set(needed) < set(chosen.tolist()) and (np.diff(chosen) > 0).all()
    assert np.bincount(fold[chosen])[5] == 3
    assert (np.abs(np.bincount(fold[chosen])[:5] - MOST_JUDGED // 6) <= len(needed)).all()
    assert np.array_equal(chosen, chosen_to_judge(fold, needed))


@pytest.mark.parametrize("judged", [40, 1000])
def test_a_model_of_more_clips_than_judge_scores_as_one_that_all_judged(
    judged: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine_sound, "MOST_JUDGED", judged)
    rng = np.random.default_rng(1)
    clips = [rng.normal(-40.0, 3.0, (12, 4)).astype(np.float32) for _ in range(200)]
    model = MachineModel(RECIPE).fit(clips, [number // 5 for number in range(200)])
    assert model.calibration is not None and model.detector is not None
    assert len(model.calibration.scores) == min(judged, 200)
    assert np.allclose(model.detector.normaliser.mean, np.concatenate(clips).mean(axis=0)), "of all clips"
    faulty = clips[0] + np.array([0, 12, 0, 0], np.float32)
    assert model.score(faulty).p_value == pytest.approx(1 / (min(judged, 200) + 1))
    new = [rng.normal(-40.0, 3.0, (12, 4)).astype(np.float32) for _ in range(200)]
    assert np.mean([model.score(clip).p_value for clip in new]) == pytest.approx(0.5, abs=0.12)


def test_groups_are_numbered_alike_as_names_and_as_numbers() -> None:
    groups = RNG.integers(0, 30, 300)
    assert np.array_equal(numbered(groups), numbered([f"session {number}" for number in groups]))
    assert np.array_equal(fold_of(groups, 5), fold_of([f"session {number}" for number in groups], 5))


def test_patches_are_drawn_one_by_one_where_their_order_would_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "MOST_SHUFFLED", 100)
    drawn = training.batches(np.random.default_rng(0), 101, 30)
    index = np.concatenate([next(drawn) for _ in range(200)])
    assert index.min() == 0 and index.max() == 100
    shuffled = training.batches(np.random.default_rng(0), 90, 30)
    assert np.array_equal(np.sort(np.concatenate([next(shuffled) for _ in range(3)])), np.arange(90))


def test_covariance_gathered_in_pieces_is_that_of_ledoit_and_wolf(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mahalanobis, "SCORING_BATCH", 7)
    patches = RNG.normal(size=(60, 3, 8)).astype(np.float32) @ RNG.normal(size=(8, 8)).astype(np.float32)
    kind = detector_class("mahalanobis")
    detector = kind(kind.Options(), (3, 8))
    detector.fit(patches)
    theirs = LedoitWolf().fit(patches.mean(axis=1).astype(np.float64))
    assert np.allclose(detector.state()["mean"], theirs.location_)
    assert np.allclose(detector.state()["precision"], theirs.precision_, rtol=1e-9)


def test_neighbours_found_in_pieces_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, fold = RNG.normal(size=(60, 5)), np.arange(60) % 3
    whole = cross_fit("nearest_neighbour", vectors, fold)
    monkeypatch.setattr(distances, "MOST_DISTANCES", 170)
    pieces = cross_fit("nearest_neighbour", vectors, fold)
    assert np.allclose(whole.distances, pieces.distances) and whole.unit == pytest.approx(pieces.unit)
