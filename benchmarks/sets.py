"""What the benchmarks run on: labelled recordings, simulated fleets, and pieces of work over them in parallel.

Log-mels are computed once and kept; the few waveforms into which faults are planted are read or simulated again.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import cache, lru_cache, partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

import acoustic_ad
from acoustic_ad.errors import UsageError
from acoustic_ad.jobs.clip_work import feature_spec
from acoustic_ad.jobs.train import training_clips
from acoustic_ad.models.planting import PlantedClip, chosen_for_planting, plant_in_waveforms
from acoustic_ad.recipe import Recipe
from acoustic_ad.sound.audio import read_clip
from acoustic_ad.sound.features import LogMel
from acoustic_ad.sound.manifest import Clip, read_manifest
from acoustic_ad.sound.simulate import MACHINE_TYPES, PlannedClip, plan_fleet

FloatArray = npt.NDArray[np.float32]
Sound = Clip | PlannedClip
FLEET_SEED = 2027  # of the machines whose figures are shown; recipes are developed on others
TRAIN_CLIPS = 100
Result = dict[str, Any]  # JSON
say = partial(print, file=sys.stderr, flush=True)  # the tables go to stdout


@dataclass(frozen=True, slots=True)
class MachineSounds:
    """The clips of one machine, none of them read yet."""

    machine: str
    train: list[Sound]  # normal
    test: list[Sound]  # normal and anomalous


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine with the log-mels [frames, mels] of its clips."""

    name: str
    train: list[FloatArray]
    sessions: list[Hashable] | None  # of the training clips
    sounds: MachineSounds
    test: list[FloatArray]
    labels: npt.NDArray[np.int64]  # of the test clips; 1 = anomaly

    def planted(self, recipe: Recipe) -> list[PlantedClip]:
        """Faults planted into the waveforms of some training clips, as `train` does it."""
        numbers = chosen_for_planting(len(self.train))
        waveforms = [(number, waveform(self.sounds.train[number], recipe)) for number in numbers]
        return plant_in_waveforms(waveforms, LogMel(feature_spec(recipe)), recipe.seed)


@dataclass(frozen=True, slots=True)
class Fleet:
    """One simulated machine of each type, counts of clips per machine."""

    snr_db: float
    train_clips: int = TRAIN_CLIPS
    test_normal: int = 60
    test_anomaly: int = 66
    duration_s: float = 6.0
    seed: int = FLEET_SEED
    types: tuple[str, ...] = MACHINE_TYPES

    @property
    def name(self) -> str:
        return f"simulated {self.snr_db:+g} dB" if self.snr_db else "simulated 0 dB"

    def few(self) -> Fleet:
        """So small that a benchmark only shows whether it works."""
        return replace(self, train_clips=20, test_normal=10, test_anomaly=10, duration_s=4.0, types=("fan", "valve"))

    def machines(self, sample_rate_hz: int) -> list[MachineSounds]:
        """The clips of each machine."""
        clips: dict[str, dict[str, list[Sound]]] = {}
        for clip in plan_fleet(**asdict(self), sample_rate_hz=sample_rate_hz):
            clips.setdefault(clip.spec.machine, {}).setdefault(clip.split, []).append(clip)
        return [MachineSounds(machine, of["train"], of["test"]) for machine, of in clips.items()]

    def facts(self) -> str:
        return (
            f"`plan_fleet`, seed {self.seed}, SNR {self.snr_db:g} dB, one {', one '.join(self.types)}; of each "
            f"{self.train_clips} training, {self.test_normal} normal and {self.test_anomaly} faulty test clips of "
            f"{self.duration_s:g} s, as the simulator makes them, with no file in between"
        )


