"""Operating conditions (speed, load, product): what is normal under each, as far as its clips can tell."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from acoustic_ad.errors import BundleError, TrainingError

FloatArray = npt.NDArray[np.float32]
Array = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

# Clips of a condition that weigh as much as all that is known of the others (partial pooling).
POOLED_CLIPS: Final = 4.0
POOLED_SCORES: Final = 10.0


@dataclass(frozen=True, slots=True)
class Conditions:
    """How the spectrum of each condition differs from the mean over all training clips.

    The offset of a condition with n clips is n / (n + 4) of what they show: with few, it is pooled towards none.
    """

    names: tuple[str, ...] = ()
    offsets: FloatArray | None = None  # [conditions, mels], dB

    @classmethod
    def of(cls, log_mels: Sequence[FloatArray], conditions: Sequence[str]) -> Conditions:
        """From training log-mels [frames, mels], each with the name of its condition."""
        if len(conditions) != len(log_mels):
            raise TrainingError(f"{len(conditions)} conditions for {len(log_mels)} clips")
        sums: dict[str, Array] = {}
        counts: Counter[str] = Counter()
        total: Array | float = 0.0
        for log_mel, condition in zip(log_mels, conditions, strict=True):
            level = log_mel.mean(axis=0, dtype=np.float64)
            total = total + level
            sums[condition] = sums.get(condition, 0.0) + level
            counts[condition] += 1
        names = tuple(sorted(sums))
        offsets = [
            (sums[name] / counts[name] - total / len(conditions)) * counts[name] / (counts[name] + POOLED_CLIPS)
            for name in names
        ]
        return cls(names, np.stack(offsets).astype(np.float32))

    def knows(self, condition: str | None) -> bool:
        """Whether a clip's condition was in training; without conditions, every clip's was."""
        return self.offsets is None or condition in self.names

    def corrected(self, log_mel: FloatArray, condition: str | None) -> FloatArray:
        """The log-mel [frames, mels] as under the mean condition; unchanged where the condition is unknown."""
        if self.offsets is None or condition not in self.names:
            return log_mel
        return np.asarray(log_mel - self.offsets[self.names.index(condition)], np.float32)

    def numbers(self, conditions: Sequence[str]) -> IntArray | None:
        """The number of each clip's condition [n]; None without conditions."""
        if self.offsets is None:
            return None
        number = {name: place for place, name in enumerate(self.names)}
        return np.array([number[condition] for condition in conditions], np.int64)

    def weights(self, numbers: IntArray | None, condition: str | None) -> Array | None:
        """What each calibration clip [n] counts for a clip under `condition`; None: all the same.

        Clips of its own condition count 1, those of others 10 / (10 + n), n being how many are its own.
        """
        if numbers is None or self.offsets is None or condition not in self.names:
            return None
        own = numbers == self.names.index(condition)
        return np.where(own, 1.0, POOLED_SCORES / (POOLED_SCORES + own.sum()))

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """Named arrays; the names of the conditions are kept beside them."""
        return {} if self.offsets is None else {"offsets": self.offsets}

    @classmethod
    def from_state(cls, state: Mapping[str, npt.NDArray[Any]], names: tuple[str, ...], mels: int) -> Conditions:
        """From a bundle's arrays; raises BundleError where they do not fit."""
        if not state and not names:
            return cls()
        offsets = state.get("offsets")
        if set(state) != {"offsets"} or offsets is None or offsets.shape != (len(names), mels):
            raise BundleError(f"the offsets of {len(names)} conditions at {mels} mels are missing or misshapen")
        if len(set(names)) != len(names):
            raise BundleError("two conditions have one name")
        return cls(names, np.asarray(offsets, np.float32))
