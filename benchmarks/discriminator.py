"""Whether ganomaly's discriminator wins, and how well the paper's score does, on simulated machines, three seeds each.

    python benchmarks/discriminator.py [--recipes ganomaly ganomaly_paper] [--snrs-db 0]

Half right is chance; all right is a discriminator that has won and teaches nothing more. One network is trained per
machine and seed, as `train` trains the first one; AUC is that of the paper's score, the distance of the codes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from detectors import arguments, command, mean_and_spread, rated, run, sets_of, table, verdicts, versions
from fits import fitted
from sets import Piece, Result

from acoustic_ad.recipe import ScorerTable, TrainingTable

RECIPES = ("ganomaly", "ganomaly_paper")
WON = 0.95


def watch(piece: Piece) -> Result:
    """The discriminator's accuracy at each check, by machine; and how often it rested."""
    changed = {"training": TrainingTable(folds=2), "scorer": ScorerTable(kind="paper")}
    recipe = piece.recipe.model_copy(update=changed)
    rows = []
    for machine in piece.machines():
        (model,), _ = fitted(recipe, [machine])
        curve = model.judges[0].fitted.training.curve
        right = [point.losses["discriminator_accuracy"] for point in curve]
        rests = [point.losses["discriminator_rests"] for point in curve]
        row = {"machine": machine.name, "accuracy": right, "rests": float(np.mean(rests))}
        rows.append(row | verdicts(model, machine))
    return {"machines": rows}


def of_seeds(results: Sequence[Result], recipe: str) -> list[str]:
    """At the first check, at the last one, the worst machine's highest, rests, and AUC: each a mean of the seeds."""
    seeds = [result["machines"] for result in results if result["piece"]["recipe"] == recipe]
    first, last, highest, won, rests, quality = [], [], [], [], [], []
    for rows in seeds:
        first.append(float(np.mean([row["accuracy"][0] for row in rows])))
        last.append(float(np.mean([row["accuracy"][-1] for row in rows])))
        highest.append(max(max(row["accuracy"]) for row in rows))
        won.append(float(np.mean([np.mean(np.array(row["accuracy"]) > WON) for row in rows])))
        rests.append(float(np.mean([row["rests"] for row in rows])))
        quality.append(float(np.mean([rated(row, by="paper") for row in rows])))
    return [mean_and_spread(values) for values in (first, last, highest, won, rests, quality)]


def main() -> None:
    parser = arguments(__doc__, RECIPES, [0.0])
    options = parser.parse_args()
    if options.quick:
        options.seeds, options.snrs_db = [0], [0.0]
    sets = sets_of(options)
    results = run(options, watch, "discriminator", sets)
    header = [
        "discriminator's accuracy",
        "first check",
        "last check",
        "highest",
        f"checks above {WON}",
        "rests",
        "AUC, paper score",
    ]
    print(table(header, [[recipe, *of_seeds(results, recipe)] for recipe in options.recipes]))
    print("\nMeans over machines and seeds (highest: of any machine); in brackets the spread over the seeds.\n")
    print("Made by:\n\n```\n" + command(options, Path(__file__).name) + "\n```\n")
    print("\n".join(f"- {one.name}: {one.facts()}" for one in sets))
    print(versions(results))


if __name__ == "__main__":
    main()
