"""Training clips with planted faults: what a model is chosen by where nobody has labels, and its detection limit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Final

import numpy as np
import numpy.typing as npt

from acoustic_ad.models.planted_log_mels import Change, changed_log_mel, log_mel_faults
from acoustic_ad.sound.features import LogMel
from acoustic_ad.sound.planted import LEVELS_DB, PlantedFault, Planter, planted_faults

FloatArray = npt.NDArray[np.float32]
# Enough clips that one odd recording does not decide, few enough that planting takes seconds.
PLANTED_CLIPS: Final = 6
LONGEST_PLANTED_S: Final = 30.0
# Bumped when the same clip and seed start to give other faults, so that none that was kept is taken for a new one.
PLANTING_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class FaultAt:
    """A planted fault at one level."""

    kind: str
    words: str  # what it is, for people
    level_db: float  # the rise of the clip-mean power in its band
    low_hz: float | None = None  # None: the whole spectrum, or unknown
    high_hz: float | None = None


@dataclass(frozen=True, slots=True)
class PlantedClip:
    """A training clip with a fault in it, made when it is asked for."""

    clip: int  # which of the training clips
    fault: FaultAt
    log_mel: Callable[[], FloatArray]  # [frames, mels] in dB

    def under(self, corrected: Callable[[FloatArray], FloatArray]) -> PlantedClip:
        """The same, with its log-mel corrected for the clip's operating condition."""
        return replace(self, log_mel=lambda: corrected(self.log_mel()))


def chosen_for_planting(count: int) -> list[int]:
    """Which of `count` training clips get faults: evenly spread, so over recordings too."""
    return sorted({int(index) for index in np.linspace(0, count - 1, min(PLANTED_CLIPS, count))})


def plant_in_waveforms(
    waveforms: Sequence[tuple[int, FloatArray]], front_end: LogMel, seed: int = 0
) -> list[PlantedClip]:
    """Every fault at every level, planted into waveforms [samples], each given with the number of its training clip."""
    return plant_in_recordings([(clip, partial(_itself, waveform)) for clip, waveform in waveforms], front_end, seed)


def plant_in_recordings(
    recordings: Sequence[tuple[int, Callable[[], FloatArray]]], front_end: LogMel, seed: int = 0
) -> list[PlantedClip]:
    """Likewise, where a waveform [samples] is read when the first log-mel with a fault in it is asked for."""
    spec = front_end.spec
    faults = [
        replace(fault, level_db=level)
        for fault in planted_faults(spec.sample_rate_hz, spec.fmax_hz, spec.fmin_hz)
        for level in LEVELS_DB
    ]
    planted = []
    for clip, read in recordings:
        planter = cache(partial(_planter, read, spec.sample_rate_hz))
        for number, fault in enumerate(faults):
            make = partial(_made, planter, front_end, fault, (seed, clip, number))
            told = FaultAt(fault.kind, fault.words, fault.level_db, fault.low_hz, fault.high_hz)
            planted.append(PlantedClip(clip, told, make))
    return planted


def plant_in_log_mels(log_mels: Sequence[FloatArray], seed: int = 0) -> list[PlantedClip]:
    """Likewise into log-mels [frames, mels] of unknown front-end, where there is no waveform."""
    planted = []
    for clip in chosen_for_planting(len(log_mels)):
        for number, (kind, words, change) in enumerate(log_mel_faults()):
            for level in LEVELS_DB:
                fault = FaultAt(kind, words, level)
                make = partial(_changed, log_mels[clip], change, level, (seed, clip, number))
                planted.append(PlantedClip(clip, fault, make))
    return planted


def _changed(log_mel: FloatArray, change: Change, level_db: float, seed: tuple[int, ...]) -> FloatArray:
    return changed_log_mel(log_mel, change, level_db, np.random.default_rng(seed))


def _itself(waveform: FloatArray) -> FloatArray:
    return waveform


def _planter(read: Callable[[], FloatArray], sample_rate_hz: int) -> Planter:
    return Planter(read()[: round(LONGEST_PLANTED_S * sample_rate_hz)], sample_rate_hz)


def _made(planter: Callable[[], Planter], front_end: LogMel, fault: PlantedFault, seed: tuple[int, ...]) -> FloatArray:
    return front_end(planter().plant(fault, np.random.default_rng(seed)))
