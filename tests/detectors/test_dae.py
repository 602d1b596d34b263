"""What is particular to the autoencoders: when they stop, what they hide, what they corrupt."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from small_detectors import FRAMES, MELS, SHAPE, normal

from acoustic_ad.detectors.dae import DaeOptions, DenoisingAutoencoder
from acoustic_ad.detectors.mahalanobis import Mahalanobis, MahalanobisOptions
from acoustic_ad.errors import TrainingError, UsageError

CLEAN = {"noise": 0.0, "mask_frames": 0.0, "mask_bands": 0.0}
CENTRE = FRAMES // 2


def make(**options: Any) -> DenoisingAutoencoder:
    """A small autoencoder on 5 frames of 16 bands."""
    small = {"hidden": 32, "layers": 1, "latent": 4, "steps": 60, "batch_size": 64, "check_every_steps": 20}
    return DenoisingAutoencoder(DaeOptions(**(small | options)), SHAPE)


def noise(count: int, seed: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Patches without any structure: whatever is learnt of them is learnt by heart."""
    return np.random.default_rng(seed).standard_normal((count, *SHAPE)).astype(np.float32)


def held_out_error(detector: DenoisingAutoencoder, patches: np.ndarray[Any, Any]) -> float:
    return float(np.square(detector.reconstruct(patches) - patches).mean())


def test_training_ends_when_held_out_clips_gain_no_more() -> None:
    detector = make(**CLEAN, hidden=128, latent=32, steps=600, check_every_steps=10, patience_checks=3)
    held_out = noise(200, seed=1)
    training = detector.fit(noise(40, seed=0), held_out)
    losses = [report.held_out_loss for report in training.curve]
    best = int(np.argmin(losses))
    assert training.curve[-1].step < 600, "no early stop on patches that can only be learnt by heart"
    assert training.steps == training.curve[best].step
    assert len(losses) - 1 - best == 3, "stops after `patience_checks` checks without a gain"
    assert training.curve[-1].loss < training.curve[0].loss


def test_the_weights_of_the_best_check_are_kept() -> None:
    detector = make(**CLEAN, hidden=128, latent=32, steps=300, check_every_steps=10)
    held_out = noise(200, seed=1)
    training = detector.fit(noise(40, seed=0), held_out)
    best = min(report.held_out_loss for report in training.curve)
    assert held_out_error(detector, held_out) == pytest.approx(best, rel=1e-5)
    assert training.curve[-1].held_out_loss > best


def test_checking_does_not_disturb_learning() -> None:
    stopped, counted = make(steps=100), make(steps=100)
    training = stopped.fit(normal(8, seed=0), normal(4, seed=1))
    counted.fit(normal(8, seed=0), steps=training.steps)
    for name, value in stopped.state().items():
        assert np.array_equal(value, counted.state()[name]), name


@pytest.mark.parametrize("steps", [1, 7, 60])
def test_steps_are_honoured(steps: int) -> None:
    training = make().fit(normal(4, seed=0), steps=steps)
    assert training.steps == training.curve[-1].step == training.curve[-1].steps == steps
    assert np.isnan(training.curve[-1].held_out_loss)


def test_without_held_out_clips_all_steps_are_taken() -> None:
    assert make(patience_checks=1, check_every_steps=5).fit(normal(4, seed=0)).steps == 60


def test_the_centre_frame_is_never_seen() -> None:
    detector, patches = make(predict="centre"), normal(4, seed=2)
    detector.fit(normal(20, seed=0))
    other = patches.copy()
    other[:, CENTRE] = noise(len(other), seed=3)[:, 0] * 10.0
    assert np.array_equal(detector.reconstruct(patches), detector.reconstruct(other))
    ours, theirs = detector.evidence(patches), detector.evidence(other)
    assert np.array_equal(ours.latent, theirs.latent)
    assert (theirs.score > ours.score).mean() > 0.95, "the centre frame is what is judged"


def test_the_neighbours_of_the_centre_are_seen_and_not_judged() -> None:
    detector, patches = make(predict="centre"), normal(4, seed=2)
    detector.fit(normal(20, seed=0))
    other = patches.copy()
    other[:, 0] += 1.0
    assert not np.array_equal(detector.reconstruct(patches)[:, CENTRE], detector.reconstruct(other)[:, CENTRE])
    evidence = detector.evidence(patches)
    residual = patches[:, CENTRE] - detector.reconstruct(patches)[:, CENTRE]
    np.testing.assert_allclose(evidence.residual, residual, atol=1e-5)
    np.testing.assert_allclose(evidence.score, np.square(residual).mean(axis=1), rtol=1e-4)


