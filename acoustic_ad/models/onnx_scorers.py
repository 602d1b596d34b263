"""Clip scorers as torch modules: a clip's statistics -> one number, in double precision.

They are built from what a scorer keeps in a bundle, not from its insides.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from acoustic_ad.errors import UsageError
from acoustic_ad.models.onnx_statistics import counted, rank_weights
from acoustic_ad.scores.backends import NEIGHBOURS
from acoustic_ad.scores.clip_score import ClipScorer, Paper

Arrays = Mapping[str, npt.NDArray[Any]]


class _Cloud(nn.Module):
    """Whitening [p] -> [p]."""

    location: Tensor
    whitening: Tensor

    def __init__(self, arrays: Arrays) -> None:
        super().__init__()
        self.register_buffer("location", torch.from_numpy(arrays["location"]))
        self.register_buffer("whitening", torch.from_numpy(arrays["whitening"]))

    def forward(self, vector: Tensor) -> Tensor:
        whitened: Tensor = (vector - self.location) @ self.whitening
        return whitened


class Mahalanobis(nn.Module):
    """As `backends.Cloud`: vector [p] -> its distance."""

    def __init__(self, arrays: Arrays) -> None:
        super().__init__()
        self.cloud = _Cloud(arrays)

    def forward(self, vector: Tensor) -> Tensor:
        distance: Tensor = self.cloud(vector).square().mean().sqrt()
        return distance


class Mixture(nn.Module):
    """As `backends.Mixture`."""

    means: Tensor
    variances: Tensor
    offset: Tensor
    highest: Tensor

    def __init__(self, arrays: Arrays) -> None:
        super().__init__()
        self.cloud = _Cloud(arrays)
        self._width, self._unit = arrays["means"].shape[1], float(arrays["unit"][0])
        variances = torch.from_numpy(arrays["variances"])
        self.register_buffer("means", torch.from_numpy(arrays["means"]))
        self.register_buffer("variances", variances)
        self.register_buffer("offset", torch.from_numpy(arrays["weights"]).log() - 0.5 * self._width * variances.log())
        self.register_buffer("highest", torch.stack([self._log_density(mean) for mean in self.means]).max())

    def _log_density(self, whitened: Tensor) -> Tensor:
        square = (whitened - self.means).square().sum(dim=1)
        return torch.logsumexp(self.offset - 0.5 * square / self.variances, dim=0)

    def forward(self, vector: Tensor) -> Tensor:
        drop = self.highest - self._log_density(self.cloud(vector))
        distance: Tensor = (2.0 * drop / self._width).clamp(min=0.0).sqrt() / self._unit
        return distance


class Neighbours(nn.Module):
    """As `backends.Neighbours`."""

    points: Tensor
    radius: Tensor

    def __init__(self, arrays: Arrays) -> None:
        super().__init__()
        self.cloud = _Cloud(arrays)
        self._unit = float(arrays["unit"][0])
        self.register_buffer("points", torch.from_numpy(arrays["points"]))
        self.register_buffer("radius", torch.from_numpy(arrays["radius"]))

    def forward(self, vector: Tensor) -> Tensor:
        apart = (self.cloud(vector) - self.points).square().mean(dim=1).sqrt() / self.radius
        nearest = torch.topk(apart, min(NEIGHBOURS, len(self.radius)), largest=False).values
        return nearest.mean() / self._unit


BACKEND_MODULES: Final[Mapping[str, Callable[[Arrays], nn.Module]]] = {
    "mahalanobis": Mahalanobis,
    "gaussian_mixture": Mixture,
    "nearest_neighbour": Neighbours,
}


class PaperModule(nn.Module):
    """As `clip_score.Paper`: patch scores [N] -> their pooled score."""

    statistics: tuple[str, ...] = ()

    def __init__(self, gwrp_r: float) -> None:
        super().__init__()
        self._r = gwrp_r

    def forward(self, patch_scores: Tensor, statistics: Mapping[str, Tensor]) -> Tensor:
        ranked = patch_scores.sort(descending=True).values.double()
        return (rank_weights(counted(ranked), self._r) * ranked).sum()


class StatisticalModule(nn.Module):
    """As `clip_score.StatisticalScorer`: statistics [p] by name -> the root of their distances' weighted mean square.

    Raises UsageError where the scorer has a back-end that is not known here.
    """

    weights: Tensor

    def __init__(self, state: Arrays) -> None:
        super().__init__()
        parts: dict[tuple[str, str], dict[str, npt.NDArray[Any]]] = {}
        for key, value in state.items():
            statistic, name, array = key.split(".", 2)
            parts.setdefault((statistic, name), {})[array] = np.array(value)
        if unknown := {name for _, name in parts} - BACKEND_MODULES.keys():
            raise UsageError(f"a scorer of kind {', '.join(sorted(unknown))} cannot be exported")
        self._names = [statistic for statistic, _ in parts]
        weights = np.array([float(arrays.pop("weight")[0]) for arrays in parts.values()])
        self.backends = nn.ModuleList(BACKEND_MODULES[name](arrays) for (_, name), arrays in parts.items())
        self.register_buffer("weights", torch.from_numpy(weights / weights.sum()))

    @property
    def statistics(self) -> tuple[str, ...]:
        """What `forward` must be given."""
        return tuple(dict.fromkeys(self._names))

    def forward(self, patch_scores: Tensor, statistics: Mapping[str, Tensor]) -> Tensor:
        distances = [backend(statistics[name]) for name, backend in zip(self._names, self.backends, strict=True)]
        return (self.weights * torch.stack(distances).square()).sum().sqrt()


def scorer_module(scorer: ClipScorer) -> PaperModule | StatisticalModule:
    """The module of a fitted clip scorer."""
    return PaperModule(scorer.gwrp_r) if isinstance(scorer, Paper) else StatisticalModule(scorer.state())
