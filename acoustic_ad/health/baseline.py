"""What is normal on one machine: the fixed baseline that clip scores are held against, once and for all."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Baseline:
    """Calibration scores [n] of normal clips in the order of recording, and the number of each one's recording [n]."""

    scores: Array
    sessions: npt.NDArray[np.int64]

    @classmethod
    def of(cls, scores: npt.ArrayLike, sessions: npt.ArrayLike | None = None) -> Baseline:
        """A baseline of scores [n]; without session numbers [n], one recording."""
        found = np.asarray(scores, np.float64)
        numbers = np.zeros(found.shape, np.int64) if sessions is None else np.asarray(sessions, np.int64)
        return cls(found, numbers)

    @property
    def clips(self) -> int:
        """How many calibration clips it stands on."""
        return self.scores.size

    @property
    def recordings(self) -> int:
        """From how many sessions they are."""
        return int(np.unique(self.sessions).size)

    @property
    def autocorrelation(self) -> float:
        """Of neighbouring clips within sessions, 0..1."""
        return 0.0

    def p_value(self, score: float) -> float:
        """The share of normal clips with such a score or a higher one, within (0, 1]."""
        return float((1 + (self.scores >= score).sum()) / (self.clips + 1))

    def z(self, score: float) -> float:
        """The score as a normal deviate: 0 at the median of normal clips, higher = more anomalous."""
        return float(self.z_all(np.array([score]))[0])

    def z_all(self, scores: npt.ArrayLike) -> Array:
        """`z` of many scores [m] at once."""
        rank = np.searchsorted(np.sort(self.scores), np.asarray(scores, np.float64), side="left")
        found: Array = ndtri((rank + 0.5) / (self.clips + 1))
        return found
