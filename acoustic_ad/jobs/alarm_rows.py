"""Episodes as alarms: what is kept of each, and where it stands by what operators did."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from acoustic_ad.health.alarms import Action, AlarmLife, AuditEntry, alarm_life
from acoustic_ad.health.policy import Policy
from acoustic_ad.health.timeline import Episode
from acoustic_ad.jobs.alarm_book import Life
from acoustic_ad.jobs.alarm_schema import ActionRow, AlarmRow
from acoustic_ad.jobs.explanation import Explanation
from acoustic_ad.jobs.schema import utc_text, utc_time


def alarm_of(machine: str, episode: Episode, explanation: Explanation, policy: Policy) -> AlarmRow:
    """The alarm that an episode is, its id not yet given."""
    facts = explanation.as_json() | {
        "rule": episode.rule,
        "cleared_by": episode.cleared_by,
        "label": episode.label,
        "worst": list(episode.worst),
        "began_at": utc_text(episode.began_at),
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


def open_alarm(alarms: Iterable[AlarmRow]) -> AlarmRow | None:
    """The alarm that stands: the latest of the highest level that has not returned to normal."""
    standing = [alarm for alarm in alarms if alarm.cleared_at is None]
    return max(standing, key=lambda alarm: (alarm.level == "alarm", alarm.raised_at), default=None)


def life_at(as_of: datetime | None = None) -> Life:
    """What becomes of an alarm at a moment (None: now) by what operators did."""

    def life(alarm: AlarmRow, actions: Sequence[ActionRow]) -> AlarmRow:
        """The alarm with what its actions made of it."""
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
    began_at = utc_time(alarm.facts.get("began_at")) or alarm.raised_at
    level: Any = alarm.level
    how = str(alarm.facts.get("cleared_by") or "")
    episode = Episode(
        level, alarm.raised_at, alarm.cleared_at, rule, alarm.index or 0.0, worst, began_at, cleared_by=how
    )
    # The policy that told the episode is that of the machine; all that its life depends on is kept with it.
    kept = alarm.facts.get("realarm_days")
    policy = Policy() if kept is None else Policy(realarm_days=float(kept))
    done = [Action(one.at, episode.key, _kind(one), one.by, one.comment, one.until) for one in actions]
    return alarm_life(episode, done, as_of, policy)


def _kind(action: ActionRow) -> Any:
    return action.kind
