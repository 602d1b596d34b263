"""Which stored alarm is which episode, when clips that came late, or another model, have moved the episodes."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from typing import Final, Protocol

# An episode without an end overlaps whatever comes after its start. In UTC: west of it, the last moment in local time
# is in the year 10000, which no datetime holds.
_OPEN: Final = datetime.max.replace(tzinfo=UTC).timestamp()


class Span(Protocol):
    """What an alarm and an episode have in common."""

    @property
    def key(self) -> str: ...
    @property
    def level(self) -> str: ...
    @property
    def raised_at(self) -> datetime: ...
    @property
    def cleared_at(self) -> datetime | None: ...


def pair_up(stored: Sequence[Span], episodes: Sequence[Span], gone: Collection[int] = ()) -> dict[int, int]:
    """Position of an episode -> position of the stored alarm that it is; episodes without one are new.

    First those with equal keys. Then those that overlap: of the same level first, then by how long they overlap, then
    the earlier ones, so that the outcome depends on the times alone. Each is used once. Stored alarms at the positions
    `gone` are those of episodes that were told no more: only the very same episode brings one back.
    """
    pairs: dict[int, int] = {}
    taken: set[int] = set()

    def join(new: int, old: int) -> None:
        if new not in pairs and old not in taken:
            pairs[new] = old
            taken.add(old)

    by_key = {alarm.key: number for number, alarm in enumerate(stored) if alarm.key}
    for new, episode in enumerate(episodes):
        if episode.key in by_key:
            join(new, by_key[episode.key])
    candidates = []
    for new, episode in enumerate(episodes):
        for old, alarm in enumerate(stored):
            if old in gone:
                continue
            shared = _overlap_s(episode, alarm)
            if shared >= 0:
                candidates.append((episode.level != alarm.level, -shared, episode.raised_at, alarm.raised_at, new, old))
    for *_, new, old in sorted(candidates):
        join(new, old)
    return pairs


def _overlap_s(one: Span, other: Span) -> float:
    """Seconds that two spans share, 0 where they touch, negative where they do not meet."""
    begin = max(one.raised_at, other.raised_at).timestamp()
    return min(_end(one), _end(other)) - begin


def _end(span: Span) -> float:
    return _OPEN if span.cleared_at is None else span.cleared_at.timestamp()
