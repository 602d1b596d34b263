"""The health of machines from their stored clips, and what is kept of it.

What is kept is a pure function of clips, models, recipes and events, as of the machine's last clip. What depends on the
present (no data for too long, shelvings that end) is added when it is read, see `fleet_report`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import NormalDist, median
from typing import Any, Final

import sqlalchemy as sa

from acoustic_ad.health.alarms import Action, AlarmLife, AuditEntry, alarm_life
from acoustic_ad.health.policy import Policy
from acoustic_ad.health.timeline import ClipPoint, Episode, Event, MachineHealth, machine_health
from acoustic_ad.jobs.alarm_book import Life, settle
from acoustic_ad.jobs.alarm_schema import ActionRow, AlarmRow
from acoustic_ad.jobs.baselines import Baselines
from acoustic_ad.jobs.coverage import coverage_of
from acoustic_ad.jobs.explanation import Explanation, explain, next_step, sensor_words, speaking_clips
from acoustic_ad.jobs.history import History, history_of, mark_of, rows_of_contents
from acoustic_ad.jobs.schema import MachineRow, clip_scores, utc_text
from acoustic_ad.jobs.store import Store, root_text, write_machines

FACTS_FORMAT: Final = 2  # of MachineRow.facts; rows with others are brought up to date by the next job
# What an interrupted job may still read to tell the health of its machines: a fraction of a second's work.
QUICK_CLIPS: Final = 5_000
CLIPS_WORTH_OF_A_MACHINE: Final = 50  # reading its policy takes as long as reading this many clips
MACHINES_AT_ONCE: Final = 50  # in one transaction
TRIES: Final = 5  # of a machine whose events or clips change while its health is told

# The z of a clip whose model is gone is that of its p-value, which says less; these are z = -3.1 and 4.8.
_P_BOUNDS: Final = (1e-6, 0.999)
# Where a machine's newest clip was judged this soon after it was recorded, its recorder is at work now.
LIVE: Final = timedelta(days=2)
_RECENT_DAYS: Final = 30.0
_RECENT_STEP_S: Final = 6 * 3600.0


@dataclass(frozen=True, slots=True)
class Told:
    """What the clips tell of a machine."""

    row: MachineRow
    alarms: list[AlarmRow]  # of all episodes, ids not yet given
    health: MachineHealth


def refresh(store: Store, models: Path, machines: Sequence[str]) -> None:
    """Bring what is kept of these machines, and their alarms, up to date."""
    baselines = Baselines(models)
    for start in range(0, len(machines), MACHINES_AT_ONCE):
        wanted = list(machines[start : start + MACHINES_AT_ONCE])
        for attempt in range(TRIES):
            histories = [history_of(store, machine) for machine in wanted]
            told = [(history, tell(store, baselines, history)) for history in histories]
            with store.writing() as connection:
                wanted = _keep(connection, told, insist=attempt == TRIES - 1)
            if not wanted:
                break


def _keep(connection: sa.Connection, told: Iterable[tuple[History, Told]], insist: bool) -> list[str]:
    """Write down what was told; returns the machines of which more has become known meanwhile, which are left out."""
    changed, rows = [], []
    for history, found in told:
        if mark_of(connection, history.machine) != history.mark and not insist:
            changed.append(history.machine)
            continue
        rows.append(found.row)
        settle(connection, history.machine, found.alarms, life_at())
    write_machines(connection, rows)
    return changed


def quickest(store: Store, machines: Iterable[str]) -> list[str]:
    """As many of the machines as can be told at once: those with the fewest clips."""
    count = sa.select(clip_scores.c.machine, sa.func.count()).group_by(clip_scores.c.machine)
    with store.reading() as connection:
        clips: dict[str, int] = dict(connection.execute(count).tuples().all())
    left = QUICK_CLIPS
    quick = []
    for machine in sorted(machines, key=lambda machine: clips.get(machine, 0)):
        left -= clips.get(machine, 0) + CLIPS_WORTH_OF_A_MACHINE
        if left < 0:
            break
        quick.append(machine)
    return quick


def was_cut_short(store: Store, root: Path) -> bool:
    """Whether the last job on this folder ended before it had brought the machines' health up to date."""
    return root_text(root) in store.cut_short()


def tell(
    store: Store,
    baselines: Baselines,
    history: History,
    *,
    policy: Policy | None = None,
    as_of: datetime | None = None,
) -> Told:
    """What a machine's history tells, as of its last clip or of a moment, by its own policy or by another."""
    policy = policy or baselines.policy(history.machine)
    known = baselines.of(history.machine, {clip.model for clip in history.clips})
    points = points_of(history, known)
    events = [Event(event.at, event.kind, event.note, event.by) for event in history.events]  # type: ignore[arg-type]
    health = machine_health(policy, known, points, events, as_of)
    explained = _explained(store, history.machine, health, points)
    alarms = [_alarm(history.machine, episode, explained[episode.key], policy) for episode in health.episodes]
    row = _row(history, health, points, alarms, baselines.digest(history.machine), as_of)
    return Told(row, alarms, health)


def points_of(history: History, baselines: dict[str, Any]) -> list[ClipPoint]:
    """The clips with their z's; where a clip's model is gone, by the p-value that it gave."""
    z: dict[int, float] = {}
    for digest, baseline in baselines.items():
        own = [number for number, clip in enumerate(history.clips) if clip.model == digest and clip.score is not None]
        z |= dict(zip(own, baseline.z_all([history.clips[number].score for number in own]).tolist(), strict=True))
    points = []
    for number, clip in enumerate(history.clips):
        if clip.status == "scored" and number not in z:
            low, high = _P_BOUNDS
            z[number] = -NormalDist().inv_cdf(min(max(clip.p_value or high, low), high))
        points.append(ClipPoint(clip.recorded_at, clip.status, z.get(number), clip.sha256, clip.model, clip.level_db))
    return points


