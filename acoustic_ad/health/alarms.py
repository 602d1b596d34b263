"""The operators' life of an alarm (IEC 62682 / ISA-18.2): raised, acknowledged, shelved, returned, cleared."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

from acoustic_ad.health.policy import Policy
from acoustic_ad.health.records import BECAME_ALARM, Episode

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
    until: datetime | None = None  # of a shelving; None: until it is unshelved


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """A line of an alarm's history."""

    at: datetime
    what: str  # "raised", "acknowledged", "shelved until ...", "returned to normal", "cleared", "raised again"
    by: str = ""
    comment: str = ""


@dataclass(frozen=True, slots=True)
class AlarmLife:
    """Where an alarm stands.

    unacknowledged: it is there, and nobody has said that they know; acknowledged: somebody has; returned: it went by
    itself, before anybody had; cleared: gone and known, or a warning that became an alarm, which then has a life of its
    own; shelved: out of sight for a while, whatever it does.
    """

    state: AlarmState
    acknowledged_at: datetime | None
    by: str  # who acknowledged it, or shelved it
    comment: str
    shelved_until: datetime | None
    audit: tuple[AuditEntry, ...]


def alarm_life(episode: Episode, actions: Iterable[Action], as_of: datetime, policy: Policy | None = None) -> AlarmLife:
    """The life of one alarm up to `as_of`; actions on other alarms, before it or later ones, do not matter.

    An acknowledgement holds for the policy's `realarm_days`: then an alarm that is still there speaks up again. An end
    of shelving does not acknowledge.
    """
    again = timedelta(days=(policy or Policy()).realarm_days)
    own = [one for one in actions if one.alarm == episode.key and episode.raised_at <= one.at <= as_of]
    steps = sorted(own, key=lambda one: (one.at, one.kind, one.by, one.comment, one.until or one.at))
    life = _Life(episode, as_of, again)
    for action in steps:
        life.until(action.at)
        life.act(action)
    life.until(as_of)
    return life.now()


@dataclass(slots=True)
class _Life:
    """Goes through time: first what happens by itself, then what an operator does."""

    episode: Episode
    as_of: datetime
    again: timedelta
    acknowledged: Action | None = None
    shelved: Action | None = None
    returned: bool = False
    replaced: bool = False  # a warning by the alarm that it became: that one is to be acknowledged
    audit: list[AuditEntry] = field(default_factory=list)

    def until(self, moment: datetime) -> None:
        """What happens by itself up to a moment."""
        if not self.audit:
            self.audit.append(AuditEntry(self.episode.raised_at, "raised"))
        while (due := self._due()) is not None and due[0] <= moment:
            at, what = due
            if what == "shelving ended":
                self.shelved = None
            elif what == "raised again":
                self.acknowledged = None
            else:
                self.returned, self.replaced = True, what == BECAME_ALARM
            self.audit.append(AuditEntry(at, what))

    def act(self, action: Action) -> None:
        """What an operator did."""
        clears = action.kind == "ack" and self.acknowledged is None and self.returned and not self.replaced
        if action.kind == "ack":
            self.acknowledged = action
            what = "acknowledged"
        elif action.kind == "shelve":
            self.shelved = action
            what = "shelved" if action.until is None else f"shelved until {action.until.isoformat()}"
        else:
            self.shelved = None
            what = "unshelved"
        self.audit.append(AuditEntry(action.at, what, action.by, action.comment))
        if clears:
            self.audit.append(AuditEntry(action.at, "cleared"))

    def now(self) -> AlarmLife:
        """Where it stands."""
        known = self.acknowledged
        if self.shelved is not None:
            state: AlarmState = "shelved"
        elif self.returned:
            state = "returned" if known is None and not self.replaced else "cleared"
        else:
            state = "unacknowledged" if known is None else "acknowledged"
        who = self.shelved or known
        return AlarmLife(
            state,
            None if known is None else known.at,
            who.by if who else "",
            who.comment if who else "",
            None if self.shelved is None else self.shelved.until,
            tuple(self.audit),
        )

    def _due(self) -> tuple[datetime, str] | None:
        """What happens next by itself."""
        coming = []
        gone = self.episode.cleared_at
        if not self.returned and gone is not None:
            how = "returned to normal" if self.acknowledged is None else "cleared"
            coming.append((gone, BECAME_ALARM if self.episode.cleared_by == BECAME_ALARM else how))
        if self.shelved is not None and self.shelved.until is not None:
            coming.append((max(self.shelved.until, self.shelved.at), "shelving ended"))
        if self.acknowledged is not None and not self.returned:
            coming.append((self.acknowledged.at + self.again, "raised again"))
        return min(coming, default=None)
