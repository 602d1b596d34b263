"""Why a machine is in its state, and what to do next, in words that a mechanic can use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from acoustic_ad.errors import SENSOR_CODES
from acoustic_ad.health.clip_table import ClipTable, micros_of
from acoustic_ad.health.timeline import Episode, MachineHealth
from acoustic_ad.jobs.schema import ClipRow
from acoustic_ad.scores.explain import Standout, in_words, summarise

CLIPS_TO_EXPLAIN: Final = 40  # the most unusual of an episode speak for it
WHOLE_PATTERN: Final = "no single band: the pattern as a whole"

# What to look for first, by where a machine has become louder (upper edge in Hz). Hints, not diagnoses.
_LOUDER: Final = (
    (200.0, "look for imbalance, looseness and loose mountings"),
    (2000.0, "look for rubbing, worn gears or belts, loose covers"),
    (float("inf"), "look for dry or worn bearings, rubbing, air or steam that leaks"),
)
_QUIETER: Final = "see whether load and speed are as usual, and whether something no longer runs along"
_ANY: Final = "compare load and speed with usual, then look the machine over"
NO_DATA_STEP: Final = "check the recorder, the share that its clips come over, and the timer of `acoustic-ad score`"


@dataclass(frozen=True, slots=True)
class Explanation:
    """What stands out in an episode."""

    stands_out: str
    bands: tuple[Mapping[str, Any], ...]  # as JSON objects: hz, low_hz, high_hz, db, z
    listen_to: tuple[str, ...]  # clip_ids, the most unusual first
    next_step: str

    def as_json(self) -> dict[str, Any]:
        """For the store and `--json`."""
        return {
            "stands_out": self.stands_out,
            "bands": list(self.bands),
            "listen_to": list(self.listen_to),
            "next_step": self.next_step,
        }


def speaking_clips(episode: Episode, points: ClipTable) -> list[str]:
    """Keys of the clips that explain an episode: its worst three, and the most unusual others up to its end.

    `points` are in the order of recording.
    """
    end = episode.cleared_at
    first = int(np.searchsorted(points.micros, micros_of(episode.raised_at)))
    last = len(points) if end is None else int(np.searchsorted(points.micros, micros_of(end), side="right"))
    inside = first + np.flatnonzero(~np.isnan(points.z[first:last]))
    if inside.size > CLIPS_TO_EXPLAIN:  # to sort all that an alarm of months has would take long
        lowest = -np.partition(-points.z[inside], CLIPS_TO_EXPLAIN - 1)[CLIPS_TO_EXPLAIN - 1]
        inside = inside[points.z[inside] >= lowest]
    order = np.lexsort((points.keys[inside], points.micros[inside], -points.z[inside]))
    chosen = [points.key(number) for number in inside[order][:CLIPS_TO_EXPLAIN].tolist()]
    return list(dict.fromkeys([*episode.worst, *chosen]))


def explain(episode: Episode, speaking: Sequence[str], rows: Mapping[str, ClipRow]) -> Explanation:
    """What stands out in the `speaking` clips (keys) of an episode; `rows` are the stored rows by key."""
    clips = [[Standout(**band) for band in rows[key].bands] for key in speaking if key in rows]
    found = summarise([clip for clip in clips if clip])
    listen_to = tuple(rows[key].clip_id for key in episode.worst if key in rows)
    return Explanation(
        in_words(found) or WHOLE_PATTERN,
        tuple(standout.as_dict() for standout in found),
        listen_to,
        _hint(found, listen_to),
    )


def _hint(found: Sequence[Standout], listen_to: Sequence[str]) -> str:
    hint = _ANY
    if found:
        strongest = found[0]
        hint = next(words for edge, words in _LOUDER if strongest.hz < edge) if strongest.db > 0 else _QUIETER
    return f"listen to {listen_to[0]} beside a clip of before; {hint}" if listen_to else hint


def sensor_words(code: str | None) -> str:
    """A sensor's fault by its code, and what to do about it."""
    return f"{code or 'unknown'} ({SENSOR_CODES.get(code or '', 'check the sensor')})"


def next_step(health: MachineHealth, reason: str | None, hint: str | None) -> str:
    """What to do next about a machine; empty where nothing is to be done.

    `reason` is the code of the last clip's sensor fault, `hint` the next step of the open episode.
    """
    if health.state == "sensor_fault":
        mend = SENSOR_CODES.get(reason or "", "check the sensor").rpartition(": ")[2]
        return f"{mend}; then: {hint}" if hint else mend
    if health.state == "learning":
        return "wait: the machine is judged when enough clips are there"
    if health.state == "no_data":
        return NO_DATA_STEP
    return hint or ""
