"""The demonstration: a simulated fleet from recording to page, by the same functions as everything else."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from acoustic_ad.errors import AcousticADError, UsageError, refusal
from acoustic_ad.jobs.evaluate import as_json, evaluate
from acoustic_ad.jobs.score import ScoreOptions, score
from acoustic_ad.jobs.train import TrainNews, TrainOptions, train
from acoustic_ad.recipe import Recipe, load_recipe
from acoustic_ad.report.fleet import fleet_table, fleet_words
from acoustic_ad.report.tables import evaluation_table
from acoustic_ad.sound.clip import one_line
from acoustic_ad.sound.simulate import DEMO_FLEET, FleetOptions, simulate_fleet, simulate_run_to_failure
from acoustic_ad.sound.simulated_run import RunOptions

# A demonstration writes this file first: a folder that has it may be made anew.
MARKER: Final = ".acoustic-ad-demo"
DATABASE: Final = "scores.db"
MADE: Final = (
    "sound",
    "life",
    "models",
    "report.html",
    "scores.csv",
    *(DATABASE + end for end in ("", "-wal", "-shm", ".lock", ".lock.json")),
)

# A motor whose rotor begins to rub; it ends on the day on which the fleet was recorded last.
LIFE_OF: Final = "motor/id_01"
DEMO_LIFE: Final[RunOptions] = {
    "days": 45,
    "clips_per_day": 6,
    "seed": 2,
    "start": datetime(2025, 11, 29, 9, tzinfo=UTC),
    "fault": "rub",
    "onset_day": 30.0,
    "failure_day": 44.0,
    "train_days": 20,
    "duration_s": 4.0,
}

Bar = Callable[[str, int, int, str], None]
Words = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Demo:
    """Where a demonstration is, and how it talks."""

    folder: Path
    recipe_name: str
    workers: int
    say: Words
    answer: Words
    bar: Bar

    @property
    def sound(self) -> Path:
        return self.folder / "sound"

    @property
    def life(self) -> Path:
        return self.folder / "life"

    @property
    def models(self) -> Path:
        return self.folder / "models"

    @property
    def db(self) -> Path:
        return self.folder / DATABASE


def run_demo(
    demo: Demo, only_simulate: bool, fleet: FleetOptions = DEMO_FLEET, life: RunOptions | None = DEMO_LIFE
) -> None:
    """Simulate a fleet, train, score and evaluate; then a machine that fails. Every step says its command.

    What an earlier demonstration left in the folder, finished or not, is made anew. Raises UsageError for any other
    folder that holds something, AcousticADError where it cannot be written.
    """
    recipe = load_recipe(demo.recipe_name)
    say, answer, sound, models = demo.say, demo.answer, demo.sound, demo.models
    rows = demo.folder / "scores.csv"
    _make_room(demo.folder)
    say(f"simulating {len(fleet['types'])} kinds of machines, healthy and faulty, into {sound}")
    manifest = simulate_fleet(sound, on_progress=_counted(demo.bar, "simulating"), **fleet)
    if only_simulate:
        answer(f"{manifest}")
        return
    _train(demo, sound, recipe)
    answer(_scored(demo, sound, rows))
    say(f"\nacoustic-ad evaluate {sound} --models {models}")
    found = evaluate(sound, models, workers=demo.workers, on_progress=_counted(demo.bar, "evaluating"))
    answer(evaluation_table(as_json(found)))
    say(f"\nThe test clips of each machine are half healthy, half faulty; their scores are in {rows}.")
    if life is not None:
        say(f"\nsimulating {life['days']} days of {LIFE_OF}, which fails in the end, into {demo.life}")
        simulate_run_to_failure(demo.life, LIFE_OF, on_progress=_counted(demo.bar, "simulating"), **life)
        _train(demo, demo.life, recipe)
        answer(_scored(demo, demo.life, None))


def _train(demo: Demo, sound: Path, recipe: Recipe) -> None:
    def listen(news: TrainNews) -> None:
        demo.bar(news.what, news.done, news.total, "" if news.loss is None else f"loss {news.loss:.3f}")

    demo.say(f"acoustic-ad train {sound} --recipe {demo.recipe_name} --models {demo.models}")
    train(TrainOptions(sound, recipe, demo.models, demo.workers), listen)


def _scored(demo: Demo, sound: Path, out: Path | None) -> str:
    """Score the test clips; the table that people read."""
    where = "" if out is None else f" --out {out}"
    demo.say(f"acoustic-ad score {sound} --split test --models {demo.models} --db {demo.db}{where}")
    options = ScoreOptions(sound, demo.models, str(demo.db), demo.workers, out, splits=("test",))
    report = score(options, _counted(demo.bar, "scoring"))
    return "\n".join([fleet_table(report.fleet), *fleet_words(report.fleet)])


def _counted(bar: Bar, name: str) -> Callable[[int, int], None]:
    return lambda done, total: bar(name, done, total, "")


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
        raise AcousticADError(f"{name} cannot be made the demo's folder: {refusal(error)}") from error
