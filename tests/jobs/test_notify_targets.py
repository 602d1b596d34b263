"""Targets as `--notify` names them: what is taken, what is refused, and that secrets stay out of sight."""

from __future__ import annotations

from pathlib import Path

import pytest

from acoustic_ad.errors import UsageError
from acoustic_ad.jobs.notify_targets import read_targets

SECRET = "correct-horse-battery"


def test_a_webhook_takes_its_key_from_the_environment_or_from_a_file(tmp_path: Path) -> None:
    url = "webhook:https://host.example/hook"
    (plain,) = read_targets([url], {})
    assert (plain.name, plain.kind, plain.address, plain.secret) == (url, "webhook", url[8:], None)
    (keyed,) = read_targets([url], {"ACOUSTIC_AD_WEBHOOK_KEY": SECRET})
    (tmp_path / "key").write_text(f"{SECRET}\n")
    (filed,) = read_targets([url], {"ACOUSTIC_AD_WEBHOOK_KEY_FILE": str(tmp_path / "key")})
    assert keyed.secret == filed.secret == SECRET
    assert SECRET not in repr(keyed) + str(keyed)


def test_a_url_that_is_itself_a_secret_stays_in_the_environment_or_in_a_file(tmp_path: Path) -> None:
    url = f"https://hooks.example/{SECRET}"
    (tmp_path / "url").write_text(f"{url}\n")
    for text, environment in (("webhook:env:HOOK", {"HOOK": url}), (f"webhook:file:{tmp_path / 'url'}", {})):
        (target,) = read_targets([text], environment)
        assert (target.name, target.address) == (text, url)
        assert SECRET not in repr(target)


def test_apprise_takes_a_target_a_line(tmp_path: Path) -> None:
    (tmp_path / "urls").write_text(f"# who is told\njson://a.example/{SECRET}\n\n  mailto://b.example\n")
    name = f"apprise:file:{tmp_path / 'urls'}"
    found = read_targets([name, name], {})
    assert [(one.name, one.address) for one in found] == [
        (f"{name}#1", f"json://a.example/{SECRET}"),
        (f"{name}#2", "mailto://b.example"),
    ]
    assert SECRET not in repr(found)


def test_mqtt_takes_user_and_password_from_the_environment() -> None:
    environment = {"ACOUSTIC_AD_MQTT_USER": "ad", "ACOUSTIC_AD_MQTT_PASSWORD": SECRET}
    (target,) = read_targets(["mqtts://broker.example:8883/plant/acoustic"], environment)
    assert (target.kind, target.user, target.secret) == ("mqtt", "ad", SECRET)
    assert SECRET not in repr(target)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f"webhook:https://u:{SECRET}@host.example/", "user name or password"),
        (f"webhook:https://host.example/?token={SECRET}", "looks like a secret"),
        (f"webhook:https://host.example/?api_key={SECRET}", "looks like a secret"),
        (f"mqtt://u:{SECRET}@host.example/topic", "user name or password"),
        (f"apprise:mailto://u:{SECRET}@host.example", "do not belong on the command line"),
        (f"slack:{SECRET}", "no known kind"),
        ("webhook:ftp://host.example/", "http"),
        ("webhook:https:///nohost", "not a URL"),
        ("webhook:https://host.example:99999/", "not a URL"),
        ("webhook:https://host.example/\nX: y", "not a URL"),
        ("webhook:env:NOWHERE", "NOWHERE is not set"),
        ("webhook:file:/nowhere/at/all", "/nowhere/at/all cannot be read"),
        ("mqtt://host.example", "name a topic"),
        ("mqtt://host.example/a/#", "name a topic"),
        ("mqtt://host.example/a/+/b", "name a topic"),
        ("mqtt://host.example/a/%23", "name a topic"),
        ("mqtt://host.example/%00", "name a topic"),
    ],
)
def test_what_cannot_be_a_target_is_a_usage_error_without_the_secret(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        read_targets([text], {})
    assert SECRET not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_secret_files_that_cannot_be_used_are_named_and_not_shown(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("")
    (tmp_path / "large").write_bytes(SECRET.encode() * 10_000)
    (tmp_path / "binary").write_bytes(b"\xff\xfe" + SECRET.encode())
    for name, words in (("empty", "empty"), ("large", "bytes"), ("binary", "UTF-8"), ("", "cannot be read")):
        with pytest.raises(UsageError, match=words) as caught:
            read_targets(["webhook:http://h/"], {"ACOUSTIC_AD_WEBHOOK_KEY_FILE": str(tmp_path / name)})
        assert SECRET not in str(caught.value)
    with pytest.raises(UsageError, match="both set"):
        read_targets(["webhook:http://h/"], {"ACOUSTIC_AD_WEBHOOK_KEY_FILE": "x", "ACOUSTIC_AD_WEBHOOK_KEY": "y"})
