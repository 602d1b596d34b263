"""`acoustic-ad alarms`: the life of an alarm in the operators' hands."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from acoustic_ad.cli_health import TIME_HELP, utc_moment
from acoustic_ad.console import answer, answer_json, command

if TYPE_CHECKING:
    from acoustic_ad.jobs.alarm_schema import AlarmRow

alarms_app = typer.Typer(help="Alarms: list, acknowledge, shelve, unshelve.", no_args_is_help=True)
AlarmId = Annotated[int, typer.Argument(help="The alarm's number, as `alarms list` shows it.")]
Db = Annotated[str, typer.Option("--db", envvar="ACOUSTIC_AD_DB", help="Score store: a path, or a database URL.")]
By = Annotated[str, typer.Option("--by", help="Who does it; kept in the audit trail.")]
Comment = Annotated[str, typer.Option("--comment", help="Why, or what was found.")]
Json = Annotated[bool, typer.Option("--json", help="Answer with one JSON document on stdout.")]


@alarms_app.command("list")
@command
def list_alarms(
    machine: Annotated[str | None, typer.Option("--machine", help="Only of this machine.")] = None,
    only_open: Annotated[bool, typer.Option("--open", help="Only those that stand, or wait for someone.")] = False,
    withdrawn: Annotated[bool, typer.Option("--withdrawn", help="Also those that later clips took back.")] = False,
    db: Db = "acoustic-ad.db",
    as_json: Json = False,
) -> None:
    """Every warning and alarm that was ever raised, with what operators did; with --json, a list with audit trails.

    unacknowledged and acknowledged ones stand; a shelved one waits until a set time; a returned one is gone by itself,
    but nobody has acknowledged it; a cleared one is over.
    """
    from acoustic_ad.jobs.alarm_list import alarm_list, alarm_list_json
    from acoustic_ad.jobs.store import Store
    from acoustic_ad.report.fleet import alarm_table
    from acoustic_ad.sound.clip import one_line

    with Store.open(db, read_only=True, create=False) as store:
        found = alarm_list(store, machine, only_open=only_open, withdrawn=withdrawn)
    if as_json:
        answer_json(alarm_list_json(found))
    else:
        of_machine = "" if machine is None else f" of {one_line(machine)}"
        answer(alarm_table([alarm for alarm, _ in found]) if found else f"no alarms{of_machine}")


@alarms_app.command("ack")
@command
def acknowledge(
    alarm: AlarmId, by: By, comment: Comment = "", db: Db = "acoustic-ad.db", as_json: Json = False
) -> None:
    """Say that someone has seen an alarm and looks after it."""
    _tell(_act(db, alarm, "ack", by, comment), as_json)


@alarms_app.command("shelve")
@command
def shelve(
    alarm: AlarmId,
    by: By,
    until: Annotated[str | None, typer.Option("--until", help=f"When it comes back. {TIME_HELP}")] = None,
    hours: Annotated[str | None, typer.Option("--for", help="How long instead: 30min, 8h, 2d.")] = None,
    comment: Comment = "",
    db: Db = "acoustic-ad.db",
    as_json: Json = False,
) -> None:
    """Put an alarm aside until a set time: it stays in the list, but `score --exit-on` does not count it."""
    from acoustic_ad.errors import UsageError

    now = datetime.now(UTC)
    if (until is None) == (hours is None):
        raise UsageError("give --until TIME or --for 8h: a shelved alarm comes back by itself")
    end = now + duration(hours) if hours is not None else utc_moment(until or "", "--until")
    if end <= now:
        raise UsageError(f"--until {until}: that is over")
    _tell(_act(db, alarm, "shelve", by, comment, end), as_json)


@alarms_app.command("unshelve")
@command
def unshelve(alarm: AlarmId, by: By, comment: Comment = "", db: Db = "acoustic-ad.db", as_json: Json = False) -> None:
    """Bring a shelved alarm back before its time."""
    _tell(_act(db, alarm, "unshelve", by, comment), as_json)


def _act(db: str, alarm: int, kind: str, by: str, comment: str, until: datetime | None = None) -> AlarmRow:
    from acoustic_ad.jobs.alarm_book import act
    from acoustic_ad.jobs.alarm_rows import life_at
    from acoustic_ad.jobs.alarm_schema import ActionRow
    from acoustic_ad.jobs.store import Store

    with Store.open(db, create=False) as store:
        return act(store, ActionRow(alarm, datetime.now(UTC), kind, by, comment, until), life_at())


def _tell(alarm: AlarmRow, as_json: bool) -> None:
    from acoustic_ad.jobs.alarm_list import alarm_json
    from acoustic_ad.sound.clip import one_line

    if as_json:
        answer_json(alarm_json(alarm))
        return
    until = "" if alarm.shelved_until is None else f" until {alarm.shelved_until:%Y-%m-%d %H:%M} UTC"
    answer(f"alarm {alarm.id} of {one_line(alarm.machine)}: {alarm.state}{until}")


def duration(text: str) -> timedelta:
    """A length of time such as 8h; UsageError where it is none."""
    import re

    from acoustic_ad.errors import UsageError

    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(min|h|d)", text.strip())
    seconds = {"min": 60.0, "h": 3600.0, "d": 86_400.0}
    if not found or not 0 < float(found[1]) * seconds[found[2]] <= 366 * 86_400:
        raise UsageError(f"--for {text!r} is no length of time up to a year: write 30min, 8h or 2d")
    return timedelta(seconds=float(found[1]) * seconds[found[2]])
