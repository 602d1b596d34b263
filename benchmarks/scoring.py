"""What a clip costs: `score`, a per-file loop, the bare floor and PyOD on the same clips, in alternating rounds.

    python benchmarks/scoring.py                       # recipe dae, 400 clips of 10 s as WAV and as FLAC, 5 rounds
    python benchmarks/scoring.py --recipes dae ganomaly --rounds 3

Clips per second are from the first result to the last: start-up (imports, workers, models) is not counted. Processor
time and memory are of all processes of the run: the time as the difference between a run over all clips and one over a
tenth of them, the memory of the latter (it does not grow with the clips: `clip_growth.py`). The figures to quote are
the ratios: absolute times differ from machine to machine. Do not set OMP_NUM_THREADS: the loop is timed as it stands,
with the libraries' own number of threads, and on one thread.
PyOD's AudioAE takes part where it is installed (`pip install 'pyod[audio]' tqdm`).
"""

from __future__ import annotations

import argparse
import ctypes
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import soundfile
from contestants import MACHINE
from stages import stage_table

from acoustic_ad.models.bundle import TrainingDetails
from acoustic_ad.models.registry import Registry
from acoustic_ad.sound.simulate import simulate_fleet

HERE: Final = Path(__file__).parent
FIRST_AT: Final = 1_767_225_600  # the beginning of 2026
CHILDREN_COME_TO_US: Final = 36  # PR_SET_CHILD_SUBREAPER: processor time of workers whose parent has ended
COLD_MACHINE: Final = "fan 000"  # clips in a folder of its own
NAMES: Final = {
    "loop": "per-file loop as it stands",
    "loop, one thread": "per-file loop on one thread",
    "audio_ae": "PyOD AudioAE",
    "floor": "floor, one process",
    "floor2": "floor, two processes",
    "score1": "score, one worker",
    "score": "score, two workers",
    "score_onnx": "score, two workers, --runtime onnx",
    "score, FLAC": "score, two workers, FLAC",
    "again": "score again, nothing new",
}
AGAINST_THE_LOOP: Final = ["loop", "score", "score_onnx"]  # what is timed of a second recipe


@dataclass
class Found:
    """The rounds of one contestant."""

    per_s: list[float] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)  # a clip
    peak_mb: list[float] = field(default_factory=list)


def run(name: str, clips: list[Path], models: Path, root: Path, watch: bool) -> tuple[float, float, float, int]:
    """(clips per second, processor seconds of all processes, peak MB of all processes if watched, clips)."""
    listed = root / "clips.txt"
    listed.write_text("\n".join(map(str, clips)))
    kind = name.partition(",")[0]
    environment = {key: value for key, value in os.environ.items() if not key.endswith("_NUM_THREADS")}
    if "one thread" in name or kind.startswith("floor"):
        environment |= dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    command = [sys.executable, str(HERE / "contestants.py"), kind, str(listed), "--models", str(models)]
    before = os.times()
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True) as process:
        watched = _PeakMemory(process.pid) if watch else None
        answer = json.loads(process.communicate()[0])
        peak = watched.stop() if watched else math.nan
    _reap_all()
    after = os.times()
    cpu = after.children_user - before.children_user + after.children_system - before.children_system
    return answer["clips"] / answer["seconds"], cpu, peak, answer["clips"]


def _reap_all() -> None:
    """Wait for all that came to us, so that their processor time counts, and with this run."""
    with suppress(ChildProcessError):
        while True:
            os.waitpid(-1, 0)


class _PeakMemory:
    """The most that a process and its descendants hold together (proportional set size), twenty looks a second.

    `largest` is the most that a single one of them holds, shared pages included.
    """

    def __init__(self, pid: int) -> None:
        self._pid, self._peak, self._over, self.largest = pid, 0.0, threading.Event(), 0.0
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def _watch(self) -> None:
        while not self._over.wait(0.05):
            held = [_memory_mb(pid) for pid in _family(self._pid)]
            self._peak = max(self._peak, sum(own for own, _ in held))
            self.largest = max([self.largest, *(whole for _, whole in held)])

    def stop(self) -> float:
        self._over.set()
        self._thread.join()
        return self._peak


