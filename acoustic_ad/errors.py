"""What can go wrong, in words a user can act on.

Every error that a user can cause is an `AcousticADError`; the CLI prints its message as one line and exits with
its `exit_code`. Anything else is a bug and keeps its traceback.
"""

from __future__ import annotations

import errno
from typing import Final, Literal

# Why a clip has no score. The text says what an operator should do about it.
CLIP_CODES: Final[dict[str, str]] = {
    "no_model": "no model for this machine: train one with `acoustic-ad train`",
    "bad_model": "the machine's model bundle was refused: see `acoustic-ad models verify`",
    "empty": "the file holds no samples",
    "bad_header": "the header describes an impossible or broken file",
    "truncated": "the file is shorter than its header says",
    "unsupported": "not an audio format that libsndfile reads",
    "decode_error": "the decoder gave up inside the file",
    "decode_timeout": "decoding did not end within the clip's deadline; the worker was killed",
    "out_of_memory": "the clip needed more memory than a worker may use",
    "worker_died": "the worker process died on this clip",
    "not_finite": "the samples contain NaN or Inf",
    "too_short": "shorter than one patch of the model's features",
    "bad_rate": "sample rate outside 1-384 kHz",
    "bad_channels": "channel count outside 1-64, or the recipe's channel is missing",
    "unreadable": "the file cannot be opened",
    "changed": "the file changed while it was read",
    "outside_root": "a symbolic link that leaves the folder",
}

# Why a clip, though readable, says nothing about the machine (status `sensor_fault`).
SENSOR_CODES: Final[dict[str, str]] = {
    "silent": "digital silence: check the microphone and its cable",
    "constant": "the same value throughout: check the microphone and its converter",
    "clipped": "the signal sits at full scale: lower the recorder's gain",
    "stuck": "long runs of one repeated value: check the converter and the recorder",
    "faint": "quieter than in training even where only the hall was heard: check the microphone, its gain and cover",
    "missing_channel": "a channel that was heard in training is dead: check its microphone and cable",
}


class AcousticADError(Exception):
    """An error that the user can mend. `str(error)` says what, where, and what to do next."""

    exit_code = 1


class UsageError(AcousticADError):
    """The call itself is wrong (unknown recipe, contradictory options): nothing was tried."""

    exit_code = 2


class RecipeError(UsageError):
    """A recipe with unknown keys or impossible values; the message lists all of them with their paths."""


class ManifestError(AcousticADError):
    """DATA cannot be read as a folder or manifest, or breaks a rule that `train` insists on."""


class BundleError(AcousticADError):
    """A model bundle that is missing, damaged or hostile; nothing of it was used."""


class StoreError(AcousticADError):
    """The score store cannot be opened, read or written."""


class LockedError(AcousticADError):
    """Another job holds this store or model folder."""

    exit_code = 5


class WorkersError(AcousticADError):
    """The worker processes die whatever they are given; what was finished before is kept."""


class TrainingError(AcousticADError):
    """A machine could not be trained (too few clips, features that do not fit)."""


class FeaturesError(AcousticADError):
    """The features of a training cannot be written where they are to lie: no room, or no right to."""


class NotFittedError(AcousticADError):
    """A detector, scorer or model was asked for a score before `fit` or loading."""


class ClipError(AcousticADError):
    """One clip cannot be used.

    `code` is one of `CLIP_CODES` (the clip is `failed`) or `SENSOR_CODES` (the clip is `sensor_fault`); `reason`
    adds the particulars (both numbers where there are two).
    """

    def __init__(self, code: str, reason: str) -> None:
        if code not in CLIP_CODES and code not in SENSOR_CODES:
            raise ValueError(f"unknown clip code {code!r}; one of {sorted(CLIP_CODES | SENSOR_CODES)}")
        super().__init__(code, reason)
        self.code = code
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.code}: {self.reason}"

    @property
    def status(self) -> Literal["failed", "sensor_fault"]:
        """`sensor_fault` where the sound itself shows a broken sensor, else `failed`."""
        return "sensor_fault" if self.code in SENSOR_CODES else "failed"


NO_ROOM: Final = (errno.ENOSPC, errno.EDQUOT)


def refusal(error: OSError) -> str:
    """Why a file cannot be written, in the system's words; where its disk is full, what to do about it as well."""
    why = error.strerror or str(error)
    return f"{why}; make room on its disk, and run again" if error.errno in NO_ROOM else why
