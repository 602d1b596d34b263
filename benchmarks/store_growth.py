"""How the store's speed depends on its size: `status`, `report`, and `score` with nothing or one clip that is new.

    python benchmarks/store_growth.py --rows 10000 100000 1000000 10000000 --plot benchmarks/plots/store_growth.png

Makes a store for each size: a fleet of `--machines`, a clip every ten minutes, of which the last `--in-folder` files of
all are still in the folder, as where recordings are moved away after some time. Prints the seconds of each command,
start-up included, and how they compare with those of the smallest store. Beside it: the size of the file before and
after `db prune` of all but the last tenth, and how long that takes.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median

import numpy as np

from acoustic_ad.jobs.fleet_health import refresh
from acoustic_ad.jobs.store import ClipRow, FileFact, Store
from acoustic_ad.models.bundle import TrainingDetails
from acoustic_ad.models.machine_model import MachineModel
from acoustic_ad.models.registry import Registry
from acoustic_ad.recipe import parse_recipe

EVERY = timedelta(minutes=10)
END = datetime(2026, 1, 5, tzinfo=UTC)
PART_FAILED = 3  # exit code
ROUNDS = 3
BATCH = 2000
BAND = {"hz": 3400.0, "low_hz": 3200.0, "high_hz": 3600.0, "db": 4.0, "z": 3.5}


def trained(models: Path, machines: int) -> tuple[MachineModel, list[str]]:
    """One model for all machines, of random log-mels, and the digest of each machine's bundle."""
    rng = np.random.default_rng(0)
    recipe = parse_recipe({"name": "grown", "features": {"patch_frames": 1}, "detector": {"kind": "mahalanobis"}}, "")
    log_mels = [(-60 + 3 * rng.standard_normal((12, 8))).astype(np.float32) for _ in range(300)]
    model = MachineModel(recipe).fit(log_mels, [number // 10 for number in range(300)])
    digests = [Registry(models).save(f"m{one}", model, TrainingDetails(n_clips=300)).digest for one in range(machines)]
    return model, digests


def rows(count: int, model: MachineModel, digests: Sequence[str], end: datetime) -> Iterator[ClipRow]:
    """Rows in the order of recording, scores drawn from the calibration, so that the machines are well."""
    if model.calibration is None:
        raise ValueError("a model of 300 clips has a calibration")
    rng = np.random.default_rng(1)
    scores = rng.choice(model.calibration.scores, count)
    for number in range(count):
        machine = f"m{number % len(digests)}"
        at = end - EVERY * ((count - 1 - number) // len(digests))
        yield ClipRow(
            f"{machine}/{at:%Y%m%dT%H%M%SZ}.wav",
            machine,
            at,
            "name",
            hashlib.sha256(f"{number}".encode()).hexdigest(),
            digests[number % len(digests)],
            float(scores[number]),
            0.5,
            "scored",
            bands=(BAND,) if number % 20 == 0 else (),
            index=20.0,
            duration_s=10.0,
            level_db=-28.0,
        )


def make_store(root: Path, count: int, machines: int, in_folder: int) -> None:
    """The store of a fleet, with its models and the last files of its folder."""
    sound, models = root / "sound", root / "models"
    for one in range(machines):
        (sound / f"m{one}").mkdir(parents=True)
    model, digests = trained(models, machines)
    with Store.open(root / "grown.db") as store:
        run = store.begin_run(sound)
        batch: list[ClipRow] = []
        facts: list[FileFact] = []
        for number, row in enumerate(rows(count, model, digests, END), 1):
            file = sound / row.clip_id
            if number > count - in_folder:
                file.write_bytes(row.clip_id.encode())
                facts.append(FileFact.of(row.clip_id, row.machine, file.stat(), row.sha256, row.recorded_at))
            else:
                facts.append(FileFact(row.clip_id, row.machine, 10, 1, row.sha256, 0, row.recorded_at))
            batch.append(row)
            if len(batch) == BATCH or number == count:
                store.commit(run, sound, batch, facts)
                batch, facts = [], []
        store.end_run(run, {}, 0)
        refresh(store, models, [f"m{one}" for one in range(machines)])


def seconds_of(root: Path, *arguments: str) -> tuple[float, str]:
    """How long a command takes as a process of its own, and what it answers."""
    begin = time.perf_counter()
    where = ("--db", str(root / "grown.db"), "--models", str(root / "models"))
    command = [sys.executable, "-m", "acoustic_ad", *arguments, *where, "--json"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode not in (0, PART_FAILED):
        raise SystemExit(f"{command} ended with {done.returncode}: {done.stderr}")
    return time.perf_counter() - begin, done.stdout


def commands(root: Path) -> dict[str, float]:
    """Seconds of each command on a store, the median of three."""
    score = ("score", str(root / "sound"), "--workers", "1", "--settle", "0")
    took: dict[str, list[float]] = {}
    for _ in range(ROUNDS):
        seconds, _ = seconds_of(root, "status")
        took.setdefault("status", []).append(seconds)
        seconds, said = seconds_of(root, *score)
        took.setdefault("no-op score", []).append(seconds)
        counts = json.loads(said)["clips"]
        if counts["already_scored"] + counts["already_failed"] != counts["found"]:
            raise RuntimeError(f"something was new: {counts}")
    for number in range(ROUNDS):
        # Bytes that are no sound: its row and the machine's health cost as much as those of any other clip.
        (root / "sound" / "m0" / f"20260105T00100{number}Z.wav").write_bytes(b"no sound" * (20 + number))
        seconds, _ = seconds_of(root, *score)
        took.setdefault("score, one new", []).append(seconds)
        seconds, _ = seconds_of(root, "report", "--out", str(root / "page.html"), "--no-audio")
        took.setdefault("report", []).append(seconds)
    return {name: median(seconds) for name, seconds in took.items()}


def plot(file: Path, times: dict[int, dict[str, float]]) -> None:
    """Seconds by rows, both logarithmic."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    for name, marker in zip(next(iter(times.values())), "osv^", strict=False):
        axes.loglog(list(times), [found[name] for found in times.values()], marker=marker, label=name)
    axes.set_xlabel("rows in the store")
    axes.set_ylabel("seconds, start-up included")
    axes.grid(visible=True, which="both", alpha=0.3)
    axes.legend()
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=120)


def main() -> None:
    """Make the stores, time the commands, print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--machines", type=int, default=20)
    parser.add_argument("--in-folder", type=int, default=2000)
    parser.add_argument("--prune-up-to", type=int, default=1_000_000, help="larger stores are not pruned")
    parser.add_argument("--plot", type=Path, help="a picture of it")
    options = parser.parse_args()
    times: dict[int, dict[str, float]] = {}
    for count in options.rows:
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            begin = time.perf_counter()
            make_store(root, count, options.machines, min(options.in_folder, count))
            made = time.perf_counter() - begin
            times[count] = commands(root)
            size = (root / "grown.db").stat().st_size
            pruned = "- | -"
            if count <= options.prune_up_to:
                age = datetime.now(UTC) - END + EVERY * (count // options.machines // 10)
                prune, _ = seconds_of(root, "db", "prune", "--older-than", f"{max(age.days, 1)}d")
                pruned = f"{prune:.1f} s | {(root / 'grown.db').stat().st_size / 1e6:.0f}"
        if len(times) == 1:
            names = "".join(f" {name} |" for name in times[count])
            print(f"| rows |{names} made in | MB | pruned in | MB then |\n|{' --- |' * (len(times[count]) + 5)}")
        first = next(iter(times.values()))
        cells = "".join(f" {took:.2f} s, x{took / first[name]:.1f} |" for name, took in times[count].items())
        print(f"| {count:,} |{cells} {made:.0f} s | {size / 1e6:.0f} | {pruned} |", flush=True)
    if options.plot:
        plot(options.plot, times)


if __name__ == "__main__":
    main()
