"""Whether a clip carries the machine at all: a machine that stands still, a microphone that no longer hears the hall.

Both make a clip quieter, and neither says anything of the machine's health. What tells them apart is the fine structure
of the spectrum, the bands that stick out from their neighbours because the machine has its tones there:

- A machine that is **off** takes its tones along. What is left is the hall: a smooth spectrum, no louder anywhere.
- A **faint** microphone takes level from every band, those too in which only the hall and the microphone's own noise
  had been heard; no machine that stops can make the hall quieter. At first the tones are all still there. Or it goes
  dull, and takes the upper bands alone. Single bands decide nothing: a cable may hum.

Thresholds are relative to the training clips of the same machine and microphone. Fails where the machine has no tones
and is hardly louder than its hall (then it is never called off), where another machine starts as this one stops, where
a hall becomes quieter than it ever was in training, by more than 12 dB, and where training clips differ so in level
that a lost gain is within what is usual.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

Absence = Literal["off", "faint"]

SMOOTH_SHARE: Final = 0.07  # of the bands: 9 of 128, wide enough to pass over a tone, narrow enough to follow a hall
LEAST_DEVIATION_DB: Final = 0.5  # a band that never moved in ten clips may yet move a little
# Off: the structure falls well below the least that the running machine ever had ...
STRUCTURE_LEFT: Final = 0.7
# ... or below it, and it is not the machine's own any more, which it always was, in a clip of no more than usual level.
LESS_STRUCTURE: Final = 0.85
LIKENESS_LEFT: Final = 0.5
LEAST_LIKENESS: Final = 0.2  # a training clip at a speed of its own has less: tones cannot be known by that
TONES_DB: Final = 0.7  # a running machine with less structure than this has no tones to be recognised by
LOUDER_DB: Final = 3.0  # off: nowhere louder than normal by more than this, or three deviations
FAR_BELOW_DB: Final = 6.0  # off by level alone: below the quietest training clip by this, or by the range of levels
# Faint: this share of the bands is further below normal than ever (four deviations and 3 dB), and hardly any above it:
# a hum in the cable, or a tone next door, may fill this share of them.
FAINT_SHARE: Final = 0.6
FAINT_DEVIATIONS: Final = 4.0
LOST_DB: Final = 3.0
STRANGE_SHARE: Final = 0.05
# Faint, though the tones are gone: even the bands that fell least fell by this, or the upper ones by this more.
FLOOR_GONE_DB: Final = 12.0
DULL_DB: Final = 10.0
# Dull, so faint as well: the tones are there, but most of the upper quarter is below ever, by this more than the lower.
# Anything less may be a hiss of the machine that has gone, and is left to its health.
DULL_WITH_TONES_DB: Final = 15.0
DULL_SHARE: Final = 0.75


@dataclass(frozen=True, slots=True)
class Presence:
    """What the clips of a running machine sound like, from their clip-mean log-mels in dB.

    `level_db` and `deviation` are [mels]; `levels`, `structure` and `likeness` are [n], one per training clip.
    """

    level_db: Array
    deviation: Array
    levels: Array  # mean over bands, dB
    structure: Array  # how far bands stand from their neighbours, RMS, dB
    likeness: Array  # share of the mean clip's structure that a clip has, in its place

    @classmethod
    def of(cls, levels_db: Array) -> Presence:
        """From the clip-mean log-mels [n, mels] of training clips, in dB."""
        fine = fine_structure(levels_db)
        return cls(
            levels_db.mean(axis=0),
            levels_db.std(axis=0),
            levels_db.mean(axis=1),
            _rms(fine),
            _likeness(fine, fine_structure(levels_db.mean(axis=0))),
        )

    def judge(self, level_db: Array) -> tuple[Absence, str] | None:
        """Whether a clip with the clip-mean log-mel `level_db` [mels] is off or faint, and why; None: neither."""
        change = level_db - self.level_db
        fine = fine_structure(level_db)
        structure, level = float(_rms(fine)), float(level_db.mean())
        if self._is_plainly_there(change, structure, level):
            return None
        of_normal, of_change = smooth(np.stack([self.level_db, change]))
        likeness = float(_likeness(fine, self.level_db - of_normal))
        deviation = np.maximum(self.deviation, LEAST_DEVIATION_DB)
        tones_gone = self._tones_gone(structure, likeness, level)
        tones_heard = not tones_gone and self._tones_heard(likeness)
        if self._is_faint(change, deviation, tones_heard):
            return "faint", (
                f"the machine is heard, but {-change.mean():.0f} dB fainter (upper bands {-_upper(change):.0f} dB)"
                if tones_heard
                else f"fainter than ever by {self.levels.min() - level:.0f} dB, where the machine is not heard as well"
            )
        louder = of_change > np.maximum(LOUDER_DB, 3.0 * deviation)
        if louder.any() or level > self.levels.max():
            return None
        if tones_gone:
            return "off", f"{-change.mean():.0f} dB below its normal level, and without the machine's own tones"
        if level < self._far_below() and structure <= self.structure.max() and not tones_heard:
            return "off", f"{-change.mean():.0f} dB below its normal level"
        return None

    def _is_plainly_there(self, change: Array, structure: float, level: float) -> bool:
        """What no way to be off or faint allows, told at a fraction of their cost: most clips end here."""
        too_few_below = np.count_nonzero(change < -LOST_DB) < DULL_SHARE * len(change[_highest(len(change))])
        has_structure = structure > LESS_STRUCTURE * float(self.structure.min())
        return bool(too_few_below and has_structure and level >= self._far_below())

    def _far_below(self) -> float:
        """The level in dB below which a clip without tones is off."""
        return float(self.levels.min()) - max(FAR_BELOW_DB, float(np.ptp(self.levels)))

    def _tones_gone(self, structure: float, likeness: float, level: float) -> bool:
        least, always = float(self.structure.min()), float(self.likeness.min())
        if structure <= STRUCTURE_LEFT * least:
            return True
        strange = always >= LIKENESS_LEFT and likeness <= LIKENESS_LEFT * always
        return strange and structure <= LESS_STRUCTURE * least and level <= float(np.median(self.levels))

    def _tones_heard(self, likeness: float) -> bool:
        least = max(float(self.likeness.min()), LEAST_LIKENESS)
        return float(self.structure.min()) >= TONES_DB and likeness >= LIKENESS_LEFT * least

    def _is_faint(self, change: Array, deviation: Array, tones_heard: bool) -> bool:
        far_below = (change < -FAINT_DEVIATIONS * deviation) & (change < -LOST_DB)
        if (change > 3.0 * deviation).mean() > STRANGE_SHARE:
            return False
        dull = far_below[_highest(len(change))].mean() >= DULL_SHARE
        if tones_heard and dull and _duller(change) > DULL_WITH_TONES_DB:
            return True
        if far_below.mean() < FAINT_SHARE:
            return False
        return tones_heard or _duller(change) > DULL_DB or bool(np.quantile(change, 1 - STRANGE_SHARE) < -FLOOR_GONE_DB)

    def state(self) -> dict[str, Array]:
        """Its arrays by name, without those that a model keeps under names of its own."""
        return {"level_deviation_db": self.deviation, "structure_db": self.structure, "likeness": self.likeness}

    @classmethod
    def from_state(cls, state: Mapping[str, Array], level_db: Array, levels: Array) -> Presence:
        """The inverse of `state`, given the arrays that the model keeps; raises ValueError where they do not fit."""
        deviation, structure, likeness = (state[name] for name in ("level_deviation_db", "structure_db", "likeness"))
        if deviation.shape != level_db.shape or not structure.shape == likeness.shape == levels.shape:
            raise ValueError("what the model knows of its normal levels does not fit together")
        if (deviation < 0).any() or (structure < 0).any():
            raise ValueError("deviations of levels cannot be negative")
        return cls(level_db, deviation, levels, structure, likeness)


def smooth(level_db: Array) -> Array:
    """`level_db` [..., mels] as a moving mean over neighbouring bands, mirrored at both ends."""
    mels = level_db.shape[-1]
    half = min(max(round(SMOOTH_SHARE * mels / 2), 2), mels - 1)
    zero = np.zeros_like(level_db[..., :1])
    wide = [zero, level_db[..., half:0:-1], level_db, level_db[..., -2 : -half - 2 : -1]]
    total = np.cumsum(np.concatenate(wide, axis=-1), axis=-1)
    return np.asarray((total[..., 2 * half + 1 :] - total[..., : -2 * half - 1]) / (2 * half + 1))


def fine_structure(level_db: Array) -> Array:
    """How far each band of `level_db` [..., mels] stands above or below its neighbours, in dB."""
    return level_db - smooth(level_db)


def _rms(fine: Array) -> Array:
    return np.asarray(np.sqrt(np.square(fine).mean(axis=-1)))


def _likeness(fine: Array, of_mean: Array) -> Array:
    return np.asarray((fine * of_mean).sum(axis=-1) / max(float(np.square(of_mean).sum()), 1e-12))


def _highest(bands: int) -> slice:
    return slice(-max(bands // 4, 1), None)


def _upper(change: Array) -> float:
    return float(np.median(change[_highest(len(change))]))


def _duller(change: Array) -> float:
    """By how much more the upper bands fell than the lower ones, in dB."""
    return float(np.median(change[: max(len(change) // 4, 1)])) - _upper(change)
