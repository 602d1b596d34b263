"""The clips of a machine as columns: a year of them has 50,000, and an object for each costs more than all charts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Micros = npt.NDArray[np.int64]  # microseconds since 1970, UTC: exact, and quick to compare
Numbers = npt.NDArray[np.intp]
Keys = npt.NDArray[np.bytes_]  # UTF-8, whose order is that of code points

STATUSES: Final = ("failed", "off", "scored", "sensor_fault")  # in the order of their codes, which is that of text
FAILED, OFF, SCORED, SENSOR_FAULT = range(len(STATUSES))
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


def micros_of(at: datetime) -> int:
    """A time with a zone in microseconds since 1970."""
    return (at - _EPOCH) // _MICROSECOND


def time_of(micros: int | np.int64) -> datetime:
    """The inverse of `micros_of`, in UTC."""
    return _EPOCH + timedelta(microseconds=int(micros))


def seconds_of(micros: Micros) -> Array:
    """Seconds since 1970 [T], as `datetime.timestamp` gives them."""
    found: Array = micros / 1e6
    return found


def keys_of(texts: list[str]) -> Keys:
    """Texts as an array."""
    return np.array([text.encode() for text in texts], np.bytes_) if texts else np.zeros(0, "S1")


def coded(texts: list[Any]) -> tuple[npt.NDArray[np.int32], tuple[Any, ...]]:
    """The places of texts (or None) among the different ones of them, and those, ascending."""
    names = tuple(sorted(set(texts), key=lambda name: name or ""))
    places = {name: place for place, name in enumerate(names)}
    return np.fromiter(map(places.__getitem__, texts), np.int32, len(texts)), names


def ascends(micros: Micros, keys: Keys) -> bool:
    """Whether clips are in the order of (time, key), each once."""
    steps = np.diff(micros)
    if (steps > 0).all():
        return True  # as it nearly always is
    ties = np.flatnonzero(steps == 0)
    return not (steps < 0).any() and bool((keys[ties] < keys[ties + 1]).all())


@dataclass(frozen=True, slots=True)
class ClipPoint:
    """A clip on a machine's timeline."""

    recorded_at: datetime  # with a zone
    status: str  # scored, off, sensor_fault; failed clips say nothing of the machine and are left out
    z: float | None  # Baseline.z of its score; None unless scored
    key: str = ""  # the clip's content, e.g. its sha256; with the time it tells duplicates and orders clips
    model: str = ""  # digest, a key of `baselines`


@dataclass(frozen=True, slots=True, eq=False)
class ClipTable:
    """Clips [T], each of which is a `ClipPoint` where somebody asks for it."""

    micros: Micros
    status: npt.NDArray[np.int8]  # places in STATUSES
    z: Array  # NaN: None
    keys: Keys
    model: npt.NDArray[np.int32]  # places in `models`
    models: tuple[str, ...]  # ascending

    @classmethod
    def of(cls, clips: Iterable[ClipPoint]) -> ClipTable:
        """The table of clips, in their order; a table is its own."""
        if isinstance(clips, ClipTable):
            return clips
        points = list(clips)
        return cls(
            np.array([micros_of(clip.recorded_at) for clip in points], np.int64),
            np.array([STATUSES.index(clip.status) for clip in points], np.int8),
            np.array([np.nan if clip.z is None else clip.z for clip in points], np.float64),
            keys_of([clip.key for clip in points]),
            *coded([clip.model for clip in points]),
        )

    def __len__(self) -> int:
        return self.micros.size

    def __getitem__(self, number: int) -> ClipPoint:
        z = float(self.z[number])
        model = self.models[self.model[number]]
        status = STATUSES[self.status[number]]
        return ClipPoint(self.at(number), status, None if z != z else z, self.key(number), model)

    def __iter__(self) -> Iterator[ClipPoint]:
        return map(self.__getitem__, range(len(self)))

    def at(self, number: int) -> datetime:
        """When a clip was recorded."""
        return time_of(self.micros[number])

    def key(self, number: int) -> str:
        """The key of a clip."""
        return bytes(self.keys[number]).decode()

    def take(self, which: Numbers) -> ClipTable:
        """Some of the clips, by number."""
        return ClipTable(
            self.micros[which], self.status[which], self.z[which], self.keys[which], self.model[which], self.models
        )

    def scored(self) -> ClipTable:
        """Those that have a z and count by it."""
        which = (self.status == SCORED) & ~np.isnan(self.z)
        return self if which.all() else self.take(np.flatnonzero(which))

    def in_order(self, as_of: datetime | None) -> ClipTable:
        """Readable clips by time of recording, each once. Of contradicting ones the order of arrival decides nothing.

        `as_of`: without those that were recorded later.
        """
        readable = self.status != FAILED
        if as_of is not None:
            readable &= self.micros <= micros_of(as_of)
        here = self if readable.all() else self.take(np.flatnonzero(readable))
        if ascends(here.micros, here.keys):
            return here
        z = np.where(np.isnan(here.z), 0.0, here.z)
        order = np.lexsort((z, here.status, here.model, here.keys, here.micros))
        micros, keys = here.micros[order], here.keys[order]
        last = np.append((micros[1:] != micros[:-1]) | (keys[1:] != keys[:-1]), True)
        return here.take(order[last])
