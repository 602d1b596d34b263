"""GANomaly on patches of the log-mel spectrogram: encoder, decoder, second encoder, and a discriminator."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Literal

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional

from acoustic_ad.detectors.adversary import (
    Discriminator,
    accuracy,
    discriminator_loss,
    feature_distance,
    gradient_penalty,
    moment_distance,
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
from acoustic_ad.detectors.folding import Unscored
from acoustic_ad.detectors.network import NetworkDetector
from acoustic_ad.detectors.stages import CONV_SCORING_BATCH, Over
from acoustic_ad.detectors.training import (
    TrainingOptions,
    decay,
    descend,
    loss_over,
    reproducible,
    seeded,
    to_tensor,
    train,
)

D_STAGES = 3
HELD_OUT_PATCHES = 1000  # more would take longer to check than to learn
ACCURACY_MEMORY = 0.1  # of the running accuracy: about ten batches
BETAS = (0.5, 0.999)  # of Adam; DCGAN found that the usual momentum of 0.9 makes GANs oscillate


class GanomalyOptions(TrainingOptions, CorruptionOptions):
    """Shape of the networks, the paper's weights, and what keeps the discriminator from winning at once."""

    steps: int = Field(500, ge=1)
    batch_size: int = Field(64, ge=2)
    learning_rate: float = Field(1e-3, gt=0)
    check_every_steps: int = Field(50, ge=1)

    form: Literal["stable", "paper"] = "stable"
    over: Over = "time"  # the axes that the generator convolves over; `time` has bands as channels
    width: int = Field(128, ge=1, le=256)  # channels (over both axes: of the first stage, doubled in each)
    stages: int = Field(2, ge=1, le=6)  # halvings
    d_width: int = Field(8, ge=1, le=256)  # channels of the discriminator's first stage, doubled in each
    latent: int = Field(32, ge=1)
    w_adversarial: float = Field(1.0, ge=0)
    w_context: float = Field(50.0, ge=0)
    w_encoder: float = Field(1.0, ge=0)

    # Of the stable form alone; the paper's has none of it.
    d_learning_rate: float = Field(2e-4, gt=0)
    spectral_norm: bool = True
    gradient_penalty: float = Field(1.0, ge=0)  # weight of R1, taken over a quarter of each batch
    d_rests_above: float = Field(0.8, ge=0.5, le=1)  # running accuracy beyond which the discriminator waits
    w_moments: float = Field(1.0, ge=0)  # mean and spread of features over a batch, as in AEGAN-AD
    ema: float = Field(0.99, ge=0, lt=1)  # of the generator's weights, step by step; 0 scores the last weights
    speckle: bool = True  # the discriminator sees reconstructions with another patch's speckle put back on

    @model_validator(mode="after")
    def _paper_form_is_the_papers(self) -> GanomalyOptions:
        stable = {
            "d_learning_rate",
            "spectral_norm",
            "gradient_penalty",
            "d_rests_above",
            "w_moments",
            "ema",
            "speckle",
        }
        stable |= {"noise", "mask_frames", "mask_bands"}
        given = sorted(stable & self.model_fields_set)
        if self.form == "paper" and given:
            raise ValueError(f'form = "paper" has no {", ".join(given)}; remove it, or use form = "stable"')
        return self


@register("ganomaly")
class Ganomaly(NetworkDetector):
    """GANomaly (arXiv 1805.06725) on patches of 32 or 64 frames.

    L = w_adversarial |f(x) - f(x^)|^2 + w_context |x - x^|_1 + w_encoder |G_E(x) - E(G(x))|^2, each a mean over
    elements, as in the authors' code, for which their weights 1, 50, 1 are made. Two departures in both forms: the
    decoder ends without tanh (patches are standardised, not within -1..1), and it is a linear layer, not one kernel as
    large as the map, that leads to and from the code, which is the same where the map is square.

    Paper score: |z - z^|_2, the distance between the code of a patch and that of its reconstruction. It fails where the
    second encoder is as good on faults as on normal sound; score the residual statistically.
    Early stopping goes by context and encoder loss on held-out clips: the adversarial one is a game, not a yardstick.
    """

    Options = GanomalyOptions
    _network: _Generator
    _batch = CONV_SCORING_BATCH

    def __init__(self, options: GanomalyOptions, patch_shape: tuple[int, int], seed: int = 0) -> None:
        self.options = options
        self.patch_shape = patch_shape
        self._seed = seed
        with seeded(seed):
            self._network = _Generator(options, patch_shape)

    def fit(
        self,
        patches: PatchSource,
        held_out: PatchSource | None = None,
        *,
        steps: int | None = None,
        start: State | None = None,
        progress: ProgressCallback | None = None,
    ) -> Training:
        """Learn patches [N, frames, mels] of normal clips against a discriminator, which is not kept."""
        with reproducible(self._seed) as rng:
            game = _Game(self.options, self.patch_shape)
            self._network = game.scored
            if start is not None:
                self.load_state(start)
                game.follow_scored()
            held_out_loss = (
                None
                if held_out is None
                else lambda: loss_over(held_out, self._error, HELD_OUT_PATCHES, CONV_SCORING_BATCH)
            )
            training = train(
                self._network, game.learn, held_out_loss, patches, self.options, rng, steps=steps, progress=progress
            )
        self._fitted = True
        return training

    def module(self) -> nn.Module:
        """As `Detector.module`."""
        self._check_fitted()
        return _Judging(self._network).eval()

    def unscored(self) -> nn.Module:
        """As `NetworkDetector.unscored`: the second encoder only serves the paper score."""
        return Unscored(self._network.encoder, self._network.decoder, self.options.latent)

    def reconstruct(self, patches: FloatArray) -> FloatArray:
        """What the generator makes of the patches, [N, frames, mels]."""
        self._check_fitted()
        starts = range(0, len(patches), CONV_SCORING_BATCH)
        with torch.inference_mode():
            parts = [self._network(to_tensor(patches[start : start + CONV_SCORING_BATCH]))[1] for start in starts]
        return np.asarray(torch.cat(parts).numpy())

    def _error(self, x: Tensor) -> Tensor:
        """Context and encoder loss [n] of patches, weighted as in training."""
        code, restored, code_again = self._network(x)
        context = (x - restored).abs().mean(dim=(1, 2))
        encoder = (code - code_again).square().mean(dim=1)
        loss: Tensor = self.options.w_context * context + self.options.w_encoder * encoder
        return loss


