"""How messages travel: signed, once an attempt, within a deadline, and with reasons that hold no secret."""

from __future__ import annotations

import asyncio
import email
import email.policy
import hashlib
import hmac
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from needed import needs
from receivers import Receiver, broker, free_port, heard, mosquitto, receiving

from acoustic_ad.jobs import mqtt, notify, senders
from acoustic_ad.jobs.notify_targets import Target, read_targets
from acoustic_ad.jobs.outbox import trial_payload
from acoustic_ad.jobs.senders import DeliveryError, send

KEY = "correct-horse-battery"
needs_mosquitto = needs("mosquitto", mosquitto())


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with receiving() as one:
        yield one


def target(text: str, **environment: str) -> Target:
    (found,) = read_targets([text], environment)
    return found


# --- webhook ---------------------------------------------------------------------------------------------------------


def test_the_signature_verifies(receiver: Receiver) -> None:
    """As the README tells the receiver to do it, with nothing of ours."""
    payload = trial_payload()
    send(target(receiver.target, ACOUSTIC_AD_WEBHOOK_KEY=KEY), payload)
    (post,) = receiver.posts
    stamp = post.headers["x-acoustic-ad-timestamp"]
    expected = hmac.new(KEY.encode(), f"{stamp}.".encode() + post.body, hashlib.sha256).hexdigest()
    assert post.headers["x-acoustic-ad-signature"] == f"v1={expected}"
    assert abs(time.time() - int(stamp)) < 60
    assert post.key == payload["id"] and post.headers["content-type"] == "application/json"
    assert post.json == payload
    assert KEY.encode() not in post.body and KEY not in str(post.headers)


def test_without_a_key_nothing_is_signed(receiver: Receiver) -> None:
    send(target(receiver.target), trial_payload())
    assert "x-acoustic-ad-signature" not in receiver.posts[0].headers


def test_a_signature_is_of_this_body_this_time_and_this_key() -> None:
    found = {senders.signature(key, stamp, body) for key in ("a", "b") for stamp in ("1", "2") for body in (b"x", b"y")}
    assert len(found) == 8


@pytest.mark.parametrize("status", [400, 404, 405, 410, 413, 422])
def test_what_would_be_refused_again_is_not_tried_again_at_once(receiver: Receiver, status: int) -> None:
    receiver.always = status
    pauses: list[float] = []
    with pytest.raises(DeliveryError, match=f"answered {status}") as caught:
        notify.send_patiently(target(receiver.target), trial_payload(), sleep=pauses.append)
    assert caught.value.refused and len(receiver.posts) == 1 and pauses == []


@pytest.mark.parametrize("status", [401, 403, 408, 425, 429, 500, 502, 503])
def test_what_may_pass_is_tried_again_with_growing_pauses(receiver: Receiver, status: int) -> None:
    receiver.answers = [status, status]
    pauses: list[float] = []
    notify.send_patiently(target(receiver.target), payload := trial_payload(), sleep=pauses.append)
    assert [post.key for post in receiver.posts] == [payload["id"]] * 3  # one key for all attempts
    assert len(pauses) == 2 and 0 < pauses[0] < pauses[1]
    receiver.always = status
    with pytest.raises(DeliveryError, match=f"answered {status}") as caught:
        notify.send_patiently(target(receiver.target), trial_payload(), sleep=pauses.append)
    assert not caught.value.refused and len(receiver.posts) == 6


def test_no_pause_goes_beyond_the_end(receiver: Receiver) -> None:
    receiver.always = 503
    with pytest.raises(DeliveryError):
        notify.send_patiently(target(receiver.target), trial_payload(), time.monotonic() + 0.5, sleep=lambda s: None)
    assert len(receiver.posts) == 1


def test_redirections_stay_on_the_server(receiver: Receiver) -> None:
    receiver.answers = ["308 /other"]
    send(target(receiver.target, ACOUSTIC_AD_WEBHOOK_KEY=KEY), payload := trial_payload())
    assert [post.path for post in receiver.posts] == ["/hook", "/other"]
    assert [post.json for post in receiver.posts] == [payload] * 2
    with receiving() as elsewhere:
        for answer, words in (
            (f"307 {elsewhere.url}", "another host"),
            ("307 file:///etc/passwd", "another host"),
            ("302 /page", "to a page"),
        ):
            receiver.answers = [answer]
            with pytest.raises(DeliveryError, match=words):
                send(target(receiver.target), trial_payload())
        assert elsewhere.posts == []
    receiver.always = "307 /again"
    with pytest.raises(DeliveryError, match="redirections"):
        send(target(receiver.target), trial_payload())


