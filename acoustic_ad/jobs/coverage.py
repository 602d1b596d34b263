"""How much of a machine was heard: the clips that should have come, those that came, and what became of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from acoustic_ad.health.clip_table import OFF, SCORED, SENSOR_FAULT, STATUSES, Micros, micros_of, time_of

WINDOW: Final = timedelta(days=30)
# From this many days on, what a usual day brings tells more than the usual gap: many machines are heard by day only.
FEWEST_DAYS: Final = 3
SOME: Final = 1.5  # times as long is about as long
SHORTEST_STEP_S: Final = 1.0
_DAY_MICROS: Final = 86_400_000_000


@dataclass(frozen=True, slots=True)
class Heard:
    """When a clip was recorded and what became of it; `reason` only of those that failed."""

    recorded_at: datetime
    status: str
    reason: str | None = None
    dated: bool = True  # False: only the file's modification time tells, which copying may have made


@dataclass(frozen=True, slots=True)
class Coverage:
    """Clips of the last `days` days (at most 30), as far as the machine has been heard that long."""

    days: float
    expected: int | None  # never less than came; None: too few clips to tell how often the machine is recorded
    received: int
    scored: int
    off: int
    sensor_fault: int
    failed: dict[str, int]  # by reason

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "days": round(self.days, 3),
            "expected": self.expected,
            "received": self.received,
            "scored": self.scored,
            "off": self.off,
            "sensor_fault": self.sensor_fault,
            "failed": self.failed,
        }


def coverage_of(
    micros: Micros, status: npt.NDArray[np.int8], failed: Sequence[Heard], as_of: datetime
) -> Coverage | None:
    """The coverage up to `as_of`; None where no clip was recorded before.

    `micros` and `status` [T] are of the clips that are not failed, as in `ClipTable`.

    What is expected follows from the clips themselves: over three days and more the usual number of a day on which any
    came, below that no holes beside those that come again, such as nights. So a recorder that was always half deaf is
    not found out, one that becomes so is.
    """
    opening, until = micros_of(as_of - WINDOW), micros_of(as_of)
    lost = [clip for clip in failed if clip.recorded_at <= as_of]
    times = np.concatenate([micros, np.array([micros_of(clip.recorded_at) for clip in lost], np.int64)])
    times = np.sort(times[times <= until], kind="stable")  # quick, as they are nearly in order
    if not times.size:
        return None
    begin = max(as_of - WINDOW, time_of(times[0]))
    received = int((times > opening).sum())
    counts = np.bincount(status[(micros > opening) & (micros <= until)], minlength=len(STATUSES))
    reasons = Counter(clip.reason or "unknown" for clip in lost if clip.recorded_at > as_of - WINDOW)
    expected = _expected(times, begin, as_of)
    return Coverage(
        (as_of - begin) / timedelta(days=1),
        None if expected is None else max(expected, received),  # a clip too many makes up for none that is missing
        received,
        int(counts[SCORED]),
        int(counts[OFF]),
        int(counts[SENSOR_FAULT]),
        dict(sorted(reasons.items())),
    )


def _expected(times: Micros, begin: datetime, as_of: datetime) -> int | None:
    """From all that came so far, so that a month with holes does not become what is expected."""
    if times.size < 2 or times[-1] == times[0]:
        return None
    days = times // _DAY_MICROS
    by_day = np.diff(np.flatnonzero(np.diff(days, prepend=days[0] - 1, append=days[-1] + 1)))
    whole_days = by_day[1:-1].tolist()  # the first and the last may have begun late and ended early
    if len(whole_days) >= FEWEST_DAYS:
        a_day: float = median(whole_days)
        return round(a_day * ((as_of - begin) / timedelta(days=1)))
    gaps: list[float] = (np.diff(times) / 1e6).tolist()
    # Clips that begin within one second are those of one moment, or files that were copied.
    step = median([gap for gap in gaps if gap >= SHORTEST_STEP_S] or [SHORTEST_STEP_S])
    usual = [gap for gap in gaps if _is_usual(gap, gaps, step)]
    holes = [gap for gap in gaps if not _is_usual(gap, gaps, step)]
    silence = (as_of - time_of(times[-1])).total_seconds()
    if silence > SOME * max(usual, default=step):
        holes.append(silence + step)  # as if a clip came this moment
    return int((times > micros_of(as_of - WINDOW)).sum()) + sum(round(hole / step) - 1 for hole in holes)


def _is_usual(gap: float, gaps: Sequence[float], step: float) -> bool:
    """Whether a gap is about the usual one, or not the only one of its length: a night comes again."""
    return gap <= SOME * step or sum(gap / SOME <= other <= gap * SOME for other in gaps) > 1