@dataclass(frozen=True, slots=True)
class Recordings:
    """Labelled recordings: a folder or a manifest CSV with the splits train and test."""

    data: Path

    @property
    def name(self) -> str:
        data = self.data.resolve()
        return data.name if data.is_dir() else data.parent.name

    def machines(self, sample_rate_hz: int) -> list[MachineSounds]:
        """The clips of each machine with training clips, and test clips of both labels."""
        manifest = read_manifest(self.data)
        found = []
        for machine, train in training_clips(manifest).items():
            test = [clip for clip in manifest.clips if (clip.machine, clip.split) == (machine, "test")]
            test = [clip for clip in test if clip.label != "unknown"]
            if {clip.label for clip in test} == {"normal", "anomaly"}:
                found.append(MachineSounds(machine, [*train], [*test]))
        if not found:
            raise UsageError(f"{self.name}: no machine has training clips, and test clips of both labels")
        return found

    def facts(self) -> str:
        return read_manifest(self.data).description


SoundSet = Fleet | Recordings


def waveform(sound: Sound, recipe: Recipe) -> FloatArray:
    """The samples [n] of a clip, mono, at the recipe's sample rate."""
    if isinstance(sound, PlannedClip):
        return sound.render()
    return read_clip(sound.path, sample_rate_hz=recipe.audio.sample_rate_hz, channel=recipe.audio.channel)


def prepare(sounds: SoundSet, recipe: Recipe, folder: Path) -> Path:
    """The file in `folder` with the log-mels of a set in the front-end of a recipe; made where it is not there yet."""
    file = folder / f"{_digest([set_digest(sounds, recipe), code_digest(('sound',))])[:20]}.npz"
    if file.exists():
        return file
    front_end = LogMel(feature_spec(recipe))
    arrays: dict[str, Any] = {}
    for number, machine in enumerate(sounds.machines(recipe.audio.sample_rate_hz)):
        for split, clips in (("train", machine.train), ("test", machine.test)):
            log_mels = [front_end(waveform(clip, recipe)) for clip in clips]
            arrays[f"{number}.{split}"] = np.concatenate(log_mels)
            arrays[f"{number}.{split}.ends"] = np.cumsum([len(log_mel) for log_mel in log_mels])
    temporary = file.with_suffix(f".{os.getpid()}.tmp")
    with temporary.open("wb") as stream:
        np.savez(stream, **arrays)
    temporary.replace(file)
    return file


def set_digest(sounds: SoundSet, recipe: Recipe) -> str:
    """sha256 over all that decides the log-mels of a set, save the code."""
    machines = sounds.machines(recipe.audio.sample_rate_hz)
    clips = [clip for machine in machines for clip in (*machine.train, *machine.test)]
    sizes = [clip.path.stat().st_size for clip in clips if isinstance(clip, Clip)]
    return _digest([feature_spec(recipe).digest, recipe.audio.model_dump(), sizes, *map(repr, clips)])


@lru_cache(maxsize=1)  # pieces come sorted by set
def load(sounds: SoundSet, file: Path, sample_rate_hz: int) -> tuple[Machine, ...]:
    """The machines of a set with the log-mels that `prepare` left in `file`."""
    machines = []
    with np.load(file, allow_pickle=False) as arrays:
        for number, machine in enumerate(sounds.machines(sample_rate_hz)):
            train, test = (
                np.split(arrays[f"{number}.{split}"], arrays[f"{number}.{split}.ends"][:-1])
                for split in ("train", "test")
            )
            labels = np.array([clip.label == "anomaly" for clip in machine.test], np.int64)
            machines.append(Machine(machine.machine, train, _sessions(machine.train), machine, test, labels))
    return tuple(machines)


def conditions(clips: Sequence[Sound], recipe: Recipe) -> list[str] | None:
    """The operating condition of each clip, None where the recipe goes by no column."""
    told = (clip.row if isinstance(clip, PlannedClip) else dict(clip.columns) for clip in clips)
    return [columns.get(recipe.condition, "") for columns in told] if recipe.condition else None


def _sessions(clips: Sequence[Sound]) -> list[Hashable] | None:
    names = [clip.session.name if isinstance(clip, PlannedClip) else clip.session for clip in clips]
    return [name or number for number, name in enumerate(names)] if any(names) else None


