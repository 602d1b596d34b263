"""What is news, to whom, and once: the outbox beside a real store, without a network."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from needed import needs
from plant import EVERY, Plant, faulty, normal
from receivers import Receiver, broker, free_port, heard, mosquitto, receiving

from acoustic_ad.jobs import notify, outbox, senders
from acoustic_ad.jobs.alarm_book import act
from acoustic_ad.jobs.alarm_rows import life_at
from acoustic_ad.jobs.alarm_schema import ActionRow
from acoustic_ad.jobs.notify import Notifications
from acoustic_ad.jobs.notify_targets import read_targets
from acoustic_ad.jobs.store import Store

NOW = datetime.now(UTC)


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notify, "PAUSES_S", (0.01, 0.02))
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as one:
        yield one


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Plant:
    """A fan and a pump, recorded until now."""
    plant = Plant(tmp_path_factory.mktemp("plant") / "plant")
    for number, machine in enumerate(("fan", "pump")):
        plant.add_machine(machine, gap_floor_hours=1000.0)  # so that silence is no news here
        plant.add_clips(machine, normal(150, seed=number), begin=NOW - 400 * EVERY)
    plant.tell()
    return plant


@pytest.fixture
def plant(healthy: Plant, tmp_path: Path) -> Plant:
    """One's own copy of it."""
    return healthy.copy(tmp_path / "plant")


def turn(plant: Plant, zs: list[float], machine: str = "fan") -> None:
    """More clips, and their health."""
    plant.add_clips(machine, zs, begin=NOW - (400 - plant.counts[machine]) * EVERY)
    plant.tell()


def tell(plant: Plant, *targets: str) -> Notifications:
    """What a run does for its messages."""
    with Store.open(plant.db) as store:
        return notify.notify(store, read_targets(targets, {}))


def kept(plant: Plant) -> list[Any]:
    with Store.open(plant.db, read_only=True) as store:
        return [*outbox.waiting(store), *outbox.given_up(store)]


# --- once an episode -------------------------------------------------------------------------------------------------


def test_a_healthy_fleet_is_no_news(plant: Plant, receiver: Receiver) -> None:
    assert tell(plant, receiver.target) == Notifications()
    assert receiver.posts == []


def test_each_change_is_told_once_over_many_runs(plant: Plant, receiver: Receiver) -> None:
    turn(plant, faulty(60))
    first = tell(plant, receiver.target)
    # The warning that it was before is not told of: it became the alarm.
    assert [(post.json["machine"], post.json["level"], post.json["kind"]) for post in receiver.posts] == [
        ("fan", "alarm", "raised")
    ]
    for more in ([], faulty(10), faulty(10, z=6.0)):
        if more:
            turn(plant, more)
        assert tell(plant, receiver.target) == Notifications()
    turn(plant, normal(120, seed=9))
    again = tell(plant, receiver.target)
    assert plant.status()["fan"]["state"] == "normal"
    assert (first.sent, again.sent) == (1, 1) and receiver.kinds == ["raised", "returned"]
    assert "ALARM is over; index below 50 for 12 clips" in receiver.posts[1].json["text"]
    assert tell(plant, receiver.target) == Notifications()
    assert len({post.key for post in receiver.posts}) == 2


def test_a_warning_that_becomes_an_alarm_is_told_as_both_and_its_end_once(plant: Plant, receiver: Receiver) -> None:
    while len(receiver.posts) < 2:  # a run after every clip
        turn(plant, faulty(1, z=2.2))
        tell(plant, receiver.target)
        assert plant.counts["fan"] < 220
    turn(plant, normal(120, seed=9))
    tell(plant, receiver.target)
    told = [(post.json["level"], post.json["kind"]) for post in receiver.posts]
    assert told == [("warning", "raised"), ("alarm", "raised"), ("alarm", "returned")]


def test_the_message_says_what_where_and_what_to_do(plant: Plant, receiver: Receiver) -> None:
    turn(plant, faulty(60))
    tell(plant, receiver.target)
    (message,) = [post.json for post in receiver.posts if post.json["level"] == "alarm"]
    assert message["title"] == "fan: ALARM raised" and message["format"] == 1
    assert message["stands_out"] == "+9 dB around 3.4 kHz" and message["stands_out"] in message["text"]
    assert "listen to fan/" in message["next_step"] and message["next_step"] in message["text"]
    (alarm,) = [alarm for alarm in plant.alarms() if alarm["level"] == "alarm"]
    assert message["alarm"]["id"] == alarm["id"] and message["listen_to"] == alarm["listen_to"]