class _Generator(nn.Module):
    """G: encoder and decoder; E: the second encoder. Patches -> code z, reconstruction x^, and its code z^."""

    def __init__(self, options: GanomalyOptions, patch_shape: tuple[int, int]) -> None:
        super().__init__()
        shape = (patch_shape, options.width, options.stages, options.latent, options.over)
        self.encoder = ConvEncoder(*shape)
        self.decoder = ConvDecoder(*shape)
        self.second_encoder = ConvEncoder(*shape)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        code = self.encoder(x)
        restored = self.decoder(code)
        return code, restored, self.second_encoder(restored)


class _Judging(nn.Module):
    """Patches [n, frames, mels] -> distance of codes, residual, code."""

    def __init__(self, network: _Generator) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        code, restored, code_again = self.network(x)
        return torch.linalg.vector_norm(code - code_again, dim=1), (x - restored).mean(dim=1), code


class _Game:
    """One training: generator against discriminator, an optimiser for each."""

    def __init__(self, options: GanomalyOptions, patch_shape: tuple[int, int]) -> None:
        self._options = options
        self._stable = stable = options.form == "stable"
        self._generator = _Generator(options, patch_shape)
        self._discriminator = Discriminator(
            patch_shape,
            options.d_width,
            D_STAGES,
            norm="layer" if stable else "batch",
            spectral=stable and options.spectral_norm,
            over=options.over,
        )
        self._running_accuracy = 0.5
        self._g_optimiser = torch.optim.Adam(self._generator.parameters(), lr=options.learning_rate, betas=BETAS)
        self._d_optimiser = torch.optim.Adam(self._discriminator.parameters(), lr=options.learning_rate, betas=BETAS)
        self._average = stable and options.ema > 0
        # The network that is checked, kept and scored: a running average of the one that plays.
        self.scored = copy.deepcopy(self._generator) if self._average else self._generator

    def learn(self, x: Tensor, step: int) -> Mapping[str, float]:
        """One step of the discriminator and one of the generator on patches [n, frames, mels]."""
        options = self._options
        code, restored, code_again = self._generator(corrupted(x, options))
        fake = speckled(restored, x) if self._stable and options.speckle else restored
        d_losses = self._learn_discriminator(x, fake.detach(), step)

        sound_features, fake_features = self._discriminator(x)[0], self._discriminator(fake)[0]
        adversarial = feature_distance(sound_features, fake_features)
        context = functional.l1_loss(restored, x)
        encoder = functional.mse_loss(code_again, code)
        loss = options.w_adversarial * adversarial + options.w_context * context + options.w_encoder * encoder
        losses = {"adversarial": adversarial.item(), "context": context.item(), "encoder": encoder.item()}
        if self._stable and options.w_moments:
            moments = moment_distance(sound_features, fake_features)
            loss = loss + options.w_moments * moments
            losses["moments"] = moments.item()
        descend(self._g_optimiser, loss, options.learning_rate * self._pace(step))
        if self._average:
            self._follow(step)
        return {"loss": loss.item(), **losses, **d_losses}

    def follow_scored(self) -> None:
        """Let the playing generator start where the scored one stands."""
        self._generator.load_state_dict(self.scored.state_dict())

    def _learn_discriminator(self, x: Tensor, fake: Tensor, step: int) -> dict[str, float]:
        """Let the discriminator judge; let it learn too, unless it is so far ahead that it would have won."""
        options = self._options
        rests = self._stable and self._running_accuracy > options.d_rests_above
        with torch.set_grad_enabled(not rests):
            sound_logit, fake_logit = self._discriminator(x)[1], self._discriminator(fake)[1]
            loss = plain = discriminator_loss(sound_logit, fake_logit)
        found = accuracy(sound_logit, fake_logit)
        self._running_accuracy += ACCURACY_MEMORY * (found - self._running_accuracy)
        if not rests:
            if self._stable and options.gradient_penalty:
                loss = plain + 0.5 * options.gradient_penalty * gradient_penalty(self._discriminator, x[::4])
            rate = options.d_learning_rate if self._stable else options.learning_rate
            descend(self._d_optimiser, loss, rate * self._pace(step))
        return {"discriminator": plain.item(), "discriminator_accuracy": found, "discriminator_rests": float(rests)}

    def _pace(self, step: int) -> float:
        """Share of the learning rate: the paper keeps it as it is."""
        return decay(step, self._options) if self._stable else 1.0

    def _follow(self, step: int) -> None:
        """Move the scored network towards the playing one; faster at first, when the average is still of nothing."""
        keep = min(self._options.ema, step / (step + 10.0))
        with torch.no_grad():
            for average, latest in zip(
                self.scored.state_dict().values(), self._generator.state_dict().values(), strict=True
            ):
                if average.is_floating_point():
                    average.lerp_(latest, 1.0 - keep)
                else:
                    average.copy_(latest)
