"""The states that people see: by what the clips say, by what they say of the sensor, and by silences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from operator import itemgetter
from typing import Final

import numpy as np

from acoustic_ad.health.clip_table import STATUSES, Array, ClipTable, micros_of, seconds_of
from acoustic_ad.health.gaps import longest_usual_gap
from acoustic_ad.health.policy import Policy, State
from acoustic_ad.health.records import StateChange

_RULES: Final[dict[State, str]] = {
    "off": "the newest clip is of a machine that is off",
    "sensor_fault": "the newest clip shows a broken sensor",
}


@dataclass(frozen=True, slots=True)
class Heard:
    """From `at` on the scored clips say `state`."""

    at: datetime
    state: State
    rule: str


@dataclass(frozen=True, slots=True)
class Seen:
    """All changes of the state that people see, and what holds at the end, None without clips."""

    now: Heard | None
    changes: tuple[StateChange, ...]
    past_changes: tuple[StateChange, ...]  # and, where nobody knows what time it is, with silences up to the last clip
    usual_gap_s: float


def seen_states(heard: Sequence[Heard], ordered: ClipTable, as_of: datetime | None, policy: Policy) -> Seen:
    """What is seen of clips, by time, up to `as_of`; None: as if the last clip were of just now."""
    times = seconds_of(ordered.micros)
    usual = longest_usual_gap(times, policy)
    sensor, silences = _sensor(ordered), _silences(ordered, times, as_of, usual)
    past_changes, now = _changes(heard, sensor, silences)
    changes = past_changes
    if as_of is None:
        changes, now = _changes(heard, sensor, [])
    return Seen(now, tuple(changes), tuple(past_changes), usual)


def silence_rule(usual_gap_s: float) -> str:
    """Why a machine has no data, in words."""
    return f"no clip for more than {usual_gap_s / 3600:.3g} h, the longest that is usual here"


def _changes(
    heard: Sequence[Heard], sensor: Sequence[Heard], silences: Sequence[Heard]
) -> tuple[list[StateChange], Heard | None]:
    """All changes of the state that people see, and the one that holds at the end, None without clips.

    no_data comes before a broken sensor or a machine that is off, and both before what was heard last, which comes back
    as old as it was.
    """
    layers = enumerate((heard, sensor, silences))
    points = sorted(((one.at, layer, one) for layer, ones in layers for one in ones), key=itemgetter(0, 1))
    latest: list[Heard | None] = [None, None, None]
    changes: list[StateChange] = []
    shown: Heard | None = None
    for number, (at, layer, one) in enumerate(points):
        latest[layer] = one
        if number + 1 < len(points) and points[number + 1][0] == at:
            continue
        now = next((one for one in reversed(latest[1:]) if one and one.state != "normal"), latest[0])
        if now is not None and (shown is None or now.state != shown.state):
            changes.append(StateChange(at, now.state, "no_data" if shown is None else shown.state, now.rule))
        shown = now
    return changes, shown


def _sensor(ordered: ClipTable) -> list[Heard]:
    """When the machine was off or its sensor broken, and when it was heard again: "normal"."""
    found = []
    for number in np.flatnonzero(np.diff(ordered.status, prepend=-1)).tolist():
        status = STATUSES[ordered.status[number]]
        state: State = "off" if status == "off" else "sensor_fault"
        if status == "scored":
            state = "normal"
        found.append(Heard(ordered.at(number), state, _RULES.get(state, "")))
    return found


def _silences(ordered: ClipTable, times: Array, as_of: datetime | None, usual: float) -> list[Heard]:
    """When silences came to last longer than is usual, and when clips came again: "normal".

    Up to `as_of`, or where nobody knows what time it is up to the last clip; `times` [T] are seconds.
    """
    found = []
    ends = [] if as_of is None or not len(ordered) else [micros_of(as_of) / 1e6]
    for number in np.flatnonzero(np.diff(times, append=ends) > usual).tolist():
        found.append(Heard(ordered.at(number) + timedelta(seconds=usual), "no_data", silence_rule(usual)))
        if number + 1 < len(ordered):
            found.append(Heard(ordered.at(number + 1), "normal", ""))
    return found