def test_a_run_without_targets_loses_no_news(plant: Plant, receiver: Receiver) -> None:
    turn(plant, faulty(60))
    assert tell(plant) == Notifications()
    assert tell(plant, receiver.target).sent == len(receiver.posts) > 0


def test_every_target_is_told_and_a_new_one_hears_what_stands(plant: Plant, receiver: Receiver) -> None:
    turn(plant, faulty(60))
    tell(plant, receiver.target)
    with receiving() as other:
        assert tell(plant, receiver.target, other.target).sent == len(other.posts)
        assert [post.json["alarm"] for post in other.posts] == [post.json["alarm"] for post in receiver.posts]


def test_an_archive_is_no_news(tmp_path: Path, receiver: Receiver) -> None:
    """Its alarms rose and went long ago."""
    plant = Plant(tmp_path / "archive")
    plant.add_clips("fan", normal(150) + faulty(60) + normal(120, seed=2))
    plant.tell()
    assert plant.alarms() and tell(plant, receiver.target).sent == 0


def test_an_alarm_that_came_and_went_between_two_runs_is_told_in_one_message(plant: Plant, receiver: Receiver) -> None:
    turn(plant, faulty(60) + normal(120, seed=2))
    tell(plant, receiver.target)
    assert set(receiver.kinds) == {"passed"}
    assert tell(plant, receiver.target).sent == 0