def _family(pid: int) -> list[int]:
    found = [pid]
    for one in found:
        for task in Path(f"/proc/{one}/task").glob("*/children"):
            try:
                found += [int(child) for child in task.read_text().split()]
            except OSError:
                continue
    return found


def _memory_mb(pid: int) -> tuple[float, float]:
    """(what it holds, pages shared with others in parts; likewise, in full)."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0, 0.0
    found = {line.split(":")[0]: int(line.split()[1]) / 1024 for line in lines[1:]}
    return found.get("Pss", 0.0), found.get("Rss", 0.0)


def make_clips(root: Path, count: int) -> tuple[list[Path], list[Path]]:
    """Clips of 10 s at 16 kHz, PCM16, as WAV to learn from and to score, and the same as FLAC to score."""
    simulate_fleet(
        root / "sound", types=("fan",), machines_per_type=1, train_clips=24, test_normal=count // 2,
        test_anomaly=count // 2, duration_s=10.0, snr_db=6.0, seed=0,
    )  # fmt: skip
    wav = sorted((root / "sound").rglob("test/*.wav")) or sorted((root / "sound").rglob("*.wav"))[24:]
    scored, packed = [], []
    for number, file in enumerate(wav):
        samples, rate = soundfile.read(file, dtype="int16")
        for kind, found in (("wav", scored), ("flac", packed)):
            clip = root / kind / "fan" / "test" / f"normal_id_00_{number:08d}.{kind}"
            clip.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(clip, samples, rate, subtype="PCM_16")
            os.utime(clip, 2 * (FIRST_AT + 600 * number,))  # a clip every ten minutes, as their names do not tell
            found.append(clip)
    return scored, packed


def a_tenth(clips: list[Path]) -> list[Path]:
    """Every tenth clip, in a folder of its own."""
    folder = clips[0].parents[2].with_name(f"tenth of {clips[0].suffix}") / "fan" / "test"
    folder.mkdir(parents=True, exist_ok=True)
    found = [folder / clip.name for clip in clips[::10]]
    for few, clip in zip(found, clips[::10], strict=True):
        if not few.exists():
            few.hardlink_to(clip)
    return found


def measure(
    names: list[str], wav: list[Path], flac: list[Path], models: Path, of_loop: Path, rounds: int, root: Path
) -> None:
    """Alternating rounds of all contestants, and the table of their medians; the loops' network is in `of_loop`."""
    found = {name: Found() for name in names}
    for number in range(rounds):
        for name, one in found.items():
            clips, own = flac if "FLAC" in name else wav, of_loop if name.startswith("loop") else models
            # Timed without the looks at its memory, for which the system holds a process up.
            per_s, cpu, _, count = run(name, clips, own, root, watch=False)
            _, small_cpu, peak, small = run(name, a_tenth(clips), own, root, watch=True)
            one.per_s.append(per_s)
            one.cpu_ms.append(1e3 * (cpu - small_cpu) / (count - small))
            one.peak_mb.append(peak)
        told = ", ".join(f"{name} {one.per_s[-1]:.0f}/s" for name, one in found.items())
        print(f"round {number + 1} of {rounds}: {told}", flush=True)
    print("\n| | clips/s | CPU ms a clip | peak MB | times the loop: median (least, most) | one-thread loop |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name, one in found.items():
        ratios = [
            _ratios(one, found[loop]) if name != "again" and loop in found else "-"
            for loop in ("loop", "loop, one thread")
        ]
        cells = [f"{statistics.median(values):.{digits}f}" for values, digits in
                 ((one.per_s, 0), (one.cpu_ms, 1), (one.peak_mb, 0))]  # fmt: skip
        print(f"| {NAMES[name]} | {' | '.join([*cells, *ratios])} |")


def _ratios(one: Found, other: Found) -> str:
    ratios = [mine / theirs for mine, theirs in zip(one.per_s, other.per_s, strict=True)]
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f}, {max(ratios):.2f})"


