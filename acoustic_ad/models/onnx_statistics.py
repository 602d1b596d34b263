"""From waveform to a clip's statistics, as torch modules of operations that ONNX has, for any length of clip.

The front-end and `scores.evidence` once more, in the shape that an exporter can follow: no branch and no slice depends
on the length of the clip. Ranks are weights on sorted values, short segments are masks. Tests hold them together.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from acoustic_ad.scores.evidence import (
    GROUPED_BANDS,
    HIGH_QUANTILE,
    MODULATION_BINS,
    MODULATION_FLOOR,
    MOST_DEVIATIONS,
    SEGMENT_FRAMES,
)
from acoustic_ad.sound.features import POWER_FLOOR, FeatureSpec, LogMel

GWRP_R: Final = {"gwrp_90": 0.9, "gwrp_50": 0.5}
# Statistics of either family, residual or spectrum: name -> what is made of its rows.
OF_A_FAMILY: Final = ("", "spread", "high", *GWRP_R)


class FrontEnd(nn.Module):
    """Waveform [samples] -> log-mel [frames, mels] in dB, as `LogMel`.

    The transform is a convolution with windowed cosines and sines, as many as the mel filters use: ONNX has an STFT,
    but few runtimes do it well.
    """

    waves: Tensor
    filters: Tensor

    def __init__(self, spec: FeatureSpec) -> None:
        super().__init__()
        front_end = LogMel(spec)
        filters = front_end.filters
        used = torch.nonzero(filters.any(dim=1)).flatten()
        # The angle's whole turns are taken off as integers, which no product of floats could do as exactly.
        turn = (used[:, None] * torch.arange(spec.n_fft)) % spec.n_fft
        angle = 2.0 * torch.pi * turn.double() / spec.n_fft
        waves = torch.cat([angle.cos(), angle.sin()]) * front_end.window.double()
        self.register_buffer("waves", waves.float()[:, None, :])  # [2 bins, 1, n_fft]
        self.register_buffer("filters", filters[used])  # [bins, mels]
        self._half, self._hop = spec.n_fft // 2, spec.hop

    def forward(self, waveform: Tensor) -> Tensor:
        mirrored = functional.pad(waveform[None], (self._half, self._half), mode="reflect")
        cosine, sine = functional.conv1d(mirrored[None], self.waves, stride=self._hop)[0].T.chunk(2, dim=1)
        mel = (cosine.square() + sine.square()) @ self.filters
        return 10.0 * torch.log10(mel.clamp(min=POWER_FLOOR))


def patches_of(frames: Tensor, length: int, hop: int) -> Tensor:
    """Patches [N, length, mels] of frames [frames, mels], as `cut_patches`."""
    starts = torch.arange((frames.shape[0] - length) // hop + 1) * hop
    return frames[starts[:, None] + torch.arange(length)]


def rank_weights(count: Tensor, r: float) -> Tensor:
    """Weights of the n largest values, largest first, of global weighted rank pooling; `count` is 0, 1, .. n - 1."""
    weights = torch.full_like(count, r).pow(count)
    return weights / weights.sum()


def quantile_weights(count: Tensor, quantile: float) -> Tensor:
    """Weights of values, largest first, that interpolate a quantile linearly; `count` is 0, 1, .. n - 1."""
    return functional.relu(1.0 - (count - (1.0 - quantile) * count.max()).abs())


def counted(rows: Tensor) -> Tensor:
    """0, 1, .. n - 1 in double precision, for n rows."""
    return torch.arange(rows.shape[0]).double()


def family(rows: Tensor, wanted: Collection[str]) -> dict[str, Tensor]:
    """Statistics [mels] of rows [n, mels], by name: those of `OF_A_FAMILY` that are wanted."""
    exact = rows.double()
    found = {"": exact.mean(dim=0)}
    if "spread" in wanted:
        found["spread"] = (exact.square().mean(dim=0) - found[""].square()).clamp(min=0.0).sqrt()
    ranked_ones = [name for name in wanted if name not in found]
    if ranked_ones:
        ranked, count = rows.sort(dim=0, descending=True).values.double(), counted(rows)
        for name in ranked_ones:
            weights = quantile_weights(count, HIGH_QUANTILE) if name == "high" else rank_weights(count, GWRP_R[name])
            found[name] = weights @ ranked
    return {name: found[name] for name in wanted}


def power(frames: Tensor) -> Tensor:
    """Log of the mean power [mels] of normalised frames [frames, mels]."""
    return frames.clamp(-MOST_DEVIATIONS, MOST_DEVIATIONS).exp().double().mean(dim=0).log()


class Modulation(nn.Module):
    """Normalised frames [frames, mels] -> log energy [groups * 4] of slow swings."""

    groups: Tensor
    cosine: Tensor
    sine: Tensor
    bands: Tensor

    def __init__(self, mels: int) -> None:
        super().__init__()
        group = torch.arange(mels) // GROUPED_BANDS
        members = functional.one_hot(group).double()
        self.register_buffer("groups", members / members.sum(dim=0))  # [mels, groups], means of bands
        bins = torch.arange(SEGMENT_FRAMES // 2 + 1)
        angle = 2.0 * torch.pi * torch.outer(torch.arange(SEGMENT_FRAMES), bins).double() / SEGMENT_FRAMES
        self.register_buffer("cosine", angle.cos())  # [segment frames, bins]
        self.register_buffer("sine", angle.sin())
        bands = np.searchsorted(MODULATION_BINS, bins.numpy(), side="right")  # 0 is the mean, which is no swing
        chosen = functional.one_hot(torch.from_numpy(bands))[:, 1 : len(MODULATION_BINS)].double()
        self.register_buffer("bands", chosen / chosen.sum(dim=0))  # [bins, bands], means of bins

    def forward(self, frames: Tensor) -> Tensor:
        """Log energies [groups * 4] of frames [frames, mels], in double precision."""
        grouped, half = frames.double() @ self.groups, SEGMENT_FRAMES // 2
        count = counted(frames).max() + 1.0
        first = torch.arange(frames.shape[0] // half + 1)  # in halves of a segment
        # Segments that reach beyond the end do not count, but for the only one of a short clip.
        whole = ((half * first + SEGMENT_FRAMES <= count) | (first == 0)).double()
        inside = torch.arange(SEGMENT_FRAMES)
        padded = functional.pad(grouped, (0, 0, 0, SEGMENT_FRAMES))
        segments = padded[half * first[:, None] + inside].transpose(1, 2)  # [segments, groups, segment frames]
        length = count.clamp(max=float(SEGMENT_FRAMES))
        window = 0.5 - 0.5 * torch.cos(2.0 * torch.pi * (inside + 1.0).double() / (length + 1.0))
        window = window * (inside < length).double()
        swings = (segments - segments.sum(dim=2, keepdim=True) / length) * window
        energy = (swings @ self.cosine).square() + (swings @ self.sine).square()
        bands = ((energy @ self.bands) * whole[:, None, None]).sum(dim=0) / whole.sum()
        return (bands + MODULATION_FLOOR).log().flatten()