def life_at(as_of: datetime | None = None) -> Life:
    """What becomes of an alarm at a moment (None: now) by what operators did."""

    def life(alarm: AlarmRow, actions: Sequence[ActionRow]) -> AlarmRow:
        found = _life(alarm, actions, as_of or datetime.now(UTC))
        return replace(
            alarm,
            state=found.state,
            acknowledged_at=found.acknowledged_at,
            by=found.by or None,
            comment=found.comment or None,
            shelved_until=found.shelved_until,
        )

    return life


def audit_of(alarm: AlarmRow, actions: Sequence[ActionRow], as_of: datetime) -> tuple[AuditEntry, ...]:
    """All that happened to an alarm up to a moment, in order."""
    return _life(alarm, actions, as_of).audit


def _life(alarm: AlarmRow, actions: Sequence[ActionRow], as_of: datetime) -> AlarmLife:
    rule, worst = str(alarm.facts.get("rule", "")), tuple(alarm.facts.get("worst", ()))
    level: Any = alarm.level
    episode = Episode(level, alarm.raised_at, alarm.cleared_at, rule, alarm.index or 0.0, worst)
    # The policy that told the episode is that of the machine; all that its life depends on is kept with it.
    kept = alarm.facts.get("realarm_days")
    policy = Policy() if kept is None else Policy(realarm_days=float(kept))
    done = [Action(one.at, episode.key, _kind(one), one.by, one.comment, one.until) for one in actions]
    return alarm_life(episode, done, as_of, policy)


def _kind(action: ActionRow) -> Any:
    return action.kind


def _explained(
    store: Store, machine: str, health: MachineHealth, points: Sequence[ClipPoint]
) -> dict[str, Explanation]:
    """Episode's key -> what stands out in it."""
    speaking = {episode.key: speaking_clips(episode, points) for episode in health.episodes}
    rows = rows_of_contents(store, machine, {key for keys in speaking.values() for key in keys})
    return {episode.key: explain(episode, speaking[episode.key], rows) for episode in health.episodes}


def _alarm(machine: str, episode: Episode, explanation: Explanation, policy: Policy) -> AlarmRow:
    facts = explanation.as_json() | {
        "rule": episode.rule,
        "cleared_by": episode.cleared_by,
        "label": episode.label,
        "worst": list(episode.worst),
        "realarm_days": policy.realarm_days,
    }
    return AlarmRow(
        0,
        machine,
        episode.level,
        episode.raised_at,
        episode.cleared_at,
        episode.key,
        index=round(episode.peak_index, 1),
        facts=facts,
    )


def _row(
    history: History,
    health: MachineHealth,
    points: Sequence[ClipPoint],
    alarms: Sequence[AlarmRow],
    judge: str | None,
    as_of: datetime | None,
) -> MachineRow:
    seen = [clip for clip in history.clips if as_of is None or clip.recorded_at <= as_of]
    last = seen[-1] if seen else None
    reason = last.reason if last is not None and last.status == "sensor_fault" else None
    raised = open_alarm(alarms)
    hint = str(raised.facts["next_step"]) if raised is not None else None
    until = as_of or health.last_clip_at or max((clip.recorded_at for clip in history.failed), default=None)
    coverage = coverage_of(history.heard(), until) if until is not None else None
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
        "silent_after": None if health.silent_after is None else utc_text(health.silent_after),
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


def open_alarm(alarms: Iterable[AlarmRow]) -> AlarmRow | None:
    """The alarm that stands: the latest of the highest level that has not returned to normal."""
    standing = [alarm for alarm in alarms if alarm.cleared_at is None]
    return max(standing, key=lambda alarm: (alarm.level == "alarm", alarm.raised_at), default=None)


def _stands_out(health: MachineHealth, raised: AlarmRow | None, reason: str | None) -> str | None:
    """The sensor's fault, and what stands out, or did until the sensor broke."""
    heard = str(raised.facts["stands_out"]) if raised is not None else None
    if health.state != "sensor_fault":
        return heard
    fault = sensor_words(reason)
    return f"{fault}; {health.heard} before that: {heard}" if heard else fault


def _promise(health: MachineHealth) -> dict[str, Any] | None:
    if health.limits is None:
        return None
    return {
        "alarms_per_month": health.limits.alarms_per_month,
        "warnings_per_month": health.limits.warnings_per_month,
        "attainable": health.limits.attainable,
        "statement": health.limits.statement,
    }


def _recent(points: Sequence[ClipPoint]) -> list[tuple[str, float]]:
    """The machine's z's of the last weeks, as medians over six hours: what the drift of a fleet is told by."""
    scored = [(point.recorded_at.timestamp(), point.z) for point in points if point.z is not None]
    if not scored:
        return []
    steps: dict[int, list[float]] = {}
    for at, z in scored:
        if at > scored[-1][0] - _RECENT_DAYS * 86_400:
            steps.setdefault(int(at // _RECENT_STEP_S), []).append(z)
    times = {step: datetime.fromtimestamp((step + 0.5) * _RECENT_STEP_S, UTC) for step in steps}
    return [(utc_text(times[step]), round(median(values), 3)) for step, values in sorted(steps.items())]
