"""How long a machine may be silent before nobody hears it any more."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from acoustic_ad.health.policy import Policy

USUAL_SHARE: Final = 0.9  # of the time is spent in gaps that are usual
USUAL_TIMES: Final = 3  # what came less often is not


def longest_usual_gap(times: npt.NDArray[np.float64], policy: Policy) -> float:
    """Seconds without a clip that are still usual on a machine with clips at ascending times [T] in seconds.

    `gap_factor` times the gap below which 90 % of all time is spent, but that came three times, and at least
    `gap_floor_hours`. Weighed by time, the weekends of a machine that is recorded on working days are usual, and a
    long outage is not.
    """
    floor = policy.gap_floor_hours * 3600.0
    gaps = np.sort(np.diff(times))
    if gaps.size == 0 or gaps[-1] <= 0.0:
        return floor
    spent = np.cumsum(gaps)
    usual = gaps[min(int(np.searchsorted(spent, USUAL_SHARE * spent[-1])), max(gaps.size - USUAL_TIMES, 0))]
    return max(policy.gap_factor * float(usual), floor)
