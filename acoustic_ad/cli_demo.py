"""`acoustic-ad demo`: everything once, on simulated machines, from recording to page."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from acoustic_ad.console import answer, command, progress_bar, say

if TYPE_CHECKING:
    from acoustic_ad.jobs.demo import Demo

CORES = os.cpu_count() or 1


@command
def demo(
    folder: Annotated[Path, typer.Argument(help="Where the recordings, models and scores go.")] = Path("demo"),
    recipe: Annotated[str, typer.Option("--recipe", help="Name of an installed recipe, or a .toml file.")] = "dae",
    workers: Annotated[int, typer.Option("--workers", min=1, help="Worker processes, one thread each.")] = CORES,
    only_simulate: Annotated[bool, typer.Option("--only-simulate", help="Make the recordings and stop.")] = False,
) -> None:
    """From recording to page: simulate a small fleet, train on it, score its test clips, evaluate.

    Then a machine that wears until it fails, and at last the page of all of them.
    """
    from acoustic_ad.jobs.demo import Demo, run_demo

    with progress_bar() as bar:
        made = Demo(folder, recipe, workers, say, answer, bar)
        run_demo(made, only_simulate)
        if not only_simulate:
            write_demo_page(made)


def write_demo_page(demo: Demo) -> None:
    """Write the page of a demonstration, and say where it is."""
    from acoustic_ad.jobs.model_story import faults_named
    from acoustic_ad.jobs.store import Store
    from acoustic_ad.report.page import PageOptions, write_page

    out, data = demo.folder / "report.html", [demo.sound, demo.life]
    named = " ".join(f"--data {one}" for one in data)
    say(f"\nacoustic-ad report --models {demo.models} --db {demo.db} {named} --out {out}")
    options = PageOptions(demo.models, out, workers=demo.workers, faults=faults_named(data))
    with Store.open(demo.db, read_only=True, create=False) as store:
        page = write_page(store, options, demo.bar)
    answer(f"\nThe page is {out} ({page.bytes / 1e6:.1f} MB): open it in a browser.")
