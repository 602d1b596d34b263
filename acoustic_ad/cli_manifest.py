"""`acoustic-ad manifest`: folder -> manifest, and what is wrong with one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from acoustic_ad.console import answer, answer_json, command, progress_bar, say

manifest_app = typer.Typer(help="Build a manifest from a folder, or check one.", no_args_is_help=True)
Data = Annotated[Path, typer.Argument(help="Folder or manifest CSV of recordings.")]
Json = Annotated[bool, typer.Option("--json", help="Answer with one JSON document on stdout.")]


@manifest_app.command("build")
@command
def build(
    folder: Annotated[Path, typer.Argument(help="Folder of recordings.")],
    out: Annotated[Path | None, typer.Option("--out", help="The CSV to write (default: FOLDER/manifest.csv).")] = None,
    machine: Annotated[str | None, typer.Option("--machine", help="Name of the machine, for a flat folder.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a manifest that is there already.")] = False,
) -> None:
    """Write the manifest of a folder, as its names tell it (DCASE, MIMII or plain)."""
    from acoustic_ad.errors import UsageError
    from acoustic_ad.sound.manifest import read_manifest, write_manifest

    file = out or folder / "manifest.csv"
    if file.exists() and not force:
        raise UsageError(f"{file} exists already; pass --force to replace it, or --out for another place")
    manifest = read_manifest(folder, machine=machine, use_csv=False)
    write_manifest(manifest, file)
    say(manifest.description)
    answer(str(file))


@manifest_app.command("check")
@command
def check(data: Data, as_json: Json = False) -> None:
    """Look for missing files, duplicates, leaks between splits, and anomalies among training clips.

    Exit codes: 0 clean, 1 findings.
    """
    from acoustic_ad.report.tables import text_table
    from acoustic_ad.sound.manifest import count_labels, read_manifest
    from acoustic_ad.sound.manifest_check import check_manifest

    manifest = read_manifest(data)
    with progress_bar() as bar:
        findings = check_manifest(manifest, on_progress=lambda done, total: bar("hashing", done, total, ""))
    counts = count_labels(manifest)
    if as_json:
        found = [{"code": one.code, "row": one.row, "clip_id": one.clip_id, "message": one.message} for one in findings]
        answer_json({"recognised": manifest.description, "counts": counts, "findings": found})
    else:
        rows = [
            [machine, split or "-", label, str(count)]
            for machine, splits in counts.items()
            for split, labels in splits.items()
            for label, count in labels.items()
        ]
        say(manifest.description)
        answer(text_table(("machine", "split", "label", "clips"), rows, right=("clips",)))
        answer("\n".join(str(one) for one in findings) or "no findings")
    raise typer.Exit(1 if findings else 0)
