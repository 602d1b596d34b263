"""`acoustic-ad report` and `explain`: the page that people read, and the same for one clip."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from acoustic_ad.cli_signing import RequireSigned, TrustedKeys, trust_of
from acoustic_ad.console import answer, answer_json, command, progress_bar, say

if TYPE_CHECKING:
    from acoustic_ad.jobs.explain_clip import ExplainedClip

Models = Annotated[Path, typer.Option("--models", envvar="ACOUSTIC_AD_MODELS", help="Folder of the model bundles.")]
Db = Annotated[str, typer.Option("--db", envvar="ACOUSTIC_AD_DB", help="Score store: a path, or a database URL.")]
Json = Annotated[bool, typer.Option("--json", help="Answer with one JSON document on stdout.")]
WorkerCount = Annotated[int, typer.Option("--workers", min=1, help="Worker processes, one thread each.")]
CORES = os.cpu_count() or 1


@command
def report(
    out: Annotated[Path, typer.Option("--out", help="The page: a .html file.")] = Path("report.html"),
    db: Db = "acoustic-ad.db",
    models: Models = Path("models"),
    days: Annotated[float, typer.Option("--days", min=0, help="Days that timelines show; 0: all.")] = 90,
    details: Annotated[
        int, typer.Option("--details", min=0, help="Machines with timeline, pictures and model, worst first.")
    ] = 50,
    machine: Annotated[str | None, typer.Option("--machine", help="Details of this machine only.")] = None,
    audio: Annotated[bool, typer.Option(help="Embed clips to play, of the 12 worst machines.")] = True,
    pictures: Annotated[bool, typer.Option(help="Embed spectrograms; needs the sound files.")] = True,
    data: Annotated[
        list[Path] | None,
        typer.Option("--data", help="Manifest CSV, or its folder, whose column `fault` names faults."),
    ] = None,
    workers: WorkerCount = CORES,
    require_signed: RequireSigned = False,
    trust: TrustedKeys = None,
    as_json: Json = False,
) -> None:
    """Write one page that shows the fleet, why each machine is in its state, and what its model knows.

    The page is one file that needs no network. Sound files are read where they were scored; those that are gone or
    have changed are said to be missing. Nothing is written to the store, and no job is waited for.
    """
    from acoustic_ad.jobs.model_story import faults_named
    from acoustic_ad.jobs.store import Store
    from acoustic_ad.report.page import PageOptions, check_page_suffix, write_page
    from acoustic_ad.report.tables import count_of
    from acoustic_ad.sound.clip import one_line

    check_page_suffix(out)
    faults = faults_named(data or ())
    window = None if days == 0 else days
    asked = (window, details, machine, audio, pictures, workers)
    options = PageOptions(models, out, *asked, faults, trust_of(require_signed, trust))
    with progress_bar() as bar, Store.open(db, read_only=True, create=False) as store:
        page = write_page(store, options, bar)
    if as_json:
        answer_json(
            {"page": str(page.path), "bytes": page.bytes, "machines": page.machines, "details": page.details,
             "missing": page.missing}
        )  # fmt: skip
        return
    answer(f"{one_line(str(page.path))}: {count_of(page.machines, 'machine')}, {page.bytes / 1e6:.1f} MB")
    if page.details < page.machines and machine is None:
        say(f"the {page.details} worst have details: --details {page.machines} shows those of all")
    if page.missing:
        say(f"the sound of {count_of(page.missing, 'clip')} is not where it was scored, or has changed: no picture")


@command
def explain(
    clip: Annotated[Path, typer.Argument(help="A sound file.")],
    out: Annotated[
        Path | None, typer.Option("--out", help="Draw it to this .png, .svg or .pdf, or write all numbers as .json.")
    ] = None,
    machine: Annotated[
        str | None, typer.Option("--machine", help="Whose model to hear it with, where store and folders do not tell.")
    ] = None,
    db: Db = "acoustic-ad.db",
    models: Models = Path("models"),
    condition: Annotated[
        str | None, typer.Option("--condition", help="Of the clip, where the model goes by a manifest column.")
    ] = None,
    clip_timeout: Annotated[
        float | None,
        typer.Option("--clip-timeout", min=0.1, help="Seconds that the clip may take (default: as `score`)."),
    ] = None,
    require_signed: RequireSigned = False,
    trust: TrustedKeys = None,
    as_json: Json = False,
) -> None:
    """Say what stands out in one clip, and draw it: the clip, its machine's normal, and the difference with a box.

    The clip is judged by its machine's current model, as `score` would; nothing is stored. Exit codes: 0, 1 the clip or
    its model cannot be used, 2 usage, among others where it is not known of which machine the clip is.
    """
    from contextlib import nullcontext

    from acoustic_ad.jobs.database import sqlite_path
    from acoustic_ad.jobs.explain_clip import explain_clip
    from acoustic_ad.jobs.store import Store
    from acoustic_ad.report.explained import check_explained_suffix, explained_document, write_explained

    if out is not None:
        check_explained_suffix(out)
    file, trusted = sqlite_path(db), trust_of(require_signed, trust)
    asked = machine is None and (file is None or file.is_file())
    with Store.open(db, read_only=True, create=False) if asked else nullcontext() as store:
        found = explain_clip(clip, models, machine, store, clip_timeout, condition, trusted)
    if out is not None:
        write_explained(out, found)
    if as_json:
        answer_json(explained_document(found))
    else:
        _tell_explained(found, out)


def _tell_explained(found: ExplainedClip, out: Path | None) -> None:
    from acoustic_ad.report.explained import explained_words
    from acoustic_ad.sound.clip import one_line

    answer("\n".join([f"{one_line(found.machine)} {found.version}", *explained_words(found)]))
    if out is not None:
        say(f"{'numbers' if out.suffix.lower() == '.json' else 'picture'}: {one_line(str(out))}")
