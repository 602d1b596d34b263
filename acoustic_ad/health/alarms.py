"""The operators' life of an alarm (IEC 62682 / ISA-18.2): raised, acknowledged, shelved, returned, cleared."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from acoustic_ad.health.policy import Policy
from acoustic_ad.health.timeline import Episode

AlarmState = Literal["unacknowledged", "acknowledged", "returned", "cleared", "shelved"]
ActionKind = Literal["ack", "shelve", "unshelve"]


@dataclass(frozen=True, slots=True)
class Action:
    """What an operator did with an alarm."""

    at: datetime
    alarm: str  # the key of the episode
    kind: ActionKind
    by: str = ""
    comment: str = ""
    until: datetime | None = None  # of a shelving


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """A line of an alarm's history."""

    at: datetime
    what: str  # "raised", "acknowledged", "shelved until ...", "returned to normal", "cleared", "raised again"
    by: str = ""
    comment: str = ""


@dataclass(frozen=True, slots=True)
class AlarmLife:
    """Where an alarm stands."""

    state: AlarmState  # returned: gone by itself, but nobody has acknowledged it yet
    acknowledged_at: datetime | None
    by: str  # who acknowledged it, or shelved it
    comment: str
    shelved_until: datetime | None
    audit: tuple[AuditEntry, ...]


def alarm_life(episode: Episode, actions: Iterable[Action], as_of: datetime, policy: Policy | None = None) -> AlarmLife:
    """The life of one alarm up to `as_of`; actions on other alarms, or later ones, do not matter."""
    acknowledged_at, by, comment = None, "", ""
    for action in sorted(actions, key=lambda action: action.at):
        if action.alarm == episode.key and action.at <= as_of and action.kind == "ack":
            acknowledged_at, by, comment = action.at, action.by, action.comment
    active = episode.cleared_at is None or episode.cleared_at > as_of
    if active:
        state: AlarmState = "acknowledged" if acknowledged_at else "unacknowledged"
    else:
        state = "cleared" if acknowledged_at else "returned"
    return AlarmLife(state, acknowledged_at, by, comment, None, (AuditEntry(episode.raised_at, "raised"),))