@dataclass(frozen=True)
class Piece:
    """One recipe, with its seed, on one set."""

    recipe: Recipe
    sounds: SoundSet
    folder: Path  # of log-mels
    work: str  # what is done with it

    def __str__(self) -> str:
        return f"{self.recipe.name}, {self.sounds.name}, seed {self.recipe.seed}"

    def file(self) -> Path:
        """Of the log-mels."""
        return prepare(self.sounds, self.recipe, self.folder)

    def machines(self) -> tuple[Machine, ...]:
        """With log-mels."""
        return load(self.sounds, self.file(), self.recipe.audio.sample_rate_hz)

    def identity(self) -> dict[str, Any]:
        """What a finished piece is known by: a changed recipe or set is another one, and so is changed code."""
        return {
            "recipe": self.recipe.name,
            "set": self.sounds.name,
            "seed": self.recipe.seed,
            "recipe_digest": _digest(self.recipe.model_dump(mode="json")),
            "set_digest": set_digest(self.sounds, self.recipe),
            "code": code_digest(),
            "work": self.work,
        }


Work = Callable[[Piece], Result]


@dataclass(frozen=True)
class Bench:
    """How pieces are run: processes of one thread each; where finished pieces are kept."""

    workers: int
    results: Path | None = None
    keep_older: bool = False  # finished pieces count, whatever code made them

    def run(self, work: Work, pieces: Sequence[Piece]) -> list[Result]:
        """`work` of every piece, in their order, each with its identity; what fails is said, and is not there."""
        identities = [piece.identity() for piece in pieces]
        kept = self._kept()
        found = {number: kept[key] for number, one in enumerate(identities) if (key := self._key(one)) in kept}
        missing = {number: piece for number, piece in enumerate(pieces) if number not in found}
        say(f"{len(pieces)} pieces, {len(found)} of them finished before")
        heard = {identities[number]["set_digest"]: piece for number, piece in missing.items()}  # one piece each
        for number, _ in enumerate(_parallel(Piece.file, heard, self.workers), start=1):
            say(f"log-mels of {number}/{len(heard)} sets")
        begun = time.monotonic()
        for number, result in _parallel(work, missing, self.workers):
            found[number] = {"piece": identities[number], **result}
            if self.results:
                with self.results.open("a", encoding="utf-8") as stream:
                    stream.write(json.dumps(found[number]) + "\n")
            say(f"[{len(found)}/{len(pieces)}] {pieces[number]} ({time.monotonic() - begun:.0f} s)")
        return [found[number] for number in sorted(found)]

    def _kept(self) -> dict[str, Result]:
        rows = []
        if self.results and self.results.exists():
            for line in self.results.read_text(encoding="utf-8").splitlines():
                with suppress(json.JSONDecodeError):  # whoever was killed while it wrote
                    rows.append(json.loads(line))
        return {self._key(row["piece"]): row for row in rows}

    def _key(self, identity: Mapping[str, Any]) -> str:
        ignored = {"code"} if self.keep_older else set()
        return json.dumps({key: value for key, value in identity.items() if key not in ignored}, sort_keys=True)


def _parallel(work: Callable[[Any], Any], inputs: Mapping[Any, Any], workers: int) -> Iterable[tuple[Any, Any]]:
    """(key, result) as they come; a failure costs a line."""
    # Read when the workers load their libraries.
    os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    pool = ProcessPoolExecutor(
        workers, mp_context=get_context("spawn"), initializer=torch.set_num_threads, initargs=(1,)
    )
    try:
        running: dict[Future[Any], Any] = {pool.submit(work, one): key for key, one in inputs.items()}
        for future in as_completed(running):
            if error := future.exception():
                say(f"failed: {inputs[running[future]]}: {type(error).__name__}: {error}")
            else:
                yield running[future], future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _digest(facts: Any) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


@cache
def code_digest(rooms: tuple[str, ...] = ("detectors", "models", "scores", "sound")) -> str:
    """sha256 over the code that decides a score, as it lies on the disk at the first call."""
    package = Path(acoustic_ad.__file__).parent
    files = sorted(file for room in rooms for file in (package / room).glob("*.py"))
    return _digest([(file.name, file.read_text(encoding="utf-8")) for file in files])
