"""The demonstration: a simulated fleet from recording to table, by the same functions as everything else."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final

from acoustic_ad.errors import AcousticADError, UsageError
from acoustic_ad.jobs.evaluate import as_json, evaluate
from acoustic_ad.jobs.score import ScoreOptions, score
from acoustic_ad.jobs.train import TrainNews, TrainOptions, train
from acoustic_ad.recipe import load_recipe
from acoustic_ad.report.fleet import fleet_table, fleet_words
from acoustic_ad.report.tables import evaluation_table
from acoustic_ad.sound.clip import one_line
from acoustic_ad.sound.simulate import DEMO_FLEET, simulate_fleet

# A demonstration writes this file first: a folder that has it may be made anew.
MARKER: Final = ".acoustic-ad-demo"
DATABASE: Final = "scores.db"
MADE: Final = (
    "sound",
    "models",
    "scores.csv",
    *(DATABASE + end for end in ("", "-wal", "-shm", ".lock", ".lock.json")),
)

Bar = Callable[[str, int, int, str], None]


def run_demo(
    folder: Path,
    recipe_name: str,
    workers: int,
    only_simulate: bool,
    say: Callable[[str], None],
    answer: Callable[[str], None],
    bar: Bar,
) -> None:
    """Simulate, train, score and evaluate below `folder`; every step says which command does the same.

    What an earlier demonstration left in the folder, finished or not, is made anew. Raises UsageError for any other
    folder that holds something, AcousticADError where it cannot be written.
    """
    recipe = load_recipe(recipe_name)
    sound, models, db = folder / "sound", folder / "models", folder / DATABASE
    _make_room(folder)
    say(f"simulating five machines, healthy and faulty, into {sound}")
    manifest = simulate_fleet(sound, on_progress=lambda done, total: bar("simulating", done, total, ""), **DEMO_FLEET)
    if only_simulate:
        answer(f"{manifest}")
        return

    def listen(news: TrainNews) -> None:
        bar(news.what, news.done, news.total, "" if news.loss is None else f"loss {news.loss:.3f}")

    say(f"acoustic-ad train {sound} --recipe {recipe_name} --models {models}")
    train(TrainOptions(sound, recipe, models, workers), listen)
    say(f"acoustic-ad score {sound} --split test --models {models} --db {db} --out {folder / 'scores.csv'}")
    options = ScoreOptions(sound, models, str(db), workers, folder / "scores.csv", splits=("test",))
    report = score(options, lambda done, total: bar("scoring", done, total, ""))
    answer("\n".join([fleet_table(report.fleet), *fleet_words(report.fleet)]))
    say(f"\nacoustic-ad evaluate {sound} --models {models}")
    found = evaluate(sound, models, workers=workers, on_progress=lambda done, total: bar("evaluating", done, total, ""))
    answer(evaluation_table(as_json(found)))
    say(f"\nThe test clips of each machine are half healthy, half faulty; their scores are in {folder / 'scores.csv'}.")


def _make_room(folder: Path) -> None:
    """A folder with nothing of an earlier demonstration in it; nothing else is ever removed."""
    name = one_line(str(folder))
    if os.path.lexists(folder) and not folder.is_dir():
        raise AcousticADError(f"{name} is no folder: name a new one")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if os.listdir(folder) and not (folder / MARKER).is_file():  # noqa: PTH208  # only whether there is anything
            raise UsageError(f"{name} is not empty, and no earlier demo made it: name a new folder")
        (folder / MARKER).touch()
        for made in MADE:
            if (folder / made).is_dir() and not (folder / made).is_symlink():
                shutil.rmtree(folder / made)
            else:
                (folder / made).unlink(missing_ok=True)
    except OSError as error:
        raise AcousticADError(f"{name} cannot be made the demo's folder: {error.strerror or error}") from error
