"""The demonstration: a simulated fleet from recording to table, by the same functions as everything else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from acoustic_ad.jobs.evaluate import as_json, evaluate
from acoustic_ad.jobs.score import ScoreOptions, score
from acoustic_ad.jobs.train import TrainNews, TrainOptions, train
from acoustic_ad.recipe import load_recipe
from acoustic_ad.report.tables import evaluation_table, fleet_table
from acoustic_ad.sound.simulate import DEMO_FLEET, simulate_fleet

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
    """Simulate, train, score and evaluate below `folder`; every step says which command does the same."""
    recipe = load_recipe(recipe_name)
    sound, models, db = folder / "sound", folder / "models", folder / "scores.db"
    say(f"simulating five machines, healthy and faulty, into {sound}")
    sound.mkdir(parents=True, exist_ok=True)
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
    answer(fleet_table(report.machines))
    say(f"\nacoustic-ad evaluate {sound} --models {models}")
    found = evaluate(sound, models, workers=workers, on_progress=lambda done, total: bar("evaluating", done, total, ""))
    answer(evaluation_table(as_json(found)))
    say(f"\nThe test clips of each machine are half healthy, half faulty; their scores are in {folder / 'scores.csv'}.")
