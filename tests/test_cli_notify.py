"""`--notify` and `acoustic-ad notify` as processes: killed, watched by other users, and with servers that misbehave."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cli_process import acoustic_ad, finish, processes_of, start, wait_until
from plant import EVERY, Plant, faulty, normal
from receivers import Receiver, free_port, receiving

KEY = "correct-horse-battery"
LOCAL = {"no_proxy": "127.0.0.1"}


@pytest.fixture(scope="module")
def rising(tmp_path_factory: pytest.TempPathFactory) -> Plant:
    """Fans whose alarms are to be raised by the next run."""
    plant = Plant(tmp_path_factory.mktemp("plant") / "plant")
    begin = datetime.now(UTC) - 210 * EVERY
    for number, machine in enumerate(("fan 1", "fan 2", "pump")):
        plant.add_clips(machine, normal(150, seed=number), begin=begin)
    plant.tell()
    for machine in ("fan 1", "fan 2"):
        plant.add_clips(machine, faulty(59), begin=begin + 150 * EVERY)
    return plant


@pytest.fixture
def plant(rising: Plant, tmp_path: Path) -> Plant:
    """One's own copy of it."""
    return rising.copy(tmp_path / "plant")


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as one:
        yield one


def outbox(plant: Plant) -> list[tuple[Any, ...]]:
    """Message id and whether it was sent, of all messages; [] before a run has made the outbox."""
    try:
        with sqlite3.connect(f"file:{plant.db}?mode=ro", uri=True) as database:
            return database.execute("SELECT message_id, sent_at IS NOT NULL FROM outbox ORDER BY id").fetchall()
    except sqlite3.OperationalError:
        return []
    finally:
        database.close()


def told(receiver: Receiver) -> set[tuple[str, str, str]]:
    return {(post.json["machine"], post.json["level"], post.json["kind"]) for post in receiver.posts}


NEWS = {("fan 1", "alarm", "raised"), ("fan 2", "alarm", "raised")}


def test_score_tells_and_says_that_it_did(plant: Plant, receiver: Receiver) -> None:
    secret = {**LOCAL, "ACOUSTIC_AD_WEBHOOK_KEY": KEY}
    document = acoustic_ad(*plant.score, "--notify", receiver.target, "--json", env=secret).json
    assert document["notifications"] == {"sent": 2, "waiting": 0, "failed": 0, "problems": []}
    assert told(receiver) == NEWS
    assert all("x-acoustic-ad-signature" in post.headers for post in receiver.posts)
    again = acoustic_ad(*plant.score, "--notify", receiver.target, "--json", env=secret).json
    assert again["notifications"]["sent"] == 0 and len(receiver.posts) == 2
    assert acoustic_ad("notify", "outbox", "--db", plant.db).out == "nothing waits\n"


def test_killed_while_the_server_has_the_message_but_has_not_said_so(plant: Plant, receiver: Receiver) -> None:
    receiver.always = "hang"
    job = start(*plant.score, "--notify", receiver.target, env=LOCAL)
    assert wait_until(lambda: receiver.posts, 60)
    os.killpg(job.pid, signal.SIGKILL)
    job.communicate(timeout=60)
    assert [sent for _, sent in outbox(plant)] == [0, 0]
    receiver.always = 200
    document = acoustic_ad(*plant.score, "--notify", receiver.target, "--json", env=LOCAL).json
    assert document["notifications"]["sent"] == 2 and told(receiver) == NEWS
    # At least once: the receiver knows by the key that it has the first already.
    keys = [post.key for post in receiver.posts]
    assert keys[0] == keys[1] and len(keys) == 3 and set(keys) == {number for number, _ in outbox(plant)}


def test_killed_between_the_alarm_and_the_message(plant: Plant) -> None:
    port = free_port()
    job = start(*plant.score, "--notify", f"webhook:http://127.0.0.1:{port}/hook", env=LOCAL)
    assert wait_until(lambda: outbox(plant), 60)  # written; nobody listens yet
    os.killpg(job.pid, signal.SIGKILL)
    job.communicate(timeout=60)
    with receiving(port) as receiver:
        acoustic_ad(*plant.score, "--notify", receiver.target, env=LOCAL)
        assert told(receiver) == NEWS and len(receiver.posts) == 2


def kill_at(plant: Plant, points: int, receiver: Receiver) -> None:
    """Runs killed at random moments until one comes to its end: every message arrived, under one key each."""
    rng = random.Random(points)
    for _ in range(points):
        job = start(*plant.score, "--notify", receiver.target, env=LOCAL)
        end = time.monotonic() + rng.uniform(0.3, 4.0)
        wait_until(lambda job=job: job.poll() is not None, end - time.monotonic())
        if job.poll() is None:
            os.killpg(job.pid, signal.SIGKILL)
        job.communicate(timeout=60)
        assert wait_until(lambda job=job: not processes_of(job.pid), 10)
    acoustic_ad(*plant.score, "--notify", receiver.target, env=LOCAL)
    assert told(receiver) == NEWS
    assert {post.key for post in receiver.posts} == {number for number, _ in outbox(plant)}
    assert [sent for _, sent in outbox(plant)] == [1, 1]


