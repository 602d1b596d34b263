"""The VAE's loss is an ELBO, its options do what they say, and its residual points at what is new."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from structured_patches import normal_patches, with_tone

from acoustic_ad.detectors.corruption import CorruptionOptions, corrupted
from acoustic_ad.detectors.vae import OUTPUT_LOG_VARIANCE_RANGE, VariationalAutoencoder
from acoustic_ad.errors import NotFittedError

DENSE = {"net": "dense", "hidden": 32, "latent": 4, "steps": 120, "batch_size": 64, "check_every_steps": 40}
CONV = {"net": "conv", "width": 16, "latent": 4, "steps": 120, "batch_size": 32, "check_every_steps": 40}
BOTH = CONV | {"over": "both", "width": 4, "stages": 3, "learning_rate": 3e-3}
FORMS = {
    "dense": (DENSE, (5, 32)),
    "time": (CONV, (32, 32)),
    "both": (BOTH, (32, 32)),
    "square": (BOTH | {"steps": 100, "batch_size": 16}, (64, 64)),
}


def fitted(options: dict[str, object], shape: tuple[int, int], seed: int = 0) -> VariationalAutoencoder:
    detector = VariationalAutoencoder(VariationalAutoencoder.Options(**options), shape, seed)
    detector.fit(normal_patches(400, shape, seed=1), normal_patches(100, shape, seed=2))
    return detector


@pytest.mark.parametrize("form", FORMS)
def test_every_form_learns_and_points_at_a_tone(form: str) -> None:
    options, shape = FORMS[form]
    detector = fitted(options, shape)
    normal = normal_patches(100, shape, seed=3)
    band = 20
    clean, faulty = detector.evidence(normal), detector.evidence(with_tone(normal, band, by=3.0))
    assert np.square(normal - detector.reconstruct(normal)).mean() < 0.9 * np.square(normal).mean()
    moved = (faulty.residual - clean.residual).mean(axis=0)
    assert moved.argmax() == band and moved[band] > 0.5
    assert faulty.score.mean() > clean.score.mean()


@pytest.mark.parametrize("form", FORMS)
def test_evidence_does_not_depend_on_the_batch(form: str) -> None:
    options, shape = FORMS[form]
    detector = fitted(options | {"steps": 10}, shape)
    patches = normal_patches(20, shape, seed=3)
    together, alone = detector.evidence(patches), detector.evidence(patches[7:8])
    for whole, one in (
        (together.score, alone.score),
        (together.residual, alone.residual),
        (together.latent, alone.latent),
    ):
        np.testing.assert_allclose(whole[7:8], one, rtol=1e-4, atol=1e-5)


def test_score_is_reconstruction_plus_divergence_in_nats_per_element() -> None:
    detector = fitted(DENSE | {"steps": 40}, (5, 32))
    patches = normal_patches(10, (5, 32), seed=3)
    network = detector._network
    with torch.no_grad():
        mean, log_variance = network.posterior(torch.from_numpy(patches))
        posterior = torch.distributions.Normal(mean, torch.exp(0.5 * log_variance))
        divergence = torch.distributions.kl_divergence(posterior, torch.distributions.Normal(0.0, 1.0)).sum(dim=1)
    squares = 0.5 * np.square(patches - detector.reconstruct(patches)).sum(axis=(1, 2))
    np.testing.assert_allclose(detector.evidence(patches).score, (squares + divergence.numpy()) / (5 * 32), rtol=1e-4)


def test_heads_reach_negative_means_and_small_variances() -> None:
    detector = fitted(DENSE, (5, 32))
    with torch.no_grad():
        mean, log_variance = detector._network.posterior(torch.from_numpy(normal_patches(200, (5, 32), seed=3)))
    assert mean.min() < -0.5 < 0.5 < mean.max()
    assert log_variance.min() < -1.0


def test_more_beta_means_fewer_nats_in_the_code() -> None:
    nats = [fitted(DENSE | {"beta": beta}, (5, 32)) for beta in (0.1, 10.0)]
    spreads = [detector.evidence(normal_patches(200, (5, 32), seed=3)).latent.std() for detector in nats]
    assert spreads[1] < 0.5 * spreads[0]


def test_warm_up_starts_without_the_divergence() -> None:
    options = DENSE | {"steps": 3, "check_every_steps": 1, "warm_up_steps": 1_000_000, "beta": 10.0}
    detector = VariationalAutoencoder(VariationalAutoencoder.Options(**options), (5, 32))
    curve = detector.fit(normal_patches(100, (5, 32), seed=1)).curve
    for point in curve:
        assert point.loss == pytest.approx(point.losses["reconstruction"], rel=1e-3)
    assert curve[-1].losses["kl"] > 0


def test_learnt_variance_finds_the_loud_bands_and_keeps_the_score_positive() -> None:
    patches = normal_patches(400, (5, 32), seed=1)
    rng = np.random.default_rng(0)
    patches[:, :, :8] += 2.0 * rng.standard_normal((400, 5, 8)).astype(np.float32)
    options = DENSE | {"learn_variance": True, "learning_rate": 1e-2, "steps": 200}
    detector = VariationalAutoencoder(VariationalAutoencoder.Options(**options), (5, 32))
    detector.fit(patches)
    log_variance = detector.state()["output_log_variance"]
    assert log_variance[:8].mean() > log_variance[8:].mean() + 0.5
    assert (detector.evidence(patches).score > 0).all()
    assert (log_variance > OUTPUT_LOG_VARIANCE_RANGE[0] - 1).all()


def test_adversary_is_trained_and_not_kept() -> None:
    plain = fitted(DENSE | {"steps": 40}, (5, 32))
    options = DENSE | {"steps": 40, "adversarial": 1.0}
    adversarial = VariationalAutoencoder(VariationalAutoencoder.Options(**options), (5, 32))
    training = adversarial.fit(normal_patches(400, (5, 32), seed=1))
    assert {"reconstruction", "kl", "adversarial", "discriminator", "discriminator_accuracy"} == set(
        training.curve[0].losses
    )
    assert adversarial.state().keys() == plain.state().keys()
    assert not np.allclose(adversarial.state()["decoder.0.weight"], plain.state()["decoder.0.weight"])


def test_corruption_leaves_the_share_it_should_alone() -> None:
    x = torch.ones(4000, 5, 32)
    hidden_frames = (corrupted(x, CorruptionOptions(mask_frames=0.25)) == 0).all(dim=2).any(dim=1).float().mean()
    hidden_bands = (corrupted(x, CorruptionOptions(mask_bands=0.5, mask_band_width=4)) == 0).all(dim=1).any(dim=1)
    assert hidden_frames == pytest.approx(0.25, abs=0.03)
    assert hidden_bands.float().mean() == pytest.approx(0.5, abs=0.03)
    assert (corrupted(x, CorruptionOptions(noise=0.5)) - x).std() == pytest.approx(0.5, abs=0.01)
    assert corrupted(x, CorruptionOptions()) is x


def test_before_fitting_there_is_an_error() -> None:
    detector = VariationalAutoencoder(VariationalAutoencoder.Options(), (5, 32))
    for call in (detector.evidence, detector.reconstruct):
        with pytest.raises(NotFittedError):
            call(np.zeros((1, 5, 32), np.float32))
    with pytest.raises(NotFittedError):
        detector.state()