def cold_start(wav: list[Path], models: Path, root: Path, rounds: int) -> None:
    """Ten clips by the whole command, nothing running before, by either runtime in turn.

    Once into a new store, and again when ten others have come, into that store, which then knows the machine.
    """
    own = root / "models of one"
    same_model(models, own, [COLD_MACHINE])
    found: dict[str, list[tuple[float, float, float, float]]] = {}
    for number in range(rounds):
        for runtime in ("torch", "onnx"):
            # Timed without the looks at its memory, for which the system holds a process up.
            for watch in (False, True):
                folder = root / f"cold {runtime} {number} {watch}"
                command = [sys.executable, "-m", "acoustic_ad", "score", str(folder), "--settle", "0", "--models"]
                command += [str(own), "--runtime", runtime, "--db", str(folder.with_suffix(".db"))]
                for first, when in ((0, "new store"), (10, "the store again")):
                    (folder / COLD_MACHINE).mkdir(parents=True, exist_ok=True)
                    for clip in wav[first : first + 10]:  # a link that leads out of the folder is refused
                        (folder / COLD_MACHINE / clip.name.rpartition("_")[2]).hardlink_to(clip)
                    found.setdefault(f"--runtime {runtime}, {when}", []).append(whole_command(command, watch))
    print("\n| ten clips, the whole command | s | CPU s | peak MB | largest process, MB |")
    print("| --- | --- | --- | --- | --- |")
    for name, runs in found.items():
        # Times of the runs without looks at memory (every other one), memory of those with them.
        seconds, cpu = (sorted(column) for column in list(zip(*runs[::2], strict=True))[:2])
        peak, largest = (sorted(column) for column in list(zip(*runs[1::2], strict=True))[2:])
        middle = rounds // 2
        spread = f"{seconds[middle]:.2f} ({seconds[0]:.2f}-{seconds[-1]:.2f})"
        print(f"| {name} | {spread} | {cpu[middle]:.2f} | {peak[middle]:.0f} | {largest[middle]:.0f} |")


def same_model(models: Path, into: Path, machines: Iterable[str]) -> None:
    """The model of the benchmarks' machine, under other names as well."""
    model, info = Registry(models).load(MACHINE)
    details = TrainingDetails(n_clips=info.n_clips, feature_spec=info.feature_spec, extra=dict(info.extra))
    for machine in machines:
        Registry(into).save(machine, model, details)


def whole_command(command: list[str], watch: bool = True) -> tuple[float, float, float, float]:
    """(seconds, processor seconds and peak MB of all processes, MB of the largest of them) of a command."""
    _reap_all()
    before, begun = os.times(), time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        watched = _PeakMemory(process.pid) if watch else None
        code = process.wait()
        seconds = time.perf_counter() - begun
        peak = watched.stop() if watched else math.nan
    if code:
        raise SystemExit(f"exit {code}: {' '.join(command)}")
    _reap_all()
    after = os.times()
    cpu = after.children_user - before.children_user + after.children_system - before.children_system
    return seconds, cpu, peak, watched.largest if watched else math.nan


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--recipes", nargs="+", default=["dae"])
    parser.add_argument("--contestants", nargs="+", choices=list(NAMES), help="only these")
    parser.add_argument(
        "--models", type=Path, help="where models are kept; those of an earlier run are taken as they are"
    )
    asked = parser.parse_args()
    ctypes.CDLL(None).prctl(CHILDREN_COME_TO_US, 1, 0, 0, 0)
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        print(f"simulating {asked.clips} clips of 10 s")
        wav, flac = make_clips(root, asked.clips)
        kept = asked.models or root / "models"
        for number, recipe in enumerate(asked.recipes):
            models = kept / recipe
            # Not in this process: it waits for all its children to end, and those of `train` live as long as it does.
            command = [sys.executable, "-m", "acoustic_ad", "train", str(root / "sound"), "--recipe", recipe]
            if not models.exists():
                subprocess.run([*command, "--models", str(models)], check=True, capture_output=True)
                _reap_all()  # what it left counts with no contestant
            print(f"\n## {recipe}\n")
            everybody = [name for name in NAMES if name != "audio_ae" or find_spec("pyod")]
            # One loop for all recipes, that of the first one's network: theirs may not fit its five frames.
            of_loop = kept / asked.recipes[0]
            names = asked.contestants or (AGAINST_THE_LOOP if number else everybody)
            measure(names, wav, flac, models, of_loop, asked.rounds, root)
            print("\n" + stage_table(wav[:100], models))
            if not number:
                cold_start(wav, models, root, asked.rounds)


if __name__ == "__main__":
    main()
