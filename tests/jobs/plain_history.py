"""What a machine's history is, said as plainly as can be: clip by clip, from rows and traces alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from statistics import NormalDist, median
from typing import Any

import sqlalchemy as sa

from acoustic_ad.health.baseline import Baseline
from acoustic_ad.health.timeline import ClipPoint, Episode
from acoustic_ad.jobs.coverage import Heard
from acoustic_ad.jobs.day_traces import Judged, traces_of, without_renewed
from acoustic_ad.jobs.schema import clip_scores, files, utc_text


def in_order(clips: Sequence[Judged]) -> list[Judged]:
    return sorted(clips, key=lambda clip: (clip.recorded_at, clip.sha256))


def plain_history(connection: sa.Connection, machine: str) -> tuple[list[Judged], list[Heard]]:
    """Clips, oldest first, and failed ones."""
    rows = connection.execute(sa.select(clip_scores).where(clip_scores.c.machine == machine)).all()
    newest: dict[str, Any] = {}
    lost = []
    for row in sorted(rows, key=lambda row: row.id):
        if row.status == "failed":
            at = datetime.fromisoformat(row.recorded_at)
            lost.append(Heard(at, "failed", row.reason, row.recorded_at_source != "mtime"))
        else:
            newest[row.sha256] = row
    clips = [
        Judged(*(getattr(row, name) for name in Judged._fields))._replace(
            recorded_at=datetime.fromisoformat(row.recorded_at)
        )
        for row in newest.values()
    ]
    silent = {clip.sha256: clip for clip in clips if clip.status == "sensor_fault"}
    seen = connection.execute(sa.select(files).where(files.c.machine == machine, files.c.outcome == "sensor_fault"))
    twins = {
        silent[file.sha256]._replace(recorded_at=datetime.fromisoformat(file.recorded_at))
        for file in seen
        if file.recorded_at is not None and file.sha256 in silent
    }
    clips = list(twins.union(clips))
    traces = traces_of(connection, machine)
    clips = in_order([*without_renewed(traces.clips, clips), *clips])
    ahead = [clip.recorded_at > datetime.fromisoformat(clip.scored_at) + timedelta(days=1) for clip in clips]
    if sum(ahead) < len(clips) / 2:
        clips = [
            clip._replace(recorded_at=datetime.fromisoformat(clip.scored_at)) if late else clip
            for clip, late in zip(clips, ahead, strict=True)
        ]
    return in_order(clips), traces.failed + lost


def plain_points(clips: Sequence[Judged], baselines: Mapping[str, Baseline]) -> list[ClipPoint]:
    """The clips with their z's."""
    points = []
    for clip in clips:
        z = None
        if clip.model in baselines and clip.score is not None:
            z = baselines[clip.model].z(clip.score)
        elif clip.status == "scored":
            z = -NormalDist().inv_cdf(min(max(clip.p_value or 0.999, 1e-6), 0.999))
        points.append(ClipPoint(clip.recorded_at, clip.status, z, clip.sha256, clip.model))
    return points


def plain_speaking(episode: Episode, points: Sequence[ClipPoint]) -> list[str]:
    """Keys of the worst clips of an episode, and of the 40 most unusual ones."""
    end = episode.cleared_at
    inside = sorted(
        (-point.z, point.recorded_at, point.key)
        for point in points
        if point.z is not None and episode.raised_at <= point.recorded_at and (end is None or point.recorded_at <= end)
    )
    return list(dict.fromkeys([*episode.worst, *(key for *_, key in inside[:40])]))


def plain_recent(points: Sequence[ClipPoint]) -> list[tuple[str, float]]:
    """Medians of six hours, of the last 30 days."""
    scored = [(point.recorded_at.timestamp(), point.z) for point in points if point.z is not None]
    steps: dict[int, list[float]] = {}
    for at, z in scored:
        if at > scored[-1][0] - 30 * 86_400:
            steps.setdefault(int(at // 21_600), []).append(z)
    times = {step: datetime.fromtimestamp((step + 0.5) * 21_600, UTC) for step in steps}
    return [(utc_text(times[step]), round(median(zs), 3)) for step, zs in sorted(steps.items())]


def plain_coverage(clips: Sequence[Heard], as_of: datetime) -> tuple[int | None, Counter[str], dict[str, int]]:
    """What was expected of the last 30 days, what became of those that came, and why some failed."""
    known = sorted(clip.recorded_at for clip in clips if clip.recorded_at <= as_of)
    recent = [clip for clip in clips if as_of - timedelta(days=30) < clip.recorded_at <= as_of]
    failed = Counter(clip.reason or "unknown" for clip in recent if clip.status == "failed")
    expected = _expected(known, as_of)
    if expected is not None:
        expected = max(expected, len(recent))
    return expected, Counter(clip.status for clip in recent), dict(sorted(failed.items()))


def _expected(times: Sequence[datetime], as_of: datetime) -> int | None:
    if len(times) < 2 or times[-1] == times[0]:
        return None
    begin = max(as_of - timedelta(days=30), times[0])
    by_day = Counter(time.date() for time in times)
    days = sorted(by_day)[1:-1]
    if len(days) >= 3:
        return round(median(by_day[day] for day in days) * ((as_of - begin) / timedelta(days=1)))
    gaps = [(late - early).total_seconds() for early, late in pairwise(times)]
    step = median([gap for gap in gaps if gap >= 1.0] or [1.0])

    def usual(gap: float) -> bool:
        return gap <= 1.5 * step or sum(gap / 1.5 <= other <= gap * 1.5 for other in gaps) > 1

    holes = [gap for gap in gaps if not usual(gap)]
    silence = (as_of - times[-1]).total_seconds()
    if silence > 1.5 * max((gap for gap in gaps if usual(gap)), default=step):
        holes.append(silence + step)
    return sum(time > as_of - timedelta(days=30) for time in times) + sum(round(hole / step) - 1 for hole in holes)
