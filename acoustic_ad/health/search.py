"""The search for limits among simulated healthy machines."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, NamedTuple

import numpy as np

from acoustic_ad.health.charts import Array, Array32, chart_shares, index_of, recursions
from acoustic_ad.health.policy import ALARM_INDEX, WARNING_INDEX, Policy
from acoustic_ad.health.simulation import Simulated, healthy_statistics

_SAMPLES: Final = 6_500_000  # simulated clips: less than half a second
_MACHINES: Final = (500, 4_000)  # at least, at most
_LENGTHS: Final = (120, 17_520)  # clips that are simulated of each, if a month has fewer, or more
_FEWEST_EPISODES: Final = 12  # below so many simulated episodes, limits are extrapolated
_WITHIN: Final = 1.15  # of the budget: what simulation itself is uncertain by
ALARM_ABOVE_WARNING: Final = 1.02
# Bumped when limits of the same kind become others, by a change here, in `simulation` or in `charts`: those that were
# found before are then forgotten.
SEARCH_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Level:
    """The limits [charts] of one level, how they rise with the log of the clip rate, and what they promise."""

    limit: Array
    rise: Array
    per_year: float  # episodes to expect on a healthy machine
    kept: bool  # within the budget


@dataclass(frozen=True, slots=True)
class Found:
    """The limits for one kind of calibration set, autocorrelation and clip rate."""

    warning: Level
    alarm: Level
    alarms_between: tuple[float, float]  # a year, on the third of machines with the lowest, or highest, autocorrelation
    clips_per_year: float


class Kind(NamedTuple):
    """What limits are found for."""

    policy: Policy
    clips: int  # calibration clips
    sessions: int  # recordings that they are from
    autocorrelation: float
    clips_per_year: float


_known: dict[Kind, Found] = {}


def known_limits() -> Mapping[Kind, Found]:
    """All limits that this process has found, or was told of."""
    return MappingProxyType(_known)


def remember_limits(found: Mapping[Kind, Found]) -> None:
    """Limits that an earlier process has found: by the same `SEARCH_VERSION` they would be found again."""
    _known.update({kind: limits for kind, limits in found.items() if kind not in _known})


def found_limits(policy: Policy, clips: int, sessions: int, autocorrelation: float, clips_per_year: float) -> Found:
    """The limits for a policy. New ones take half a second, known ones nothing."""
    kind = Kind(policy, clips, sessions, autocorrelation, clips_per_year)
    if kind not in _known:
        _known[kind] = _searched(kind)
    return _known[kind]


def _searched(kind: Kind) -> Found:
    policy, clips, sessions, autocorrelation, clips_per_year = kind
    length = int(np.clip(clips_per_year / 12, *_LENGTHS))
    machines = int(np.clip(_SAMPLES / length, *_MACHINES))
    highest = healthy_statistics(policy, Simulated(clips, sessions, autocorrelation, length, machines))[1]
    search = _Search(policy, highest, length / clips_per_year)
    endless = np.full(highest.shape[1], np.inf)
    warning = search.find(
        policy.warning_per_machine_year,
        lambda limit: search.episodes(limit, endless, WARNING_INDEX, policy.warning_clear_index),
    )
    alarm = search.find(
        policy.alarm_per_machine_year,
        lambda limit: search.episodes(warning.limit, limit, ALARM_INDEX, policy.alarm_clear_index),
        at_least=ALARM_ABOVE_WARNING * warning.limit,
    )
    third = machines // 3  # machines ascend with their autocorrelation
    less, more = (
        search.episodes(warning.limit, alarm.limit, ALARM_INDEX, policy.alarm_clear_index, only) / search.years
        for only in (slice(0, third), slice(-third, None))
    )
    return Found(warning, alarm, (min(less, alarm.per_year), max(more, alarm.per_year)), clips_per_year)


class _Search:
    """Limits for a budget among simulated healthy machines.

    Each chart gets its share of the budget, times a common factor: charts that ring together ring once, so that the
    shares may add up to more than the whole.
    """

    def __init__(self, policy: Policy, highest: Array32, years: float) -> None:
        self.policy, self.highest, self.years = policy, highest, years
        self.most = highest.max(axis=0)
        self.shares = np.array(chart_shares(policy))

    def find(self, per_year: float, episodes: Callable[[Array], float], at_least: Array | float = 0.0) -> Level:
        """The limits for a budget of episodes a year: those that keep it, or the highest that still find a change."""
        policy = self.policy
        budget = per_year * self.years  # of one simulated machine
        enough = max(budget, _FEWEST_EPISODES / self.highest.shape[2])
        pieces = self._pieces(enough)

        def at(factor: float) -> Array:
            return np.maximum(self._quantile(pieces, enough * factor), at_least)

        factor = _bisect(lambda factor: episodes(at(factor)) <= enough, 0.1, 30.0)
        # Statistics of charts have about exponential tails: limits go with the log of the budget for each clip.
        rise = (at(factor) - at(4 * factor)) / math.log(4.0)
        limit = at(factor) + rise * math.log(enough / budget)
        if clips_to_find(policy, limit) <= policy.must_find_clips:
            return Level(limit, rise, per_year, True)
        factor = _bisect(lambda factor: clips_to_find(policy, at(factor)) > policy.must_find_clips, factor, 3_000.0)
        limit = at(1.02 * factor)
        attained = episodes(limit) / self.years
        return Level(limit, np.zeros_like(limit), attained, attained <= _WITHIN * per_year)

    def episodes(self, warning: Array, alarm: Array, level: float, clear: float, only: slice = slice(None)) -> float:
        """Episodes of one machine: the index reaches `level`, and the end is when it has come below `clear`."""
        low, high = warning.astype(np.float32), alarm.astype(np.float32)
        ever = (self.most[:, only] >= (low if level == WARNING_INDEX else high)[:, None]).any(axis=0)
        up = np.zeros(int(ever.sum()), bool)
        count = 0
        for highest in self.highest[:, :, only].compress(ever, axis=2):
            index = index_of(highest, low, high)
            raised = index >= level
            count += int((raised & ~up).sum())
            up = (up | raised) & ~(index < clear)
        return float(count / ever.size)

    def _pieces(self, budget: float) -> Array32:
        """Highest statistics [charts, pieces] of pieces of time that are short enough for less than one episode."""
        each = max(int(len(self.highest) / max(math.ceil(budget), 1)), 1)
        whole = self.highest[: len(self.highest) // each * each]
        highest = whole.reshape(-1, each, *whole.shape[1:]).max(axis=1)  # [pieces, charts, machines]
        sorted_: Array32 = np.sort(np.moveaxis(highest, 1, 0).reshape(highest.shape[1], -1), axis=1)
        self._years_a_piece = self.years * each / len(self.highest)
        return sorted_

    def _quantile(self, pieces: Array32, budget: float) -> Array:
        """The limits [charts] that a chart alone exceeds with its share of the budget, were episodes Poisson."""
        expected = budget * self.shares * self._years_a_piece / self.years
        rank = np.exp(-expected) * (pieces.shape[1] - 1)
        rows = [np.interp(place, np.arange(row.size), row) for place, row in zip(rank, pieces, strict=True)]
        found: Array = np.maximum(np.array(rows), 1e-3)
        return found


def clips_to_find(policy: Policy, limit: Array) -> float:
    """Clips until the quickest chart finds a lasting change to `must_find_z`, were there no noise."""
    z = min(policy.must_find_z, policy.z_cap)
    clips = []
    for chart, height in zip(recursions(policy), limit, strict=False):
        step = chart.gain * z - chart.reference
        if chart.keep == 1.0:
            clips.append(height / step if step > 0 else math.inf)
        else:
            clips.append(math.log1p(-height / z) / math.log(chart.keep) if height < z else math.inf)
    clips.append(policy.persistence_clips if limit[-1] < z else math.inf)
    return min(clips)


def _bisect(enough: Callable[[float], bool], low: float, high: float) -> float:
    """The largest factor within low..high at which `enough` still holds, to 2 %; low where it never does."""
    while high > 1.02 * low:
        middle = math.sqrt(low * high)
        if enough(middle):
            low = middle
        else:
            high = middle
    return low
