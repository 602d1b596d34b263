"""MQTT: a message for each change on the target's topic, and each machine's state, retained, beneath it."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import SplitResult, unquote, urlsplit

from acoustic_ad.jobs.notify_targets import Target
from acoustic_ad.jobs.senders import TIMEOUT_S, DeliveryError

# What a topic's level must not hold, and the sign that stands for it.
_ESCAPED: Final = re.compile(r"[%+#\x00-\x1f\x7f-\x9f\ud800-\udfff]")


def publish_message(target: Target, payload: Mapping[str, Any]) -> None:
    """Publish a change on the target's topic, at quality 1; raises DeliveryError."""
    with _connected(target) as client:
        _publish(client, [(_topic(target), payload)], retain=False)


def publish_states(target: Target, machines: Sequence[Mapping[str, Any]]) -> None:
    """Publish each machine's document, retained, so that whoever subscribes sees the present state at once.

    `machines` are those of `status --json`; the topic is `state_topic`. Raises DeliveryError.
    """
    with _connected(target) as client:
        _publish(client, [(state_topic(target, str(one["machine"])), one) for one in machines], retain=True)


def state_topic(target: Target, machine: str) -> str:
    """<topic>/state/<machine>; a slash in its name makes a level, other signs of MQTT are written as %2B."""
    return f"{_topic(target)}/state/{_ESCAPED.sub(_percent, machine)}"


def _percent(sign: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in sign[0].encode("utf-8", "surrogatepass"))


def _topic(target: Target) -> str:
    return unquote(urlsplit(target.address).path.removeprefix("/")).rstrip("/")


@contextmanager
def _connected(target: Target) -> Iterator[Any]:
    try:
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion
    except ImportError:
        raise DeliveryError("paho-mqtt is not installed: pip install 'acoustic-ad[notify]'") from None
    answer: list[Any] = []
    connected = threading.Event()

    def on_connect(client: Any, data: Any, flags: Any, reason: Any, properties: Any) -> None:
        answer.append(reason)
        connected.set()

    client = Client(CallbackAPIVersion.VERSION2)
    client.connect_timeout = TIMEOUT_S
    client.on_connect = on_connect
    _connect(client, urlsplit(target.address), target)
    client.loop_start()
    try:
        if not connected.wait(TIMEOUT_S):
            raise DeliveryError(f"the broker did not answer within {TIMEOUT_S:g} s")
        if answer[0].is_failure:
            raise DeliveryError(f"the broker refuses: {answer[0]}")
        yield client
    finally:
        client.disconnect()
        client.loop_stop()


def _connect(client: Any, parts: SplitResult, target: Target) -> None:
    secure = parts.scheme == "mqtts"
    if target.user is not None:
        client.username_pw_set(target.user, target.secret)
    if secure:
        client.tls_set()
    client.connect(str(parts.hostname), parts.port or (8883 if secure else 1883), keepalive=30)


def _publish(client: Any, messages: Sequence[tuple[str, Mapping[str, Any]]], *, retain: bool) -> None:
    """All messages; at quality 1 the broker acknowledges each."""
    sent = []
    for topic, payload in messages:
        body = json.dumps(payload, ensure_ascii=True, allow_nan=False)
        sent.append(client.publish(topic, body, qos=1, retain=retain))
    for one in sent:
        one.wait_for_publish(TIMEOUT_S)
        if not one.is_published():
            raise DeliveryError(f"the broker did not acknowledge within {TIMEOUT_S:g} s")
