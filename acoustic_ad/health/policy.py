"""When a machine counts as unusual: a first, plain policy. No alarm yet, and no promise of a false-alarm rate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal["learning", "normal", "warning", "alarm", "off", "no_data", "sensor_fault"]

# What people read. `warning` is called unusual until a stated false-alarm budget stands behind the word.
WORDS: dict[State, str] = {
    "learning": "learning",
    "normal": "normal",
    "warning": "unusual",
    "alarm": "ALARM",
    "off": "off",
    "no_data": "no data",
    "sensor_fault": "sensor fault",
}

# The index at which a clip, and a machine, leaves its normal range.
LIMIT_INDEX = 50.0


@dataclass(frozen=True, slots=True)
class Policy:
    """How clips add up to a state."""

    window_clips: int = 20  # the latest clips, by time of recording, that speak for the machine
    unusual_share: float = 0.5  # of them at or beyond index 50: the machine is unusual
    fewest_clips: int = 3  # below this, one odd clip would be the whole verdict


def clip_index(score: float, typical: float, limit: float) -> float:
    """A clip score on a scale that means the same on every machine, within 0..100.

    0 is the median of normal clips, 50 the limit of the normal range, 100 twice as far from the median as the limit.
    """
    if not limit > typical:
        return 100.0 if score > limit else 0.0
    return min(max(LIMIT_INDEX * (score - typical) / (limit - typical), 0.0), 100.0)
