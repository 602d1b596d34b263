"""What stands out, what to listen to, what to do: in a mechanic's words."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from acoustic_ad.health.clip_table import ClipTable
from acoustic_ad.health.timeline import ClipPoint, Episode
from acoustic_ad.jobs.explanation import CLIPS_TO_EXPLAIN, WHOLE_PATTERN, explain, speaking_clips
from acoustic_ad.jobs.schema import ClipRow

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
EPISODE = Episode("alarm", NOON, None, "rule", 95.0, ("w1", "w2", "w3"), NOON)


def point(key: str, minutes: float, z: float | None) -> ClipPoint:
    return ClipPoint(NOON + timedelta(minutes=minutes), "off" if z is None else "scored", z, key)


def row(key: str, *bands: tuple[float, float]) -> ClipRow:
    standouts = tuple({"hz": hz, "low_hz": hz * 0.9, "high_hz": hz * 1.1, "db": db, "z": 5.0} for hz, db in bands)
    return ClipRow(f"{key}.wav", "fan", NOON, "name", key, "m", 9.0, 0.01, "scored", bands=standouts)


def test_the_most_unusual_clips_of_the_episode_speak_for_it() -> None:
    points = [point("before", -10, 9.0), point("off", 5, None)]
    points += [point(f"c{number}", number, float(number)) for number in range(100)]
    table = ClipTable.of(points).in_order(None)
    chosen = speaking_clips(EPISODE, table)
    assert chosen[:3] == ["w1", "w2", "w3"] and len(chosen) == 3 + CLIPS_TO_EXPLAIN
    assert chosen[3] == "c99" and {"before", "off", "c5"}.isdisjoint(chosen)
    over = replace(EPISODE, cleared_at=NOON + timedelta(minutes=50))
    assert speaking_clips(over, table)[3] == "c50"


@pytest.mark.parametrize(
    ("bands", "words", "step"),
    [
        ([(3400.0, 9.0)], "+9 dB around 3.4 kHz", "bearings"),
        ([(120.0, 6.0)], "+6 dB around 120 Hz", "imbalance"),
        ([(700.0, 4.0)], "+4 dB around 700 Hz", "rubbing"),
        ([(700.0, -8.0)], "-8 dB around 700 Hz", "load and speed"),
        ([], WHOLE_PATTERN, "load and speed"),
    ],
)
def test_words_and_next_step_follow_what_is_heard(bands: list, words: str, step: str) -> None:
    rows = {key: row(key, *bands) for key in ("w1", "w2", "w3", "c1")}
    found = explain(EPISODE, ["w1", "w2", "w3", "c1"], rows)
    assert found.stands_out == words and step in found.next_step
    assert found.listen_to == ("w1.wav", "w2.wav", "w3.wav")
    assert found.next_step.startswith("listen to w1.wav")
    assert [band["hz"] for band in found.bands] == [hz for hz, _ in bands]


def test_clips_whose_rows_are_gone_are_passed_over() -> None:
    found = explain(EPISODE, ["w1", "w2"], {"w2": row("w2", (50.0, 3.0))})
    assert found.listen_to == ("w2.wav",) and found.stands_out == "+3 dB around 50 Hz"
    nothing = explain(EPISODE, ["w1"], {})
    assert nothing.listen_to == () and nothing.next_step