@pytest.mark.parametrize("over", [True, False])
def test_pruned_messages_are_not_told_again(
    plant: Plant, receiver: Receiver, over: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was told long ago goes, save that an alarm stands: without it, the alarm would be news once more."""
    turn(plant, faulty(60))
    tell(plant, receiver.target)
    if over:
        turn(plant, normal(120, seed=9))
        tell(plant, receiver.target)
    told = len(receiver.posts)
    later = datetime.now(UTC) + timedelta(days=30)
    with Store.open(plant.db) as store:
        with store.reading() as connection:
            due = outbox.prune_messages(connection, later - timedelta(days=1), later, dry_run=True)
        with store.writing() as connection:
            assert outbox.prune_messages(connection, later - timedelta(days=60), later) == 0
            assert outbox.prune_messages(connection, later - timedelta(days=1), later) == due == (told if over else 0)
    monkeypatch.setattr(outbox, "NEWS", timedelta(0))  # as if those days had passed
    assert tell(plant, receiver.target) == Notifications()
    turn(plant, faulty(60) if over else normal(120, seed=9))
    assert tell(plant, receiver.target).sent > 0
    assert receiver.kinds[-1] == ("raised" if over else "returned")


def test_an_unsent_message_outlives_every_prune(plant: Plant) -> None:
    turn(plant, faulty(60))
    assert tell(plant, f"webhook:http://127.0.0.1:{free_port()}/").sent == 0
    waiting = len(kept(plant))
    later = datetime.now(UTC) + timedelta(days=30)
    with Store.open(plant.db) as store, store.writing() as connection:
        assert outbox.prune_messages(connection, later, later) == 0
    assert len(kept(plant)) == waiting > 0


def test_a_shelved_alarm_is_told_when_its_shelf_ends(plant: Plant, receiver: Receiver) -> None:
    turn(plant, faulty(60))
    until = datetime.now(UTC) + timedelta(seconds=2)
    with Store.open(plant.db) as store:
        for alarm in (one for one in plant.alarms() if one["cleared_at"] is None):
            act(store, ActionRow(alarm["id"], datetime.now(UTC), "shelve", "Ann", "", until), life_at())
    assert tell(plant, receiver.target).sent == 0
    time.sleep(max(0.0, (until - datetime.now(UTC)).total_seconds()) + 0.05)
    assert tell(plant, receiver.target).sent > 0


def test_a_machine_that_falls_silent_and_a_broken_sensor_are_told_once(tmp_path: Path, receiver: Receiver) -> None:
    plant = Plant(tmp_path / "plant")
    plant.add_clips("fan", normal(150), begin=NOW - 400 * EVERY)  # and is heard no more
    plant.add_clips("pump", normal(340), begin=NOW - 400 * EVERY)
    plant.add_clips("pump", ["sensor_fault"] * 60, begin=NOW - 60 * EVERY)
    plant.tell()
    tell(plant, receiver.target)
    assert {(post.json["machine"], post.json["kind"]) for post in receiver.posts} == {
        ("pump", "sensor_fault"),
        ("fan", "no_data"),
    }
    # Late clips change nothing of that, and are not taken for news.
    turn(plant, normal(5, seed=8))
    assert tell(plant, receiver.target).sent == 0
    plant.add_clips("fan", normal(200, seed=7), begin=NOW - 200 * EVERY)
    plant.tell()
    tell(plant, receiver.target)
    assert [(post.json["machine"], post.json["kind"]) for post in receiver.posts[2:]] == [("fan", "heard_again")]


# --- what becomes of a message ---------------------------------------------------------------------------------------


def test_a_server_that_is_down_is_told_when_it_is_up_again(plant: Plant) -> None:
    port = free_port()
    turn(plant, faulty(60))
    found = tell(plant, f"webhook:http://127.0.0.1:{port}/hook")
    assert found.sent == 0 and found.waiting == len(kept(plant)) > 0 and len(found.problems) == 1
    with receiving(port) as receiver:
        assert tell(plant, receiver.target).sent == found.waiting
        assert kept(plant) == []


def test_a_failure_now_and_then_costs_nothing(plant: Plant, receiver: Receiver) -> None:
    turn(plant, faulty(60))
    receiver.answers = [500, 503]
    found = tell(plant, receiver.target)
    assert found.problems == [] and len(receiver.posts) == found.sent + 2
    assert len({post.key for post in receiver.posts}) == found.sent


def test_a_refusal_is_kept_and_said_and_holds_nobody_up(plant: Plant, receiver: Receiver) -> None:
    turn(plant, faulty(60))
    turn(plant, faulty(60), "pump")
    receiver.answers = [404]
    found = tell(plant, receiver.target)
    assert found.waiting == 1 and found.sent == len(receiver.posts) - 1 >= 1
    (problem,) = found.problems
    assert "refused: the server answered 404 (1 of its messages, kept: see `notify outbox`)" in problem
    (message,) = kept(plant)
    assert (message.attempts, message.last_error) == (1, "refused: the server answered 404")
    # Whoever mends the server gets it with the next run.
    assert tell(plant, receiver.target).sent == 1 and receiver.posts[-1].key == receiver.posts[0].key


def test_what_is_too_old_is_given_up_and_told(plant: Plant, receiver: Receiver) -> None:
    turn(plant, faulty(60))
    receiver.always = 404
    waiting = tell(plant, receiver.target).waiting
    with sqlite3.connect(plant.db) as database:
        database.execute("UPDATE outbox SET created_at = '2025-01-01T00:00:00.000000Z'")
    database.close()
    found = tell(plant)  # the target was taken off the command line
    assert (found.failed, found.waiting) == (waiting, 0)
    assert all("given up after 14 days" in problem and "404" in problem for problem in found.problems)
    assert [message.given_up_at is not None for message in kept(plant)] == [True] * waiting
    assert tell(plant, receiver.target) == Notifications()


@pytest.mark.parametrize("answer", ["hang", "drip"])
def test_a_server_that_hangs_holds_up_a_run_for_a_moment(
    plant: Plant, receiver: Receiver, answer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(senders, "DEADLINE_S", 0.3)
    turn(plant, faulty(60))
    receiver.always = answer
    began = time.monotonic()
    with receiving() as other:
        found = tell(plant, receiver.target, other.target)
        assert other.posts and found.sent == len(other.posts)  # others do not wait for it
    assert time.monotonic() - began < 20
    assert len(receiver.posts) == 3 and found.waiting > 0
    assert ["no end within 0.3 s" in problem for problem in found.problems] == [True]


def test_a_slow_target_costs_a_run_no_more_than_its_budget(
    plant: Plant, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notify, "BUDGET_S", 0.0)
    turn(plant, faulty(60))
    turn(plant, faulty(60), "pump")
    found = tell(plant, receiver.target)
    assert found.sent + found.waiting == len(kept(plant)) + len(receiver.posts) and found.waiting > 0
    assert "the rest waits" in found.problems[0]


@needs("mosquitto", mosquitto())
def test_a_run_leaves_every_machine_s_state_with_the_broker(plant: Plant, tmp_path: Path) -> None:
    turn(plant, faulty(60))
    with broker(tmp_path) as port:
        address = f"mqtt://127.0.0.1:{port}/plant"
        found = tell(plant, address)
        assert found.sent > 0 and found.problems == []
        states = {topic: document for topic, _, document in heard(port, "plant/state/#", 2)}
        now = plant.status()
        assert states.keys() == {"plant/state/fan", "plant/state/pump"}
        for name in ("fan", "pump"):
            assert states[f"plant/state/{name}"]["state"] == now[name]["state"]
            assert states[f"plant/state/{name}"]["index"] == now[name]["index"]
        turn(plant, normal(120, seed=9))
        tell(plant, address)
        (fan,) = [document for _, _, document in heard(port, "plant/state/fan", 1)]
        assert fan["state"] == "normal" == plant.status()["fan"]["state"]
    assert "the connection" in tell(plant, address).problems[0] or "refused" in tell(plant, address).problems[0]