def test_without_a_mask_all_frames_are_seen_and_judged() -> None:
    detector, patches = make(), normal(4, seed=2)
    detector.fit(normal(20, seed=0))
    evidence, residual = detector.evidence(patches), patches - detector.reconstruct(patches)
    np.testing.assert_allclose(evidence.residual, residual.mean(axis=1), atol=1e-5)
    np.testing.assert_allclose(evidence.score, np.square(residual).mean(axis=(1, 2)), rtol=1e-4)
    other = patches.copy()
    other[:, CENTRE] += 1.0
    assert not np.array_equal(detector.reconstruct(patches), detector.reconstruct(other))


@pytest.mark.parametrize("corruption", [{"noise": 1.0}, {"mask_frames": 0.9}, {"mask_bands": 0.9}])
def test_corruption_changes_training_only(corruption: dict[str, float]) -> None:
    clean, corrupted, patches = make(**CLEAN), make(**CLEAN | corruption, mask_band_width=4), normal(4, seed=2)
    for detector in (clean, corrupted):
        detector.fit(normal(20, seed=0))
    assert not np.array_equal(clean.evidence(patches).score, corrupted.evidence(patches).score)
    # The very same weights without any corruption in the options say the very same of every patch, whatever the dice.
    plain = make(**CLEAN)
    plain.load_state(corrupted.state())
    torch.manual_seed(5)
    first = corrupted.evidence(patches)
    torch.manual_seed(6)
    assert np.array_equal(first.score, corrupted.evidence(patches).score)
    assert np.array_equal(first.score, plain.evidence(patches).score)
    assert np.array_equal(corrupted.reconstruct(patches), plain.reconstruct(patches))


def test_a_hidden_band_is_filled_in_by_one_that_learnt_with_masks() -> None:
    # The sources of `normal` show in many bands, so that a hidden band can be told from the others.
    options = {"steps": 600, "layers": 2, "noise": 0.0, "mask_frames": 0.0, "mask_band_width": 2}
    plain, masked = make(**options, mask_bands=0.0), make(**options, mask_bands=0.9)
    patches = normal(10, seed=2)
    hidden = patches.copy()
    hidden[:, :, 0:2] = 0.0
    errors = []
    for detector in (plain, masked):
        detector.fit(normal(40, seed=0))
        errors.append(np.square(detector.reconstruct(hidden)[:, :, 0:2] - patches[:, :, 0:2]).mean())
    assert errors[1] < errors[0] and errors[1] < np.square(patches[:, :, 0:2]).mean()


def test_training_that_diverges_says_so() -> None:
    with pytest.raises(TrainingError, match=r"diverged at step \d+: lower detector.learning_rate"):
        make(learning_rate=1e30).fit(normal(4, seed=0))


def test_more_steps_restore_better() -> None:
    short, long, fresh = make(**CLEAN, steps=300), make(**CLEAN, steps=300), normal(10, seed=2)
    short.fit(normal(40, seed=0), steps=5)
    long.fit(normal(40, seed=0))
    assert held_out_error(long, fresh) < 0.7 * held_out_error(short, fresh)


def test_mahalanobis_needs_no_more_patches_than_it_takes() -> None:
    patches, fresh = normal(40, seed=0), normal(4, seed=1)
    few, all_of_them = (Mahalanobis(MahalanobisOptions(max_patches=n), SHAPE) for n in (400, 10_000))
    few.fit(patches)
    all_of_them.fit(patches)
    ours, theirs = few.evidence(fresh).score, all_of_them.evidence(fresh).score
    assert not np.array_equal(ours, theirs)
    assert np.corrcoef(ours, theirs)[0, 1] > 0.95
    # Squared Mahalanobis distances of normal patches average to the number of bands.
    assert theirs.mean() == pytest.approx(MELS, rel=0.25)


def test_a_centre_needs_neighbours() -> None:
    with pytest.raises(UsageError, match="patch_frames must be 3 or more"):
        DenoisingAutoencoder(DaeOptions(predict="centre"), (1, 16))
