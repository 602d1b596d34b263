"""The clips of a machine's life as one looks at them: all, or of each tenth of a day a few."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from acoustic_ad.health.charts import SLOW
from acoustic_ad.health.clip_table import ClipTable, Keys, Micros, Numbers
from acoustic_ad.health.hearing import Hearing
from acoustic_ad.health.policy import ALARM_INDEX, WARNING_INDEX

Array32 = npt.NDArray[np.float32]

DAY: Final = 86_400 * 1_000_000  # microseconds
BIN: Final = DAY // 10
COLUMNS: Final = ("micros", "z", "index", "slow", "stands_for", "keys")


@dataclass(frozen=True, slots=True, eq=False)
class LifePoints:
    """Scored clips [T] by time."""

    micros: Micros
    z: Array32  # against the baseline of their time
    index: Array32  # health index after each
    slow: Array32  # slow EWMA after each, on the scale of the index
    stands_for: npt.NDArray[np.int32]  # how many clips; together as many as there are
    keys: Keys

    @classmethod
    def of(cls, scored: ClipTable, hearing: Hearing | None) -> LifePoints:
        """All scored clips, each standing for itself."""
        if hearing is None:
            return cls.none()
        z, index, slow = (one.astype(np.float32) for one in (hearing.z, hearing.index, _slow_index(hearing)))
        return cls(scored.micros, z, index, slow, np.ones(len(scored), np.int32), scored.keys)

    @classmethod
    def none(cls) -> LifePoints:
        """No clips."""
        numbers = np.zeros(0, np.float32)
        return cls(np.zeros(0, np.int64), numbers, numbers, numbers, np.zeros(0, np.int32), np.zeros(0, "S1"))

    @classmethod
    def joined(cls, parts: Sequence[LifePoints]) -> LifePoints:
        """All of the parts, one after the other."""
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in COLUMNS))

    def __len__(self) -> int:
        return self.micros.size

    def key(self, number: int) -> str:
        """The content of a clip."""
        return bytes(self.keys[number]).decode()

    def take(self, which: Numbers | slice) -> LifePoints:
        """Some of them, by number."""
        columns: dict[str, Any] = {name: getattr(self, name)[which] for name in COLUMNS}
        return LifePoints(**columns)

    def since(self, micros: int) -> LifePoints:
        """Those from a time on."""
        return self.take(slice(int(np.searchsorted(self.micros, micros)), None))

    def thinned(self) -> LifePoints:
        """Of each tenth of a day, in UTC, the most unusual clip and the middle one; and the last clip of all.

        The middle one stands for all that are left out. A tenth of a day stays as it is when clips are added after it.
        """
        if not len(self):
            return self
        bins = self.micros // BIN
        starts = np.flatnonzero(np.diff(bins, prepend=bins[0] - 1))
        sizes = np.diff(starts, append=bins.size)
        order = np.lexsort((self.z, bins))
        middle = order[starts + (sizes - 1) // 2]
        chosen = np.unique([*order[starts + sizes - 1], *middle, bins.size - 1])
        beside = np.diff(np.searchsorted(chosen, [*starts, bins.size])) - 1  # chosen ones of each tenth but the middle
        stands_for = np.ones(chosen.size, np.int32)
        stands_for[np.searchsorted(chosen, middle)] = np.add.reduceat(self.stands_for, starts) - beside
        found = self.take(chosen)
        return LifePoints(found.micros, found.z, found.index, found.slow, stands_for, found.keys)


def bin_begin(micros: int) -> int:
    """When the tenth of a day began that a time is in."""
    return micros // BIN * BIN


def _slow_index(hearing: Hearing) -> npt.NDArray[np.float64]:
    """The slow EWMA [T] on the scale of the index: 50 at its own warning limit, 80 at its own alarm limit."""
    charts = [next(n for n, chart in enumerate(one.charts) if chart.chart == SLOW) for one in hearing.limits]
    limits = np.array(
        [[one.charts[n].warning, one.charts[n].alarm] for one, n in zip(hearing.limits, charts, strict=True)]
    )
    warning, alarm = limits[hearing.which].T
    value = hearing.statistics[charts[0]]
    beyond = WARNING_INDEX + (value - warning) * (ALARM_INDEX - WARNING_INDEX) / (alarm - warning)
    found: npt.NDArray[np.float64] = np.clip(
        np.where(value <= warning, value / warning * WARNING_INDEX, beyond), 0.0, 100.0
    )
    return found
