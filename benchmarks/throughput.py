"""Clips per second of `score`, beside the per-file loop of the DCASE 2023-2025 baseline, in one run.

    python benchmarks/throughput.py

The loop reads one file at a time: librosa.load, librosa's mel spectrogram, frames stacked, one forward pass of the same
network. Both see the same simulated clips in alternating rounds; start-up (imports, workers, models) is not counted
for either. The figure to quote is the ratio; absolute times differ from machine to machine.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import librosa
import numpy as np
import torch

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
        ratios = []
        for number in range(options.rounds):
            ours, whole = score_job(root / "sound", root / "models", root / f"{number}.db", options.workers)
            loop = per_file_loop(files, network)
            ratios.append(ours / loop)
            print(f"round {number}: score {ours:.0f}/s (job {whole:.1f} s), loop {loop:.0f}/s: x{ours / loop:.2f}")
        begun = time.perf_counter()
        report = score(ScoreOptions(root / "sound", root / "models", str(root / "0.db"), options.workers))
        print(f"a second run over {report.counts['found']} known clips: {time.perf_counter() - begun:.2f} s")
        print(f"ratio: median x{statistics.median(ratios):.2f}, from x{min(ratios):.2f} to x{max(ratios):.2f}")


if __name__ == "__main__":
    main()
