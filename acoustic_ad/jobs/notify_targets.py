"""Where messages go: `--notify TARGET` read, and its secrets fetched from the environment or from files.

A target's name stands in the store, in logs and in the list of processes: it holds no secret.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from acoustic_ad.errors import UsageError

FORMS: Final = (
    "webhook:https://host/path, webhook:env:NAME, webhook:file:PATH, mqtt://host[:port]/topic, "
    "mqtts://host[:port]/topic, apprise:env:NAME, apprise:file:PATH"
)
WEBHOOK_KEY: Final = "ACOUSTIC_AD_WEBHOOK_KEY"
MQTT_USER: Final = "ACOUSTIC_AD_MQTT_USER"
MQTT_PASSWORD: Final = "ACOUSTIC_AD_MQTT_PASSWORD"
_SECRET_WORDS: Final = re.compile(r"token|key|secret|passw|sig|auth|cred", re.IGNORECASE)
_MOST_SECRET_BYTES: Final = 65_536


@dataclass(frozen=True, slots=True)
class Target:
    """Where to, and with what; only `name` is ever shown."""

    name: str
    kind: str  # webhook, mqtt, apprise
    address: str = field(repr=False)  # a URL
    user: str | None = field(default=None, repr=False)
    secret: str | None = field(default=None, repr=False)  # the key of the signature, or the password


def read_targets(texts: Sequence[str], environment: Mapping[str, str] | None = None) -> list[Target]:
    """The targets that `--notify` names, each once. Raises UsageError, which shows no secret."""
    environment = os.environ if environment is None else environment
    found = {target.name: target for text in texts for target in _read(text, environment)}
    return list(found.values())


def _read(text: str, environment: Mapping[str, str]) -> list[Target]:
    kind, _, rest = text.partition(":")
    if kind == "webhook":
        return [_webhook(text, rest, environment)]
    if kind in ("mqtt", "mqtts"):
        return [_mqtt(text, environment)]
    if kind == "apprise":
        return _apprise(text, rest, environment)
    raise UsageError(f"--notify {kind}...: no known kind of target; write one of {FORMS}")


def _webhook(text: str, rest: str, environment: Mapping[str, str]) -> Target:
    name, url = text, rest
    if rest.startswith(("env:", "file:")):
        url = _from_outside(f"--notify {text}", rest, environment)
    else:
        _refuse_secrets(rest, "webhook:env:NAME or webhook:file:PATH")
    parts = _split(url, name if url != rest else "webhook")
    if parts.scheme not in ("http", "https"):
        raise UsageError("--notify webhook: the URL must begin with http:// or https://")
    if parts.username is not None:
        raise UsageError(f"--notify {name}: the URL holds a user name; sign messages by {WEBHOOK_KEY} instead")
    return Target(name, "webhook", url, secret=secret_of(WEBHOOK_KEY, environment))


def _mqtt(text: str, environment: Mapping[str, str]) -> Target:
    _refuse_secrets(text, f"{MQTT_USER} and {MQTT_PASSWORD} or {MQTT_PASSWORD}_FILE")
    parts = _split(text, "mqtt")
    topic = unquote(parts.path.removeprefix("/"))
    if not topic or re.search(r"[+#\x00-\x1f\x7f]", topic) or "#" in text or "?" in text:
        raise UsageError("--notify mqtt: name a topic without # and +, as in mqtt://host/plant/acoustic")
    return Target(text, "mqtt", text, environment.get(MQTT_USER), secret_of(MQTT_PASSWORD, environment))


def _apprise(text: str, rest: str, environment: Mapping[str, str]) -> list[Target]:
    if not rest.startswith(("env:", "file:")):
        raise UsageError(
            "--notify apprise: its URLs hold secrets and do not belong on the command line: put them, one a line, "
            "into a file or a variable, and write apprise:file:PATH or apprise:env:NAME"
        )
    lines = _from_outside(f"--notify {text}", rest, environment).splitlines()
    urls = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    # A target each: where one of them fails, the others are not to hear it twice.
    return [Target(f"{text}#{number}", "apprise", url) for number, url in enumerate(urls, 1)]


def _split(url: str, name: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        port_is_good = parts.port is None or parts.port > 0
    except ValueError:
        parts, port_is_good = urlsplit(""), False
    if not parts.hostname or not port_is_good or re.search(r"[\x00-\x20\x7f]", url):
        raise UsageError(f"--notify {name}: not a URL with a host; write one of {FORMS}")
    return parts


def _refuse_secrets(url: str, instead: str) -> None:
    try:
        parts = urlsplit(url)
    except ValueError:
        return  # refused as no URL
    named = [key for key, _ in parse_qsl(parts.query, keep_blank_values=True) if _SECRET_WORDS.search(key)]
    if "@" in parts.netloc or named:
        what = "a user name or password" if "@" in parts.netloc else "what looks like a secret"
        raise UsageError(
            f"--notify: the URL holds {what}, which every user of this computer can see in the list of processes; "
            f"use {instead}"
        )


def _from_outside(what: str, rest: str, environment: Mapping[str, str]) -> str:
    """The content of env:NAME or file:PATH, without blanks around it."""
    kind, _, name = rest.partition(":")
    found = read_secret_file(Path(name), what) if kind == "file" else environment.get(name, "").strip()
    if not found:
        raise UsageError(f"{what}: {'the file is empty' if kind == 'file' else f'the variable {name} is not set'}")
    return found


def secret_of(name: str, environment: Mapping[str, str]) -> str | None:
    """The secret in variable `name`, or in the file that `name`_FILE names; None where neither is set."""
    file = environment.get(f"{name}_FILE")
    if environment.get(name) and file:
        raise UsageError(f"{name} and {name}_FILE are both set: set one")
    if file:
        found = read_secret_file(Path(file), f"{name}_FILE")
        if not found:
            raise UsageError(f"{name}_FILE: the file is empty")
        return found
    return environment.get(name) or None


def read_secret_file(path: Path, what: str) -> str:
    """The text of a small file, without blanks around it; UsageError names the file, never its content."""
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_SECRET_BYTES + 1)
        if len(content) > _MOST_SECRET_BYTES:
            raise UsageError(f"{what}: {path} has more than {_MOST_SECRET_BYTES} bytes: is it the right file?")
        return content.decode().strip()
    except OSError as error:
        raise UsageError(f"{what}: {path} cannot be read: {error.strerror}") from None
    except (UnicodeDecodeError, ValueError):
        raise UsageError(f"{what}: {path} is not text in UTF-8") from None
