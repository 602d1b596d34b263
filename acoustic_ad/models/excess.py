"""How a clip differs from its machine's normal, cell by cell: what people look at."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from acoustic_ad.errors import NotFittedError
from acoustic_ad.models.evidence import FloatArray, prepared
from acoustic_ad.models.machine_model import MachineModel
from acoustic_ad.scores.localisation import Region, localise

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ExcessMap:
    """A clip's log-mel beside the normal of its machine; arrays are [frames, mels] or [mels], in dB."""

    excess: Array  # the clip minus the mean normal frame, signed
    normal: Array  # [mels], the mean normal frame, at the clip's own level where the recipe removes levels
    spread: Array  # [mels], standard deviation of normal frames
    region: Region | None  # what stands out most


def excess_map(model: MachineModel, log_mel: FloatArray, frame_s: float, condition: str | None = None) -> ExcessMap:
    """The map of a clip's log-mel [frames, mels] in dB, `frame_s` seconds from frame to frame.

    By the normal frames that the model was trained on, not by its network: a network that explains part of a fault away
    would hide it here. Raises NotFittedError.
    """
    if not model.judges:
        raise NotFittedError("the model has learnt nothing yet: call fit, or load it from a bundle")
    normaliser = model.judges[0].fitted.normaliser
    corrected = model.conditions.corrected(log_mel, condition)
    excess = np.asarray(prepared(model.recipe, corrected) - normaliser.mean, np.float64)
    normal = np.asarray(log_mel, np.float64).mean(axis=0) - excess.mean(axis=0)
    spread = np.asarray(normaliser.deviation, np.float64)
    return ExcessMap(excess, normal, spread, localise(excess, spread, frame_s))
