"""AUC, pAUC and AP on recordings of real motors, per recipe and seed, level-only beside them.

    python benchmarks/real_motors.py DATA [--recipes mahalanobis dae idnn] [--seeds 0 1 2]

DATA is any folder or manifest with the splits train and test. `--pool a,b` adds the AUC over several machines together,
as if they were one: it asks that scores mean the same on each.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np

from acoustic_ad.jobs.evaluate import evaluate
from acoustic_ad.jobs.train import TrainOptions, train
from acoustic_ad.recipe import load_recipe
from acoustic_ad.scores.metrics import auc


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--recipes", nargs="+", default=["mahalanobis", "dae", "idnn", "dae_paper"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--pool", default="bldc_motor/id_01,bldc_motor/id_02")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    pool = options.pool.split(",")
    header: list[str] | None = None
    for recipe in options.recipes:
        for seed in options.seeds:
            with tempfile.TemporaryDirectory() as models:
                loaded = load_recipe(recipe).model_copy(update={"seed": seed})
                train(TrainOptions(options.data, loaded, Path(models), options.workers))
                found = evaluate(options.data, Path(models), workers=options.workers)
            if header is None:
                header = [result.machine for result in found.machines]
                print("| recipe | seed | " + " | ".join(header) + " | pooled |")
                print("|---|---|" + "---|" * (len(header) + 1))
                level = [f"{r.level_only.auc:.3f}" if r.level_only else "-" for r in found.machines]
                print(f"| level only | - | {' | '.join(level)} | {_pooled(found.judged, pool, level=True)} |")
            cells = [f"{r.detector.auc:.3f} / {r.detector.pauc:.3f}" if r.detector else "-" for r in found.machines]
            print(f"| {recipe} | {seed} | {' | '.join(cells)} | {_pooled(found.judged, pool)} |", flush=True)


def _pooled(judged: list, machines: list[str], level: bool = False) -> str:  # type: ignore[type-arg]
    chosen = [one for one in judged if one.clip.machine in machines]
    if not chosen:
        return "-"
    labels = np.array([one.clip.label == "anomaly" for one in chosen], np.int64)
    scores = np.array([one.verdict.rms_db if level else one.verdict.score for one in chosen])
    return f"{auc(labels, scores):.3f}"


if __name__ == "__main__":
    main()
