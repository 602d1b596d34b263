"""`acoustic-ad schedule`: unit files, a crontab line or a CronJob that run `score` again and again."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from acoustic_ad.console import answer, answer_json, command, say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from acoustic_ad.jobs.schedule import ScheduledJob

schedule_app = typer.Typer(help="Print what a scheduler needs to run `score` unattended.", no_args_is_help=True)
Every = Annotated[str, typer.Option("--every", help="How often: 15min, 1h, 1d.")]
Folder = Annotated[Path, typer.Option("--folder", help="Folder or manifest CSV of recordings.")]
Db = Annotated[str | None, typer.Option("--db", help="Score store: a path, or a database URL without its password.")]
Models = Annotated[Path, typer.Option("--models", envvar="ACOUSTIC_AD_MODELS", help="Folder of the model bundles.")]
ExitOn = Annotated[
    str | None, typer.Option("--exit-on", help="Let the job exit 4 when a machine is in `warning` or `alarm`.")
]
Name = Annotated[str, typer.Option("--name", help="What the job is called.")]
Out = Annotated[Path | None, typer.Option("--out", help="Write files into this folder instead of printing them.")]
Program = Annotated[
    str | None, typer.Option("--program", help="Absolute path of acoustic-ad there (default: the one that runs now).")
]
Json = Annotated[bool, typer.Option("--json", help="Answer with one JSON document on stdout.")]
Extra = Annotated[
    list[str] | None, typer.Argument(help="Further options of `score`, behind `--`.", metavar="[-- SCORE OPTIONS]")
]


@schedule_app.command("systemd")
@command
def systemd(
    every: Every,
    folder: Folder,
    db: Db = None,
    models: Models = Path("models"),
    exit_on: ExitOn = None,
    name: Name = "acoustic-ad",
    environment: Annotated[
        str | None,
        typer.Option("--environment", help="File of KEY=value lines: secrets, the URL ACOUSTIC_AD_DB."),
    ] = None,
    user: Annotated[str | None, typer.Option("--user", help="User that the service runs as (default: root).")] = None,
    program: Program = None,
    out: Out = None,
    as_json: Json = False,
    extra: Extra = None,
) -> None:
    """A service and a timer for systemd. Runs that were missed while the computer was off are made up for."""
    from acoustic_ad.jobs.schedule_systemd import systemd_units

    job = _job(name, every, folder, models, db, exit_on, program, environment, extra or [])
    units = systemd_units(job, user)
    timer = next(name for name in units if name.endswith(".timer"))
    _tell(units, out, as_json, f"copy both to /etc/systemd/system, then: systemctl enable --now {_word(timer)}")


@schedule_app.command("cron")
@command
def cron(
    every: Every,
    folder: Folder,
    db: Db = None,
    models: Models = Path("models"),
    exit_on: ExitOn = None,
    name: Name = "acoustic-ad",
    program: Program = None,
    out: Out = None,
    as_json: Json = False,
    extra: Extra = None,
) -> None:
    """A line for `crontab -e`. cron mails what goes wrong, and does not make up for runs that were missed."""
    from acoustic_ad.jobs.schedule import cron_line
    from acoustic_ad.jobs.schedule_systemd import unit_name

    job = _job(name, every, folder, models, db, exit_on, program, None, extra or [])
    _tell({f"{unit_name(name)}.cron": cron_line(job)}, out, as_json, "add the line by `crontab -e`")


@schedule_app.command("kubernetes")
@command
def kubernetes(
    every: Every,
    folder: Folder,
    db: Db = None,
    models: Models = Path("models"),
    exit_on: ExitOn = None,
    name: Name = "acoustic-ad",
    image: Annotated[str | None, typer.Option("--image", help="Image that holds acoustic-ad.")] = None,
    volume: Annotated[
        list[str] | None, typer.Option("--volume", help="CLAIM:/path of a volume; may be given several times.")
    ] = None,
    environment: Annotated[
        str | None, typer.Option("--environment", help="Secret whose keys become the environment.")
    ] = None,
    cpu: Annotated[str, typer.Option("--cpu", help="Requested, and the limit.")] = "1",
    memory: Annotated[str, typer.Option("--memory", help="Requested, and the limit.")] = "2Gi",
    program: Program = "acoustic-ad",
    out: Out = None,
    as_json: Json = False,
    extra: Extra = None,
) -> None:
    """A CronJob for Kubernetes. Paths are those within the container.

    Without --volume, a claim called as the job is mounted where folder, models and database have their common folder. A
    SQLite store needs a volume that only one node mounts (ReadWriteOnce); a network file system is no place for it.
    """
    from acoustic_ad.jobs.schedule_kubernetes import Cluster, cron_job

    further = list(extra or [])
    if not any(word.split("=")[0] == "--workers" for word in further):  # a container sees the cores of its node
        further += ["--workers", str(max(1, int(float(cpu)) if cpu.replace(".", "", 1).isdigit() else 1))]
    job = _job(name, every, folder, models, db, exit_on, program, environment, further)
    cluster = Cluster(volumes=tuple(volume or ()), cpu=cpu, memory=memory)
    if image is not None:
        cluster = Cluster(image, cluster.volumes, cpu, memory)
    _tell({f"{name}.yaml": cron_job(job, cluster)}, out, as_json, "then: kubectl apply -f FILE")


def _job(
    name: str,
    every: str,
    folder: Path,
    models: Path,
    db: str | None,
    exit_on: str | None,
    program: str | None,
    environment: str | None,
    extra: list[str],
) -> ScheduledJob:
    """What is to be run, checked as `score` itself would check it."""
    from acoustic_ad.cli_durations import length_of_time
    from acoustic_ad.errors import UsageError
    from acoustic_ad.jobs.schedule import ScheduledJob, whole_minutes

    if db is None and environment is None:
        raise UsageError("pass --db, or --environment with ACOUSTIC_AD_DB in it")
    if db is not None and "://" not in db:
        db = os.path.abspath(db)  # noqa: PTH100  # as the store takes it: links not followed
    extra = [*(() if exit_on is None else ("--exit-on", exit_on)), *extra]
    minutes = whole_minutes(length_of_time(every, "--every").total_seconds())
    words = (program,) if program is not None else _this_program()
    job = ScheduledJob(name, minutes, _absolute(folder), _absolute(models), db, words, tuple(extra), (), environment)
    return _checked(job)


def _checked(job: ScheduledJob) -> ScheduledJob:
    """The job with the folders that its options write in; raises UsageError where `score` would refuse the call."""
    from dataclasses import replace

    from acoustic_ad.cli import app
    from acoustic_ad.errors import UsageError
    from acoustic_ad.jobs.score_report import EXIT_ON

    score = typer.main.get_command(app).commands["score"]  # type: ignore[attr-defined]
    given = score.make_context("acoustic-ad score", job.command()[len(job.program) + 1 :]).params
    if given["exit_on"] is not None and given["exit_on"] not in EXIT_ON:
        raise UsageError(f"--exit-on {given['exit_on']}: must be {' or '.join(EXIT_ON)}")
    written = [given[name] for name in ("out", "metrics") if given.get(name) is not None]
    for path in written:
        if not path.is_absolute():
            raise UsageError(f"{path}: a scheduler starts the job in a folder of its own: write the whole path")
    return replace(job, written=tuple(path.parent for path in written))


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path))  # noqa: PTH100


def _this_program() -> tuple[str, ...]:
    """The program beside the interpreter; where there is none, the package itself."""
    beside = Path(sys.executable).parent / "acoustic-ad"
    return (str(beside),) if os.access(beside, os.X_OK) else (sys.executable, "-P", "-m", "acoustic_ad")


def _word(text: str) -> str:
    import shlex

    return shlex.quote(text)


def _tell(files: dict[str, str], out: Path | None, as_json: bool, next_step: str) -> None:
    from acoustic_ad.errors import AcousticADError, refusal
    from acoustic_ad.whole_file import whole_file

    written: Sequence[Path] = []
    if out is not None:
        try:
            out.mkdir(parents=True, exist_ok=True)
            written = [out / name for name in files]
            for path in written:
                with whole_file(path) as file:
                    file.write(files[path.name].encode())
        except OSError as error:
            raise AcousticADError(f"{error.filename or out}: cannot be written: {refusal(error)}") from error
    if as_json:
        answer_json({"files": [{"name": name, "content": content} for name, content in files.items()]})
    elif out is None:
        answer("\n".join(files.values()))
        say(next_step)
    else:
        answer("\n".join(map(str, written)))
        say(next_step)
