"""Every recipe on labelled recordings and on simulated machines at three SNRs, three seeds each.

    python benchmarks/detectors.py [DATA ...] [--recipes dae vae] [--results FILE.jsonl] [--write recipes/README.md]

DATA are folders or manifests of labelled recordings with the splits train and test. Prints markdown tables; `--write`
puts them between the lines `<!-- results -->` and `<!-- /results -->` of a file. With `--results`, a run that was
interrupted goes on where it stopped. `--quick` only shows that everything works: its figures mean nothing.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Final

import numpy as np
from fits import fitted, groups
from sets import FLEET_SEED, TRAIN_CLIPS, Bench, Fleet, Machine, Piece, Recordings, Result, SoundSet, Work, conditions

from acoustic_ad import __version__
from acoustic_ad.detectors.base import detector_class
from acoustic_ad.jobs.clip_work import feature_spec
from acoustic_ad.models.bundle import TrainingDetails
from acoustic_ad.models.machine_model import MachineModel
from acoustic_ad.models.registry import Registry
from acoustic_ad.recipe import DetectorTable, Recipe, TrainingTable, load_recipe
from acoustic_ad.recipe_files import recipe_files
from acoustic_ad.scores.metrics import Labels, Scores, auc, pauc

SNRS_DB: Final = (-6.0, 0.0, 6.0)
SEEDS: Final = (0, 1, 2)
QUICK_STEPS: Final = 20
MARKERS: Final = ("<!-- results -->", "<!-- /results -->")
POOLED: Final = ("bldc_motor/id_01", "bldc_motor/id_02")


def judge_set(piece: Piece) -> Result:
    """The scores of all test clips of a set, and what they cost, by machine."""
    rows = []
    for machines in groups(piece.recipe, piece.machines()):
        models, seconds = fitted(piece.recipe, machines)
        for machine, model in zip(machines, models, strict=True):
            cost = {"train_s": seconds / len(machines), "kb": kilobytes(model, machine)}
            rows.append({"machine": machine.name, **cost, **verdicts(model, machine)})
    return {"machines": sorted(rows, key=lambda row: str(row["machine"]))}


def verdicts(model: MachineModel, machine: Machine) -> Result:
    """Of the test clips: labels, scores, paper scores, p-values; and how many clips a second of a processor scores."""
    told: Sequence[str | None] = conditions(machine.sounds.test, model.recipe) or [None] * len(machine.test)
    model.score(machine.test[0])  # the first call of a network takes longer than all others
    begun = time.process_time()
    found = [model.score(log_mel, own) for log_mel, own in zip(machine.test, told, strict=True)]
    seconds = time.process_time() - begun
    return {
        "clips_per_s": len(found) / seconds,
        "labels": machine.labels.tolist(),
        "scores": [verdict.score for verdict in found],
        "paper": [verdict.paper_score for verdict in found],
        "p_values": [verdict.p_value for verdict in found],
    }


def kilobytes(model: MachineModel, machine: Machine) -> float:
    """The size of the model's bundle, in units of 1000 bytes."""
    with tempfile.TemporaryDirectory() as folder:
        registry = Registry(Path(folder))
        registry.save(machine.name, model, TrainingDetails(len(machine.train), feature_spec(model.recipe)))
        return sum(file.stat().st_size for file in registry.bundle_path(machine.name).iterdir()) / 1000.0


def rated(row: Result, metric: Callable[[Labels, Scores], float] = auc, by: str = "scores") -> float:
    """A metric of a machine's test clips, by their `scores` or their `paper` scores."""
    return metric(np.array(row["labels"]), np.array(row[by]))


