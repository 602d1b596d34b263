"""How long `acoustic-ad train` takes for one machine of 250 ten-second clips on this computer.

    python benchmarks/training.py [--recipes dae vae ganomaly] [--clips 250]

The whole command is timed, with start-up, reading, planting and calibration; each recipe by itself, on a simulated fan.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from acoustic_ad.sound.simulate import simulate_fleet

RECIPES = ("mahalanobis", "neighbours", "dae", "vae", "ganomaly", "ensemble")


def seconds(recipe: str, sound: Path, models: Path) -> float:
    """Of the command, from start to end."""
    words = [sys.executable, "-m", "acoustic_ad", "train", sound, "--recipe", recipe, "--models", models]
    begun = time.perf_counter()
    subprocess.run([*map(str, words)], check=True, capture_output=True)
    return time.perf_counter() - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipes", nargs="+", default=list(RECIPES))
    parser.add_argument("--clips", type=int, default=250)
    parser.add_argument("--duration-s", type=float, default=10.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        sound = Path(folder) / "sound"
        simulate_fleet(
            sound,
            types=("fan",),
            train_clips=options.clips,
            test_normal=1,
            test_anomaly=1,
            duration_s=options.duration_s,
            snr_db=0.0,
            seed=2027,
        )
        print(f"{options.clips} clips of {options.duration_s:g} s, {os.cpu_count()} cores\n")
        print("| recipe | train, s |\n|---|---|")
        for recipe in options.recipes:
            print(f"| {recipe} | {seconds(recipe, sound, Path(folder) / recipe):.0f} |", flush=True)


if __name__ == "__main__":
    main()
