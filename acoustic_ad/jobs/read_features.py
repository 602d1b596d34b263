"""What a worker does with one clip of a training: find its features among those of earlier runs, or compute them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from acoustic_ad.errors import ClipError
from acoustic_ad.jobs.clip_work import read_log_mel
from acoustic_ad.jobs.feature_file import KEY_BYTES, FeatureFile, NotThisFile
from acoustic_ad.jobs.tasks import FileStamp, ReadTask, Unscored
from acoustic_ad.sound.clip import sha256_of
from acoustic_ad.sound.log_mels import StoredLogMel, in_steps

NO_KEY = bytes(KEY_BYTES)


@dataclass(frozen=True, slots=True)
class HeardFeatures:
    """A clip to learn from."""

    key: bytes  # sha256 of the file's content, or `NO_KEY`
    channels: int  # that were alive
    number: int | None  # in the file of earlier runs
    log_mel: StoredLogMel | None  # where it is not there


def read_features(task: ReadTask) -> HeardFeatures | Unscored:
    """The features of a clip, or why it cannot be learnt from."""
    if not task.keyed:
        return _computed(task, NO_KEY)
    try:
        stamp = FileStamp.of(task.path)
        key = bytes.fromhex(sha256_of(task.path))
        file = None if task.known is None else _opened(task.known, task.spec)
        number = None if file is None else file.find(key)
        if file is not None and number is not None:
            too_short = _too_short(len(file.steps(number)), task)
            return too_short or HeardFeatures(key, int(file.index["channels"][number]), number, None)
        found = _computed(task, key)
        if FileStamp.of(task.path) != stamp:
            return Unscored("changed", "the file changed while it was read")
    except ClipError as error:
        return Unscored(error.code, error.reason)
    except OSError as error:
        return Unscored("unreadable", error.strerror or str(error))
    return found


def _computed(task: ReadTask, key: bytes) -> HeardFeatures | Unscored:
    found = read_log_mel(task)
    if isinstance(found, Unscored):
        return found
    if not np.isfinite(found.log_mel).all():
        return Unscored("not_finite", "its log-mel contains NaN or Inf")
    return HeardFeatures(key, found.channels, None, in_steps(found.log_mel))


def _too_short(frames: int, task: ReadTask) -> Unscored | None:
    """As `read_log_mel` says it of a clip whose features are known."""
    needed = task.recipe.features.patch_frames
    return Unscored("too_short", f"{frames} frames; one patch of the model needs {needed}") if frames < needed else None


# The last file that was looked into: all clips of a machine are in one.
_known: dict[Path, FeatureFile | None] = {}


def _opened(path: Path, spec: str) -> FeatureFile | None:
    if path not in _known:
        _known.clear()
        try:
            _known[path] = FeatureFile.open(path, spec)
        except NotThisFile:
            _known[path] = None
    return _known[path]
