"""GANomaly trains without its discriminator winning, and the paper's own form stays the paper's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from structured_patches import normal_patches, with_tone

from acoustic_ad.detectors.adversary import Discriminator, accuracy, gradient_penalty, speckled
from acoustic_ad.detectors.conv import ConvDecoder, ConvEncoder
from acoustic_ad.detectors.ganomaly import Ganomaly, GanomalyOptions
from acoustic_ad.errors import NotFittedError

SHAPE = (32, 32)
SMALL = {"width": 16, "d_width": 4, "latent": 8, "steps": 100, "batch_size": 16, "check_every_steps": 20}
PAPER = SMALL | {"form": "paper", "over": "both", "width": 4, "d_width": 8, "stages": 3, "learning_rate": 2e-4}


@pytest.fixture(scope="module")
def stable() -> tuple[Ganomaly, list[dict[str, float]]]:
    detector = Ganomaly(GanomalyOptions(**SMALL), SHAPE)
    training = detector.fit(normal_patches(400, SHAPE, seed=1), normal_patches(100, SHAPE, seed=2))
    return detector, [dict(point.losses) for point in training.curve]


def test_the_discriminator_does_not_win_by_default(stable: tuple[Ganomaly, list[dict[str, float]]]) -> None:
    # measured on training batches, where a discriminator that learns by heart looks better than it is
    accuracies = [losses["discriminator_accuracy"] for losses in stable[1]]
    assert accuracies and max(accuracies) < 0.95
    assert min(losses["discriminator"] for losses in stable[1]) > 0.2


def test_in_the_papers_form_it_does() -> None:
    training = Ganomaly(GanomalyOptions(**PAPER), SHAPE).fit(normal_patches(400, SHAPE, seed=1))
    assert training.curve[-1].losses["discriminator_accuracy"] > 0.99


def test_it_learns_and_points_at_a_tone(stable: tuple[Ganomaly, list[dict[str, float]]]) -> None:
    detector, losses = stable
    normal = normal_patches(100, SHAPE, seed=3)
    band = 20
    clean, faulty = detector.evidence(normal), detector.evidence(with_tone(normal, band, by=3.0))
    assert losses[-1]["context"] < 0.9 * losses[0]["context"]
    assert np.square(normal - detector.reconstruct(normal)).mean() < 0.8 * np.square(normal).mean()
    moved = (faulty.residual - clean.residual).mean(axis=0)
    assert moved.argmax() == band and moved[band] > 0.5


def test_the_score_is_the_distance_of_the_codes(stable: tuple[Ganomaly, list[dict[str, float]]]) -> None:
    detector, _ = stable
    patches = normal_patches(10, SHAPE, seed=3)
    evidence = detector.evidence(patches)
    restored = torch.from_numpy(detector.reconstruct(patches))
    with torch.no_grad():
        again = detector._network.second_encoder(restored).numpy()
    np.testing.assert_allclose(evidence.score, np.linalg.norm(evidence.latent - again, axis=1), rtol=1e-4)


def test_the_last_word_is_the_average_of_the_generator() -> None:
    options = SMALL | {"steps": 20}
    patches = normal_patches(100, SHAPE, seed=1)
    averaged, latest = (Ganomaly(GanomalyOptions(**options, ema=ema), SHAPE) for ema in (0.9, 0.0))
    for detector in (averaged, latest):
        detector.fit(patches)
    assert averaged.state().keys() == latest.state().keys()
    name = "decoder.layers.0.weight"
    assert not np.allclose(averaged.state()[name], latest.state()[name])
    np.testing.assert_allclose(averaged.state()[name], latest.state()[name], atol=0.05)


@pytest.mark.parametrize("shape", [(32, 128), (64, 64), (5, 32), (7, 13), (1, 16), (33, 2)])
@pytest.mark.parametrize("over", ["time", "both"])
def test_what_the_decoder_gives_has_the_size_of_the_patch(shape: tuple[int, int], over: str) -> None:
    encoder, decoder = ConvEncoder(shape, 4, 3, 6, over), ConvDecoder(shape, 4, 3, 6, over)  # type: ignore[arg-type]
    code = encoder(torch.zeros(3, *shape))
    assert code.shape == (3, 6) and decoder(code).shape == (3, *shape)


def test_speckle_makes_a_perfect_mean_look_like_sound() -> None:
    # what can be known (the mean) plus what cannot: another patch's deviation is as good as one's own
    rng = torch.Generator().manual_seed(0)
    mean = torch.randn(2000, 1, 8, generator=rng).expand(2000, 4, 8)
    sound = mean + torch.randn(2000, 4, 8, generator=rng)
    fake = speckled(mean, sound)
    assert fake.var() == pytest.approx(sound.var().item(), rel=0.05)
    assert mean.var() < 0.6 * sound.var()
    assert not torch.equal(fake, sound)


def test_speckle_lets_gradients_through_the_reconstruction_alone() -> None:
    restored = torch.zeros(4, 5, 6, requires_grad=True)
    speckled(restored, torch.ones(4, 5, 6)).sum().backward()
    assert restored.grad is not None and torch.equal(restored.grad, torch.ones(4, 5, 6))


def test_gradient_penalty_of_a_linear_logit_is_its_squared_slope() -> None:
    discriminator = Discriminator((4, 4), 2, 1, norm="layer", spectral=False)
    slope = torch.randn(16)

    class Linear(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return x, x.flatten(1) @ slope

    assert gradient_penalty(Linear(), torch.randn(3, 4, 4)).item() == pytest.approx(slope.square().sum().item())  # type: ignore[arg-type]
    assert gradient_penalty(discriminator, torch.randn(3, 4, 4)).item() > 0


def test_accuracy_counts_both_sides() -> None:
    assert accuracy(torch.tensor([1.0, 2.0]), torch.tensor([-1.0, 3.0])) == 0.75


def test_the_papers_form_takes_no_cures() -> None:
    with pytest.raises(ValidationError, match=r"has no ema, noise"):
        GanomalyOptions(form="paper", ema=0.9, noise=0.1)


def test_before_fitting_there_is_an_error() -> None:
    detector = Ganomaly(GanomalyOptions(**SMALL), SHAPE)
    with pytest.raises(NotFittedError):
        detector.evidence(np.zeros((1, *SHAPE), np.float32))
    with pytest.raises(NotFittedError):
        detector.state()
