"""AUC against the number of training clips, on simulated machines; and whether p-values keep their promise.

    python benchmarks/few_clips.py [DATA ...] [--recipes mahalanobis dae] [--clips 10 20 50 100 250]

Each seed draws other training clips, of all sessions, the fewer ones being among the more. DATA as in `detectors.py`,
for sets with so many training clips.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Final

import numpy as np
from detectors import arguments, command, mean_and_spread, rated, run, sets_of, table, verdicts, versions
from fits import fitted
from sets import Machine, Piece, Result, SoundSet

from acoustic_ad.scores.metrics import pauc

CLIPS: Final = (10, 20, 50, 100, 250)
RECIPES: Final = ("mahalanobis", "dae", "vae", "ensemble")
SNR_DB: Final = 0.0
PROMISED_P: Final = 0.1  # the smallest round p-value that ten clips can give


def judge_counts(piece: Piece, counts: Sequence[int]) -> Result:
    """The test clips' scores and p-values, by number of training clips and machine."""
    rows = []
    for machine in piece.machines():
        for count in counts:
            if count <= len(machine.train):
                some = drawn(machine, count, piece.recipe.seed)
                (model,), seconds = fitted(piece.recipe, [some])
                cost = {"clips": count, "train_s": seconds}
                rows.append({"machine": machine.name, **cost, **verdicts(model, some)})
    return {"machines": rows}


def drawn(machine: Machine, count: int, seed: int) -> Machine:
    """The machine with `count` of its training clips, in their order: the first ones of a random order of all."""
    chosen = sorted(np.random.default_rng(seed).permutation(len(machine.train))[:count].tolist())
    sessions = machine.sessions and [machine.sessions[number] for number in chosen]
    sounds = replace(machine.sounds, train=[machine.sounds.train[number] for number in chosen])
    return replace(machine, train=[machine.train[number] for number in chosen], sessions=sessions, sounds=sounds)


def false_alarms(row: Result) -> float:
    """Share of normal test clips with a p-value of a tenth or less."""
    p_values = np.array(row["p_values"])[np.array(row["labels"]) == 0]
    return float((p_values <= PROMISED_P).mean())


def means(
    results: Sequence[Result], rate: Callable[[Result], float], recipe: str, name: str, count: int
) -> list[float]:
    """Mean over the machines of a set, of each seed; none where no machine has so many clips."""
    seeds = [one["machines"] for one in results if (one["piece"]["recipe"], one["piece"]["set"]) == (recipe, name)]
    chosen = [[row for row in rows if row["clips"] == count] for rows in seeds]
    return [float(np.mean([rate(row) for row in rows])) for rows in chosen if rows]


def report(results: Sequence[Result], sets: Sequence[SoundSet], counts: Sequence[int], how: str) -> str:
    """Tables of AUC, pAUC and false alarms for each set, and what it takes to make them again."""
    rates: dict[str, Callable[[Result], float]] = {
        "AUC": rated,
        "pAUC": partial(rated, metric=pauc),
        f"normal test clips with p <= {PROMISED_P:g}": false_alarms,
    }
    recipes = list(dict.fromkeys(result["piece"]["recipe"] for result in results))
    parts = []
    for name, (title, rate) in product([one.name for one in sets], rates.items()):
        cells = {
            recipe: [mean_and_spread(means(results, rate, recipe, name, count)) for count in counts]
            for recipe in recipes
        }
        header = [f"{title}, {name}", *(f"{count} clips" for count in counts)]
        parts.append(table(header, [[recipe, *row] for recipe, row in cells.items()]))
    parts.append("Means over the machines and seeds; in brackets the largest minus the smallest of the seeds.")
    parts.append("Made by:\n\n```\n" + how + "\n```\n\n" + "\n".join(f"- {one.name}: {one.facts()}" for one in sets))
    return "\n\n".join([*parts, versions(results)])


def main() -> None:
    parser = arguments(__doc__, RECIPES, [SNR_DB])
    parser.add_argument("--clips", nargs="+", type=int, default=list(CLIPS), help="numbers of training clips")
    options = parser.parse_args()
    if options.quick:
        options.seeds, options.snrs_db, options.clips = [0], [SNR_DB], [10, 20]
    options.train_clips = max(options.clips)
    sets = sets_of(options)
    work = partial(judge_counts, counts=tuple(options.clips))
    results = run(options, work, f"few_clips {options.clips}", sets)
    how = command(options, Path(__file__).name) + f" --clips {' '.join(map(str, options.clips))}"
    print(report(results, sets, options.clips, how))


if __name__ == "__main__":
    main()
