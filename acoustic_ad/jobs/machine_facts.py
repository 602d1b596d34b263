"""What is kept of a machine's health: its row, with all that explains it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from statistics import median
from typing import Any, Final

import numpy as np

from acoustic_ad.health.clip_table import ClipTable, seconds_of
from acoustic_ad.health.policy import WORDS, Policy
from acoustic_ad.health.timeline import MachineHealth
from acoustic_ad.jobs.alarm_rows import open_alarm
from acoustic_ad.jobs.alarm_schema import AlarmRow
from acoustic_ad.jobs.coverage import coverage_of
from acoustic_ad.jobs.explanation import next_step, sensor_words
from acoustic_ad.jobs.history import History
from acoustic_ad.jobs.schema import MachineRow, utc_text

FACTS_FORMAT: Final = 2  # of MachineRow.facts; rows with others are brought up to date by the next job
# Where a machine's newest clip was judged this soon after it was recorded, its recorder is at work now.
LIVE: Final = timedelta(days=2)
_RECENT_DAYS: Final = 30.0
_RECENT_STEP_S: Final = 6 * 3600.0


def machine_row(
    history: History,
    health: MachineHealth,
    points: ClipTable,
    alarms: Sequence[AlarmRow],
    policy: Policy,
    judge: str | None,
    as_of: datetime | None,
) -> MachineRow:
    """The row of a machine, as of its last clip or of a moment; `judge` is the digest of its current model."""
    seen = history.clips.until(as_of)
    last = history.clips[seen - 1] if seen else None
    reason = last.reason if last is not None and last.status == "sensor_fault" else None
    raised = open_alarm(alarms)
    hint = str(raised.facts["next_step"]) if raised is not None else None
    until = as_of or _latest(history)
    coverage = (
        coverage_of(history.clips.micros, history.clips.status, history.failed, until) if until is not None else None
    )
    facts: dict[str, Any] = {
        "format": FACTS_FORMAT,
        "judge": judge,
        "heard": health.heard,
        "previous": health.previous,
        "rule": health.rule,
        "ne107": health.ne107,
        "stands_out": _stands_out(health, raised, reason),
        "listen_to": list(raised.facts["listen_to"]) if raised is not None else [],
        "next_step": next_step(health, reason, hint),
        "trend": None if health.trend is None else asdict(health.trend),
        "false_alarms": _promise(health),
        "statement": health.statement,
        "coverage": None if coverage is None else coverage.as_json(),
        "silent_after": _silent_after(health),
        "recent_z": _recent(points),
        "live": last is not None and datetime.fromisoformat(last.scored_at) - last.recorded_at <= LIVE,
    }
    return MachineRow(
        history.machine,
        health.state,
        health.since,
        None if health.index is None else round(health.index, 1),
        health.clips,
        health.last_clip_at,
        last.model if last is not None else None,
        facts,
    )


def _latest(history: History) -> datetime | None:
    """When the machine was last recorded, as far as that is known for sure."""
    times = [clip.recorded_at for clip in history.failed if clip.dated]
    times += [history.clips.at(-1)] if len(history.clips) else []
    return max(times or [clip.recorded_at for clip in history.failed], default=None)


def _stands_out(health: MachineHealth, raised: AlarmRow | None, reason: str | None) -> str | None:
    """The sensor's fault, and what stands out, or did until the sensor broke."""
    heard = str(raised.facts["stands_out"]) if raised is not None else None
    if health.state != "sensor_fault":
        return heard
    fault = sensor_words(reason)
    return f"{fault}; {WORDS[health.heard]} before that: {heard}" if heard else fault


def _silent_after(health: MachineHealth) -> str | None:
    """From when on, without another clip, the machine has been silent for longer than is usual."""
    if health.last_clip_at is None:
        return None
    return utc_text(health.last_clip_at + timedelta(seconds=health.usual_gap_s))


def _promise(health: MachineHealth) -> dict[str, Any] | None:
    if health.limits is None:
        return None
    return {
        "alarms_per_month": health.limits.alarms_per_month,
        "alarms_range_per_month": [one / 12 for one in health.limits.alarms_between]
        if health.limits.is_range
        else None,
        "warnings_per_month": health.limits.warnings_per_month,
        "attainable": health.limits.attainable,
        "statement": health.limits.statement,
    }


def _recent(points: ClipTable) -> list[tuple[str, float]]:
    """The machine's z's of the last weeks, as medians over six hours: what the drift of a fleet is told by."""
    known = ~np.isnan(points.z)
    times, z = seconds_of(points.micros)[known], points.z[known]
    if not times.size:
        return []
    recent = times > times[-1] - _RECENT_DAYS * 86_400
    steps: dict[int, list[float]] = {}
    for at, value in zip(times[recent].tolist(), z[recent].tolist(), strict=True):
        steps.setdefault(int(at // _RECENT_STEP_S), []).append(value)
    middles = {step: datetime.fromtimestamp((step + 0.5) * _RECENT_STEP_S, UTC) for step in steps}
    return [(utc_text(middles[step]), round(median(values), 3)) for step, values in sorted(steps.items())]