class Results:
    """Finished pieces, by recipe and set."""

    def __init__(self, results: Iterable[Result]) -> None:
        self._of: dict[tuple[str, str], list[list[Result]]] = {}
        for result in results:
            key = (result["piece"]["recipe"], result["piece"]["set"])
            self._of.setdefault(key, []).append(result["machines"])
        self.recipes = list(dict.fromkeys(recipe for recipe, _ in self._of))
        self.sets = list(dict.fromkeys(name for _, name in self._of))

    def by_seed(self, recipe: str, name: str) -> list[list[Result]]:
        """The machines' rows, of each seed."""
        return self._of.get((recipe, name), [])

    def means(self, rate: Callable[[Result], float], recipe: str, name: str) -> list[float]:
        """Mean over the set's machines, of each seed."""
        return [float(np.mean([rate(row) for row in rows])) for rows in self.by_seed(recipe, name)]


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """In markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def mean_and_spread(values: Sequence[float]) -> str:
    """Mean over seeds and, in brackets, the largest minus the smallest."""
    return f"{np.mean(values):.3f} ({np.ptp(values):.3f})" if values else "-"


def quality(found: Results) -> str:
    def cell(recipe: str, name: str) -> str:
        whole, part = (found.means(rate, recipe, name) for rate in (rated, partial(rated, metric=pauc)))
        return f"{mean_and_spread(whole)} / {mean_and_spread(part)}"

    rows = [[recipe, *(cell(recipe, name) for name in found.sets)] for recipe in found.recipes]
    return table(["AUC / pAUC", *found.sets], rows)


def against_paper(found: Results, ensembles: Iterable[str]) -> str:
    def cell(recipe: str, name: str) -> str:
        whole, paper = (found.means(rate, recipe, name) for rate in (rated, partial(rated, by="paper")))
        return f"{np.mean(paper):.3f}, {np.mean(whole):.3f}" if whole else "-"

    recipes = [recipe for recipe in found.recipes if recipe not in set(ensembles)]
    rows = [[recipe, *(cell(recipe, name) for name in found.sets)] for recipe in recipes]
    return table(["AUC by paper score, by the recipe's scorer", *found.sets], rows)


def by_machine(found: Results, names: Sequence[str], pool: Sequence[str]) -> str:
    """AUC of each machine of sets with the same machines, mean over seeds, the sets side by side."""
    machines = list(
        dict.fromkeys(
            r["machine"] for recipe in found.recipes for rows in found.by_seed(recipe, names[0]) for r in rows
        )
    )
    together = set(pool) <= set(machines)

    def cell(recipe: str, machine: str) -> str:
        means = []
        for name in names:
            wanted = pool if machine == "pooled" else [machine]
            rows = [_together(seed, wanted) for seed in found.by_seed(recipe, name)]
            means.append(f"{np.mean([rated(row) for row in rows]):.3f}" if rows else "-")
        return " / ".join(means)

    columns = [*machines, *(["pooled"] if together else [])]
    rows = [[recipe, *(cell(recipe, machine) for machine in columns)] for recipe in found.recipes]
    title = f"AUC, {' / '.join(names)}"
    note = f"\n\n`pooled` takes {' and '.join(pool)} as if they were one machine." if together else ""
    return table([title, *columns], rows) + note


def _together(rows: Iterable[Result], machines: Sequence[str]) -> Result:
    chosen = [row for row in rows if row["machine"] in machines]
    return {key: [value for row in chosen for value in row[key]] for key in ("labels", "scores")}


def costs(found: Results, names: Sequence[str]) -> str:
    rows = []
    for recipe in found.recipes:
        judged = [row for name in names for seed in found.by_seed(recipe, name) for row in seed]
        seconds, speed, size = ([row[key] for row in judged] for key in ("train_s", "clips_per_s", "kb"))
        if seconds:
            cells = (f"{np.mean(seconds):.1f}", f"{max(seconds):.1f}", f"{np.mean(speed):.0f}", f"{np.mean(size):.0f}")
            rows.append([recipe, *cells])
    return table(["recipe", "training, s a machine", "longest, s", "clips/s", "bundle, kB"], rows)


def report(results: Sequence[Result], sets: Sequence[SoundSet], ensembles: Iterable[str], how: str) -> str:
    """All tables, and under them what it takes to make them again."""
    found = Results(results)
    simulated = [one.name for one in sets if isinstance(one, Fleet)]
    costly = simulated or [one.name for one in sets]  # clips of one length
    real = [one.name for one in sets if isinstance(one, Recordings)]
    parts = [
        "AUC and pAUC (false-positive rates to 0.1, McClish-scaled) are means over the machines of a set and over the "
        "seeds; in brackets the spread over the seeds, the largest minus the smallest.",
        quality(found),
        against_paper(found, ensembles),
        *(by_machine(found, names, POOLED) for names in (*([name] for name in real), simulated) if names),
        costs(found, costly),
        f"Costs are means over {', '.join(costly)}, from log-mels on, in seconds of one processor; "
        "training with cross-fitting and planted faults.",
        "Made by:\n\n```\n" + how + "\n```\n\n" + "\n".join(f"- {one.name}: {one.facts()}" for one in sets),
        versions(results),
    ]
    return "\n\n".join(parts)


def versions(results: Iterable[Result]) -> str:
    """What the figures were made with."""
    libraries = ", ".join(f"{name} {version(name)}" for name in ("numpy", "scipy", "scikit-learn", "torch"))
    codes = sorted({result["piece"]["code"][:12] for result in results})
    return (
        f"acoustic-ad {__version__} (sha256 of the scoring code: {', '.join(codes)}), Python "
        f"{platform.python_version()}, {libraries}; {os.cpu_count()} cores, {platform.machine()}."
    )


def arguments(description: str | None, recipes: Sequence[str], snrs_db: Sequence[float]) -> argparse.ArgumentParser:
    """The options that all benchmarks on sets share."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="*", type=Path, metavar="DATA", help="labelled recordings beside the simulation")
    parser.add_argument("--recipes", nargs="+", default=list(recipes), help="names or files")
    parser.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS))
    parser.add_argument("--snrs-db", nargs="*", type=float, default=list(snrs_db), help="of the simulated machines")
    parser.add_argument("--fleet-seed", type=int, default=FLEET_SEED, help="develop on another one than this")
    parser.add_argument("--train-clips", type=int, default=TRAIN_CLIPS, help="of each simulated machine")
    parser.add_argument("--workers", type=int, default=2, help="processes of one thread each")
    parser.add_argument("--results", type=Path, help="JSON lines of finished pieces, which are not run again")
    parser.add_argument("--keep-older", action="store_true", help="nor are those that earlier code has made")
    parser.add_argument("--cache", type=Path, help="keep log-mels here, not in a temporary folder")
    parser.add_argument("--quick", action="store_true", help="one seed, few clips, hardly any training")
    return parser


