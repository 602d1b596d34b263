"""How the store's speed depends on its size: `status`, and `score` where nothing is new, over stores of growing size.

    python benchmarks/store_growth.py --rows 10000 100000 1000000

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
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from acoustic_ad.jobs.fleet_health import refresh
from acoustic_ad.jobs.store import ClipRow, FileFact, Store
from acoustic_ad.models.bundle import TrainingDetails
from acoustic_ad.models.machine_model import MachineModel
from acoustic_ad.models.registry import Registry
from acoustic_ad.recipe import parse_recipe

EVERY = timedelta(minutes=10)
BATCH = 2000
BAND = {"hz": 3400.0, "low_hz": 3200.0, "high_hz": 3600.0, "db": 4.0, "z": 3.5}


def trained(models: Path, machines: int) -> tuple[MachineModel, str]:
    """One model for all machines, of random log-mels, and its digest."""
    rng = np.random.default_rng(0)
    recipe = parse_recipe({"name": "grown", "features": {"patch_frames": 1}, "detector": {"kind": "mahalanobis"}}, "")
    log_mels = [(-60 + 3 * rng.standard_normal((12, 8))).astype(np.float32) for _ in range(300)]
    model = MachineModel(recipe).fit(log_mels, [number // 10 for number in range(300)])
    digests = [Registry(models).save(f"m{one}", model, TrainingDetails(n_clips=300)).digest for one in range(machines)]
    return model, digests[0]


def rows(count: int, machines: int, model: MachineModel, digest: str, end: datetime) -> Iterator[ClipRow]:
    """Rows in the order of recording, scores drawn from the calibration, so that the machines are well."""
    if model.calibration is None:
        raise ValueError("a model of 300 clips has a calibration")
    rng = np.random.default_rng(1)
    scores = rng.choice(model.calibration.scores, count)
    for number in range(count):
        machine = f"m{number % machines}"
        at = end - EVERY * ((count - 1 - number) // machines)
        yield ClipRow(
            f"{machine}/{at:%Y%m%dT%H%M%SZ}.wav",
            machine,
            at,
            "name",
            hashlib.sha256(f"{number}".encode()).hexdigest(),
            digest,
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
    model, digest = trained(models, machines)
    with Store.open(root / "grown.db") as store:
        run = store.begin_run(sound)
        batch: list[ClipRow] = []
        facts: list[FileFact] = []
        end = datetime(2026, 1, 5, tzinfo=UTC)
        for number, row in enumerate(rows(count, machines, model, digest, end), 1):
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
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return time.perf_counter() - begin, done.stdout


def main() -> None:
    """Make the stores, time the commands, print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--machines", type=int, default=20)
    parser.add_argument("--in-folder", type=int, default=2000)
    options = parser.parse_args()
    first: list[float] = []
    print(f"{'rows':>9} {'made':>7} {'status':>13} {'no-op score':>13} {'MB':>7} {'prune':>7} {'MB then':>8}")
    for count in options.rows:
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            begin = time.perf_counter()
            make_store(root, count, options.machines, min(options.in_folder, count))
            made = time.perf_counter() - begin
            status, _ = seconds_of(root, "status")
            score, said = seconds_of(root, "score", str(root / "sound"), "--workers", "1")
            counts = json.loads(said)["clips"]
            if counts["already_scored"] != counts["found"]:
                raise RuntimeError(f"something was new: {counts}")
            first = first or [status, score]
            size = (root / "grown.db").stat().st_size
            kept = EVERY * (count // options.machines // 10)
            age = datetime.now(UTC) - datetime(2026, 1, 5, tzinfo=UTC) + kept
            prune, _ = seconds_of(root, "db", "prune", "--older-than", f"{max(age.days, 1)}d")
            then = (root / "grown.db").stat().st_size
            times = f"{status:6.2f}s x{status / first[0]:4.1f} {score:6.2f}s x{score / first[1]:4.1f}"
            print(
                f"{count:9d} {made:6.1f}s {times} {size / 1e6:7.1f} {prune:6.1f}s {then / 1e6:8.1f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
