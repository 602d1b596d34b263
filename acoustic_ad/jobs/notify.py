"""Delivery: what waits in the outbox goes to the targets of this run, and what became of it is told."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

from acoustic_ad.errors import AcousticADError
from acoustic_ad.jobs import outbox
from acoustic_ad.jobs.fleet_report import fleet_json, fleet_status
from acoustic_ad.jobs.notify_targets import Target
from acoustic_ad.jobs.outbox_schema import Message
from acoustic_ad.jobs.senders import DeliveryError, send, within_deadline
from acoustic_ad.jobs.store import Store
from acoustic_ad.sound.clip import one_line

PAUSES_S: Final = (1.0, 3.0)  # before the second and the third attempt of a run
BUDGET_S: Final = 60.0  # that a target may cost a run; what is left waits for the next
GIVE_UP_AFTER: Final = timedelta(days=14)


@dataclass(slots=True)
class Notifications:
    """What a run did for its messages."""

    sent: int = 0
    waiting: int = 0
    failed: int = 0  # given up in this run
    problems: list[str] = field(default_factory=list)  # a line each

    def as_json(self) -> dict[str, Any]:
        """As `score --json` shows it."""
        return {"sent": self.sent, "waiting": self.waiting, "failed": self.failed, "problems": self.problems}


def notify(store: Store, targets: Sequence[Target]) -> Notifications:
    """Announce what is news of the whole fleet, and deliver what waits. Failures are told, never raised.

    Also where a run has no targets, what was to be delivered and is too old is given up, and told.
    """
    found = Notifications()
    try:
        if targets:
            names = [target.name for target in targets]
            fleet = fleet_status(store)
            with store.writing() as connection:
                outbox.announce(connection, [machine.row for machine in fleet.machines], names)
        for target in targets:
            if _deliver_to(store, target, found) and target.kind == "mqtt":
                _publish_states(target, fleet_json(fleet)["machines"], found)
        for message in outbox.give_up_older_than(store, GIVE_UP_AFTER):
            found.failed += 1
            found.problems.append(_given_up(message))
        found.waiting = len(outbox.waiting(store))
    except AcousticADError as error:
        found.problems.append(f"notifications: {one_line(str(error))}; the scores are stored")
    return found


def _given_up(message: Message) -> str:
    return one_line(
        f"given up after {GIVE_UP_AFTER.days} days: message to {message.target}: {message.payload.get('title')} "
        f"({message.last_error or 'its target was named by no run since'})"
    )


def _publish_states(target: Target, machines: Sequence[dict[str, Any]], found: Notifications) -> None:
    from acoustic_ad.jobs.mqtt import publish_states

    try:
        within_deadline(lambda: publish_states(target, machines))
    except DeliveryError as error:
        found.problems.append(one_line(f"{target.name}: {error}; the next run publishes the states again"))


def _deliver_to(store: Store, target: Target, found: Notifications) -> bool:
    """In the order of the changes; False where the target is down, and left alone until the next run."""
    end = time.monotonic() + BUDGET_S
    refused: Counter[str] = Counter()
    for message in outbox.waiting(store, [target.name]):
        if time.monotonic() > end:
            found.problems.append(one_line(f"{target.name} took {BUDGET_S:g} s: the rest waits for the next run"))
            return False
        if not outbox.claim(store, message.id):
            continue
        try:
            send_patiently(target, message.payload, end)
        except DeliveryError as error:
            reason = f"refused: {error}" if error.refused else str(error)
            outbox.mark_failed(store, message.id, reason)
            if not error.refused:
                found.problems.append(one_line(f"{target.name}: {reason}; what waits is for the next run"))
                return False
            refused[reason] += 1
        except BaseException:
            outbox.mark_failed(store, message.id, "interrupted")
            raise
        else:
            outbox.mark_sent(store, message.id)
            found.sent += 1
    for reason, count in refused.items():
        found.problems.append(one_line(f"{target.name}: {reason} ({count} of its messages, kept: see `notify outbox`)"))
    return True


def send_patiently(
    target: Target, payload: Any, end: float = float("inf"), sleep: Callable[[float], None] = time.sleep
) -> None:
    """Send with a few attempts and growing pauses, as long as that ends before `end`; raises DeliveryError."""
    for pause in (*PAUSES_S, None):
        try:
            return send(target, payload)
        except DeliveryError as error:
            if error.refused or pause is None or time.monotonic() + pause > end:
                raise
            sleep(pause)
