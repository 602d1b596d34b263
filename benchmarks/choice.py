"""How well the choice by planted faults agrees with the labels that it never sees.

    python benchmarks/choice.py [DATA ...] [--recipes mahalanobis dae idnn vae] [--results FILE.jsonl]

For each machine, every detector (that of each recipe) is judged with every fixed clip scorer: by the planted faults
that it finds at false-alarm rates up to a tenth (`scores.choice.detection`), and by the AUC of the labelled test clips.
Agreement is Spearman's rank correlation of the two over these candidates; regret is the best AUC minus the AUC of the
candidate that finds most planted faults. DATA as in `detectors.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from detectors import SNRS_DB, arguments, command, run, sets_of, table, versions
from scipy.stats import spearmanr
from sets import FloatArray, Piece, Result

from acoustic_ad.models.evidence import ClipReader
from acoustic_ad.models.fitting import FittedDetector, fit_detector
from acoustic_ad.models.machine_sound import MachineSound
from acoustic_ad.recipe import Recipe, load_recipe
from acoustic_ad.scores.calibration import fold_of
from acoustic_ad.scores.choice import detection
from acoustic_ad.scores.clip_score import CANDIDATES, ClipScorer, Paper, Planted, StatisticalScorer, make_scorer
from acoustic_ad.scores.evidence import ClipEvidence
from acoustic_ad.scores.metrics import auc

RECIPES: Final = ("mahalanobis", "dae", "idnn", "vae")
EVERYTHING: Final = StatisticalScorer(None).statistics
OWN, AUTO = "the recipe's own", "auto"


def judge_candidates(piece: Piece) -> Result:
    """By machine and scorer: what it finds of the planted faults, and its AUC."""
    recipe, rows = piece.recipe, []
    for machine in piece.machines():
        sound = MachineSound.of(recipe, machine.train, machine.sessions, machine.planted(recipe))
        fitted = fit_detector(recipe, sound.log_mels, sound.sessions, planted=sound.planted, statistics=EVERYTHING)
        test = [evidence(recipe, fitted, log_mel) for log_mel in machine.test]
        fold = fold_of(sound.sessions, recipe.training.folds)
        planted = Planted(fitted.planted, np.array([one.clip for one in sound.planted], np.int64))
        for name, scorer in scorers(recipe, fitted).items():
            scores = scorer.fit(fitted.evidence, fold, planted)
            labelled = auc(machine.labels, np.array([scorer.score(clip) for clip in test]))
            found = detection(scores.normal, scores.planted)
            rows.append({"machine": machine.name, "scorer": name, "found": found, "auc": labelled})
    return {"machines": rows}


def evidence(recipe: Recipe, fitted: FittedDetector, log_mel: FloatArray) -> ClipEvidence:
    """All statistics of one clip."""
    reader = ClipReader(recipe, fitted.detector, fitted.normaliser, EVERYTHING)
    reader.add(log_mel)
    return reader.finish()[0]


def scorers(recipe: Recipe, fitted: FittedDetector) -> dict[str, ClipScorer]:
    """Scorers to choose from, none of them twice, and last `auto`, which fuses those that find most together."""
    known = fitted.evidence[0].statistics
    own = make_scorer(**recipe.scorer.model_dump())
    fixed: dict[str, ClipScorer] = {OWN: own, "paper": Paper()}
    for statistic, backend in CANDIDATES:
        alike = isinstance(own, StatisticalScorer) and own.components == ((statistic, backend),)
        if known[statistic].size and not alike:
            fixed[f"{statistic}, {backend}"] = StatisticalScorer([(statistic, backend)])
    return {**fixed, AUTO: StatisticalScorer(None)}


@dataclass(frozen=True, slots=True)
class Agreement:
    """What the choice among the candidates of one machine, one seed, was worth."""

    spearman: float  # NaN where all candidates are alike
    chosen: str
    best: str
    auc_chosen: float
    auc_best: float
    auc_own: float  # of the recipes' own scorers, mean
    auc_mean: float  # of all candidates: what choosing blindly reaches
    auc_auto: float  # of the fused scorer that finds most planted faults

    @classmethod
    def of(cls, rows: Sequence[Result]) -> Agreement:
        """Of the candidates of one machine; each row has recipe, scorer, found and auc."""
        fixed = [row for row in rows if row["scorer"] != AUTO]
        found, labelled = (np.array([row[key] for row in fixed]) for key in ("found", "auc"))
        alike = np.ptp(found) == 0.0 or np.ptp(labelled) == 0.0
        chosen, best = (fixed[int(values.argmax())] for values in (found, labelled))
        auto = max((row for row in rows if row["scorer"] == AUTO), key=lambda row: float(row["found"]))
        return cls(
            float("nan") if alike else float(spearmanr(found, labelled).statistic),
            f"{chosen['recipe']}: {chosen['scorer']}",
            f"{best['recipe']}: {best['scorer']}",
            chosen["auc"],
            best["auc"],
            float(np.mean([row["auc"] for row in fixed if row["scorer"] == OWN])),
            float(labelled.mean()),
            auto["auc"],
        )


def mean(found: Iterable[Agreement], key: str) -> float:
    """Over machines and seeds, those passed over where there is no answer."""
    values = np.array([getattr(one, key) for one in found])
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")


def agreements(results: Sequence[Result], name: str, recipes: Sequence[str]) -> dict[str, list[Agreement]]:
    """For each machine of a set the agreement of each seed, over the candidates of some recipes together."""
    rows: dict[str, dict[int, list[Result]]] = {}
    for result in results:
        piece = result["piece"]
        if piece["set"] == name and piece["recipe"] in recipes:
            for row in result["machines"]:
                seeds = rows.setdefault(row["machine"], {})
                seeds.setdefault(piece["seed"], []).append({**row, "recipe": piece["recipe"]})
    return {machine: [Agreement.of(of) for of in seeds.values()] for machine, seeds in rows.items()}


def by_set(results: Sequence[Result], name: str, recipes: Sequence[str]) -> str:
    """A row for the scorers of each detector, and one for all detectors together."""
    rows = []
    for title, among in [*((recipe, [recipe]) for recipe in recipes), ("all together", recipes)]:
        found = [one for machine in agreements(results, name, among).values() for one in machine]
        best = mean(found, "auc_best")
        lost = [best - mean(found, f"auc_{key}") for key in ("chosen", "own", "mean")]
        worst = max(one.auc_best - one.auc_chosen for one in found)
        figures = [mean(found, "spearman"), best, lost[0], worst, *lost[1:], mean(found, "auc_auto")]
        rows.append([title, *(f"{figure:.3f}" for figure in figures)])
    header = [f"detector, {name}", "Spearman", "best AUC", "regret of the chosen", "largest regret"]
    return table([*header, "regret of the recipe's own", "regret of any", "AUC of auto"], rows)


def by_machine(results: Sequence[Result], names: Iterable[str], recipes: Sequence[str]) -> str:
    """A row for each machine of all sets, the scorers of all detectors together."""
    rows = []
    for name in names:
        for machine, found in agreements(results, name, recipes).items():
            chosen, best = (", ".join(dict.fromkeys(getattr(one, key) for one in found)) for key in ("chosen", "best"))
            figures = [mean(found, key) for key in ("spearman", "auc_chosen", "auc_best")]
            spearman, auc_chosen, auc_best, regret = (f"{x:.3f}" for x in (*figures, figures[2] - figures[1]))
            rows.append([name, machine, spearman, chosen, auc_chosen, best, auc_best, regret])
    return table(["set", "machine", "Spearman", "chosen", "AUC", "best by labels", "AUC", "regret"], rows)


def main() -> None:
    parser = arguments(__doc__, RECIPES, SNRS_DB)
    options = parser.parse_args()
    if options.quick:
        options.seeds, options.snrs_db = [0], [0.0]
    loaded = [load_recipe(recipe) for recipe in options.recipes]
    if wrong := [one.name for one in loaded if one.members or one.scorer.kind == "auto" or one.condition]:
        raise SystemExit(f"{', '.join(wrong)}: give recipes with one detector, a fixed scorer and no condition")
    sets = sets_of(options)
    results = run(options, judge_candidates, "choice", sets)
    recipes = [recipe.name for recipe in loaded if recipe.name in {result["piece"]["recipe"] for result in results}]
    names = [one.name for one in sets if one.name in {result["piece"]["set"] for result in results}]
    parts = [by_set(results, name, recipes) for name in names]
    parts.append(
        "Means over machines and seeds. Regret is the best AUC of a fixed candidate minus that of the one chosen by "
        "planted faults, of the recipe's own scorer, and of a candidate taken at random. `auto` fuses several "
        "candidates, chosen by planted faults alike; among detectors it is that of the one whose `auto` finds most. "
        "The best by labels is the best of many on the very clips that it is judged on: no choice can promise as much."
    )
    parts.append(by_machine(results, names, recipes))
    how = command(options, Path(__file__).name)
    parts.append("Made by:\n\n```\n" + how + "\n```\n\n" + "\n".join(f"- {one.name}: {one.facts()}" for one in sets))
    print("\n\n".join([*parts, versions(results)]))


if __name__ == "__main__":
    main()
