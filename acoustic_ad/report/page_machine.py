"""One machine as the page takes it: its timeline, why it is in its state, its clips as pictures and sound."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import numpy as np

from acoustic_ad.jobs.alarm_list import alarm_json
from acoustic_ad.jobs.band_history import BandHistory
from acoustic_ad.jobs.clip_map import ClipMap
from acoustic_ad.jobs.fleet_report import MachineStatus, iso, machine_json
from acoustic_ad.jobs.listening import HeardClip, HeardMachine
from acoustic_ad.jobs.machine_story import MachineStory, StoryPoint
from acoustic_ad.jobs.schema import ClipRow
from acoustic_ad.report.pictures import (
    common_gain,
    excess_picture,
    excess_range,
    level_picture,
    level_range,
    sound_uri,
    waterfall_picture,
)
from acoustic_ad.scores.explain import Standout, in_hertz, in_words

LONGEST_SOUND_S: Final = 10.0
SMOOTHED_FRAMES: Final = 3  # of the difference, so that the eye sees more than the speckle of noise


def why_document(machine: MachineStatus) -> dict[str, Any]:
    """Why the machine is in its state, in words."""
    facts = machine_json(machine)
    wanted = ("rule", "next_step", "previous", "trend", "false_alarms", "statement", "ne107", "coverage")
    return {name: facts[name] for name in wanted if facts[name] is not None}


def story_document(story: MachineStory) -> dict[str, Any]:
    """The timeline; times are seconds after its beginning, so that numbers are short."""
    begin = story.begin
    rows = [point.row for point in story.points]
    head = _head([row.clip_id for row in rows if row is not None])
    standing_out = ["" if row is None else clip_words(row) for row in rows]
    words = list(dict.fromkeys(standing_out))
    return {
        "begin": iso(begin),
        "span": _seconds(story.end, begin),
        "total": story.clips,
        "head": head,
        "t": [_seconds(point.at, begin) for point in story.points],
        "z": [round(100 * point.z) for point in story.points],
        "i": [round(point.index) for point in story.points],
        "e": [round(point.slow) for point in story.points],
        "p": [None if row is None else _short(row.p_value) for row in rows],
        "db": [None if row is None else _tenths(row.level_db) for row in rows],
        "clip": [None if row is None else row.clip_id[len(head) :] for row in rows],
        "out": [words.index(one) for one in standing_out],
        "words": words,
        "states": [[_seconds(one.at, begin), one.state, one.rule] for one in story.changes],
        "alarms": [alarm_json(alarm) for alarm in story.alarms],
        "events": [
            {"at": _seconds(one.at, begin), "kind": one.kind, "note": one.note, "by": one.by} for one in story.events
        ],
    }


def _head(names: Sequence[str]) -> str:
    """What all names begin with; told once, it need not be said with each of them."""
    low, high = min(names, default=""), max(names, default="")
    same = next((number for number, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), 0)
    return low[:same]


def clip_words(row: ClipRow) -> str:
    """What stands out in a clip, by its row."""
    return in_words([Standout(**band) for band in row.bands])


def pictures_document(heard: HeardMachine, story: MachineStory) -> dict[str, Any]:
    """Maps and sounds of the worst clips, beside those of a usual one."""
    clips = [*heard.worst, *([heard.usual] if heard.usual is not None else [])]
    maps = [clip.found for clip in clips if clip.found is not None]
    if not maps:
        return {"clips": [_clip(clip, story) for clip in heard.worst]}
    low, high = level_range(*(one.level_db for one in maps))
    limit = max(excess_range(_smooth(one.excess_db)) for one in maps)
    sounds = [one.sound for one in maps if one.sound is not None]
    gain = common_gain(sounds)
    document: dict[str, Any] = {
        "low": round(low, 1),
        "high": round(high, 1),
        "limit": limit,
        "edges": [round(heard.edges_hz[0], 1), round(heard.edges_hz[-1], 1)],
        "clips": [_clip(clip, story) | _pictures(clip.found, low, high, limit, gain) for clip in heard.worst],
    }
    if heard.usual is not None:
        usual = _pictures(heard.usual.found, low, high, None, gain)
        document["usual"] = _clip(heard.usual, story) | usual
    if sounds:
        document["gain_db"] = round(20 * float(np.log10(gain)))
    return document


def _clip(clip: HeardClip, story: MachineStory) -> dict[str, Any]:
    row = clip.row
    return {
        "clip": row.clip_id,
        "at": iso(row.recorded_at),
        "t": _seconds(row.recorded_at, story.begin),
        "p": _short(row.p_value),
        "words": clip_words(row),
    } | ({"missing": clip.missing} if clip.missing else {})


def _pictures(found: ClipMap | None, low: float, high: float, limit: float | None, gain: float) -> dict[str, Any]:
    if found is None:
        return {}
    document: dict[str, Any] = {
        "seconds": round(len(found.level_db) * found.frame_s, 2),
        "level": level_picture(found.level_db, low, high),
    }
    if limit is not None:
        document["excess"] = excess_picture(_smooth(found.excess_db), limit)
        if found.box is not None:
            box = found.box
            document["box"] = [
                round(value, 2) for value in (box.start_s, box.end_s, box.low_hz, box.high_hz, box.db, box.z)
            ]
            document["box_words"] = box_words(found)
    if found.cut:
        document["cut"] = True
    if found.sound is not None:
        first = 0
        most = round(LONGEST_SOUND_S * found.sample_rate_hz)
        if found.box is not None and found.box.start_s > LONGEST_SOUND_S / 2:
            first = round((found.box.start_s - 1.0) * found.sample_rate_hz)
        document["sound"] = sound_uri(found.sound[first : first + most], found.sample_rate_hz, gain)
        if first:
            document["sound_from"] = round(first / found.sample_rate_hz, 1)
    return document


def box_words(found: ClipMap) -> str:
    """'+8 dB from 2.9 kHz to 3.6 kHz, from 0.0 s to 4.0 s'; empty without a region."""
    box = found.box
    if box is None:
        return ""
    low, high = in_hertz(box.low_hz), in_hertz(box.high_hz)
    return f"{box.db:+.0f} dB from {low} to {high}, from {box.start_s:.1f} s to {box.end_s:.1f} s"


def _smooth(excess: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    kernel = np.ones(min(SMOOTHED_FRAMES, len(excess))) / min(SMOOTHED_FRAMES, len(excess))
    return np.apply_along_axis(np.convolve, 0, excess, kernel, "same")


def waterfall_document(history: BandHistory | None) -> dict[str, Any] | None:
    """Band x day as a picture."""
    if history is None or not np.isfinite(history.db).any():
        return None
    limit = float(np.clip(np.ceil(np.nanquantile(np.abs(history.db), 0.998)), 3, 15))
    return {
        "first": history.days[0].isoformat(),
        "days": len(history.days),
        "edges": [round(history.edges_hz[0], 1), round(history.edges_hz[-1], 1)],
        "bands": len(history.edges_hz) - 1,
        "limit": limit,
        "picture": waterfall_picture(history.db, limit),
        "heard": history.heard_again,
    }


def rows_of_points(points: Sequence[StoryPoint]) -> list[ClipRow]:
    """The clips of a timeline, as far as they have rows."""
    return [point.row for point in points if point.row is not None]


def _seconds(at: datetime, begin: datetime) -> int:
    return round((at - begin).total_seconds())


def _short(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.2g}")


def _tenths(value: float | None) -> int | None:
    return None if value is None else round(10 * value)
