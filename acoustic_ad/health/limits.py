"""The limits that keep the promised number of false alarms, found by simulating healthy machines.

Textbook limits hold for independent clips and a baseline that is known exactly. Here clips resemble their neighbours
and the baseline is known from so many clips as there are, so the limits are those that, on simulated machines of the
same kind, raise as many false alarms as the user bears: in the first month after calibration, of which the later ones
have fewer, since an ill-chosen baseline raises its alarm once.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

import numpy as np

from acoustic_ad.health.charts import Array, Array32, chart_names, chart_shares, index_of, recursions
from acoustic_ad.health.policy import ALARM_INDEX, WARNING_INDEX, Policy
from acoustic_ad.health.simulation import Simulated, healthy_statistics

DAYS_A_YEAR: Final = 365.25
FEWEST_A_YEAR: Final = 3_650.0  # at fewer clips, limits for 12 WARNINGs a year would be lower than any evidence
_SAMPLES: Final = 8_500_000  # simulated clips: about half a second
_FEWEST_EPISODES: Final = 12  # below so many simulated episodes, limits are extrapolated
_MOST_CLIPS: Final = 2_000  # beyond, calibration sets are as good as endless
# Between autocorrelations that are simulated, in Fisher's transform, in which the log of a CUSUM's limit is linear.
_FISHER_STEP: Final = 0.3
_WITHIN: Final = 1.15  # of the budget: what simulation itself is uncertain by


@dataclass(frozen=True, slots=True)
class Facts:
    """What the limits depend on, beside the policy: the calibration set and the clip rate."""

    clips: int  # calibration clips
    sessions: int  # recordings that they are from
    autocorrelation: float  # of neighbouring clips, 0..1
    clips_per_year: float  # scored clips

    def nodes(self) -> dict[Facts, float]:
        """The one or two facts, shared by many machines, between whose limits these ones' are, and their weights."""
        clips = min(_preferred(self.clips, math.floor), _MOST_CLIPS)
        length = self.clips / max(self.sessions, 1)
        sessions = min(max(_preferred(clips / length, round), 1), clips)
        per_year = min(max(self.clips_per_year, FEWEST_A_YEAR), 3_200_000.0)  # ... one every ten seconds
        per_year = round(2 ** (round(2 * math.log2(per_year)) / 2))
        place = math.atanh(min(max(self.autocorrelation, -0.3), 0.98)) / _FISHER_STEP
        low, part = math.floor(place), place - math.floor(place)
        found = {}
        for step, weight in ((low, 1 - part), (low + 1, part)):
            if weight > 0.02:
                rho = min(round(math.tanh(_FISHER_STEP * step), 4), 0.98)
                found[Facts(clips, sessions, rho, per_year)] = weight
        return found


@dataclass(frozen=True, slots=True)
class ChartLimit:
    """The limits of one chart, in the unit of its statistic."""

    chart: str  # "CUSUM of large changes", "slow EWMA", "3 of 5 clips" ...
    warning: float
    alarm: float


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of a machine's charts, and what they promise."""

    charts: tuple[ChartLimit, ...]
    warnings_per_year: float  # to expect on a healthy machine, those that become ALARMs included
    alarms_per_year: float
    alarms_between: tuple[float, float]  # a year, if neighbouring clips depend less, or more, than so few clips tell
    attainable: bool  # False: the calibration set is too small for the budget, and the two numbers say what it gives
    statement: str  # for people
    facts: Facts

    @property
    def alarms_per_month(self) -> float:
        """False ALARMs to expect in a month."""
        return self.alarms_per_year / 12

    @property
    def warnings_per_month(self) -> float:
        """False WARNINGs to expect in a month."""
        return self.warnings_per_year / 12


def limits(policy: Policy, facts: Facts) -> Limits:
    """The limits for a policy and a calibration set. New ones take about a second; known ones nothing."""
    found = _between(facts, [(_limits(policy, node), weight) for node, weight in facts.nodes().items()])
    fewer = min(facts.clips_per_year / FEWEST_A_YEAR, 1.0)
    found = replace(
        found,
        warnings_per_year=found.warnings_per_year * fewer,
        alarms_per_year=found.alarms_per_year * fewer,
        alarms_between=(found.alarms_between[0] * fewer, found.alarms_between[1] * fewer),
    )
    return replace(found, statement=_statement(policy, facts, found))


def clips_needed(policy: Policy, facts: Facts, most: int = 2_000) -> int | None:
    """About how many calibration clips would make the budget attainable; None if not even `most` would.

    Takes about a second for each doubling.
    """
    length = facts.clips / max(facts.sessions, 1)
    clips = facts.clips
    while not limits(policy, replace(facts, clips=clips, sessions=max(round(clips / length), 1))).attainable:
        clips *= 2
        if clips > most:
            return None
    return clips


def _between(facts: Facts, weighted: list[tuple[Limits, float]]) -> Limits:
    """The geometric mean of limits, and of what they promise."""
    weights = np.array([weight for _, weight in weighted])

    def mean(values: Callable[[Limits], float]) -> float:
        logs = [math.log(max(values(found), 1e-3)) for found, _ in weighted]
        return float(np.exp(np.average(logs, weights=weights)))

    charts = tuple(
        ChartLimit(
            chart.chart,
            mean(lambda found, number=number: found.charts[number].warning),  # type: ignore[misc]
            mean(lambda found, number=number: found.charts[number].alarm),  # type: ignore[misc]
        )
        for number, chart in enumerate(weighted[0][0].charts)
    )
    return Limits(
        charts,
        mean(lambda found: found.warnings_per_year),
        mean(lambda found: found.alarms_per_year),
        (mean(lambda found: found.alarms_between[0]), mean(lambda found: found.alarms_between[1])),
        all(found.attainable for found, _ in weighted),
        "",
        facts,
    )


