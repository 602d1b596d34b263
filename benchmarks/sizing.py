"""How large a computer a fleet needs: cores, memory and disk by machines, clips an hour and recipe, as measured here.

    python benchmarks/sizing.py [--recipes mahalanobis dae ganomaly ensemble] [--write docs/sizing.md]

Measures what a clip of 10 s costs (processor time of a worker, the whole of `score_clip`), what a worker and a model
take in memory, what a row takes on the disk, and what it costs to tell a machine's health from all its clips; and works
out the table from that. Networks have hardly learnt anything here, which changes no cost. Cores are for clips that come
evenly and a job started once an hour, at 70 % of what they can do. Health is told by one process: where it takes
longer than the hour has, one job cannot serve the fleet, on however many cores.
"""

from __future__ import annotations

import argparse
import math
import resource
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import soundfile
import torch
from detectors import MARKERS, hurried
from store_growth import make_store

from acoustic_ad.jobs.clip_work import MODELS_KEPT, feature_spec, score_clip
from acoustic_ad.jobs.fleet_health import refresh
from acoustic_ad.jobs.schema import ClipRow, FileFact
from acoustic_ad.jobs.store import Store
from acoustic_ad.jobs.tasks import FileStamp, Scored, ScoreTask
from acoustic_ad.models.bundle import TrainingDetails
from acoustic_ad.models.machine_model import MachineModel
from acoustic_ad.models.registry import Registry
from acoustic_ad.recipe import load_recipe
from acoustic_ad.sound.clip import sha256_of
from acoustic_ad.sound.features import LogMel
from acoustic_ad.sound.simulate import simulate_clip

CLIP_S, RATE = 10.0, 16_000
BUSY = 0.7  # of a core's time
PARENT_SHARE = 1.25  # the parent hashes, plans and stores beside the workers
FLEETS = ((50, 6), (500, 6), (2_000, 1), (2_000, 6), (10_000, 1))  # machines, clips of each an hour
HOURS_A_YEAR = 8760
BAND = {"hz": 3400.0, "low_hz": 3200.0, "high_hz": 3600.0, "db": 4.0, "z": 3.5}


@dataclass(frozen=True)
class Cost:
    """Of one recipe."""

    cpu_ms: float  # a clip
    load_ms: float  # a model, which each run loads once
    bundle_kb: float
    model_mb: float  # in a worker's memory


