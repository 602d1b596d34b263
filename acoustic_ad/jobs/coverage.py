"""How much of a machine was heard: the clips that should have come, those that came, and what became of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from statistics import median
from typing import Any, Final

WINDOW: Final = timedelta(days=30)
# From this many days on, what a usual day brings tells more than the usual gap: many machines are heard by day only.
FEWEST_DAYS: Final = 3
SOME: Final = 1.5  # times as long is about as long
SHORTEST_STEP_S: Final = 1.0


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


def coverage_of(clips: Sequence[Heard], as_of: datetime) -> Coverage | None:
    """The coverage up to `as_of`; None where no clip was recorded before.

    What is expected follows from the clips themselves: over three days and more the usual number of a day on which any
    came, below that no holes beside those that come again, such as nights. So a recorder that was always half deaf is
    not found out, one that becomes so is.
    """
    begin = as_of - WINDOW
    known = sorted((clip for clip in clips if clip.recorded_at <= as_of), key=lambda clip: clip.recorded_at)
    recent = [clip for clip in known if clip.recorded_at > begin]
    if not known:
        return None
    begin = max(begin, known[0].recorded_at)
    counts = Counter(clip.status for clip in recent)
    failed = Counter(clip.reason or "unknown" for clip in recent if clip.status == "failed")
    expected = _expected([clip.recorded_at for clip in known], begin, as_of)
    return Coverage(
        (as_of - begin) / timedelta(days=1),
        None if expected is None else max(expected, len(recent)),  # a clip too many makes up for none that is missing
        len(recent),
        counts["scored"],
        counts["off"],
        counts["sensor_fault"],
        dict(sorted(failed.items())),
    )


def _expected(times: Sequence[datetime], begin: datetime, as_of: datetime) -> int | None:
    """From all that came so far, so that a month with holes does not become what is expected."""
    if len(times) < 2 or times[-1] == times[0]:
        return None
    by_day = Counter(time.date() for time in times)
    whole_days = sorted(by_day)[1:-1]  # the first and the last may have begun late and ended early
    if len(whole_days) >= FEWEST_DAYS:
        return round(median(by_day[day] for day in whole_days) * ((as_of - begin) / timedelta(days=1)))
    gaps = [(late - early).total_seconds() for early, late in pairwise(times)]
    # Clips that begin within one second are those of one moment, or files that were copied.
    step = median([gap for gap in gaps if gap >= SHORTEST_STEP_S] or [SHORTEST_STEP_S])
    usual = [gap for gap in gaps if _is_usual(gap, gaps, step)]
    holes = [gap for gap in gaps if not _is_usual(gap, gaps, step)]
    silence = (as_of - times[-1]).total_seconds()
    if silence > SOME * max(usual, default=step):
        holes.append(silence + step)  # as if a clip came this moment
    return sum(time > as_of - WINDOW for time in times) + sum(round(hole / step) - 1 for hole in holes)


def _is_usual(gap: float, gaps: Sequence[float], step: float) -> bool:
    """Whether a gap is about the usual one, or not the only one of its length: a night comes again."""
    return gap <= SOME * step or sum(gap / SOME <= other <= gap * SOME for other in gaps) > 1
