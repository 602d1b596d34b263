"""What a clip costs `score` by how many there are: one run each over 100 to 100,000 clips, the whole command.

    python benchmarks/clip_growth.py [--clips 100 1000 10000 100000] [--plot benchmarks/plots/clip_growth.png]

The clips are half a second long, of machines with a thousand clips each: what could grow with their number is listing,
hashing, handing over, storing and telling the machines' health, not their sound. Start-up is what a run over ten clips
takes, and is taken off: processor milliseconds a clip are those of all processes beyond it. Memory is of all processes.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

import soundfile
from scoring import CHILDREN_COME_TO_US, FIRST_AT, same_model, whole_command

from acoustic_ad.sound.simulate import simulate_fleet

RATE_HZ: Final = 16_000
CLIPS_OF_A_MACHINE: Final = 1000
FEW: Final = 10
EVERY_S: Final = 600


def trained(root: Path, machines: int) -> Path:
    """A folder with the model of one simulated fan under so many names."""
    simulate_fleet(
        root / "sound", types=("fan",), machines_per_type=1, train_clips=40, test_normal=1, test_anomaly=1,
        duration_s=2.0, snr_db=6.0, seed=0,
    )  # fmt: skip
    command = [sys.executable, "-m", "acoustic_ad", "train", str(root / "sound"), "--recipe", "dae"]
    subprocess.run([*command, "--models", str(root / "fan")], check=True, capture_output=True)
    same_model(root / "fan", root / "models", [f"fan {number:03}" for number in range(machines)])
    return root / "models"


def folder_of(root: Path, count: int) -> Path:
    """So many clips, no two of the same content."""
    source = next((root / "sound").rglob("*.wav"))
    samples, _ = soundfile.read(source, frames=RATE_HZ // 2, dtype="int16")
    folder = root / f"{count} clips"
    for number in range(count):
        machine, clip = divmod(number, CLIPS_OF_A_MACHINE)
        file = folder / f"fan {machine:03}" / f"{clip:06}.wav"
        file.parent.mkdir(parents=True, exist_ok=True)
        samples[:2] = number % 32_768, number // 32_768
        soundfile.write(file, samples, RATE_HZ, subtype="PCM_16")
        os.utime(file, 2 * (FIRST_AT + EVERY_S * clip,))
    return folder


def measured(root: Path, models: Path, count: int) -> tuple[float, float, float]:
    """(seconds, processor seconds, peak MB) of a run over so many new clips into a new store."""
    folder = folder_of(root, count)
    command = [sys.executable, "-m", "acoustic_ad", "score", str(folder), "--settle", "0", "--workers", "2"]
    store = root / "store"
    command += ["--models", str(models), "--db", str(store / "scores.db")]
    store.mkdir()
    seconds, cpu, peak, _ = whole_command(command)
    shutil.rmtree(folder)
    shutil.rmtree(store)
    return seconds, cpu, peak


def plot(file: Path, found: dict[int, tuple[float, float]]) -> None:
    """Processor milliseconds a clip, and peak memory, by clips."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    (time,) = axes.semilogx(list(found), [cost for cost, _ in found.values()], "o-", label="CPU ms a clip")
    axes.set(xlabel="clips in the run", ylabel="CPU ms a clip, start-up taken off", ylim=(0, None))
    beside = axes.twinx()
    (memory,) = beside.semilogx(list(found), [peak for _, peak in found.values()], "s--", color="C1", label="peak MB")
    beside.set(ylabel="peak MB of all processes", ylim=(0, None))
    axes.grid(visible=True, which="both", alpha=0.3)
    axes.legend(handles=[time, memory], loc="lower right")
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, nargs="+", default=[100, 1000, 10_000, 100_000])
    parser.add_argument("--plot", type=Path, help="a picture of it")
    asked = parser.parse_args()
    ctypes.CDLL(None).prctl(CHILDREN_COME_TO_US, 1, 0, 0, 0)
    found: dict[int, tuple[float, float]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        models = trained(root, max(asked.clips) // CLIPS_OF_A_MACHINE + 1)
        starts = [measured(root, models, FEW) for _ in range(3)]
        start_s, start_cpu, start_mb = sorted(starts, key=lambda start: start[1])[1]
        print("| clips | machines | seconds | CPU ms a clip | peak MB |\n| --- | --- | --- | --- | --- |")
        print(f"| {FEW} | 1 | {start_s:.1f} | (start-up: {start_cpu:.1f} s) | {start_mb:.0f} |", flush=True)
        for count in asked.clips:
            seconds, cpu, peak = measured(root, models, count)
            found[count] = 1e3 * (cpu - start_cpu) / (count - FEW), peak
            machines = -(-count // CLIPS_OF_A_MACHINE)
            print(f"| {count:,} | {machines} | {seconds:.1f} | {found[count][0]:.2f} | {peak:.0f} |", flush=True)
    if asked.plot:
        plot(asked.plot, found)


if __name__ == "__main__":
    main()
