"""The operators' life of an alarm."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from health_clips import START
from hypothesis import given
from hypothesis import strategies as st

from acoustic_ad.health.alarms import Action, alarm_life
from acoustic_ad.health.policy import Policy
from acoustic_ad.health.timeline import Episode

POLICY = Policy(realarm_days=7)


def on(day: float):
    return START + timedelta(days=day)


def episode(cleared: float | None = None, level="alarm") -> Episode:
    return Episode(level, on(0), None if cleared is None else on(cleared), "rule", 90.0, (), on(-1))


def act(
    day: float, kind, until: float | None = None, alarm: Episode | None = None, by="Ida", comment="looked"
) -> Action:
    return Action(on(day), (alarm or episode()).key, kind, by, comment, None if until is None else on(until))


def life(day: float, *actions: Action, cleared: float | None = None):
    return alarm_life(episode(cleared), actions, on(day), POLICY)


def test_from_raised_to_cleared():
    assert life(1).state == "unacknowledged"
    known = life(3, act(2, "ack"))
    assert (known.state, known.acknowledged_at, known.by, known.comment) == ("acknowledged", on(2), "Ida", "looked")
    gone = life(5, act(2, "ack"), cleared=4)
    assert (gone.state, [entry.what for entry in gone.audit]) == ("cleared", ["raised", "acknowledged", "cleared"])
    assert [entry.at for entry in gone.audit] == [on(0), on(2), on(4)]


def test_gone_before_anybody_looked():
    returned = life(5, cleared=4)
    assert (returned.state, returned.audit[-1].what) == ("returned", "returned to normal")
    later = life(7, act(6, "ack"), cleared=4)
    assert later.state == "cleared"
    assert [entry.what for entry in later.audit] == ["raised", "returned to normal", "acknowledged", "cleared"]
    twice = life(8, act(6, "ack"), act(7, "ack"), cleared=4)
    assert [entry.what for entry in twice.audit][2:] == ["acknowledged", "cleared", "acknowledged"], "cleared once"


@pytest.mark.parametrize("acknowledged", [False, True])
def test_a_warning_that_became_an_alarm_waits_for_nobody(acknowledged):
    """There is one thing to acknowledge, not two."""
    warning = replace(episode(4, "warning"), cleared_by="became an alarm")
    done = [act(2, "ack", alarm=warning)] if acknowledged else []
    found = alarm_life(warning, done, on(5), POLICY)
    assert (found.state, found.audit[-1].what, found.audit[-1].at) == ("cleared", "became an alarm", on(4))
    assert alarm_life(warning, done, on(3), POLICY).state == ("acknowledged" if acknowledged else "unacknowledged")
    late = alarm_life(warning, [act(6, "ack", alarm=warning)], on(7), POLICY)
    assert late.state == "cleared" and late.audit[-1].what == "acknowledged"


def test_an_acknowledged_alarm_that_stays_speaks_up_again():
    assert life(8.9, act(2, "ack")).state == "acknowledged"
    again = life(9.1, act(2, "ack"))
    assert (again.state, again.acknowledged_at, again.audit[-1].what) == ("unacknowledged", None, "raised again")
    twice = life(17, act(2, "ack"), act(9.5, "ack"))
    assert [entry.what for entry in twice.audit].count("raised again") == 2
    assert life(30, act(2, "ack"), cleared=5).state == "cleared", "what is gone does not"


def test_shelved_for_a_while():
    shelved = life(2, act(1, "shelve", until=3))
    assert (shelved.state, shelved.shelved_until, shelved.by) == ("shelved", on(3), "Ida")
    assert life(4, act(1, "shelve", until=3)).state == "unacknowledged"
    assert life(4, act(0.5, "ack"), act(1, "shelve", until=3)).state == "acknowledged"
    assert life(4, act(1, "shelve", until=3), cleared=2).state == "returned"
    back = life(2.5, act(1, "shelve", until=3), act(2, "unshelve"))
    assert (back.state, [entry.what for entry in back.audit]) == (
        "unacknowledged", ["raised", f"shelved until {on(3).isoformat()}", "unshelved"],
    )  # fmt: skip
    assert life(100, act(1, "shelve")).state == "shelved"


def test_what_does_not_concern_it():
    other = episode(level="warning")
    assert other.key != episode().key
    assert life(3, act(2, "ack", alarm=other), act(4, "ack"), act(-1, "ack")).state == "unacknowledged"


actions = st.builds(
    lambda day, kind, length: act(day, kind, until=day + length if kind == "shelve" else None, by=f"{day}"),
    st.integers(-1, 20),
    st.sampled_from(["ack", "shelve", "unshelve"]),
    st.integers(0, 5),
)


@given(st.lists(actions, max_size=6).flatmap(lambda one: st.tuples(st.just(one), st.permutations(one))),
       st.sampled_from([None, 0, 3, 15]), st.integers(0, 25))  # fmt: skip
def test_the_order_in_which_actions_are_read_does_not_matter(orders, cleared, day):
    one, other = (alarm_life(episode(cleared), order, on(day), POLICY) for order in orders)
    assert one == other
    times = [entry.at for entry in one.audit]
    assert times == sorted(times) and times[-1] <= max(on(day), on(0))
    gone = cleared is not None and cleared <= day
    assert one.state in (("returned", "cleared", "shelved") if gone else ("unacknowledged", "acknowledged", "shelved"))
    assert (one.state == "shelved") or (one.shelved_until is None)


@pytest.mark.parametrize("day", [1, 5, 9])
def test_the_past_of_an_alarm_is_what_it_was(day):
    """Its audit trail at an earlier time is the beginning of the later one."""
    done = [act(1, "ack"), act(4, "shelve", until=6), act(12, "ack")]
    earlier, later = life(day, *done, cleared=13).audit, life(20, *done, cleared=13).audit
    assert later[: len(earlier)] == earlier and len(later) > len(earlier)
