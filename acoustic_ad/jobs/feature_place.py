"""Where the features of a training lie: in a folder of the run, and with `--cache` also in one that outlives it."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from acoustic_ad.errors import NO_ROOM, FeaturesError
from acoustic_ad.jobs.feature_file import FeatureWriter
from acoustic_ad.recipe import Recipe
from acoustic_ad.sound.clip import one_line
from acoustic_ad.sound.features import FeatureSpec

# Of a run: a file that is locked as long as the run lives, and beside it the folder without the suffix.
RUN: Final = ".run-"
LOCK: Final = ".lock"


@dataclass(frozen=True, slots=True)
class MachineFiles:
    """The files of one machine's features."""

    spec: str  # see `FeatureFile.spec`
    clips: Path  # of the recordings, in the folder of the run
    planted: Path  # of some of them with planted faults, likewise
    kept_clips: Path | None = None  # where they outlive the run
    kept_planted: Path | None = None

    def remove(self) -> None:
        """Give back the room that they take for the run."""
        for path in (self.clips, self.planted):
            with suppress(OSError):
                path.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class FeaturePlace:
    """The folders of a run."""

    own: Path  # goes with the run
    kept: Path | None = None  # outlives it

    def files(self, machine: str, recipe: Recipe, spec: FeatureSpec) -> MachineFiles:
        """The files of a machine, of which those that an earlier run kept are there already.

        They get a second name in the folder of the run: what another run puts in their place is not taken for them.
        """
        words = f"{spec.digest} {recipe.audio.channel}"
        name = hashlib.sha256(json.dumps([machine, words]).encode()).hexdigest()[:32]
        clips, planted = f"{name}.clips", f"{name}.planted"
        if self.kept is None:
            return MachineFiles(words, self.own / clips, self.own / planted)
        for file in (clips, planted):
            if (self.kept / file).is_file():
                with told(self.own):
                    _name_twice(self.kept / file, self.own / file)
        return MachineFiles(words, self.own / clips, self.own / planted, self.kept / clips, self.kept / planted)


@contextmanager
def feature_place(models: Path, kept: Path | None) -> Iterator[FeaturePlace]:
    """Folders for the features of a run that writes to `models`; `kept` is the folder that outlives it, if any.

    The run's own folder lies in the one of the two that is asked for, since the system's temporary folder is memory on
    many systems. It is removed at the end of the block, however that ends; what a killed run left there is removed by
    the next one. Raises FeaturesError.
    """
    base = models / ".features" if kept is None else kept
    with told(base):
        base.mkdir(parents=True, exist_ok=True)
        _sweep(base)
    try:
        with _run_folder(base) as own:
            yield FeaturePlace(own, kept)
    finally:
        if kept is None:
            with suppress(OSError):  # another run is at work there
                base.rmdir()


@contextmanager
def written(path: Path, kept: Path | None, spec: str, mels: int) -> Iterator[FeatureWriter]:
    """A file of features at `path`, and under the name `kept` too, that appears whole when the block ends well.

    Raises OSError; nothing of an unfinished file is left.
    """
    new = path.with_suffix(f".{secrets.token_hex(4)}.new")
    try:
        with new.open("xb") as file:
            writer = FeatureWriter(file, spec, mels)
            yield writer
            writer.finish()
            if kept is not None:
                os.fsync(file.fileno())
        new.replace(path)
        if kept is not None:
            _name_twice(path, new)
            new.replace(kept)
    finally:
        with suppress(OSError):
            new.unlink(missing_ok=True)


@contextmanager
def told(folder: Path, need: str = "") -> Iterator[None]:
    """An OSError of the block as a FeaturesError: what was to be written in `folder`, and how much room there is."""
    try:
        yield
    except OSError as error:
        name = one_line(str(folder))
        if error.errno not in NO_ROOM:
            why = error.strerror or str(error)
            raise FeaturesError(f"{name}: the features cannot be kept here: {why}; name a folder by --cache") from error
        with suppress(OSError):
            need += f"{', ' if need else ''}{_in_words(shutil.disk_usage(folder).free)} are free"
        raise FeaturesError(
            f"{name}: no room for the features: {need}; make room, or name a folder on a larger disk by --cache"
        ) from error


def needed(writer: FeatureWriter, total: int) -> str:
    """How much room the features of `total` clips take, judged by those that are written."""
    took = writer.size / max(len(writer), 1) * total
    return f"{total} clips need about {_in_words(took)} ({len(writer)} of them were written)"


def _in_words(size: float) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


def _name_twice(path: Path, other: Path) -> None:
    try:
        os.link(path, other)
    except OSError:  # a file system without hard links
        shutil.copyfile(path, other)


@contextmanager
def _run_folder(base: Path) -> Iterator[Path]:
    """A new folder that belongs to this process as long as it lives."""
    with told(base):
        lock, path = _locked(base)
        folder = path.with_suffix("")
        folder.mkdir()
    try:
        yield folder
    finally:
        _remove(path)
        os.close(lock)


def _locked(base: Path) -> tuple[int, Path]:
    """A new lock file, locked. Between the two a run that tidies up may have taken it away: then another one."""
    while True:
        path = base / f"{RUN}{secrets.token_hex(8)}{LOCK}"
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with suppress(FileNotFoundError):
            if path.stat().st_ino == os.fstat(lock).st_ino:
                return lock, path
        os.close(lock)


def _sweep(base: Path) -> None:
    """Remove what runs left that were killed: their locks are free. Whatever is locked is alive, and stays."""
    for path in base.glob(f"{RUN}*{LOCK}"):
        with suppress(OSError):
            lock = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _remove(path)
            finally:
                os.close(lock)


def _remove(lock: Path) -> None:
    """The folder of a run first, then its lock: nobody else does it meanwhile."""
    shutil.rmtree(lock.with_suffix(""), ignore_errors=True)
    with suppress(OSError):
        lock.unlink()