def test_killed_anywhere(plant: Plant, receiver: Receiver) -> None:
    kill_at(plant, 3, receiver)


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_killed_anywhere_100_times(rising: Plant, tmp_path: Path, receiver: Receiver) -> None:
    for number in range(20):
        receiver.posts.clear()
        kill_at(rising.copy(tmp_path / str(number)), 5, receiver)


def test_interrupted_while_a_server_hangs(plant: Plant, receiver: Receiver) -> None:
    receiver.always = "hang"
    job = start(*plant.score, "--notify", receiver.target, env=LOCAL)
    assert wait_until(lambda: receiver.posts, 60)
    job.send_signal(signal.SIGTERM)
    ended = finish(job, timeout=20)
    assert ended.code == 143 and ended.complaint
    waiting = acoustic_ad("notify", "outbox", "--db", plant.db, "--json").json["messages"]
    assert [one["last_error"] for one in waiting] == ["interrupted", None]


def test_the_outbox_says_what_was_refused(plant: Plant, receiver: Receiver) -> None:
    receiver.always = 410
    run = acoustic_ad(*plant.score, "--notify", receiver.target, env=LOCAL)
    assert "refused: the server answered 410 (2 of its messages, kept" in run.err
    shown = acoustic_ad("notify", "outbox", "--db", plant.db).out
    assert shown.count("refused: the server answered 410") == 2 and "given up 14 days after it was written" in shown
    assert "fan 1: ALARM raised" in shown
    listed = acoustic_ad("notify", "outbox", "--db", plant.db, "--json").json["messages"]
    assert [(one["machine"], one["attempts"], one["given_up"]) for one in listed] == [
        ("fan 1", 1, False),
        ("fan 2", 1, False),
    ]


def test_secrets_are_seen_by_nobody(plant: Plant, receiver: Receiver, tmp_path: Path) -> None:
    """Neither in the list of processes, nor in what is printed, nor in the store or any other file."""
    (tmp_path / "key").write_text(KEY)
    (tmp_path / "urls").write_text(f"json://ann:{KEY}@127.0.0.1:{receiver.port}/chat/{KEY}\n")
    secrets = {
        **LOCAL,
        "ACOUSTIC_AD_WEBHOOK_KEY_FILE": str(tmp_path / "key"),
        "HOOK": f"{receiver.url}/{KEY}",
        "ACOUSTIC_AD_MQTT_USER": "ad",
        "ACOUSTIC_AD_MQTT_PASSWORD": KEY,
    }
    receiver.always = 500
    targets = ("webhook:env:HOOK", f"apprise:file:{tmp_path / 'urls'}", f"mqtt://127.0.0.1:{free_port()}/plant")
    job = start(*plant.score, "--json", *(word for one in targets for word in ("--notify", one)), env=secrets)
    shown = set()
    while job.poll() is None:
        for number in processes_of(job.pid):
            try:
                shown.add(Path(f"/proc/{number}/cmdline").read_bytes())
            except OSError:
                continue
        time.sleep(0.05)
    run = finish(job)
    assert run.code == 0 and len(run.json["notifications"]["problems"]) == 3
    tried = acoustic_ad("notify", "test", targets[1], env=secrets, code=1)
    listed = acoustic_ad("notify", "outbox", "--db", plant.db, "--json", env=secrets)
    assert receiver.posts and any(f"/{KEY}" in post.path for post in receiver.posts)
    assert shown and not any(KEY.encode() in line for line in shown)
    for one in (run, listed, tried):
        assert KEY not in one.out + one.err
    for file in plant.root.rglob("*"):
        assert not file.is_file() or KEY.encode() not in file.read_bytes(), file


def test_a_target_that_is_none_is_a_usage_error_before_anything_is_done(plant: Plant) -> None:
    before = plant.db.read_bytes()
    complaint = acoustic_ad(*plant.score, "--notify", f"webhook:http://ann:{KEY}@127.0.0.1/", code=2).complaint
    assert "every user of this computer" in complaint and KEY not in complaint
    assert plant.db.read_bytes() == before


def test_notify_test_tries_a_target(receiver: Receiver) -> None:
    taken = acoustic_ad("notify", "test", receiver.target, env=LOCAL)
    assert taken.out == f"{receiver.target}: the message was taken (not signed: ACOUSTIC_AD_WEBHOOK_KEY is not set)\n"
    signed = acoustic_ad("notify", "test", receiver.target, "--json", env=LOCAL | {"ACOUSTIC_AD_WEBHOOK_KEY": KEY})
    assert signed.json["targets"][0]["signed"] is True and signed.json["targets"][0]["id"] == receiver.posts[1].key
    receiver.always = 404
    refused = acoustic_ad("notify", "test", receiver.target, env=LOCAL, code=1)
    assert "the server answered 404" in refused.complaint