def cost_of(name: str, clips: list[Path], root: Path) -> Cost:
    """Measured on one thread, after the model is loaded; the best of three passes over the clips."""
    recipe = hurried(load_recipe(name))
    front_end = LogMel(feature_spec(recipe))
    log_mels = [front_end(simulate_clip("fan/id_00", duration_s=CLIP_S, seed=number)) for number in range(40)]
    model = MachineModel(recipe).fit(log_mels, [number // 4 for number in range(40)])
    details = TrainingDetails(n_clips=40, feature_spec=feature_spec(recipe))
    registry = Registry(root / name)
    for number in range(MODELS_KEPT):
        registry.save(f"fan/{number}", model, details)
    before, begun = _memory_mb(), time.process_time()
    for number in range(MODELS_KEPT):
        _score(clips[0], registry.bundle_path(f"fan/{number}"))
    load_s = (time.process_time() - begun) / MODELS_KEPT
    model_mb = (_memory_mb() - before) / MODELS_KEPT
    bundle = registry.bundle_path("fan/0")
    seconds = []
    for _ in range(3):
        begun = time.process_time()
        for clip in clips:
            sha256_of(clip)
            _score(clip, bundle)
        seconds.append((time.process_time() - begun) / len(clips))
    kb = sum(file.stat().st_size for file in bundle.iterdir()) / 1e3
    return Cost(1e3 * min(seconds), 1e3 * max(load_s - min(seconds), 0.0), kb, max(model_mb, 0.0))


def _score(clip: Path, bundle: Path) -> None:
    found = score_clip(ScoreTask(clip.name, clip, FileStamp.of(clip), bundle))
    if not isinstance(found, Scored):
        raise SystemExit(f"{clip} was not scored: {found}")


def _memory_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def bytes_a_row(root: Path, rows: int = 20_000) -> float:
    """On the disk, with the ledger and the indices, for clips of which every tenth has something that stands out."""
    at = datetime(2026, 1, 1, tzinfo=UTC)
    stat = root.stat()
    with Store.open(str(root / "rows.db")) as store:
        run = store.begin_run(root)
        for first in range(0, rows, 2_000):
            found = [
                ClipRow(
                    f"hall 1/press {number % 50:02d}/20260101T{number:06d}Z.wav", f"hall 1/press {number % 50:02d}",
                    at + number * timedelta(minutes=10), "name", f"{number:064x}", "a" * 64, 1.234567, 0.123456,
                    "scored", bands=(BAND,) if number % 10 == 0 else (), index=31.4, level_db=-28.1, duration_s=CLIP_S,
                )
                for number in range(first, first + 2_000)
            ]  # fmt: skip
            facts = [FileFact.of(row.clip_id, row.machine, stat, row.sha256) for row in found]
            store.commit(run, root, found, facts)
    return sum(file.stat().st_size for file in root.glob("rows.db*")) / rows


def health_us(root: Path, clips: int = 20_000) -> float:
    """Processor microseconds a clip that it takes to tell a machine's health from all its clips."""
    root.mkdir()
    make_store(root, clips, machines=1, in_folder=1)
    with Store.open(str(root / "grown.db")) as store:
        seconds = []
        for _ in range(3):
            begun = time.process_time()
            refresh(store, root / "models", ["m0"])
            seconds.append(time.process_time() - begun)
    return 1e6 * min(seconds) / clips


def cost_table(costs: dict[str, Cost], row_bytes: float, worker_mb: float, health: float) -> str:
    """What was measured."""
    lines = [
        "| recipe | CPU ms a clip of 10 s | CPU ms to load a model | bundle, kB | model in memory, MB |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, cost in costs.items():
        numbers = f"{cost.cpu_ms:.1f} | {cost.load_ms:.0f} | {cost.bundle_kb:.0f} | {cost.model_mb:.1f}"
        lines.append(f"| {name} | {numbers} |")
    lines.append(
        f"\nA worker without models takes {worker_mb:.0f} MB, a row with its place in the ledger {row_bytes:.0f} B, "
        f"and the telling of a machine's health {health:.1f} us for each of its clips in the store, in every run that "
        "brings it a clip."
    )
    return "\n".join(lines)


def table(costs: dict[str, Cost], row_bytes: float, worker_mb: float, health: float) -> str:
    """Cores, memory and disk for each fleet and recipe."""
    lines = [
        "| machines x clips an hour | recipe | cores | of them scoring | health, by one process, after a year | memory "
        "| rows, GB a year | models, GB |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for machines, an_hour in FLEETS:
        told_s = machines * an_hour * HOURS_A_YEAR * health / 1e6  # each hour, with a year in the store
        for name, cost in costs.items():
            scoring = machines * (an_hour * cost.cpu_ms * PARENT_SHARE + cost.load_ms) / 3.6e6 / BUSY
            cores = max(math.ceil(scoring + told_s / 3600 / BUSY), 1)
            memory_gb = (cores * (worker_mb + MODELS_KEPT * cost.model_mb) + worker_mb) / 1e3
            rows_gb = machines * an_hour * HOURS_A_YEAR * row_bytes / 1e9
            models_gb = machines * cost.bundle_kb / 1e6
            cells = (f"{machines:,} x {an_hour}", name, f"{cores}", f"{scoring:.2f}", f"{told_s:.0f} s an hour",
                     f"{math.ceil(memory_gb)} GB", f"{rows_gb:.1f}", f"{models_gb:.1f}")  # fmt: skip
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipes", nargs="+", default=["mahalanobis", "dae", "ganomaly", "ensemble"])
    parser.add_argument("--clips", type=int, default=40)
    parser.add_argument("--write", type=Path, help="a file whose text between the markers is replaced")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        clips = [root / f"{number}.wav" for number in range(asked.clips)]
        for number, clip in enumerate(clips):
            sound = simulate_clip("fan/id_00", duration_s=CLIP_S, seed=1_000 + number)
            soundfile.write(clip, sound, RATE, subtype="PCM_16")
        worker_mb = _memory_mb()
        costs = {name: cost_of(name, clips, root) for name in asked.recipes}
        row_bytes, health = bytes_a_row(root), health_us(root / "grown")
    text = f"{cost_table(costs, row_bytes, worker_mb, health)}\n\n{table(costs, row_bytes, worker_mb, health)}"
    print(text)
    if asked.write:
        before, _, rest = asked.write.read_text(encoding="utf-8").partition(MARKERS[0])
        after = rest.partition(MARKERS[1])[2]
        asked.write.write_text(f"{before}{MARKERS[0]}\n{text}\n{MARKERS[1]}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
