"""What becomes of a clip as its row in the store."""

from __future__ import annotations

import time
from typing import Any

from acoustic_ad.errors import ClipError
from acoustic_ad.jobs.plan import Planned
from acoustic_ad.jobs.schema import ClipRow
from acoustic_ad.jobs.tasks import Off, Scored, Unscored
from acoustic_ad.sound.manifest import recording_time


def clip_row_of(planned: Planned, result: Scored | Off | Unscored | ClipError) -> ClipRow:
    """The row of a clip that was worked on, or that needed no work to fail."""
    clip = planned.clip
    mtime = planned.fact.mtime_ns / 1e9 if planned.fact.mtime_ns else time.time()
    recorded_at, source = recording_time(clip, mtime)
    row: dict[str, Any] = {
        "clip_id": clip.clip_id,
        "machine": clip.machine,
        "recorded_at": recorded_at,
        "recorded_at_source": source,
        "sha256": planned.fact.sha256,
        "label": clip.label,
    }
    unscored: dict[str, Any] = {"score": None, "p_value": None}
    if isinstance(result, Scored):
        return ClipRow(
            **row,
            model=planned.model,
            status="scored",
            score=result.score,
            p_value=result.p_value,
            bands=tuple(result.bands),
            index=result.index,
            duration_s=result.duration_s,
            level_db=result.rms_db,
            detail=result.note,
        )
    if isinstance(result, Off):
        known: dict[str, Any] = {"duration_s": result.duration_s, "level_db": result.rms_db, "detail": result.reason}
        return ClipRow(**row, **unscored, **known, model=planned.model, status="off")
    error = ClipError(result.code, result.reason)
    model = planned.model if error.status == "sensor_fault" else None
    return ClipRow(**row, **unscored, model=model, status=error.status, reason=error.code, detail=error.reason)
