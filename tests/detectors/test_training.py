"""The training loop that the networks share: what it measures on held-out patches, and what it reports."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from small_detectors import CASES, make, normal
from torch import Tensor

from acoustic_ad.detectors.training import HeldOut, loss_over

LEARNING = [case for case in CASES if not case.startswith(("mahalanobis", "recipe mahalanobis"))]


def first_element(patches: Tensor) -> Tensor:
    return patches[:, 0, 0]


def patches_of(values: np.ndarray) -> np.ndarray:
    """Patches [N, 2, 3] that hold their value throughout."""
    return np.broadcast_to(values[:, None, None], (len(values), 2, 3)).astype(np.float32)


@pytest.mark.parametrize("batch_size", [1, 7, 100, 4096])
def test_mean_and_standard_deviation_do_not_depend_on_the_batch(batch_size: int) -> None:
    values = 1000.0 + np.random.default_rng(0).standard_normal(100).astype(np.float32)
    found = loss_over(patches_of(values), first_element, batch_size=batch_size)
    assert found == pytest.approx((values.mean(dtype=float), values.std(dtype=float)), rel=1e-9)


def test_few_of_many_patches_are_spread_over_all() -> None:
    found = loss_over(patches_of(np.arange(1001)), first_element, limit=11)
    assert found == HeldOut(500.0, pytest.approx(np.std(np.arange(0, 1001, 100))))


def test_one_answer_to_everything_has_no_spread() -> None:
    assert loss_over(patches_of(np.arange(50)), lambda x: torch.full((len(x),), 0.1)).spread == 0.0


@pytest.mark.parametrize("case", LEARNING)
def test_every_check_has_the_spread_of_the_held_out_patches(case: str) -> None:
    training = make(case).fit(normal(8, seed=0), normal(4, seed=1), steps=30)
    assert training.curve
    assert all(np.isfinite(point.held_out_spread) and point.held_out_spread > 0 for point in training.curve)
    alone = make(case).fit(normal(8, seed=0), steps=30)
    assert all(np.isnan([point.held_out_loss, point.held_out_spread]).all() for point in alone.curve)
