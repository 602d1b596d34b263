"""Control charts: what turns the z's of clips, one after the other, into evidence that a machine has changed.

Each chart is quick for another kind of change, and together they share one budget of false alarms: CUSUMs for lasting
changes of about three, two and one sigma (a CUSUM is quickest for twice its reference), a slow EWMA for drifts, and
persistence (k of n clips), which no single clip can move.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from acoustic_ad.health.policy import ALARM_INDEX, WARNING_INDEX, Policy

Array = npt.NDArray[np.float64]
Array32 = npt.NDArray[np.float32]
Floats = npt.NDArray[np.floating]


@dataclass(frozen=True, slots=True)
class Recursion:
    """The chart S <- max(keep S + gain z - reference, 0), from 0 on: one-sided, with no memory of very good days.

    A CUSUM (Page 1954) keeps all and gains all; an EWMA (Roberts 1959) of weight w keeps 1 - w and gains w.
    """

    name: str
    keep: float
    gain: float
    reference: float
    share: float  # of the budget of false alarms

    def statistic(self, z: Array, caps: Array) -> Array:
        """The statistic [T] after each clip z [T], held below its cap [T]: it comes back after a long excursion."""
        found = np.empty(z.size)
        done, at = 0, 0.0
        while done < z.size:
            if self.keep == 1.0:
                # Without caps, a CUSUM is its sum less the lowest sum so far: no loop over the clips. It has no cap up
                # to the first clip that would exceed it; from there on, clip by clip for a while.
                block = slice(done, done + _AT_ONCE)
                sums = at + np.cumsum(self.gain * z[block] - self.reference)
                free = sums - np.minimum(np.minimum.accumulate(sums), 0.0)
                over = np.flatnonzero(free > caps[block])
                end = int(over[0]) if over.size else free.size
                found[done : done + end] = free[:end]
                done += end
                at = float(found[done - 1]) if end else at
                if not over.size:
                    continue
            part = slice(done, done + _BY_CLIP if self.keep == 1.0 else z.size)
            found[part] = self._by_clip((self.gain * z[part]).tolist(), caps[part].tolist(), at)
            done = min(part.stop, z.size)
            at = float(found[done - 1])
        return found

    def _by_clip(self, gained: list[float], caps: list[float], at: float) -> list[float]:
        keep, reference, found = self.keep, self.reference, []
        for value, cap in zip(gained, caps, strict=True):  # written out: calls for each clip take seven times as long
            at = keep * at + value - reference
            if at < 0.0:
                at = 0.0
            elif at > cap:
                at = cap
            found.append(at)
        return found


# Of the budget of false alarms. A drift is found by the slow chart long before the others, with little of it; sudden
# changes must be found about as soon as by the best chart for their size. `benchmarks/health.py` measures both.
LARGE_SHARE: Final = 0.40
MEDIUM_SHARE: Final = 0.30
SMALL_SHARE: Final = 0.20
SLOW_SHARE: Final = 0.10
PERSISTENCE_SHARE: Final = 0.05
SLOW: Final = "slow EWMA"
_AT_ONCE: Final = 4_000  # clips whose sums are made at once: a cap undoes those that lie beyond it
_BY_CLIP: Final = 200  # clips after a CUSUM has reached its cap, where it seldom stays for less
BEFORE_THE_FIRST: Final = -9.0  # z of the clips before the first


def recursions(policy: Policy) -> tuple[Recursion, ...]:
    """The charts that are recursions, in the order of their limits."""
    return (
        Recursion("CUSUM of large changes", 1.0, 1.0, policy.large_reference, LARGE_SHARE),
        Recursion("CUSUM of medium changes", 1.0, 1.0, policy.medium_reference, MEDIUM_SHARE),
        Recursion("CUSUM of small changes", 1.0, 1.0, policy.small_reference, SMALL_SHARE),
        Recursion(SLOW, 1.0 - policy.slow_weight, policy.slow_weight, 0.0, SLOW_SHARE),
    )


def chart_names(policy: Policy) -> tuple[str, ...]:
    """The recursions, then persistence: the order of all limits and statistics."""
    persistence = f"{policy.persistence_clips} of {policy.persistence_among} clips"
    return (*(chart.name for chart in recursions(policy)), persistence)


def chart_shares(policy: Policy) -> tuple[float, ...]:
    """Shares of the budget in the order of `chart_names`."""
    return (*(chart.share for chart in recursions(policy)), PERSISTENCE_SHARE)


def persistence(policy: Policy, z: Floats) -> Floats:
    """The k-th highest z of the latest n clips, of z's [T, ...] along the first axis: k of n clips reach it."""
    best = [np.full_like(z, BEFORE_THE_FIRST) for _ in range(policy.persistence_clips)]
    for back in range(min(policy.persistence_among, len(z))):
        value = np.full_like(z, BEFORE_THE_FIRST)
        value[back:] = z[: len(z) - back]
        for place, held in enumerate(best):  # insert into the k highest, which descend
            best[place], value = np.maximum(held, value), np.minimum(held, value)
    return best[-1]


def statistics(policy: Policy, z: Array, caps: Array) -> Array:
    """All charts [charts, T] after each of one machine's clips z [T], the recursions held below `caps` [charts, T]."""
    values = np.minimum(z, policy.z_cap)
    rows = [chart.statistic(values, cap) for chart, cap in zip(recursions(policy), caps, strict=False)]
    return np.array([*rows, persistence(policy, z)])


def index_of(statistic: Floats, warning: Floats, alarm: Floats) -> Floats:
    """The health index [...] of statistics [charts, ...]: of the chart that stands highest."""
    found: Floats = chart_indices(statistic, warning, alarm).max(axis=0)
    return found


def chart_indices(statistic: Floats, warning: Floats, alarm: Floats) -> Floats:
    """The index [charts, ...] of each chart's statistic, within 0..100.

    Each chart's scale is linear: 0 at 0, 50 at its warning limit, 80 at its alarm limit. Limits are [charts] or, where
    they differ between clips, [charts, ...].
    """
    shape = (*warning.shape, *[1] * (statistic.ndim - warning.ndim))
    low, high = warning.reshape(shape), alarm.reshape(shape)
    index = statistic * (WARNING_INDEX / low)
    beyond = WARNING_INDEX + (statistic - low) * ((ALARM_INDEX - WARNING_INDEX) / (high - low))
    found: Floats = np.clip(np.where(index <= WARNING_INDEX, index, beyond), 0.0, 100.0)
    return found