@pytest.mark.parametrize("answer", ["hang", "drip"])
def test_a_server_that_does_not_end_costs_no_more_than_the_deadline(
    receiver: Receiver, answer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(senders, "TIMEOUT_S", 0.4 if answer == "hang" else 30.0)
    monkeypatch.setattr(senders, "DEADLINE_S", 30.0 if answer == "hang" else 0.6)
    receiver.always = answer
    began = time.monotonic()
    with pytest.raises(DeliveryError, match=r"no answer within 0\.4 s|no end within 0\.6 s"):
        send(target(receiver.target), trial_payload())
    assert time.monotonic() - began < 15


def test_nobody_there_is_said_without_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    url = f"http://127.0.0.1:{free_port()}/{KEY}"
    with pytest.raises(DeliveryError, match="refused") as caught:
        send(target("webhook:env:HOOK", HOOK=url), trial_payload())
    assert KEY not in str(caught.value) and not caught.value.refused


# --- MQTT ------------------------------------------------------------------------------------------------------------


@needs_mosquitto
def test_a_subscriber_hears_a_change_and_whoever_comes_later_sees_the_state(tmp_path: Path) -> None:
    machines: list[dict[str, Any]] = [
        {"machine": name, "state": "alarm"} for name in ("fan/id_00", "a+b#c%d", "a", "a/state", "\n$SYS", "Lüfter")
    ]
    with broker(tmp_path) as port:
        one = target(f"mqtt://127.0.0.1:{port}/plant/acoustic")
        live: list[Any] = []
        listener = threading.Thread(target=lambda: live.extend(heard(port, "plant/acoustic/#", 1)))
        listener.start()
        payloads = []
        while listener.is_alive():  # until the subscription stands
            send(one, trial_payload())
            payloads.append(trial_payload())
            listener.join(0.05)
        ((topic, kept, document),) = live
        assert (topic, kept, document["kind"]) == ("plant/acoustic", False, "test")
        for state in ("normal", "alarm"):  # the later state replaces the earlier
            mqtt.publish_states(one, [{**machine, "state": state} for machine in machines])
        found = heard(port, "plant/acoustic/state/#", len(machines))
    assert all(kept for _, kept, _ in found)
    topics = ("fan/id_00", "a%2Bb%23c%25d", "a", "a/state", "%0A$SYS", "Lüfter")
    states = {topic.removeprefix("plant/acoustic/state/"): document for topic, _, document in found}
    assert states == dict(zip(topics, machines, strict=True))


@needs_mosquitto
def test_a_broker_that_wants_a_password_gets_it_and_says_no_to_others(tmp_path: Path) -> None:
    with broker(tmp_path, password=KEY) as port:
        text = f"mqtt://127.0.0.1:{port}/plant"
        send(target(text, ACOUSTIC_AD_MQTT_USER="ad", ACOUSTIC_AD_MQTT_PASSWORD=KEY), trial_payload())
        for environment in ({}, {"ACOUSTIC_AD_MQTT_USER": "ad", "ACOUSTIC_AD_MQTT_PASSWORD": "wrong"}):
            with pytest.raises(DeliveryError, match="the broker refuses: Not authori"):
                send(target(text, **environment), trial_payload())


def test_no_broker_and_one_that_says_nothing_are_told(monkeypatch: pytest.MonkeyPatch, receiver: Receiver) -> None:
    with pytest.raises(DeliveryError, match="refused"):
        send(target(f"mqtt://127.0.0.1:{free_port()}/plant"), trial_payload())
    monkeypatch.setattr(mqtt, "TIMEOUT_S", 0.5)
    with pytest.raises(DeliveryError, match="did not answer"):
        send(target(f"mqtt://127.0.0.1:{receiver.port}/plant"), trial_payload())


# --- apprise ---------------------------------------------------------------------------------------------------------


def test_apprise_delivers_to_a_chat(receiver: Receiver) -> None:
    payload = trial_payload()
    send(target("apprise:env:CHAT", CHAT=f"json://127.0.0.1:{receiver.port}/chat"), payload)
    (post,) = receiver.posts
    assert post.path.startswith("/chat")
    assert post.json["title"] == payload["title"] and payload["text"] in post.json["message"]
    assert payload["id"] in post.json["message"]  # by which people know a repetition


def test_apprise_that_fails_shows_no_address(
    receiver: Receiver, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    receiver.always = 500
    for url in (f"json://u:{KEY}@127.0.0.1:{receiver.port}/", f"nothing://{KEY}"):
        with pytest.raises(DeliveryError, match="apprise") as caught:
            send(target("apprise:env:CHAT", CHAT=url), trial_payload())
        assert KEY not in str(caught.value)
    said = capfd.readouterr()
    assert KEY not in said.out + said.err + caplog.text


class Mailbox:
    """What a mail server was given."""

    def __init__(self) -> None:
        self.mails: list[Any] = []

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        self.mails.append((envelope.rcpt_tos, email.message_from_bytes(envelope.content, policy=email.policy.default)))
        await asyncio.sleep(0)
        return "250 OK"


def test_apprise_delivers_a_mail_in_which_names_are_no_markup() -> None:
    from aiosmtpd.controller import Controller

    mailbox = Mailbox()
    controller = Controller(mailbox, hostname="127.0.0.1", port=free_port())
    controller.start()
    try:
        url = f"mailto://127.0.0.1:{controller.port}/?from=ad@plant.example&to=ann@plant.example&mode=insecure"
        payload = trial_payload() | {"title": "<b>fan</b>: ALARM raised", "text": "<b>fan</b>: +9 dB", "kind": "raised"}
        send(target("apprise:env:MAIL", MAIL=url), payload)
    finally:
        controller.stop()
    ((to, mail),) = mailbox.mails
    assert to == ["ann@plant.example"]
    assert mail["subject"] == "<b>fan</b>: ALARM raised"
    body = mail.get_body(("html", "plain"))
    text = body.get_content()
    assert payload["id"] in text and "+9 dB" in text
    assert body.get_content_type() == "text/plain" or "<b>fan" not in text
