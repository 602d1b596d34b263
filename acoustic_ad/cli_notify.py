"""`acoustic-ad notify`: try a target, and see what waits to be delivered."""

from __future__ import annotations

from typing import Annotated

import typer

from acoustic_ad.console import answer, answer_json, command

notify_app = typer.Typer(help="Messages of state changes: try a target, see what waits.", no_args_is_help=True)
TARGET_HELP = (
    "webhook:https://host/path, mqtt://host/topic, or apprise:env:NAME / apprise:file:PATH for e-mail and chat. "
    "Keys come from the environment: ACOUSTIC_AD_WEBHOOK_KEY, ACOUSTIC_AD_MQTT_USER and _PASSWORD, or "
    "from the file that the same name with _FILE names."
)
NotifyTargets = Annotated[
    list[str] | None, typer.Option("--notify", help=f"Tell of state changes, once each; repeatable. {TARGET_HELP}")
]


@notify_app.command("test")
@command
def test(
    target: Annotated[str, typer.Argument(help=TARGET_HELP)],
    as_json: Annotated[bool, typer.Option("--json", help="Answer with one JSON document on stdout.")] = False,
) -> None:
    """Send a test message. Exit codes: 0 it was taken, 1 it was not, 2 usage."""
    from acoustic_ad.errors import AcousticADError
    from acoustic_ad.jobs.notify_targets import WEBHOOK_KEY, read_targets
    from acoustic_ad.jobs.outbox import trial_payload
    from acoustic_ad.jobs.senders import DeliveryError, send

    found = []
    for one in read_targets([target]):
        payload, problem = trial_payload(), None
        try:
            send(one, payload)
        except DeliveryError as error:
            problem = str(error)
        signed = one.secret is not None if one.kind == "webhook" else None
        found.append({"target": one.name, "id": payload["id"], "signed": signed, "problem": problem})
    if as_json:
        answer_json({"targets": found})
    else:
        unsigned = f" (not signed: {WEBHOOK_KEY} is not set)"
        for row in found:
            if row["problem"] is None:
                answer(f"{row['target']}: the message was taken{unsigned if row['signed'] is False else ''}")
    failed = [f"{row['target']}: {row['problem']}" for row in found if row["problem"] is not None]
    if failed:
        raise AcousticADError("; ".join(failed))


@notify_app.command("outbox")
@command
def outbox(
    db: Annotated[str, typer.Option("--db", envvar="ACOUSTIC_AD_DB", help="Score store.")] = "acoustic-ad.db",
    as_json: Annotated[bool, typer.Option("--json", help="Answer with one JSON document on stdout.")] = False,
) -> None:
    """What waits to be delivered, and what was given up. The next `score --notify` with the target delivers it."""
    from acoustic_ad.jobs.notify import GIVE_UP_AFTER
    from acoustic_ad.jobs.outbox import given_up, waiting
    from acoustic_ad.jobs.store import Store
    from acoustic_ad.report.fleet import minute
    from acoustic_ad.report.tables import text_table

    with Store.open(db, read_only=True, create=False) as store:
        found = [*waiting(store), *given_up(store)]
    if as_json:
        answer_json({"messages": [one.as_json() for one in found]})
        return
    rows = [
        [
            minute(one.created_at),
            one.target,
            str(one.payload["title"]),
            str(one.attempts),
            f"{'given up: ' if one.given_up_at else ''}{one.last_error or '-'}",
        ]
        for one in found
    ]
    if not rows:
        answer("nothing waits")
        return
    answer(text_table(("written", "target", "message", "tries", "last error"), rows))
    days = GIVE_UP_AFTER.days
    answer(
        f"Each is tried by every `score --notify` that names its target, and given up {days} days after it was written."
    )
