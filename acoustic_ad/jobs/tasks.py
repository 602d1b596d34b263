"""What the parent and its workers send each other. No heavy imports: a run with nothing to do never loads torch."""

from __future__ import annotations

import random
import wave
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from acoustic_ad.errors import ClipError

if TYPE_CHECKING:
    from acoustic_ad.detectors.base import Runtime
    from acoustic_ad.recipe import Recipe


@dataclass(frozen=True, slots=True)
class FileStamp:
    """What tells that a file has changed."""

    size: int
    mtime_ns: int
    inode: int

    @classmethod
    def of(cls, path: Path) -> FileStamp:
        """The stamp as it is now; raises ClipError `unreadable`."""
        try:
            found = path.stat()
        except OSError as error:
            raise ClipError("unreadable", error.strerror or str(error)) from error
        return cls(found.st_size, found.st_mtime_ns, found.st_ino)


@dataclass(frozen=True, slots=True)
class ScoreTask:
    """One clip to score with one model."""

    clip_id: str
    path: Path
    stamp: FileStamp  # when its content was hashed
    bundle: Path
    columns: tuple[tuple[str, str], ...] = ()  # of the manifest, by name: a recipe may go by one of them
    digest: str | None = None  # of the bundle, as the job has checked it: no other may take its place meanwhile
    runtime: Runtime = "torch"  # what judges the clip
    settle_s: float = 0.0  # a file whose header leaves its length open is complete when left alone for this long


@dataclass(frozen=True, slots=True)
class Scored:
    """The verdict on a clip, as a worker sends it back."""

    score: float
    p_value: float
    bands: list[dict[str, float]]  # what stands out
    index: float  # 0..100, the same scale on every machine; 50 is the limit of the normal range
    duration_s: float
    rms_db: float  # of the mono samples, full scale is 0
    note: str | None = None  # what people should know of this score


@dataclass(frozen=True, slots=True)
class Off:
    """A clip of a machine that stands still: no score, and nothing wrong."""

    reason: str
    duration_s: float
    rms_db: float


@dataclass(frozen=True, slots=True)
class Unscored:
    """Why a clip has no score. `growing` marks a file that may only be unfinished."""

    code: str
    reason: str
    growing: bool = False


def score_clip(task: ScoreTask) -> Scored | Off | Unscored:
    """What a worker does, see `clip_work.score_clip`: by this name, the parent need not load torch to ask for it."""
    from acoustic_ad.jobs import clip_work

    return clip_work.score_clip(task)


@dataclass(frozen=True, slots=True)
class ReadTask:
    """One clip to turn into a log-mel for training."""

    clip_id: str
    path: Path
    recipe: Recipe
    keyed: bool = False  # its content is hashed, because its features outlive the run
    known: Path | None = None  # features of earlier runs, of those that `spec` names
    spec: str = ""


def rehearsal(task: ScoreTask, folder: Path) -> ScoreTask:
    """The same work at a sound that is known to be good, which is written to `folder`."""
    path = _known_sound(folder)
    return replace(task, clip_id="rehearsal", path=path, stamp=FileStamp.of(path), settle_s=0.0)


def reading_rehearsal(task: ReadTask, folder: Path) -> ReadTask:
    """As `rehearsal`."""
    return replace(task, clip_id="rehearsal", path=_known_sound(folder))


def _known_sound(folder: Path) -> Path:
    """Ten seconds of noise. Written without an audio library: it may be what is broken."""
    path = folder / "known.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes(random.Random(0).randbytes(2 * 160_000))
    return path
