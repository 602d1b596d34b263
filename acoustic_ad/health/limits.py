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
from typing import Final

import numpy as np

from acoustic_ad.health.charts import Array, chart_names
from acoustic_ad.health.policy import Policy
from acoustic_ad.health.search import ALARM_ABOVE_WARNING, Found, Level, found_limits

DAYS_A_YEAR: Final = 365.25
FEWEST_A_YEAR: Final = 3_650.0  # at fewer clips, limits for 12 WARNINGs a year would be lower than any evidence
MOST_A_YEAR: Final = 3_737_600.0  # a clip every eight seconds
_RATE_STEP: Final = 4.0  # between clip rates that are simulated
# Between autocorrelations that are simulated, in Fisher's transform, in which the log of a CUSUM's limit is linear.
_FISHER_STEP: Final = 0.3
_FISHER_RANGE: Final = (-0.3, 2.298)  # autocorrelations of -0.29 and 0.98
_CLIPS: Final = (10, 20, 50, 100, 200, 500, 1_000, 2_000)  # of calibration; beyond, they are as good as endless
LENGTHS: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000)  # of a recording


@dataclass(frozen=True, slots=True)
class Facts:
    """What the limits depend on, beside the policy: the calibration set and the clip rate."""

    clips: int  # calibration clips
    sessions: int  # recordings that they are from
    autocorrelation: float  # of neighbouring clips, as estimated
    clips_per_year: float  # scored clips


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
    def is_range(self) -> bool:
        """Whether `alarms_between` reaches so far that the statement says it: to twice or half of what is expected."""
        low, high = self.alarms_between
        return high > 2 * self.alarms_per_year or self.alarms_per_year > 2 * low

    @property
    def alarms_per_month(self) -> float:
        """False ALARMs to expect in a month."""
        return self.alarms_per_year / 12

    @property
    def warnings_per_month(self) -> float:
        """False WARNINGs to expect in a month."""
        return self.warnings_per_year / 12


def limits(policy: Policy, facts: Facts) -> Limits:
    """The limits for a policy and a calibration set. New ones take about a second; known ones nothing.

    Simulated are a few kinds of calibration sets, autocorrelations and clip rates which all machines share; between
    them, limits are interpolated.
    """
    per_year = min(max(facts.clips_per_year, FEWEST_A_YEAR), MOST_A_YEAR)
    nodes = _nodes(policy, facts, per_year)

    def mean(values: Callable[[Found], Array | float]) -> Array:
        logs = [weight * np.log(np.maximum(values(node), 1e-3)) for node, weight in nodes]
        found: Array = np.exp(np.sum(logs, axis=0))
        return found

    def limit(level: Callable[[Found], Level]) -> Array:
        return mean(lambda node: level(node).limit + level(node).rise * math.log(per_year / node.clips_per_year))

    def expected(values: Callable[[Found], float], kept: bool) -> float:
        found = float(mean(values)) * min(facts.clips_per_year / FEWEST_A_YEAR, 1.0)
        return found if kept else found * per_year / nodes[0][0].clips_per_year

    kept = all(node.alarm.kept for node, _ in nodes)
    warned = all(node.warning.kept for node, _ in nodes)
    warning = limit(lambda node: node.warning)
    alarm = np.maximum(limit(lambda node: node.alarm), ALARM_ABOVE_WARNING * warning)
    found = Limits(
        tuple(ChartLimit(*chart) for chart in zip(chart_names(policy), warning.tolist(), alarm.tolist(), strict=True)),
        expected(lambda node: node.warning.per_year, warned),
        expected(lambda node: node.alarm.per_year, kept),
        (
            expected(lambda node: node.alarms_between[0], kept),
            expected(lambda node: node.alarms_between[1], kept),
        ),
        kept and warned,
        "",
        facts,
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


def rate_at(step: int) -> float:
    """The clip rate, a year, of a place in the grid of what is simulated."""
    return FEWEST_A_YEAR * _RATE_STEP**step


def rho_at(step: int) -> float:
    """The autocorrelation of a place in that grid."""
    return round(math.tanh(min(step * _FISHER_STEP, _FISHER_RANGE[1])), 4)


def _nodes(policy: Policy, facts: Facts, per_year: float) -> list[tuple[Found, float]]:
    """The simulated limits between which these ones are, at most four, and their weights."""
    steps = round(math.log(per_year / FEWEST_A_YEAR, _RATE_STEP))
    rate = rate_at(steps)
    length = min(LENGTHS, key=lambda one: abs(math.log(one * max(facts.sessions, 1) / facts.clips)))
    fisher = min(max(math.atanh(min(max(facts.autocorrelation, -0.9), 0.99)), _FISHER_RANGE[0]), _FISHER_RANGE[1])
    number = math.floor(fisher / _FISHER_STEP)
    part = fisher / _FISHER_STEP - number
    found = []
    for clips, clips_weight in _clips_between(facts.clips):
        for place, weight in ((number, 1 - part), (number + 1, part)):
            if weight * clips_weight > 0.02:
                sessions = max(round(clips / length), 1)
                found.append((found_limits(policy, clips, sessions, rho_at(place), rate), weight * clips_weight))
    whole = sum(weight for _, weight in found)
    return [(node, weight / whole) for node, weight in found]


def _clips_between(clips: int) -> list[tuple[int, float]]:
    """The neighbours of a number of clips that are simulated, with weights: errors of a baseline go with 1/sqrt(n)."""
    clips = min(max(clips, _CLIPS[0]), _CLIPS[-1])
    above = next(one for one in _CLIPS if one >= clips)
    below = max(one for one in _CLIPS if one <= clips)
    if above == below:
        return [(above, 1.0)]
    part = (below**-0.5 - clips**-0.5) / (below**-0.5 - above**-0.5)
    return [(below, 1 - part), (above, part)]


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
        f"lasting change of {policy.must_find_z:g} sigma for more than {policy.must_find_clips} clips; {expected}, or "
        "calibrate on more clips"
    )


def _doubt(found: Limits) -> str:
    if not found.is_range:
        return ""
    low, high = found.alarms_between
    return f" ({low:.1g} to {high:.2g}: so few clips hardly tell how much neighbours depend on one another)"
