"""How a message travels: webhook, MQTT, or whatever apprise knows. Each sends once, and says whether it arrived.

Reasons of failure are put together from what the system and the protocol say, never from addresses or keys.
"""

from __future__ import annotations

import hashlib
import hmac
import http.client
import json
import logging
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import urljoin, urlsplit

from acoustic_ad import __version__
from acoustic_ad.errors import AcousticADError
from acoustic_ad.jobs.notify_targets import Target

TIMEOUT_S: Final = 10.0  # of one step: connecting, or waiting for an answer
DEADLINE_S: Final = 25.0  # of the whole attempt, also where a server answers byte by byte
MOST_REDIRECTS: Final = 3
# Answers that may be others a moment later. Any other 4xx would come again: it must not hold up the other messages.
MOMENTARY: Final = frozenset({401, 403, 408, 425, 429})


class DeliveryError(AcousticADError):
    """The target has not taken a message; `refused` where the same attempt would fail again."""

    def __init__(self, reason: str, *, refused: bool = False) -> None:
        super().__init__(reason)
        self.refused = refused


def send(target: Target, payload: Mapping[str, Any]) -> None:
    """Send a message to a target once, within `DEADLINE_S`; raises DeliveryError."""
    if target.kind == "mqtt":
        from acoustic_ad.jobs.mqtt import publish_message as sender
    else:
        sender = {"webhook": _webhook, "apprise": _apprise}[target.kind]
    within_deadline(lambda: sender(target, payload))


def within_deadline(action: Callable[[], None]) -> None:
    """Do what may hang, within `DEADLINE_S`; whatever goes wrong is a DeliveryError, without addresses or keys."""
    ended: list[DeliveryError | None] = []

    def attempt() -> None:
        try:
            action()
            ended.append(None)
        except DeliveryError as error:
            ended.append(error)
        except OSError as error:
            ended.append(DeliveryError(_said_by_system(error)))
        except Exception as error:
            # Whatever a protocol's library raises: its words may hold the address.
            ended.append(DeliveryError(f"it failed with {type(error).__name__}"))

    # A thread that hangs in a library is left behind: it ends with the program.
    thread = threading.Thread(target=attempt, daemon=True, name="notify")
    thread.start()
    thread.join(DEADLINE_S)
    if not ended:
        raise DeliveryError(f"no end within {DEADLINE_S:g} s")
    if ended[0] is not None:
        raise ended[0]


def _said_by_system(error: OSError) -> str:
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(reason, TimeoutError):
        return f"no answer within {TIMEOUT_S:g} s"
    return getattr(reason, "strerror", None) or f"the connection failed ({type(reason).__name__})"


# --- webhook ---------------------------------------------------------------------------------------------------------


def signature(key: str, timestamp: str, body: bytes) -> str:
    """The value of the header X-Acoustic-AD-Signature: v1= and the HMAC-SHA256 over timestamp, a dot, and the body."""
    digest = hmac.new(key.encode(), timestamp.encode() + b"." + body, hashlib.sha256)
    return f"v1={digest.hexdigest()}"


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *args: Any) -> None:
        """Redirections are judged by `_webhook`, not followed."""


def _webhook(target: Target, payload: Mapping[str, Any]) -> None:
    body = json.dumps(payload, ensure_ascii=True, allow_nan=False).encode()
    timestamp = str(int(time.time()))
    headers = {
        "Content-Type": "application/json",
        "User-Agent": f"acoustic-ad/{__version__}",
        "Idempotency-Key": str(payload["id"]),
        "X-Acoustic-AD-Timestamp": timestamp,
    }
    if target.secret is not None:
        headers["X-Acoustic-AD-Signature"] = signature(target.secret, timestamp, body)
    opener = urllib.request.build_opener(_NoRedirect)
    url = target.address
    for _ in range(MOST_REDIRECTS + 1):
        request = urllib.request.Request(url, body, headers, method="POST")
        try:
            with opener.open(request, timeout=TIMEOUT_S):
                return
        except urllib.error.HTTPError as error:
            with error:
                url = _redirected(url, error)
        except http.client.HTTPException as error:
            raise DeliveryError(f"the server broke off ({type(error).__name__})") from None
    raise DeliveryError(f"more than {MOST_REDIRECTS} redirections")


def _redirected(url: str, error: urllib.error.HTTPError) -> str:
    """Where the same server wants the message; raises DeliveryError for all else that is not success."""
    said = f"the server answered {error.code}"
    if error.code not in (301, 302, 303, 307, 308):
        raise DeliveryError(said, refused=400 <= error.code < 500 and error.code not in MOMENTARY)
    if error.code not in (307, 308):
        raise DeliveryError(f"{said}: it redirects to a page; name the final URL", refused=True)
    there = urljoin(url, error.headers.get("Location", ""))
    before, after = urlsplit(url), urlsplit(there)
    if (before.scheme, before.netloc) != (after.scheme, after.netloc):
        raise DeliveryError(f"{said}: it redirects to another host, which is not followed", refused=True)
    return there


# --- e-mail, chat ----------------------------------------------------------------------------------------------------


def _apprise(target: Target, payload: Mapping[str, Any]) -> None:
    try:
        import apprise
    except ImportError:
        raise DeliveryError("apprise is not installed: pip install 'acoustic-ad[notify]'") from None
    logging.getLogger("apprise").setLevel(logging.CRITICAL + 1)  # it logs addresses
    service = apprise.Apprise()
    if not service.add(target.address):
        raise DeliveryError("apprise does not know such an address: check the line of the file or variable")
    kind = apprise.NotifyType.WARNING if payload["kind"] == "raised" else apprise.NotifyType.INFO
    body = f"{payload['text']}\n\nmessage {payload['id']}"
    # Said to be plain text, so that a machine's name becomes no markup where the service takes HTML.
    form = apprise.NotifyFormat.TEXT
    if not service.notify(body=body, title=str(payload["title"]), notify_type=kind, body_format=form):
        raise DeliveryError("apprise could not deliver it: check the address, and the service behind it")