@lru_cache(maxsize=4096)
def _limits(policy: Policy, facts: Facts) -> Limits:
    month = facts.clips_per_year / 12
    length = int(min(max(month, 120), 17_520))
    machines = int(min(max(_SAMPLES / length, 500), 4_000))
    what = Simulated(facts.clips, facts.sessions, facts.autocorrelation, length, machines)
    highest = healthy_statistics(policy, what)[1]
    search = _Search(policy, highest, length / facts.clips_per_year, facts.clips_per_year)
    endless = np.full(highest.shape[1], np.inf)
    warning, warnings = search.find(
        policy.warning_per_machine_year,
        lambda limit: search.episodes(limit, endless, WARNING_INDEX, policy.warning_clear_index),
    )
    alarm, alarms = search.find(
        policy.alarm_per_machine_year,
        lambda limit: search.episodes(warning, limit, ALARM_INDEX, policy.alarm_clear_index),
        at_least=1.02 * warning,
    )
    third = machines // 3  # machines ascend with their autocorrelation
    less, more = (
        search.episodes(warning, alarm, ALARM_INDEX, policy.alarm_clear_index, only) / search.years
        for only in (slice(0, third), slice(-third, None))
    )
    kept = warnings <= _WITHIN * policy.warning_per_machine_year and alarms <= _WITHIN * policy.alarm_per_machine_year
    charts = zip(chart_names(policy), warning.tolist(), alarm.tolist(), strict=True)
    named = tuple(ChartLimit(*chart) for chart in charts)
    return Limits(named, warnings, alarms, (min(less, alarms), max(more, alarms)), kept, "", facts)


class _Search:
    """Limits for a budget among simulated healthy machines.

    Each chart gets its share of the budget, times a common factor: charts that ring together ring once, so that the
    shares may add up to more than the whole.
    """

    def __init__(self, policy: Policy, highest: Array32, years: float, clips_per_year: float) -> None:
        self.policy, self.highest, self.years = policy, highest, years
        self.most = highest.max(axis=0)
        self.shares = np.array(chart_shares(policy))
        self.soon = max(clips_per_year / DAYS_A_YEAR * policy.must_find_days, 50.0)  # clips

    def find(
        self, per_year: float, episodes: Callable[[Array], float], at_least: Array | float = 0.0
    ) -> tuple[Array, float]:
        """The limits [charts] for a budget of episodes a year, and the episodes a year that they really give."""
        machines = self.highest.shape[2]
        budget = per_year * self.years  # of one simulated machine
        enough = max(budget, _FEWEST_EPISODES / machines)
        pieces = self._pieces(enough)

        def at(factor: float) -> Array:
            return np.maximum(self._quantile(pieces, enough * factor), at_least)

        factor = _bisect(lambda factor: episodes(at(factor)) <= enough, 0.1, 30.0)
        found = at(factor)
        if budget < enough:  # statistics of charts have about exponential tails: limits go with the log of the budget
            slope = (found - np.maximum(self._quantile(pieces, 4 * enough * factor), at_least)) / math.log(4.0)
            found = found + slope * math.log(enough / budget)
        if clips_to_find(self.policy, found) <= self.soon:
            return found, per_year
        factor = _bisect(lambda factor: clips_to_find(self.policy, at(factor)) > self.soon, factor, 3_000.0)
        return at(1.02 * factor), episodes(at(1.02 * factor)) / self.years

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


def _preferred(value: float, how: Callable[[float], float]) -> int:
    """A number of the series 10, 13, 16, 20, 25, 32, 40, 50, 63, 79, 100 ... near `value` (Renard's R10)."""
    return max(round(10 ** (how(10 * math.log10(max(value, 1.0)) + 1e-6) / 10)), 1)


def _statement(policy: Policy, facts: Facts, found: Limits) -> str:
    basis = (
        f"{facts.clips} calibration clips from {facts.sessions} recording{'s' if facts.sessions != 1 else ''}, "
        f"autocorrelation {facts.autocorrelation:.2f}, {facts.clips_per_year / DAYS_A_YEAR:.3g} scored clips a day"
    )
    expected = f"expect {found.alarms_per_year:.2g} false ALARMs{_doubt(found)} and "
    expected += f"{found.warnings_per_year:.2g} false WARNINGs a machine-year while the machine is healthy"
    if found.attainable:
        return f"{expected} ({basis})"
    return (
        f"{policy.alarm_per_machine_year:g} false ALARMs and {policy.warning_per_machine_year:g} false WARNINGs a "
        f"machine-year are out of reach with these calibration clips ({basis}): limits that keep to it would miss a "
        f"lasting change of {policy.must_find_z:g} sigma for more than {policy.must_find_days:g} days; {expected}, or "
        "calibrate on more clips"
    )


def _doubt(found: Limits) -> str:
    low, high = found.alarms_between
    if high <= 2 * found.alarms_per_year and found.alarms_per_year <= 2 * low:
        return ""
    return f" ({low:.1g} to {high:.2g}: so few clips hardly tell how much neighbours depend on one another)"
