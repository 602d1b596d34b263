"""Where a machine's index is heading, no further than the clips can tell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit

Array = npt.NDArray[np.float64]

CONFIDENCE: Final = 0.99  # of the interval: a trend is looked at day after day, on machine after machine
MOST_BLOCKS: Final = 28
FEWEST_BLOCKS: Final = 8
FEWEST_CLIPS: Final = 4 * FEWEST_BLOCKS
FEWEST_DAYS: Final = 1.0
LONGEST_DAYS: Final = 365.0  # beyond a year, "days to alarm" is no news


@dataclass(frozen=True, slots=True)
class Trend:
    """The slope of the index, in points per day; its interval allows for autocorrelation.

    The index meant is that of the slow EWMA, on which the machine's mean z is 80 where it would raise an alarm.
    `days_to_alarm` says when the line through the latest clips gets there, were the slope to last; it is None unless
    the slope is significant and upward, and it is no claim about remaining life.
    """

    per_day: float
    low: float  # 99 % interval of the slope
    high: float
    significant: bool  # the interval excludes 0
    days_to_alarm: float | None
    days: float  # between the first and the last of the clips that it stands on
    clips: int


def trend_of(days: Array, z: Array, alarm_z: float, autocorrelation: float) -> Trend | None:
    """The trend of z's [T] at ascending times [T] in days; None where there is too little to tell.

    `alarm_z` is the lasting z that raises an alarm, `autocorrelation` that of neighbouring clips. Least squares on the
    means of up to 28 blocks of clips; what correlation is left between the blocks, by their residuals or by an AR(1) of
    the clips, whichever is larger, widens the interval and takes degrees of freedom.
    """
    if z.size < FEWEST_CLIPS or days[-1] - days[0] < FEWEST_DAYS:
        return None
    blocks = min(MOST_BLOCKS, z.size // 4)
    starts = np.linspace(0, z.size, blocks + 1).astype(np.intp)[:-1]
    sizes = np.diff(np.append(starts, z.size))
    when, mean = (np.add.reduceat(values, starts) / sizes for values in (days, z))
    centred = when - when.mean()
    spread = float(centred @ centred)
    if spread == 0.0:
        return None
    slope = float(centred @ mean) / spread
    residual = mean - mean.mean() - slope * centred
    between = max(_between(residual), _between_blocks(autocorrelation, float(sizes.mean())))
    inflation = (1 + between) / (1 - between)
    freedom = blocks / inflation - 2
    if freedom < 1:
        return None
    variance = float(residual @ residual) / (blocks - 2) / spread * inflation
    half = float(stdtrit(freedom, (1 + CONFIDENCE) / 2)) * variance**0.5
    low, high = slope - half, slope + half
    significant = low > 0 or high < 0
    now = float(mean.mean() + slope * (days[-1] - when.mean()))
    to_alarm = (alarm_z - now) / slope if low > 0 else None
    if to_alarm is not None and not 0 < to_alarm <= LONGEST_DAYS:
        to_alarm = None
    scale = 80.0 / alarm_z
    return Trend(
        slope * scale, low * scale, high * scale, significant, to_alarm, float(days[-1] - days[0]), int(z.size)
    )


def _between(residual: Array) -> float:
    """Lag-1 autocorrelation [0, 0.9] of the residuals of a line, corrected for the two parameters of the line."""
    total = float(residual @ residual)
    if total == 0.0:
        return 0.0
    r = float(residual[1:] @ residual[:-1]) / total
    return min(max(r + (1 + 4 * max(r, 0.0)) / residual.size, 0.0), 0.9)


def _between_blocks(rho: float, size: float) -> float:
    """Correlation of the means of neighbouring blocks of `size` clips of an AR(1)."""
    if rho <= 0.0:
        return 0.0
    gone = 1 - rho**size
    variance = size * (1 - rho**2) - 2 * rho * gone  # both times (1 - rho)^2 / size^2
    return float(min(rho * gone**2 / variance, 0.95))
