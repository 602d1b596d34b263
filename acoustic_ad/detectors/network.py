"""What the detectors that are torch networks have in common: evidence, and keeping their weights."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from acoustic_ad.detectors.base import Evidence, FloatArray, State, check_state, not_fitted
from acoustic_ad.detectors.training import SCORING_BATCH, evidence_by


class NetworkDetector(ABC):
    """A detector whose knowledge is the weights of `_network`; `_batch` patches go through it at a time."""

    _network: nn.Module
    _batch = SCORING_BATCH
    _fitted = False

    _quick: tuple[nn.Module, nn.Module] | None = None  # the network that it was made of, and it

    @abstractmethod
    def module(self) -> nn.Module:
        """As `Detector.module`; each network has its own."""

    @abstractmethod
    def unscored(self) -> nn.Module:
        """As `module`, with NaN for scores: what gives the residual and the code in the fewest operations."""

    def evidence(self, patches: FloatArray, paper: bool = True) -> Evidence:
        """Evidence for patches [N, frames, mels]; without `paper` its scores are NaN."""
        return evidence_by(self.module() if paper else self._unscored(), patches, self._batch)

    def _unscored(self) -> nn.Module:
        """`unscored`, made once for what is learnt so far."""
        self._check_fitted()
        if self._quick is None or self._quick[0] is not self._network:
            self._quick = self._network, self.unscored().eval()
        return self._quick[1]

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """The weights that scoring needs, by name."""
        self._check_fitted()
        return {name: value.numpy().copy() for name, value in self._network.state_dict().items()}

    def load_state(self, state: State) -> None:
        """Take over a `state`; raises BundleError where it does not fit."""
        check_state(state, {name: value.numpy() for name, value in self._network.state_dict().items()})
        self._network.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in state.items()})
        self._network.eval()
        self._quick = None
        self._fitted = True

    def _check_fitted(self) -> None:
        if not self._fitted:
            raise not_fitted(self)
