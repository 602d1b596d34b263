"""What a user asks of the health of a machine: how many false alarms are bearable, and how an alarm behaves."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
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

ONE_NUMBER: Final = "false_alarms_per_machine_year"  # what users state
WARNINGS_FOR_AN_ALARM: Final = 12.0  # that are bearable: a WARNING is looked at in passing


@dataclass(frozen=True, slots=True)
class Policy:
    """How clips add up to a state. Only the first two are for users, as one number for both (see `of`) or each by
    itself; the others are for `health replay`.

    Numbers of clips are of scored clips: what a machine that is off, or a broken sensor, sends does not count.
    """

    alarm_per_machine_year: float = 1.0  # false ALARMs on a healthy machine
    warning_per_machine_year: float = 12.0  # false WARNINGs on a healthy machine, those that become an ALARM included
    large_reference: float = 1.5  # the CUSUM of large changes gathers what a clip's z has above this,
    medium_reference: float = 1.0  # that of medium ones above this,
    small_reference: float = 0.5  # that of small ones above this
    slow_weight: float = 0.01  # of the newest clip in the slow EWMA
    persistence_clips: int = 3  # that many ...
    persistence_among: int = 5  # ... of so many clips
    z_cap: float = 4.0  # more than this no single clip counts in a CUSUM or an EWMA
    raise_clips: int = 2  # nothing is raised unless so many of the latest `persistence_among` clips ...
    raise_z: float = 1.0  # ... are at least this unusual themselves: one slammed door is no alarm
    clear_clips: int = 12  # clips in a row below the clear level before an episode ends
    warning_clear_index: float = 35.0
    alarm_clear_index: float = 50.0
    learning_clips: int = 10  # before these are there, nothing is said
    relearn_clips: int = 100  # clips after maintenance that make the new baseline
    realarm_days: float = 7.0  # an acknowledged alarm that is still there speaks up again
    gap_factor: float = 2.0  # times the machine's usual gap without a clip: no data
    gap_floor_hours: float = 24.0  # never called silent before: jobs may run once a day
    trend_days: float = 14.0  # how far back the trend looks
    must_find_z: float = 3.0  # limits that would not find a lasting change of this size ...
    must_find_clips: int = 1_000  # ... within so many clips promise nothing: the budget counts as unattainable

    def __post_init__(self) -> None:
        _refuse(_value_problems(asdict(self)))

    @classmethod
    def of(cls, table: Mapping[str, Any]) -> Policy:
        """The policy in a TOML or JSON table; raises UsageError that names every wrong key.

        `false_alarms_per_machine_year` = N stands for N ALARMs and 12 N WARNINGs, unless the table states the latter.
        """
        values, problems = _read(table)
        _refuse(problems)
        return cls(**values)


def policy_problems(table: Mapping[str, Any]) -> list[str]:
    """What is wrong with a policy's table, each problem with its key first; empty where `Policy.of` takes it."""
    return _read(table)[1]


def _refuse(problems: list[str]) -> None:
    if problems:
        raise UsageError(f"health policy: {'; '.join(problems)}")  # in one line: logs and mails are read by the line


def _read(table: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The values that a table names, and all that is wrong with it."""
    defaults = {field.name: field.default for field in fields(Policy)}
    known = [ONE_NUMBER, *defaults]
    problems = [f"{key}: unknown key; one of {', '.join(known)}" for key in table if key not in known]
    right = {key: value for key, value in table.items() if key in known}
    for key, value in table.items():
        whole = key in _COUNTS
        number = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
        if key in right and not number:
            problems.append(f"{key}: {value!r} is not a {'whole ' if whole else ''}number")
            del right[key]
    problems += _spread_one_number(right)
    return right, problems + _value_problems(defaults | right)


def _value_problems(values: Mapping[str, Any]) -> list[str]:
    found = [f"{name}: {value!r} is not a positive number" for name, value in values.items() if not _positive(value)]
    if found:
        return found
    orders = (
        ("alarm_per_machine_year", "warning_per_machine_year", values["warning_per_machine_year"]),
        ("warning_per_machine_year", "a thousand", 1_000.0),
        ("slow_weight", "1", 1.0),
        ("persistence_clips", "persistence_among", values["persistence_among"]),
        ("raise_clips", "persistence_among", values["persistence_among"]),
        ("persistence_among", "12", 12),
        ("warning_clear_index", "50, the warning limit", WARNING_INDEX),
        ("alarm_clear_index", "80, the alarm limit", ALARM_INDEX),
        ("small_reference", "medium_reference", values["medium_reference"]),
        ("medium_reference", "large_reference", values["large_reference"]),
        ("large_reference", "z_cap", values["z_cap"]),
        ("learning_clips", "1,000", 1_000),
    )
    found = [f"{name}: {values[name]:g} is above {what}" for name, what, most in orders if values[name] > most]
    if values["relearn_clips"] < 20:
        found.append(f"relearn_clips: {values['relearn_clips']} clips are too few for a baseline; at least 20")
    return found


def _spread_one_number(table: dict[str, Any]) -> list[str]:
    """Puts the two budgets in the place of the one number; returns what is wrong with it."""
    if ONE_NUMBER not in table:
        return []
    number = table.pop(ONE_NUMBER)
    if not _positive(number):
        return [f"{ONE_NUMBER}: {number!r} is not a positive number"]
    stated = table.setdefault("alarm_per_machine_year", number)
    table.setdefault("warning_per_machine_year", WARNINGS_FOR_AN_ALARM * number)
    if stated != number:
        return [f"{ONE_NUMBER}: {number:g} contradicts alarm_per_machine_year = {stated:g}: state one of them"]
    return []


_COUNTS: Final = (
    "persistence_clips",
    "persistence_among",
    "raise_clips",
    "clear_clips",
    "must_find_clips",
    "learning_clips",
    "relearn_clips",
)


def _positive(value: float) -> bool:
    return math.isfinite(value) and value > 0


def clip_index(score: float, typical: float, limit: float) -> float:
    """A single clip's score on a scale that means the same on every machine, within 0..100.

    0 is the median of normal clips, 50 the limit of the normal range, 100 twice as far from the median as the limit.
    """
    if not limit > typical:
        return 100.0 if score > limit else 0.0
    return min(max(LIMIT_INDEX * (score - typical) / (limit - typical), 0.0), 100.0)
