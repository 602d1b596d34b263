"""The command line: parse, call one function, print. Heavy imports happen inside the commands, so --help is quick."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from acoustic_ad import __version__
from acoustic_ad.cli_alarms import alarms_app
from acoustic_ad.cli_db import db_app, refuse_passwords
from acoustic_ad.cli_demo import demo
from acoustic_ad.cli_durations import StaleAfter, length_of_time
from acoustic_ad.cli_export import export
from acoustic_ad.cli_health import events_app, health_app, status
from acoustic_ad.cli_manifest import manifest_app
from acoustic_ad.cli_models import models_app
from acoustic_ad.cli_notify import NotifyTargets, notify_app
from acoustic_ad.cli_report import explain
from acoustic_ad.cli_report import report as write_report
from acoustic_ad.cli_schedule import schedule_app
from acoustic_ad.cli_score import begin_runtime, check_words, tell_evaluation, tell_score
from acoustic_ad.cli_signing import RequireSigned, SignKey, TrustedKeys, signing_key, trust_of
from acoustic_ad.cli_watch import watching
from acoustic_ad.console import answer, answer_json, command, progress_bar, run_program, say
from acoustic_ad.console_log import LogFormat, LogLevel, log_is_open, open_log

app = typer.Typer(
    name="acoustic-ad",
    help="Hears machines fail before they stop: learns each machine's normal sound, and scores new recordings.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(manifest_app, name="manifest")
app.add_typer(models_app, name="models")
app.add_typer(alarms_app, name="alarms")
app.add_typer(events_app, name="events")
app.add_typer(health_app, name="health")
app.add_typer(db_app, name="db")
app.add_typer(schedule_app, name="schedule")
app.add_typer(notify_app, name="notify")
app.command("status")(status)
app.command("export")(export)
app.command("report")(write_report)
app.command("explain")(explain)
app.command("demo")(demo)

Models = Annotated[Path, typer.Option("--models", envvar="ACOUSTIC_AD_MODELS", help="Folder of the model bundles.")]
Db = Annotated[str, typer.Option("--db", envvar="ACOUSTIC_AD_DB", help="Score store: a path, or a database URL.")]
Json = Annotated[bool, typer.Option("--json", help="Answer with one JSON document on stdout.")]
WorkerCount = Annotated[int, typer.Option("--workers", min=1, help="Worker processes, one thread each.")]
Timeout = Annotated[
    float | None,
    typer.Option("--clip-timeout", min=0.1, help="Seconds a clip may take (default: 30 + a tenth of its length)."),
]
WorkerMemory = Annotated[
    float | None,
    typer.Option("--worker-memory", min=0.25, help="GiB a worker may take for clips (default: 2, less where RAM is)."),
]
MachineName = Annotated[str | None, typer.Option("--machine", help="Name of the machine, for a flat folder of clips.")]
RuntimeName = Annotated[
    str,
    typer.Option("--runtime", help="What judges clips: torch, or onnx, which starts at once and takes less memory."),
]
CORES = os.cpu_count() or 1


@command
def _version(shown: bool) -> None:
    if shown:
        answer(f"acoustic-ad {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


@app.command()
@command
def train(
    data: Annotated[Path, typer.Argument(help="Folder or manifest CSV of recordings.")],
    recipe: Annotated[str, typer.Option("--recipe", help="Name of an installed recipe, or a .toml file.")] = "dae",
    models: Models = Path("models"),
    workers: WorkerCount = CORES,
    machine: MachineName = None,
    promote: Annotated[bool, typer.Option(help="Make the new models current.")] = True,
    allow: Annotated[bool, typer.Option("--allow", help="Train in spite of findings in the manifest.")] = False,
    seed: Annotated[int | None, typer.Option(min=0, max=2**32 - 1, help="Instead of the recipe's seed.")] = None,
    cache: Annotated[
        Path | None, typer.Option("--cache", help="Keep the clips' features in this folder, for other trainings.")
    ] = None,
    clip_timeout: Timeout = None,
    sign_key: SignKey = None,
    require_signed: RequireSigned = False,
    trust: TrustedKeys = None,
    log_format: LogFormat = None,
    log_level: LogLevel = None,
    as_json: Json = False,
) -> None:
    """Learn one model per machine from the normal recordings in DATA.

    Exit codes: 0 all machines trained, 3 some, 1 none, 2 usage, 5 another training writes to these models.
    """
    from acoustic_ad.jobs.run import run_train
    from acoustic_ad.jobs.train import TrainNews, TrainOptions
    from acoustic_ad.recipe import load_recipe
    from acoustic_ad.report.training import training_json, training_table

    open_log(log_format, log_level)
    loaded = load_recipe(recipe)
    if seed is not None:
        loaded = loaded.model_copy(update={"seed": seed})
    keys = (signing_key(sign_key), trust_of(require_signed, trust))
    options = TrainOptions(data, loaded, models, workers, promote, allow, clip_timeout, machine, *keys, cache)
    with progress_bar() as bar:

        def listen(news: TrainNews) -> None:
            loss = "" if news.loss is None else f"loss {news.loss:.3f}, held out {news.held_out_loss:.3f}"
            bar(news.what, news.done, news.total, loss)

        report = run_train(options, listen)
    if as_json:
        answer_json(training_json(report, loaded))
    else:
        if not log_is_open():
            say(report.description)
        answer(training_table(report))
    raise typer.Exit(report.exit_code)


@app.command()
@command
def score(
    folder: Annotated[Path, typer.Argument(help="Folder or manifest CSV of recordings.")],
    models: Models = Path("models"),
    db: Db = "acoustic-ad.db",
    out: Annotated[Path | None, typer.Option("--out", help="Also write the rows: .csv, .jsonl or .parquet.")] = None,
    workers: WorkerCount = CORES,
    machine: MachineName = None,
    split: Annotated[list[str] | None, typer.Option("--split", help="Only clips of this split.")] = None,
    new_only: Annotated[bool, typer.Option("--new-only", help="--out has only the clips of this run.")] = False,
    rescore: Annotated[bool, typer.Option("--rescore", help="Score known clips with the current model.")] = False,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Try failed clips again.")] = False,
    allow_empty: Annotated[bool, typer.Option("--allow-empty", help="A folder without clips is no error.")] = False,
    clip_timeout: Timeout = None,
    settle: Annotated[
        float, typer.Option("--settle", min=0, help="Seconds until an unfinished file counts as broken.")
    ] = 60,
    exit_on: Annotated[
        str | None, typer.Option("--exit-on", help="Exit 4 when a machine is in `warning` or `alarm`.")
    ] = None,
    notify: NotifyTargets = None,
    worker_memory: WorkerMemory = None,
    runtime: RuntimeName = "torch",
    metrics: Annotated[
        Path | None, typer.Option("--metrics", help="Also write metrics for Prometheus into this .prom file.")
    ] = None,
    every: Annotated[
        str | None, typer.Option("--every", help="How often this is started, kept so that a missed run is noticed: 1h.")
    ] = None,
    stale_after: StaleAfter = "365d",
    log_format: LogFormat = None,
    log_level: LogLevel = None,
    require_signed: RequireSigned = False,
    trust: TrustedKeys = None,
    as_json: Json = False,
) -> None:
    """Score every new clip in FOLDER, store it, and print a row per machine.

    Exit codes: 0 every clip accounted for, 1 the job failed, 2 usage, 3 some clips could not be scored (each is listed
    with its reason), 4 with --exit-on: a machine is in that state, 5 another job holds this database.
    """
    open_log(log_format, log_level)
    judged_by = begin_runtime(runtime, folder, db)

    from acoustic_ad.jobs.notify_targets import read_targets
    from acoustic_ad.jobs.run import run_score
    from acoustic_ad.jobs.score import ScoreOptions

    splits = tuple(split or ())
    check_words(exit_on, splits)
    asked = (out, machine, splits, new_only, rescore, retry_failed, allow_empty, clip_timeout, settle, exit_on)
    told, trusted = tuple(read_targets(notify or ())), trust_of(require_signed, trust)
    options = ScoreOptions(
        *(folder, models, db, workers, *asked),
        worker_memory_gib=worker_memory,
        runtime=judged_by,
        targets=told,
        trust=trusted,
        every_s=None if every is None else length_of_time(every, "--every").total_seconds(),
        stale_after=length_of_time(stale_after, "--stale-after"),
    )
    with progress_bar() as bar:
        report = run_score(options, metrics, lambda done, total: bar("scoring", done, total, ""))
    tell_score(report, as_json)
    raise typer.Exit(report.exit_code)


app.command("watch")(watching(score))


@app.command()
@command
def evaluate(
    data: Annotated[Path, typer.Argument(help="Folder or manifest CSV with labels normal and anomaly.")],
    models: Models = Path("models"),
    workers: WorkerCount = CORES,
    clip_timeout: Timeout = None,
    db: Annotated[
        str | None, typer.Option("--db", help="Clips without a label take it from events in this score store.")
    ] = None,
    require_signed: RequireSigned = False,
    trust: TrustedKeys = None,
    as_json: Json = False,
) -> None:
    """AUC, pAUC (false-positive rate up to 0.1, McClish) and AP per machine, with bootstrap intervals.

    Uses the labelled clips of split test, or all labelled ones where no split is given. Sessions are resampled whole.
    With --db, clips without a label count as anomalies where they belong to an alarm that `acoustic-ad events add`
    calls a confirmed fault, and as normal where it was a false alarm; how many did is said.
    """
    from contextlib import nullcontext

    from acoustic_ad.errors import ManifestError
    from acoustic_ad.jobs.evaluate import evaluate as evaluate_all
    from acoustic_ad.jobs.store import Store

    trusted = trust_of(require_signed, trust)
    opened = nullcontext() if db is None else Store.open(db, read_only=True, create=False)
    with progress_bar() as bar, opened as store:
        told_by = "" if store is None else store.name
        found = evaluate_all(
            data,
            models,
            workers=workers,
            clip_timeout_s=clip_timeout,
            on_progress=lambda done, total: bar("scoring", done, total, ""),
            store=store,
            trust=trusted,
        )
    tell_evaluation(found, told_by, as_json)
    if not found.evaluated:
        raise ManifestError(f"{data}: no machine has scored clips of both labels, normal and anomaly (split test)")


@app.command()
@command
def recipes(as_json: Json = False) -> None:
    """List the installed recipes and what each assumes."""
    from acoustic_ad.recipe_files import assumption, recipe_files
    from acoustic_ad.report.tables import text_table

    found = {name: assumption(file) for name, file in recipe_files().items()}
    if as_json:
        answer_json({"recipes": [{"name": name, "assumes": text} for name, text in found.items()]})
    else:
        answer(text_table(("recipe", "assumes"), list(found.items())))


def main() -> None:
    """The entry point of the `acoustic-ad` program."""
    run_program(_program)


def _program() -> None:
    refuse_passwords(sys.argv[1:])
    app()
