"""A model's detection limit: how faint a planted fault may be and still be found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from acoustic_ad.models.planting import PlantedClip

FOUND_SHARE: Final = 0.5


@dataclass(frozen=True, slots=True)
class DetectionCurve:
    """Share of clips in which one kind of fault was found, by its level."""

    kind: str
    words: str  # what it is, for people
    low_hz: float | None  # None: the whole spectrum
    high_hz: float | None
    levels_db: tuple[float, ...]  # ascending
    found: tuple[float, ...]  # share of the clips, of each level

    @property
    def limit_db(self) -> float | None:
        """The level from which on at least half of the clips are found, between levels by a line; None: never."""
        for number in range(len(self.found)):
            if min(self.found[number:]) >= FOUND_SHARE:
                if number == 0:
                    return self.levels_db[0]
                low, high = self.found[number - 1 : number + 1]
                share = (FOUND_SHARE - low) / max(high - low, 1e-9)
                return float(np.interp(share, [0.0, 1.0], self.levels_db[number - 1 : number + 1]))
        return None


def detection_curves(
    planted: Sequence[PlantedClip], scores: npt.NDArray[np.float64], limit: float
) -> tuple[DetectionCurve, ...]:
    """The curve of each planted fault: found are those of the scores [k] above `limit`, that of a false-alarm rate."""
    found: dict[tuple[str, str, float | None, float | None], dict[float, list[bool]]] = {}
    for one, score in zip(planted, scores, strict=True):
        fault = one.fault
        key = (fault.kind, fault.words, fault.low_hz, fault.high_hz)
        found.setdefault(key, {}).setdefault(fault.level_db, []).append(bool(score > limit))
    return tuple(
        DetectionCurve(*key, tuple(sorted(levels)), tuple(float(np.mean(levels[db])) for db in sorted(levels)))
        for key, levels in found.items()
    )
