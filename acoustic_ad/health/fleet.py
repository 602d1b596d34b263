"""Drift of the whole fleet at once: weather, a new product or a microphone batch, not fifty failing bearings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal


@dataclass(frozen=True, slots=True)
class FleetDrift:
    """Most machines moved in the same direction at the same time."""

    since: datetime
    direction: Literal["up", "down"]
    moved: tuple[str, ...]  # the machines that moved that way
    machines: int  # all that had enough clips to tell
    shift: float  # median over those that moved, in standard deviations of a normal clip
    statement: str  # for people


def fleet_drift(history: Mapping[str, Sequence[tuple[datetime, float]]]) -> FleetDrift | None:
    """The drift in the machines' z's (time of recording, Baseline.z) of the last weeks; None where there is none."""
    return None
