"""What a user asks of the health of a machine: how many false alarms are bearable, and how an alarm behaves."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Final, Literal

from acoustic_ad.errors import UsageError

State = Literal["learning", "normal", "warning", "alarm", "off", "no_data", "sensor_fault"]

# What people read.
WORDS: Final[dict[State, str]] = {
    "learning": "learning",
    "normal": "normal",
    "warning": "WARNING",
    "alarm": "ALARM",
    "off": "off",
    "no_data": "no data",
    "sensor_fault": "sensor fault",
}

# The status signals of NAMUR NE 107, plus its "no signal": what control rooms know.
NE107: Final[dict[State, str]] = {
    "learning": "check function",
    "normal": "normal",
    "warning": "maintenance required",
    "alarm": "out of specification",
    "off": "normal",
    "no_data": "check function",
    "sensor_fault": "failure",
}

# The health index: 0 is the machine's normal, and these two mean the same on every machine.
WARNING_INDEX: Final = 50.0
ALARM_INDEX: Final = 80.0
LIMIT_INDEX: Final = WARNING_INDEX  # also the index of a single clip at which it leaves the normal range


@dataclass(frozen=True, slots=True)
class Policy:
    """How clips add up to a state. Only the first two are for users; the others are for `health replay`.

    Numbers of clips are of scored clips: what a machine that is off, or a broken sensor, sends does not count.
    """

    alarm_per_machine_year: float = 1.0  # false ALARMs on a healthy machine
    warning_per_machine_year: float = 12.0  # false WARNINGs on a healthy machine, those that become an ALARM included
    fast_weight: float = 0.3  # of the newest clip in the fast EWMA
    slow_weight: float = 0.01  # of the newest clip in the slow EWMA
    cusum_reference: float = 0.5  # the CUSUM gathers what a clip's z has above this
    persistence_clips: int = 3  # that many ...
    persistence_among: int = 5  # ... of so many clips
    z_cap: float = 5.0  # more than this no single clip counts, so that one slammed door is no alarm
    clear_clips: int = 12  # clips in a row below the clear level before an episode ends
    warning_clear_index: float = 35.0
    alarm_clear_index: float = 50.0
    learning_clips: int = 10  # before these are there, nothing is said
    relearn_clips: int = 100  # clips after maintenance that make the new baseline
    realarm_days: float = 7.0  # an acknowledged alarm that is still there speaks up again
    gap_factor: float = 2.0  # times the machine's usual gap without a clip: no data
    gap_floor_hours: float = 24.0  # never called silent before: jobs may run once a day
    trend_days: float = 14.0  # how far back the trend looks

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not (math.isfinite(value) and value > 0):
                raise UsageError(f"health policy: {field.name}: {value!r} is not a positive number")

    @classmethod
    def of(cls, table: Mapping[str, Any]) -> Policy:
        """The policy in a TOML or JSON table; raises UsageError that names every wrong key."""
        known = {field.name: field for field in fields(cls)}
        problems = [f"{key}: unknown key; one of {', '.join(known)}" for key in table if key not in known]
        if problems:
            raise UsageError("health policy:\n" + "\n".join(f"  {line}" for line in problems))
        return cls(**table)


def clip_index(score: float, typical: float, limit: float) -> float:
    """A single clip's score on a scale that means the same on every machine, within 0..100.

    0 is the median of normal clips, 50 the limit of the normal range, 100 twice as far from the median as the limit.
    """
    if not limit > typical:
        return 100.0 if score > limit else 0.0
    return min(max(LIMIT_INDEX * (score - typical) / (limit - typical), 0.0), 100.0)
