"""Clips per second of `score`, beside the per-file loop of the DCASE 2023-2025 baseline, in one run.

    python benchmarks/throughput.py

The loop reads one file at a time: librosa.load, librosa's mel spectrogram, frames stacked, one forward pass of the same
network. It is timed twice: as it stands, with the libraries' own number of threads (do not set OMP_NUM_THREADS), and
with one thread, which is several times faster where the libraries' threads wait for one another. All see the same
simulated clips in alternating rounds; start-up (imports, workers, models) is not counted. The figures to quote are the
ratios; absolute times differ from machine to machine.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import librosa
import numpy as np
import torch
from threadpoolctl import threadpool_limits

from acoustic_ad.jobs.score import ScoreOptions, score
from acoustic_ad.jobs.train import TrainOptions, train
from acoustic_ad.models.registry import Registry
from acoustic_ad.recipe import load_recipe
from acoustic_ad.sound.simulate import simulate_fleet


def per_file_loop(files: list[Path], network: torch.nn.Module, frames: int = 5) -> float:
    """Clips per second of the loop."""
    begun = time.perf_counter()
    for file in files:
        waveform, rate = librosa.load(file, sr=None, mono=True)
        mel = librosa.feature.melspectrogram(y=waveform, sr=rate, n_fft=1024, hop_length=512, n_mels=128, power=2.0)
        log_mel = 10.0 * np.log10(np.maximum(mel, 1e-10)).T
        count = len(log_mel) - frames + 1
        patches = np.concatenate([log_mel[i : i + count] for i in range(frames)], axis=1).astype(np.float32)
        with torch.inference_mode():
            x = torch.from_numpy(patches)
            float((network(x) - x).square().mean())
    return len(files) / (time.perf_counter() - begun)


@contextmanager
def one_thread() -> Iterator[None]:
    """For torch and for what numpy computes with."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with threadpool_limits(1):
        yield
    torch.set_num_threads(threads)


def score_job(folder: Path, models: Path, db: Path, workers: int) -> tuple[float, float]:
    """(clips per second from the first result to the last, seconds of the whole job with its start-up)."""
    times: list[float] = []
    begun = time.perf_counter()
    score(ScoreOptions(folder, models, str(db), workers), lambda done, total: times.append(time.perf_counter()))
    # Results arrive in order; the first stands for the start-up of the workers.
    return (len(times) - 1) / (times[-1] - times[0]), time.perf_counter() - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--recipe", default="dae")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        print(f"simulating {options.clips} clips of 10 s")
        simulate_fleet(
            root / "sound",
            types=("fan", "pump"),
            machines_per_type=1,
            train_clips=12,
            test_normal=options.clips // 4,
            test_anomaly=options.clips // 4,
            duration_s=10.0,
            snr_db=6.0,
            seed=0,
        )
        files = sorted((root / "sound").rglob("*.wav"))
        train(TrainOptions(root / "sound", load_recipe(options.recipe), root / "models", options.workers))
        model, _ = Registry(root / "models").load("fan/id_00")
        network = getattr(model.detector.detector, "_network", None) if model.detector else None
        if network is None:
            raise SystemExit(f"the loop needs a network; recipe {options.recipe} has none")
        per_file_loop(files[:5], network)
        threads = torch.get_num_threads()
        ratios: dict[str, list[float]] = {
            f"the loop as it stands ({threads} threads)": [],
            "the loop on one thread": [],
        }
        for number in range(options.rounds):
            ours, whole = score_job(root / "sound", root / "models", root / f"{number}.db", options.workers)
            told = [f"round {number}: score {ours:.0f}/s (job {whole:.1f} s)"]
            for (name, found), pinned in zip(ratios.items(), (False, True), strict=True):
                with one_thread() if pinned else nullcontext():
                    loop = per_file_loop(files, network)
                found.append(ours / loop)
                told.append(f"{name} {loop:.0f}/s: x{ours / loop:.2f}")
            print(", ".join(told))
        begun = time.perf_counter()
        report = score(ScoreOptions(root / "sound", root / "models", str(root / "0.db"), options.workers))
        print(f"a second run over {report.counts['found']} known clips: {time.perf_counter() - begun:.2f} s")
        for name, found in ratios.items():
            print(
                f"against {name}: median x{statistics.median(found):.2f}, from x{min(found):.2f} to x{max(found):.2f}"
            )


if __name__ == "__main__":
    main()
