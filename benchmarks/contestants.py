"""What `benchmarks/scoring.py` times, each in a process of its own; prints one JSON line.

python benchmarks/contestants.py loop --models MODELS FILE_LIST
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from acoustic_ad.detectors.base import Runtime

MACHINE = "fan/id_00"
N_FFT, HOP, MELS, FRAMES = 1024, 512, 128, 5


def network_of(models: Path) -> Any:
    """The network of the machine's model, in evaluation mode."""
    from acoustic_ad.models.registry import Registry

    model, _ = Registry(models).load(MACHINE)
    network = getattr(model.detector.detector, "_network", None) if model.detector else None
    if network is None:
        raise SystemExit("the loop and the floor need a recipe with a network")
    return network


def stacked(log_mel: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Frames side by side, [n, frames * mels], as the DCASE baseline stacks them."""
    count = len(log_mel) - FRAMES + 1
    return np.concatenate([log_mel[i : i + count] for i in range(FRAMES)], axis=1).astype(np.float32)


def loop(files: list[str], models: Path) -> tuple[int, float]:
    """A file at a time, in the manner of the DCASE 2023-2025 baseline: librosa.load, librosa's mel, stack, forward."""
    import librosa
    import torch

    network = network_of(models)

    def judge(file: str) -> float:
        waveform, rate = librosa.load(file, sr=None, mono=True)
        mel = librosa.feature.melspectrogram(y=waveform, sr=rate, n_fft=N_FFT, hop_length=HOP, n_mels=MELS, power=2.0)
        x = torch.from_numpy(stacked(10.0 * np.log10(np.maximum(mel, 1e-10)).T))
        with torch.inference_mode():
            return float((network(x) - x).square().mean())

    return timed(judge, files)


def floor(files: list[str], models: Path) -> tuple[int, float]:
    """The bare steps: soundfile, torchaudio's mel, forward, on one thread."""
    import soundfile
    import torch
    from torchaudio.transforms import MelSpectrogram

    torch.set_num_threads(1)
    network = network_of(models)
    mel = MelSpectrogram(16_000, n_fft=N_FFT, hop_length=HOP, n_mels=MELS)

    def judge(file: str) -> float:
        samples, _ = soundfile.read(file, dtype="float32")
        with torch.inference_mode():
            log_mel = 10.0 * mel(torch.from_numpy(samples)).clamp(min=1e-10).log10().T
            x = log_mel.unfold(0, FRAMES, 1).transpose(1, 2).flatten(1)
            return float((network(x) - x).square().mean())

    return timed(judge, files)


def floor_in_two(files: list[str], models: Path) -> tuple[int, float]:
    """The floor in two processes, a half of the files each; the time is the slower one's."""
    with get_context("spawn").Pool(2) as pool:
        found = pool.starmap(floor, [(files[::2], models), (files[1::2], models)])
    return sum(count for count, _ in found), max(seconds for _, seconds in found)


def audio_ae(files: list[str], models: Path) -> tuple[int, float]:
    """PyOD's AudioAE, fitted for one epoch: only its scoring is timed."""
    from pyod.models.audio_ae import AudioAE

    detector = AudioAE(epoch_num=1, verbose=0)
    detector.fit(files[:8])
    begun = time.perf_counter()
    detector.decision_function(files)
    return len(files), time.perf_counter() - begun


def score(
    files: list[str], models: Path, workers: int = 2, again: bool = False, runtime: Runtime = "torch"
) -> tuple[int, float]:
    """`acoustic-ad score`, from the first result to the last; `again`: the whole second run, with nothing new."""
    from acoustic_ad.jobs.score import ScoreOptions
    from acoustic_ad.jobs.score import score as run

    folder = Path(files[0]).parents[2]
    with tempfile.TemporaryDirectory() as temporary:
        options = ScoreOptions(folder, models, str(Path(temporary) / "scores.db"), workers, settle_s=0, runtime=runtime)
        times: list[float] = []
        report = run(options, lambda done, total: times.append(time.perf_counter()))
        if report.counts["scored"] != len(files):
            raise SystemExit(f"not all of {len(files)} clips were scored: {report.counts}")
        if again:
            begun = time.perf_counter()
            run(options)
            return len(files), time.perf_counter() - begun
    return len(times) - 1, times[-1] - times[0]


def timed(judge: Callable[[str], float], files: Iterable[str]) -> tuple[int, float]:
    """How many files, and the seconds of all but the first, which warms up."""
    first, *rest = files
    judge(first)
    begun = time.perf_counter()
    for file in rest:
        judge(file)
    return len(rest), time.perf_counter() - begun


CONTESTANTS: dict[str, Callable[..., tuple[int, float]]] = {
    "loop": loop,
    "floor": floor,
    "floor2": floor_in_two,
    "audio_ae": audio_ae,
    "score": score,
    "score1": lambda files, models: score(files, models, workers=1),
    "score_onnx": lambda files, models: score(files, models, runtime="onnx"),
    "again": lambda files, models: score(files, models, again=True),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=sorted(CONTESTANTS))
    parser.add_argument("list", type=Path, help="a file that names the clips, a line each")
    parser.add_argument("--models", type=Path, required=True)
    asked = parser.parse_args()
    count, seconds = CONTESTANTS[asked.name](asked.list.read_text().splitlines(), asked.models)
    own = resource.getrusage(resource.RUSAGE_SELF)
    json.dump({"clips": count, "seconds": seconds, "own_cpu_s": own.ru_utime + own.ru_stime}, sys.stdout)


if __name__ == "__main__":
    main()