def sets_of(options: argparse.Namespace) -> list[SoundSet]:
    """The recordings and the simulated machines that the options name."""
    fleets = [Fleet(snr_db, options.train_clips, seed=options.fleet_seed) for snr_db in options.snrs_db]
    return [*map(Recordings, options.data), *(fleet.few() if options.quick else fleet for fleet in fleets)]


def run(options: argparse.Namespace, work: Work, name: str, sets: Sequence[SoundSet]) -> list[Result]:
    """`work`, which goes by a name of its own, of every recipe and seed on every set."""
    recipes = [hurried(recipe) if options.quick else recipe for recipe in map(load_recipe, options.recipes)]
    with ExitStack() as stack:
        folder = options.cache or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(parents=True, exist_ok=True)
        pieces = [
            Piece(recipe.model_copy(update={"seed": seed}), sounds, folder, name)
            for sounds in sets
            for seed in options.seeds  # recipes last: an ensemble finds the detectors of its members
            for recipe in recipes
        ]
        return Bench(options.workers, options.results, options.keep_older).run(work, pieces)


def hurried(recipe: Recipe) -> Recipe:
    """With two folds and few training steps."""
    members = tuple(hurried(member) for member in recipe.members)
    table = recipe.detector.model_dump()
    if not members and "steps" in detector_class(recipe.detector.kind).Options.model_fields:
        table["steps"] = QUICK_STEPS
    changed = {"members": members, "detector": DetectorTable(**table), "training": TrainingTable(folds=2)}
    return recipe.model_copy(update=changed)


def command(options: argparse.Namespace, file: str) -> str:
    """How to have the same again; DATA by the name of the set."""
    names = [Recordings(data).name for data in options.data]
    seeds, snrs_db = (" ".join(f"{one:g}" for one in given) for given in (options.seeds, options.snrs_db))
    quick = " --quick" if options.quick else ""
    called = " ".join(["python", f"benchmarks/{file}", *names, "--recipes", *options.recipes])
    if options.fleet_seed != FLEET_SEED:
        called += f" --fleet-seed {options.fleet_seed}"
    if options.train_clips != TRAIN_CLIPS:
        called += f" --train-clips {options.train_clips}"
    return f"{called} --seeds {seeds} --snrs-db {snrs_db} --workers {options.workers}{quick}"


def main() -> None:
    parser = arguments(__doc__, list(recipe_files()), SNRS_DB)
    parser.add_argument("--write", type=Path, help="a file with the markers, whose text between them is replaced")
    options = parser.parse_args()
    if options.write and not all(marker in options.write.read_text(encoding="utf-8") for marker in MARKERS):
        raise SystemExit(f"{options.write} has no {' and '.join(MARKERS)}")
    if options.quick:
        options.seeds, options.snrs_db = [0], [0.0]
    sets = sets_of(options)
    results = run(options, judge_set, "detectors", sets)
    ensembles = [recipe.name for recipe in map(load_recipe, options.recipes) if recipe.members]
    text = report(results, sets, ensembles, command(options, Path(__file__).name))
    print(text)
    if len(results) < len(sets) * len(options.recipes) * len(options.seeds):
        raise SystemExit("some pieces failed, see above: nothing is written")
    if options.write:
        before, _, rest = options.write.read_text(encoding="utf-8").partition(MARKERS[0])
        after = rest.partition(MARKERS[1])[2]
        options.write.write_text(f"{before}{MARKERS[0]}\n{text}\n{MARKERS[1]}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
