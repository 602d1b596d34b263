"""What people found out about a machine: labels of clips, and which of them may join a calibration."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from health_clips import at, of_status, scored

from acoustic_ad.health.feedback import found_by_people, labelled, may_join
from acoustic_ad.health.timeline import Episode, Event

CLIPS = scored([0.0] * 100) + of_status("off", [30.5])


def episode(raised, cleared, label=None):
    return Episode("alarm", at(raised), at(cleared) if cleared else None, "", 90.0, (), at(raised - 5), label)


def numbers(labels, wanted):
    return sorted(int(key.split()[1]) for key, label in labels.items() if label == wanted)


def test_the_clips_of_an_episode_from_its_beginning():
    confirmed, false = episode(20, 40, "confirmed-fault"), episode(60, 70, "false-alarm")
    events = [Event(at(30), "confirmed-fault"), Event(at(65), "false-alarm")]
    labels = labelled(CLIPS, [confirmed, false], events)
    assert numbers(labels, "anomaly") == list(range(15, 41))
    assert numbers(labels, "normal") == list(range(55, 71))


def test_an_event_of_no_episode_labels_an_hour_around_it():
    assert numbers(labelled(CLIPS, [], [Event(at(50), "false-alarm")]), "normal") == list(range(44, 57))
    assert labelled(CLIPS, [], [Event(at(50), "maintenance")]) == {}


def test_a_confirmed_fault_outweighs_a_false_alarm():
    events = [Event(at(50), "false-alarm"), Event(at(52), "confirmed-fault")]
    labels = labelled(CLIPS, [], events)
    assert numbers(labels, "anomaly") == list(range(46, 59))
    assert numbers(labels, "normal") == [44, 45]


def test_people_write_things_down_late():
    raised, cleared = at(10), at(20)
    day = 144
    assert found_by_people([Event(at(20 + day), "confirmed-fault")], raised, cleared) == "confirmed-fault"
    assert found_by_people([Event(at(20 + 3 * day), "confirmed-fault")], raised, cleared) is None
    assert found_by_people([Event(at(9), "false-alarm")], raised, cleared) is None
    assert found_by_people([Event(at(20 + 3 * day), "false-alarm")], raised, None) == "false-alarm"
    assert found_by_people([Event(at(15), "maintenance")], raised, cleared) is None


@pytest.mark.parametrize("heard", ["learning", "no_data", "warning", "alarm"])
def test_nothing_joins_the_calibration_of_a_suspect(heard):
    refused = may_join(SimpleNamespace(heard=heard, since=at(3)))
    assert refused and (heard in ("learning", "no_data") or "UTC: what" in refused), "a time for people names its zone"


def test_normals_may_join_when_all_is_well():
    assert may_join(SimpleNamespace(heard="normal", since=at(3))) == ""
