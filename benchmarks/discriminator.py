"""Whether ganomaly's discriminator wins: its accuracy along the training, on simulated machines, three seeds each.

    python benchmarks/discriminator.py [--recipes ganomaly ganomaly_paper] [--snrs-db 0]

Half right is chance; all right is a discriminator that has won and teaches nothing more. One network is trained per
machine and seed, as `train` trains the first one.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from detectors import arguments, command, mean_and_spread, run, sets_of, table, versions
from sets import Piece, Result

from acoustic_ad.models.fitting import MachineSound, fit_detectors
from acoustic_ad.recipe import TrainingTable

RECIPES = ("ganomaly", "ganomaly_paper")
WON = 0.95


def watch(piece: Piece) -> Result:
    """The discriminator's accuracy at each check, by machine; and how often it rested."""
    recipe = piece.recipe.model_copy(update={"training": TrainingTable(folds=2)})
    rows = []
    for machine in piece.machines():
        sound = MachineSound.of(recipe, machine.train, machine.sessions)
        curve = fit_detectors(recipe, [sound])[0][0].training.curve
        right = [point.losses["discriminator_accuracy"] for point in curve]
        rests = [point.losses["discriminator_rests"] for point in curve]
        rows.append({"machine": machine.name, "accuracy": right, "rests": float(np.mean(rests))})
    return {"machines": rows}


def of_seeds(results: Sequence[Result], recipe: str) -> list[str]:
    """At the first check, at the last one, the worst machine's highest, and rests: each a mean of three seeds."""
    seeds = [result["machines"] for result in results if result["piece"]["recipe"] == recipe]
    first, last, highest, won, rests = [], [], [], [], []
    for rows in seeds:
        first.append(float(np.mean([row["accuracy"][0] for row in rows])))
        last.append(float(np.mean([row["accuracy"][-1] for row in rows])))
        highest.append(max(max(row["accuracy"]) for row in rows))
        won.append(float(np.mean([np.mean(np.array(row["accuracy"]) > WON) for row in rows])))
        rests.append(float(np.mean([row["rests"] for row in rows])))
    return [mean_and_spread(values) for values in (first, last, highest, won, rests)]


def main() -> None:
    parser = arguments(__doc__, RECIPES, [0.0])
    options = parser.parse_args()
    if options.quick:
        options.seeds, options.snrs_db = [0], [0.0]
    sets = sets_of(options)
    results = run(options, watch, "discriminator", sets)
    header = ["discriminator's accuracy", "first check", "last check", "highest", f"checks above {WON}", "rests"]
    print(table(header, [[recipe, *of_seeds(results, recipe)] for recipe in options.recipes]))
    print("\nMeans over machines and seeds (highest: of any machine); in brackets the spread over the seeds.\n")
    print("Made by:\n\n```\n" + command(options, Path(__file__).name) + "\n```\n")
    print("\n".join(f"- {one.name}: {one.facts()}" for one in sets))
    print(versions(results))


if __name__ == "__main__":
    main()
