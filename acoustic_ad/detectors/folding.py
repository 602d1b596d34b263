"""Networks rewritten to give the same residual and code with less work; only rounding differs."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from acoustic_ad.detectors.patch_layer import PatchLayer


def folded(network: nn.Module) -> nn.Module:
    """A copy for scoring, every BatchNorm that follows a linear or convolutional layer folded into its weights."""
    own = copy.deepcopy(network).eval().requires_grad_(False)
    for part in own.modules():
        if isinstance(part, nn.Sequential):
            _fold(part)
        if isinstance(part, nn.ReLU):
            part.inplace = True  # it never stands first: what it changes is another layer's answer
    return own


def _fold(layers: nn.Sequential) -> None:
    for at in reversed(range(len(layers) - 1)):
        before, norm = layers[at], layers[at + 1]
        if isinstance(before, nn.Linear) and isinstance(norm, nn.BatchNorm1d):
            layers[at] = fuse_linear_bn_eval(before, norm)
        elif isinstance(before, nn.Conv2d | nn.ConvTranspose2d) and isinstance(norm, nn.BatchNorm2d):
            layers[at] = fuse_conv_bn_eval(before, norm, transpose=isinstance(before, nn.ConvTranspose2d))
        else:
            continue
        del layers[at + 1]


def frame_mean(layer: nn.Linear, frames: Tensor) -> nn.Linear:
    """The layer to [frames * mels] turned into one to the mean [mels] over `frames` ([frames] of ones and zeros)."""
    wanted = frames / frames.sum()
    mels = layer.out_features // len(frames)
    mean = nn.Linear(layer.in_features, mels)
    with torch.no_grad():
        mean.weight.copy_(torch.einsum("f,fmi->mi", wanted, layer.weight.view(len(frames), mels, -1)))
        mean.bias.copy_(torch.einsum("f,fm->m", wanted, layer.bias.view(len(frames), mels)))
    return mean.eval().requires_grad_(False)


class Unscored(nn.Module):
    """Patches [n, frames, mels] -> NaN in place of the paper score, residual, code: encoder and decoder alone."""

    def __init__(self, encoder: nn.Module, decoder: nn.Module, code: int) -> None:
        super().__init__()
        self.encoder, self.decoder = folded(encoder), folded(decoder)
        self._code = code  # how many of the encoder's outputs are the code

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """As a detector's `module`."""
        code = self.encoder(x)[:, : self._code]
        return x.new_full((len(x),), torch.nan), (x - self.decoder(code)).mean(dim=1), code


class DenseUnscored(nn.Module):
    """As `Unscored` for dense networks, with a fifth of the last layer's work: it gives the mean over frames at once.

    Of `judged` frames [frames] (ones and zeros) the residual is; the network sees the `shown` ones.
    """

    def __init__(self, encoder: nn.Module, decoder: nn.Module, code: int, judged: Tensor, shown: Tensor) -> None:
        super().__init__()
        flatten, first, *rest = _layers(folded(encoder))
        *before, last = _layers(folded(decoder))
        if not (isinstance(flatten, nn.Flatten) and isinstance(first, nn.Linear) and isinstance(last, nn.Linear)):
            raise TypeError("a dense network flattens its patches, and begins and ends with a linear layer")
        self.encoder = nn.Sequential(PatchLayer(first, shown), *rest)
        self.decoder = nn.Sequential(*before, frame_mean(last, judged))
        self._code = code  # how many of the encoder's outputs are the code
        self._judged = torch.nonzero(judged).flatten().tolist()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """As a detector's `module`."""
        code = self.encoder(x)[:, : self._code]
        residual = self.decoder(code).neg_()
        for frame in self._judged:
            residual.add_(x[:, frame], alpha=1.0 / len(self._judged))
        return x.new_full((len(x),), torch.nan), residual, code


def _layers(network: nn.Module) -> list[nn.Module]:
    return list(network) if isinstance(network, nn.Sequential) else [network]
