"""The book of alarms: ids that stay, actions that are never lost, and nothing half written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acoustic_ad.errors import UsageError
from acoustic_ad.jobs.alarm_book import WITHDRAWN, act, add_event, alarms_of, book, events_of, settle
from acoustic_ad.jobs.alarm_ids import pair_up
from acoustic_ad.jobs.alarm_schema import ActionRow, AlarmRow, EventRow
from acoustic_ad.jobs.store import MachineRow, Store

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)


def at(hours: float) -> datetime:
    return NOON + timedelta(hours=hours)


def episode(begin: float, end: float | None = None, level: str = "alarm", machine: str = "fan") -> AlarmRow:
    raised = at(begin)
    cleared = None if end is None else at(end)
    return AlarmRow(
        0, machine, level, raised, cleared, f"{level} {raised.isoformat()}", index=90.0, facts={"rule": "x"}
    )


def acknowledged(alarm: AlarmRow, actions: Sequence[ActionRow]) -> AlarmRow:
    """A life that knows acknowledging and shelving."""
    ack = next((one for one in reversed(actions) if one.kind == "ack"), None)
    shelf = actions[-1].until if actions and actions[-1].kind == "shelve" else None
    state = "shelved" if shelf else "acknowledged" if ack else "unacknowledged"
    alarm = replace(alarm, state=state, shelved_until=shelf)
    return alarm if ack is None else replace(alarm, acknowledged_at=ack.at, by=ack.by, comment=ack.comment)


@pytest.fixture
def store(database: str) -> Iterator[Store]:
    with Store.open(database) as opened:
        opened.upsert_machines([MachineRow(name, "normal", None, None, 1, None) for name in ("fan", "pump")])
        yield opened
        assert opened.integrity() == []


def told(store: Store, *episodes: AlarmRow, machine: str = "fan") -> list[AlarmRow]:
    """The alarms that stand in the book once these are the episodes that the clips tell of."""
    with store.writing() as connection:
        settle(connection, machine, episodes, acknowledged)
    standing = [alarm for alarm in book(store, machine)[0] if alarm.state != WITHDRAWN]
    return sorted(standing, key=lambda alarm: alarm.raised_at)


def acts(store: Store, alarm: int, kind: str, by: str = "Ann", until: datetime | None = None) -> AlarmRow:
    return act(store, ActionRow(alarm, at(100), kind, by, "seen", until), acknowledged)


# --- ids -------------------------------------------------------------------------------------------------------------


def test_ids_are_small_and_stay(store: Store) -> None:
    first = told(store, episode(0, 1), episode(5))
    assert [alarm.id for alarm in first] == [1, 2]
    assert told(store, episode(0, 1), episode(5)) == first
    assert [alarm.id for alarm in told(store, episode(0, machine="pump"), machine="pump")] == [3]
    assert [alarm.id for alarm in told(store, episode(0, 1), episode(5, 6), episode(8))] == [1, 2, 4]


def test_an_episode_that_late_clips_moved_is_the_same_alarm(store: Store) -> None:
    told(store, episode(0, 1), episode(5))
    acts(store, 2, "ack")
    early, late = told(store, episode(0.5, 1.5), episode(4))
    assert (early.id, early.raised_at, early.cleared_at) == (1, at(0.5), at(1.5))
    assert (late.id, late.raised_at, late.state, late.by) == (2, at(4), "acknowledged", "Ann")


def test_an_episode_that_falls_apart_keeps_its_id_where_it_overlaps_most(store: Store) -> None:
    told(store, episode(0, 10))
    short, long = told(store, episode(1, 3), episode(4, 9.5))
    assert (short.id, long.id) == (2, 1)
    (whole,) = told(store, episode(0.5, 10))
    assert whole.id == 1  # the part that it shares most with; the other is withdrawn
    assert [(alarm.id, alarm.state) for alarm in book(store)[0]] == [(1, "unacknowledged"), (2, WITHDRAWN)]


def test_a_warning_is_not_the_alarm_that_it_became(store: Store) -> None:
    told(store, episode(0, level="warning"))
    acts(store, 1, "ack")
    warning, alarm = told(store, episode(0, 2, "warning"), episode(2))
    assert (warning.id, warning.state, warning.cleared_at) == (1, "acknowledged", at(2))
    assert (alarm.id, alarm.state) == (2, "unacknowledged")


def test_an_episode_that_is_told_no_more_is_withdrawn_and_comes_back_as_itself(store: Store) -> None:
    told(store, episode(0))
    acts(store, 1, "ack")
    assert told(store) == []
    (gone,) = book(store)[0]
    assert (gone.state, gone.cleared_at, gone.by) == (WITHDRAWN, at(0), "Ann")
    with pytest.raises(UsageError, match="withdrawn"):
        acts(store, 1, "ack")
    assert [alarm.id for alarm in told(store, episode(-1))] == [2], "another episode, that merely overlaps"
    back = told(store, episode(-1, -0.5), episode(0))
    assert [(alarm.id, alarm.state) for alarm in back] == [(2, "unacknowledged"), (1, "acknowledged")]
    assert len(book(store)[1][1]) == 1


spans = st.lists(st.tuples(st.integers(0, 30), st.integers(1, 10), st.sampled_from(["warning", "alarm"])), max_size=5)


def episodes_of(drawn: list[tuple[int, int, str]]) -> list[AlarmRow]:
    """Episodes one after the other, as a timeline has them."""
    found, free = [], 0
    for gap, length, level in drawn:
        begin = free + gap
        found.append(episode(begin, begin + length, level))
        free = begin + length
    return found


@settings(max_examples=60, deadline=None)
@given(spans, spans)
def test_pairs_are_one_to_one_and_do_not_depend_on_the_order_of_rows(first: list, second: list) -> None:
    old, new = episodes_of(first), episodes_of(second)
    pairs = pair_up(old, new)
    assert len(set(pairs.values())) == len(pairs)
    for number, partner in pairs.items():
        one, other = new[number], old[partner]
        assert one.cleared_at is not None and other.cleared_at is not None
        assert one.raised_at <= other.cleared_at and other.raised_at <= one.cleared_at
    mirrored = pair_up(old[::-1], new)
    last = len(old) - 1
    assert {number: last - partner for number, partner in mirrored.items()} == pairs
    assert pair_up(old, old) == {number: number for number in range(len(old))}
    assert pair_up(old, new, gone=range(len(old))) == {
        number: [alarm.key for alarm in old].index(one.key)
        for number, one in enumerate(new)
        if one.key in [alarm.key for alarm in old]
    }


# --- actions ---------------------------------------------------------------------------------------------------------


def test_what_operators_do_outlives_every_run(store: Store) -> None:
    told(store, episode(0))
    acts(store, 1, "ack")
    assert acts(store, 1, "shelve", "Bob", at(200)).shelved_until == at(200)
    for _ in range(3):
        (alarm,) = told(store, episode(0))
        assert (alarm.state, alarm.by, alarm.comment, alarm.shelved_until) == ("shelved", "Ann", "seen", at(200))
    assert [(one.kind, one.by, one.machine) for one in book(store)[1][1]] == [
        ("ack", "Ann", "fan"),
        ("shelve", "Bob", "fan"),
    ]


def test_what_cannot_be_done_is_refused_and_leaves_no_trace(store: Store) -> None:
    told(store, episode(0, 1), episode(5))
    cases = [(9, "ack", None, "no alarm 9"), (1, "shelve", at(300), "returned"), (2, "unshelve", None, "not shelved")]
    for alarm, kind, until, said in cases:
        with pytest.raises(UsageError, match=said):
            acts(store, alarm, kind, until=until)
    assert book(store)[1] == {}
    acts(store, 2, "shelve", until=at(300))
    assert acts(store, 2, "unshelve").state == "unacknowledged"


# --- events ----------------------------------------------------------------------------------------------------------


def test_events_come_back_in_time_and_only_of_known_machines(store: Store) -> None:
    late = add_event(store, EventRow("fan", at(5), "maintenance", "new bearing", "Ann"))
    early = add_event(store, EventRow("fan", at(1), "false-alarm", "=a door"))
    other = add_event(store, EventRow("pump", at(0), "confirmed-fault"))
    with store.reading() as connection:
        assert events_of(connection, "fan") == [early, late]
        assert events_of(connection) == [early, late, other]
    with pytest.raises(UsageError, match=r"no machine 'fun'.*fan, pump"):
        add_event(store, EventRow("fun", at(0), "maintenance"))


def test_the_store_itself_refuses_kinds_that_nobody_knows(store: Store) -> None:
    import sqlalchemy as sa

    with pytest.raises(sa.exc.IntegrityError):
        add_event(store, EventRow("fan", at(0), "party"))
    with store.reading() as connection:
        assert events_of(connection) == [] == alarms_of(connection)
