"""Variational autoencoder, dense on a few frames or convolutional on many."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from acoustic_ad.detectors.adversary import (
    Discriminator,
    accuracy,
    discriminator_loss,
    feature_distance,
    gradient_penalty,
    speckled,
)
from acoustic_ad.detectors.base import (
    FloatArray,
    PatchSource,
    ProgressCallback,
    State,
    Training,
    register,
)
from acoustic_ad.detectors.conv import ConvDecoder, ConvEncoder
from acoustic_ad.detectors.corruption import CorruptionOptions, corrupted
from acoustic_ad.detectors.folding import DenseUnscored, Unscored
from acoustic_ad.detectors.network import NetworkDetector
from acoustic_ad.detectors.stages import CONV_SCORING_BATCH, Over
from acoustic_ad.detectors.training import (
    SCORING_BATCH,
    TrainingOptions,
    decay,
    descend,
    loss_over,
    reproducible,
    seeded,
    to_tensor,
    train,
)

# exp of these are the smallest and largest variances that a code or an output band may have, in normalised units.
LOG_VARIANCE_RANGE = (-8.0, 4.0)
OUTPUT_LOG_VARIANCE_RANGE = (-4.0, 2.0)
ADVERSARY_WIDTH, ADVERSARY_STAGES = 8, 3
HELD_OUT_CONV_PATCHES = 1000  # more would take longer to check than to learn


class VaeOptions(TrainingOptions, CorruptionOptions):
    """Shape of the network, the weights of its loss, and what is done to its input in training."""

    net: Literal["dense", "conv"] = "dense"
    hidden: int = Field(128, ge=1)  # dense: units of a layer
    layers: int = Field(1, ge=1)  # dense: hidden layers on each side of the code
    over: Over = "time"  # conv: along time with bands as channels, or over both axes
    width: int = Field(128, ge=1, le=256)  # conv: channels (over both axes: of the first stage, doubled in each)
    stages: int = Field(2, ge=1, le=6)  # conv: halvings
    latent: int = Field(16, ge=1)
    beta: float = Field(1.0, ge=0)  # weight of the KL term
    warm_up_steps: int = Field(0, ge=0)  # over which beta rises from 0
    learn_variance: bool = False  # of each output band; else it is 1
    adversarial: float = Field(0.0, ge=0)  # weight of the distance of a discriminator's features


@register("vae")
class VariationalAutoencoder(NetworkDetector):
    """Kingma & Welling (arXiv 1312.6114): a normal posterior per patch, linear heads for its mean and log-variance.

    With noise or masks it learns to restore clean patches (arXiv 1511.06406). Paper score: -ELBO at the posterior mean
    in place of a sample, so that it is deterministic: half the squared error over the output variance (and half the log
    of that variance above its floor, where it is learnt), plus the KL divergence to the standard normal, in nats per
    element of the patch. Fails where the fault is as easy to encode as normal sound: score the residual statistically.
    """

    Options = VaeOptions
    _network: _Network

    def __init__(self, options: VaeOptions, patch_shape: tuple[int, int], seed: int = 0) -> None:
        self.options = options
        self.patch_shape = patch_shape
        self._seed = seed
        self._batch = CONV_SCORING_BATCH if options.net == "conv" else SCORING_BATCH
        with seeded(seed):
            self._network = _Network(options, patch_shape)

    def fit(
        self,
        patches: PatchSource,
        held_out: PatchSource | None = None,
        *,
        steps: int | None = None,
        start: State | None = None,
        progress: ProgressCallback | None = None,
    ) -> Training:
        """Learn patches [N, frames, mels]; stops early on the -ELBO of `held_out` (with the full beta throughout)."""
        limit = HELD_OUT_CONV_PATCHES if self.options.net == "conv" else 20_000
        with reproducible(self._seed) as rng:
            self._network = network = _Network(self.options, self.patch_shape)
            if start is not None:
                self.load_state(start)

            def loss_of(x: Tensor) -> Tensor:
                restored, mean, log_variance = network(x)
                return network.negative_elbo(restored, mean, log_variance, x, self.options.beta)

            held_out_loss = None if held_out is None else lambda: loss_over(held_out, loss_of, limit, self._batch)
            training = train(
                network, self._learner(), held_out_loss, patches, self.options, rng, steps=steps, progress=progress
            )
        self._fitted = True
        return training

    def module(self) -> nn.Module:
        """As `Detector.module`."""
        self._check_fitted()
        return _Judging(self._network).eval()

    def unscored(self) -> nn.Module:
        """As `NetworkDetector.unscored`."""
        network, frames = self._network, torch.ones(self.patch_shape[0])
        if isinstance(network.decoder, nn.Sequential):
            return DenseUnscored(network.encoder, network.decoder, self.options.latent, frames, frames)
        return Unscored(network.encoder, network.decoder, self.options.latent)

    def reconstruct(self, patches: FloatArray) -> FloatArray:
        """The patches [N, frames, mels] as decoded from their posterior means."""
        self._check_fitted()
        starts = range(0, len(patches), self._batch)
        with torch.inference_mode():
            parts = [self._network(to_tensor(patches[start : start + self._batch]))[0] for start in starts]
        return np.asarray(torch.cat(parts).numpy())

    def _learner(self) -> Callable[[Tensor, int], Mapping[str, float]]:
        """One step of training; the discriminator, where there is one, lives no longer than that."""
        options, network = self.options, self._network
        optimiser = torch.optim.Adam(network.parameters(), lr=options.learning_rate)
        adversary = _Adversary(options, self.patch_shape) if options.adversarial else None

        def learn(x: Tensor, step: int) -> Mapping[str, float]:
            """One step on patches x [n, frames, mels]; the losses by name."""
            beta = options.beta * min(1.0, step / options.warm_up_steps) if options.warm_up_steps else options.beta
            mean, log_variance = network.posterior(corrupted(x, options))
            restored = network.decode(mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean))
            kl = network.kl(mean, log_variance).mean()
            loss = elbo = network.negative_elbo(restored, mean, log_variance, x, beta).mean()
            rate = options.learning_rate * decay(step, options)
            losses = {"reconstruction": (elbo - beta * kl).item(), "kl": kl.item()}
            if adversary is not None:
                losses |= adversary.learn(x, restored.detach(), rate)
                adversarial = adversary.distance(x, restored)
                losses["adversarial"] = adversarial.item()
                loss = elbo + options.adversarial * adversarial
            descend(optimiser, loss, rate)
            return {"loss": loss.item(), **losses}

        return learn


class _Network(nn.Module):
    """Encoder with two linear heads, and decoder. In evaluation mode `forward` decodes the posterior mean."""

    def __init__(self, options: VaeOptions, patch_shape: tuple[int, int]) -> None:
        super().__init__()
        self._shape = patch_shape
        self._learn_variance = options.learn_variance
        size = patch_shape[0] * patch_shape[1]
        # Mean and log-variance heads side by side: no BatchNorm or ReLU on them, which would cut off half of all codes.
        self.encoder: nn.Module
        self.decoder: nn.Module
        if options.net == "conv":
            self.encoder = ConvEncoder(patch_shape, options.width, options.stages, 2 * options.latent, options.over)
            self.decoder = ConvDecoder(patch_shape, options.width, options.stages, options.latent, options.over)
        else:
            hidden = [options.hidden] * options.layers
            self.encoder = nn.Sequential(
                nn.Flatten(), *_dense([size, *hidden]), nn.Linear(hidden[-1], 2 * options.latent)
            )
            self.decoder = nn.Sequential(*_dense([options.latent, *hidden]), nn.Linear(hidden[-1], size))
        if options.learn_variance:
            self.output_log_variance = nn.Parameter(torch.zeros(patch_shape[1]))

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance, [n, latent] each."""
        mean, log_variance = self.encoder(x).chunk(2, dim=1)
        return mean, log_variance.clamp(*LOG_VARIANCE_RANGE)

    def decode(self, code: Tensor) -> Tensor:
        """Patches [n, frames, mels] of codes [n, latent]."""
        restored: Tensor = self.decoder(code)
        return restored.view(-1, *self._shape)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The patches as decoded from their posterior means, and the posterior's mean and log-variance."""
        mean, log_variance = self.posterior(x)
        return self.decode(mean), mean, log_variance

    def negative_elbo(self, restored: Tensor, mean: Tensor, log_variance: Tensor, x: Tensor, beta: float) -> Tensor:
        """[n], nats per element of the patch, constants left out; never negative.

        Both terms are sums over their dimensions, divided by the number of elements: the KL term is not averaged over
        the code, which would make it weigh many times too much.
        """
        square = (x - restored).square()
        if self._learn_variance:
            log_output = self.output_log_variance.clamp(*OUTPUT_LOG_VARIANCE_RANGE)
            square = square * torch.exp(-log_output) + (log_output - OUTPUT_LOG_VARIANCE_RANGE[0])
        return 0.5 * square.mean(dim=(1, 2)) + beta * self.kl(mean, log_variance)

    def kl(self, mean: Tensor, log_variance: Tensor) -> Tensor:
        """Divergence [n] of the posterior from the standard normal, nats per element of the patch."""
        nats = 0.5 * (mean.square() + log_variance.exp() - 1.0 - log_variance).sum(dim=1)
        return nats / (self._shape[0] * self._shape[1])


