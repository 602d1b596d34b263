"""`acoustic-ad status`, `health replay` and `events`: how the machines are, were, and would be by another policy."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from acoustic_ad.cli_durations import StaleAfter, length_of_time
from acoustic_ad.console import answer, answer_json, command, say

health_app = typer.Typer(help="The health policy: what another one would have done.", no_args_is_help=True)
events_app = typer.Typer(help="What people know of a machine: maintenance, false alarms, faults.", no_args_is_help=True)
Models = Annotated[Path, typer.Option("--models", envvar="ACOUSTIC_AD_MODELS", help="Folder of the model bundles.")]
Db = Annotated[str, typer.Option("--db", envvar="ACOUSTIC_AD_DB", help="Score store: a path, or a database URL.")]
Json = Annotated[bool, typer.Option("--json", help="Answer with one JSON document on stdout.")]
TIME_HELP = "ISO 8601, in UTC where it names no zone: 2026-01-05T14:30Z."


@command
def status(
    db: Db = "acoustic-ad.db",
    models: Models = Path("models"),
    as_of: Annotated[str | None, typer.Option("--as-of", help=f"How it was at this moment. {TIME_HELP}")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Also write the table to this .csv.")] = None,
    stale_after: StaleAfter = "365d",
    as_json: Json = False,
) -> None:
    """Each machine's health, as of the last `score`; with --as-of, as of any moment, from the clips recorded up to it.

    Nothing is written to the store, and no job is waited for. Runs that were missed, clips that came late and models
    that are old are spoken of.
    """
    from acoustic_ad.jobs.fleet_report import fleet_json, fleet_status, fleet_status_at
    from acoustic_ad.jobs.punctuality import job_notices
    from acoustic_ad.jobs.stale_models import stale_models
    from acoustic_ad.jobs.store import Store
    from acoustic_ad.report.fleet import check_csv, fleet_table, fleet_words, write_fleet_csv
    from acoustic_ad.sound.clip import one_line

    if out is not None:
        check_csv(out)
    moment = None if as_of is None else utc_moment(as_of, "--as-of")
    longest = length_of_time(stale_after, "--stale-after")
    with Store.open(db, read_only=True, create=False) as store:
        name, cut_short = store.name, store.cut_short()
        fleet = fleet_status(store) if moment is None else fleet_status_at(store, models, moment)
        names = [machine.row.machine for machine in fleet.machines]
        notices = [] if moment else job_notices(store) + stale_models(models, names, longest)
    if out is not None:
        write_fleet_csv(out, fleet)
    if as_json:
        answer_json(fleet_json(fleet) | {"cut_short": cut_short, "notices": [one.as_json() for one in notices]})
        return
    if fleet.machines:
        answer("\n".join([fleet_table(fleet), *fleet_words(fleet)]))
    else:
        answer(f"{name} knows no machine yet: `acoustic-ad score FOLDER` judges the recordings in FOLDER")
    for notice in notices:
        say(f"note: {one_line(notice.text)}")
    for root in cut_short:
        say(f"the last `score` of {one_line(root)} was cut short, or is still at work: run it again to have all of it")


@health_app.command("replay")
@command
def replay(
    policy: Annotated[
        Path, typer.Option("--policy", help="A .toml file: a recipe with its table health, or keys of it alone.")
    ],
    machine: Annotated[str | None, typer.Option("--machine", help="Only this machine.")] = None,
    db: Db = "acoustic-ad.db",
    models: Models = Path("models"),
    as_json: Json = False,
) -> None:
    """What another policy would have done with the stored scores, beside what stands. Nothing is written.

    Every clip and event up to now is replayed for each machine; nothing is scored again. Put the policy that you like
    into the table `health` of the recipe and train, or promote.
    """
    from acoustic_ad.jobs.replay import read_policy, replay_all, replay_json
    from acoustic_ad.jobs.store import Store
    from acoustic_ad.report.fleet import replay_table

    wanted = read_policy(policy)
    with Store.open(db, read_only=True, create=False) as store:
        found = replay_all(store, models, wanted, machine)
    if as_json:
        answer_json(replay_json(found, wanted))
    else:
        answer(replay_table(found))


@events_app.command("add")
@command
def add_event(
    machine: Annotated[str, typer.Argument(help="The machine's name, as `status` shows it.")],
    kind: Annotated[str, typer.Argument(help="maintenance, false-alarm or confirmed-fault.")],
    at: Annotated[str | None, typer.Option("--at", help=f"When it was (default: now). {TIME_HELP}")] = None,
    note: Annotated[str, typer.Option("--note", help="What was done, or found.")] = "",
    by: Annotated[str, typer.Option("--by", help="Who says so.")] = "",
    db: Db = "acoustic-ad.db",
    models: Models = Path("models"),
    as_json: Json = False,
) -> None:
    """Tell what was done to a machine, or found out about it.

    After `maintenance` the machine gets a new baseline from the clips that follow. `false-alarm` and `confirmed-fault`
    are about the alarm of that moment: clips of a false alarm can join the calibration, by `acoustic-ad models
    recalibrate` only; those of a confirmed fault count as anomalies in `evaluate --db`. No job is waited for.
    """
    from acoustic_ad.jobs.alarm_book import add_event as keep
    from acoustic_ad.jobs.alarm_list import event_json
    from acoustic_ad.jobs.alarm_schema import EVENT_KINDS, EventRow
    from acoustic_ad.jobs.fleet_health import refresh
    from acoustic_ad.jobs.store import Store

    _check_word("KIND", kind, EVENT_KINDS)
    moment = datetime.now(UTC) if at is None else utc_moment(at, "--at")
    with Store.open(db, create=False) as store:
        _check_past("--at", moment, [row.last_clip_at for row in store.machines() if row.machine == machine])
        kept = keep(store, EventRow(machine, moment, kind, note, by))
        refresh(store, models, [machine])
    if as_json:
        answer_json(event_json(kept))
    else:
        answer(f"event {kept.id}: {kind} of {machine} at {moment:%Y-%m-%d %H:%M} UTC")


@events_app.command("list")
@command
def list_events(
    machine: Annotated[str | None, typer.Option("--machine", help="Only of this machine.")] = None,
    db: Db = "acoustic-ad.db",
    as_json: Json = False,
) -> None:
    """What people told of the machines."""
    from acoustic_ad.jobs.alarm_book import check_known, events_of
    from acoustic_ad.jobs.alarm_list import event_json
    from acoustic_ad.jobs.store import Store
    from acoustic_ad.report.fleet import event_table
    from acoustic_ad.sound.clip import one_line

    with Store.open(db, read_only=True, create=False) as store, store.reading() as connection:
        if machine is not None:
            check_known(connection, machine)
        found = events_of(connection, machine)
    if as_json:
        answer_json({"events": [event_json(event) for event in found]})
    else:
        of_machine = "" if machine is None else f" of {one_line(machine)}"
        answer(event_table(found) if found else f"no events{of_machine} yet: `acoustic-ad events add` keeps them")


def utc_moment(text: str, option: str) -> datetime:
    """A moment that a user gave; UsageError where it is none."""
    from acoustic_ad.errors import UsageError

    try:
        found = datetime.fromisoformat(text)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise UsageError(f"{option} {text!r} is no time: write it as 2026-01-05T14:30Z") from None


def _check_past(option: str, moment: datetime, heard: list[datetime | None]) -> None:
    """UsageError for what is neither past nor within the clips of a recorder whose clock is ahead."""
    from acoustic_ad.errors import UsageError

    latest = max([datetime.now(UTC), *(at for at in heard if at is not None)])
    if moment > latest + timedelta(days=1):
        raise UsageError(f"{option} {moment:%Y-%m-%d %H:%M} UTC has not come yet: tell it once it has happened")


def _check_word(option: str, word: str, known: tuple[str, ...]) -> None:
    from acoustic_ad.errors import UsageError

    if word not in known:
        raise UsageError(f"{option} {word!r}: must be one of {', '.join(known)}")
