"""How each part of a machine's spectrum went, day by day: a waterfall of band x day."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import sqlalchemy as sa

from acoustic_ad.jobs.schema import clip_scores, utc_text
from acoustic_ad.jobs.store import Store

Array = npt.NDArray[np.float64]

PER_OCTAVE: Final = 3
LOWEST_HZ: Final = 25.0
MOST_DAYS: Final = 120


@dataclass(frozen=True, slots=True)
class BandHistory:
    """Excess over the machine's normal in dB, [days, bands]; NaN on days without a scored clip."""

    days: tuple[date, ...]
    edges_hz: tuple[float, ...]  # [bands + 1]
    db: Array
    heard_again: int  # clips that were heard again for it; 0: from what the store kept of each clip


def third_octaves(highest_hz: float) -> Array:
    """Edges of third octaves from 25 Hz up to `highest_hz`; what is lower counts to the lowest."""
    count = max(int(np.ceil(PER_OCTAVE * np.log2(max(highest_hz, 2 * LOWEST_HZ) / LOWEST_HZ))), 1)
    return np.asarray(LOWEST_HZ * 2.0 ** (np.arange(count + 1) / PER_OCTAVE))


def stored_history(store: Store, machine: str, begin: datetime, end: datetime, highest_hz: float) -> BandHistory | None:
    """From what the store keeps of every clip: the bands that stood out in it (beyond 3 sigma and 1 dB).

    A clip in which a band did not stand out counts as 0 dB there. None without a scored clip.
    """
    first = max(begin, end - timedelta(days=MOST_DAYS))
    days = _days(first, end)
    edges = third_octaves(highest_hz)
    with store.reading() as connection:
        heard = _bands_by_day(connection, machine, first, end)
    counts = Counter(day for day, _ in heard)
    loud = [(day, json.loads(bands)) for day, bands in heard if bands is not None]
    if not counts:
        return None
    total = np.zeros((len(days), len(edges) - 1))
    place = {one.isoformat(): number for number, one in enumerate(days)}
    for at, bands in loud:
        if at in place:
            total[place[at]] += _excess(bands, edges)
    clips = np.array([counts[one.isoformat()] for one in days], np.float64)
    with np.errstate(invalid="ignore"):
        return BandHistory(tuple(days), tuple(edges.tolist()), total / np.where(clips > 0, clips, np.nan)[:, None], 0)


def _bands_by_day(
    connection: sa.Connection, machine: str, first: datetime, end: datetime
) -> list[tuple[str, str | None]]:
    """(day, bands as JSON or None where none stood out) of the scored clips, each by its newest row.

    Which row is the newest is found here: the database would look it up clip by clip, and take three times as long.
    """
    clips = clip_scores.c
    day, bands = sa.func.substr(clips.recorded_at, 1, 10), sa.func.nullif(clips.bands, "[]")
    query = sa.select(clips.sha256, clips.id, clips.status, day, bands).where(
        clips.machine == machine,
        clips.model.is_not(None),
        clips.recorded_at >= utc_text(first),
        clips.recorded_at <= utc_text(end),
    )
    newest: dict[str, Any] = {}
    for row in connection.execute(query).all():
        known = newest.get(row[0])
        if known is None or known[1] < row[1]:
            newest[row[0]] = row
    return [(at, outstanding) for _, _, status, at, outstanding in newest.values() if status == "scored"]


def heard_history(
    excess: Sequence[tuple[datetime, npt.ArrayLike]], edges_hz: Sequence[float], begin: datetime, end: datetime
) -> BandHistory | None:
    """From clips that were heard again: (time, mean excess [mels] in dB) of each; `edges_hz` [mels + 1]."""
    days = _days(max(begin, end - timedelta(days=MOST_DAYS)), end)
    edges = third_octaves(edges_hz[-1])
    centres = np.sqrt(np.maximum(edges_hz[:-1], 1.0) * np.asarray(edges_hz[1:]))
    band = np.clip(np.searchsorted(edges, centres, side="right") - 1, 0, len(edges) - 2)
    rows: dict[date, list[Array]] = {}
    for at, mean in excess:
        levels = np.asarray(mean, np.float64)
        by_band = np.array(
            [levels[band == number].mean() if (band == number).any() else np.nan for number in range(len(edges) - 1)]
        )
        rows.setdefault(at.date(), []).append(by_band)
    if not rows:
        return None
    blank = np.full(len(edges) - 1, np.nan)
    db = np.array([np.mean(rows[day], axis=0) if day in rows else blank for day in days])
    return BandHistory(tuple(days), tuple(edges.tolist()), db, len(excess))


def spread_over_days(times: Sequence[datetime], most: int) -> list[int]:
    """Numbers of at most `most` clips, spread as evenly over the days as can be."""
    by_day: dict[date, list[int]] = {}
    for number, at in enumerate(times):
        by_day.setdefault(at.date(), []).append(number)
    found: list[int] = []
    rounds = 0
    while len(found) < most and any(len(numbers) > rounds for numbers in by_day.values()):
        for numbers in by_day.values():
            if len(numbers) > rounds:  # first the middle of a day, then what is beside it
                middle = len(numbers) // 2 + (rounds + 1) // 2 * (-1) ** rounds
                found.append(numbers[middle % len(numbers)])
        rounds += 1
    if len(found) > most:
        found = [found[place] for place in np.linspace(0, len(found) - 1, most).astype(int)]
    return sorted(set(found))


def _days(begin: datetime, end: datetime) -> list[date]:
    count = (end.date() - begin.date()).days + 1
    return [begin.date() + timedelta(days=number) for number in range(count)]


def _excess(bands: Sequence[Mapping[str, Any]], edges: Array) -> Array:
    """[bands]: the dB of the strongest run that reaches into a band, 0 where none does."""
    found = np.zeros(len(edges) - 1)
    for one in bands:
        low = int(np.clip(np.searchsorted(edges, float(one["low_hz"]), side="right") - 1, 0, len(found) - 1))
        high = int(np.clip(np.searchsorted(edges, float(one["high_hz"]), side="right") - 1, 0, len(found) - 1))
        for number in range(low, high + 1):
            if abs(float(one["db"])) > abs(found[number]):
                found[number] = float(one["db"])
    return found