class _Judging(nn.Module):
    """Patches [n, frames, mels] -> -ELBO, residual, posterior mean."""

    def __init__(self, network: _Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        restored, mean, log_variance = self.network(x)
        return self.network.negative_elbo(restored, mean, log_variance, x, 1.0), (x - restored).mean(dim=1), mean


class _Adversary:
    """A small discriminator of reconstructions, with its optimiser."""

    def __init__(self, options: VaeOptions, patch_shape: tuple[int, int]) -> None:
        self._network = Discriminator(patch_shape, ADVERSARY_WIDTH, ADVERSARY_STAGES, norm="layer", spectral=True)
        self._optimiser = torch.optim.Adam(self._network.parameters(), lr=options.learning_rate, betas=(0.5, 0.999))

    def learn(self, x: Tensor, restored: Tensor, learning_rate: float) -> dict[str, float]:
        sound, fake = self._network(x)[1], self._network(speckled(restored, x))[1]
        loss = discriminator_loss(sound, fake)
        descend(self._optimiser, loss + gradient_penalty(self._network, x), learning_rate)
        return {"discriminator": loss.item(), "discriminator_accuracy": accuracy(sound, fake)}

    def distance(self, x: Tensor, restored: Tensor) -> Tensor:
        return feature_distance(self._network(x)[0], self._network(speckled(restored, x))[0])


def _dense(sizes: list[int]) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), nn.BatchNorm1d(outputs), nn.ReLU()]
    return layers
