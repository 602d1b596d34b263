"""The clips of one machine, on their way from files to features that a training maps."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
import numpy.typing as npt

from acoustic_ad.errors import ClipError
from acoustic_ad.jobs.clip_work import feature_spec
from acoustic_ad.jobs.feature_file import KEY_BYTES
from acoustic_ad.jobs.feature_place import FeaturePlace, MachineFiles
from acoustic_ad.jobs.gathered_features import gathering
from acoustic_ad.jobs.pending import deadline_s
from acoustic_ad.jobs.planted_features import PlantSource
from acoustic_ad.jobs.read_features import HeardFeatures, read_features
from acoustic_ad.jobs.tasks import ReadTask, Unscored, reading_rehearsal
from acoustic_ad.jobs.workers import BYTES_A_SECOND, Workers
from acoustic_ad.models.machine_sound import FEWEST_CLIPS
from acoustic_ad.models.planting import chosen_for_planting
from acoustic_ad.recipe import Recipe
from acoustic_ad.scores.calibration import numbered
from acoustic_ad.sound.clip import Clip, printable_text, time_in_name

IntArray = npt.NDArray[np.int64]

# Clips of split `calibration` take over from cross-fitting when there are at least this many.
FEWEST_CALIBRATION = 10


@dataclass(frozen=True, slots=True)
class MachineClips:
    """The clips that one machine is learnt from."""

    machine: str
    files: MachineFiles  # of their features
    learnt: IntArray  # [n], numbers of the clips to learn from, in the file of features
    sessions: IntArray | None  # [n], numbers of their recordings; None where the manifest does not know them
    manifest_digest: str
    sources: list[PlantSource]  # of those, the recordings that faults are planted into
    conditions: list[str]  # [n]; "" where the recipe goes by no column
    calibration: IntArray = field(default_factory=lambda: np.zeros(0, np.int64))  # that the manifest keeps for it
    calibration_conditions: list[str] = field(default_factory=list)
    left_out: list[dict[str, str]] = field(default_factory=list)
    channels: int = 0  # that were alive in every clip
    newest: datetime | None = None  # when the latest of all these clips was recorded, as far as that is known


class _Heard:
    """The clips that could be read, in their order."""

    def __init__(self) -> None:
        self.clips: list[Clip] = []
        self.numbers: IntArray = np.zeros(0, np.int64)  # in the file of features
        self._keys = bytearray()
        self._channels: int | None = None

    def add(self, clip: Clip, features: HeardFeatures) -> None:
        """A further clip."""
        self.clips.append(clip)
        self._keys += features.key
        least = features.channels if self._channels is None else self._channels
        self._channels = min(least, features.channels)

    def key(self, place: int) -> bytes:
        """Of the content of the clip at that place."""
        return bytes(self._keys[KEY_BYTES * place : KEY_BYTES * (place + 1)])

    @property
    def channels(self) -> int:
        return self._channels or 0


def read_machine(
    machine: str,
    clips: list[Clip],
    recipe: Recipe,
    workers: Workers,
    place: FeaturePlace,
    clip_timeout_s: float | None = None,
    on_progress: Callable[[int], None] = lambda clips: None,
) -> MachineClips:
    """Features of a machine's clips, in a file; those that cannot be read, or show a broken sensor, are named.

    The log-mels go from the workers to the disk one by one. Raises FeaturesError.
    """
    files = place.files(machine, recipe, feature_spec(recipe))
    left_out = [_left_out(clip.clip_id, *clip.problem) for clip in clips if clip.problem]
    readable = list({clip.clip_id: clip for clip in clips if not clip.problem}.values())
    known = files.clips if files.kept_clips else None
    tasks = (
        (
            ReadTask(clip.clip_id, clip.path, recipe, place.kept is not None, known, files.spec),
            clip_deadline(clip, clip_timeout_s),
        )
        for clip in readable
    )
    heard = _Heard()
    with gathering(files, len(readable), recipe.features.n_mels) as gathered:
        results = workers.map(read_features, tasks, reading_rehearsal)
        for number, (clip, (_, result)) in enumerate(zip(readable, results, strict=True), start=1):
            on_progress(number)
            if isinstance(result, ClipError | Unscored):
                left_out.append(_left_out(clip.clip_id, result.code, result.reason))
            else:
                gathered.add(result)
                heard.add(clip, result)
    heard.numbers = gathered.numbers
    return _described(machine, clips, recipe, files, heard, left_out)


def clip_deadline(clip: Clip, clip_timeout_s: float | None) -> float:
    """Seconds that a worker may spend on a clip, by the size of its file; see `deadline_s`."""
    try:
        size = os.stat(clip.place).st_size  # noqa: PTH116 (see `place`)
    except OSError:
        size = 0
    return deadline_s(size / BYTES_A_SECOND, clip_timeout_s)


def time_of(clip: Clip) -> datetime | None:
    """When a clip was recorded; a file's modification time may be that of a copy, and says nothing here."""
    return clip.recorded_at or time_in_name(os.path.basename(clip.file))  # noqa: PTH119 (see `place`)


def _described(
    machine: str, clips: list[Clip], recipe: Recipe, files: MachineFiles, heard: _Heard, left_out: list[dict[str, str]]
) -> MachineClips:
    """What the manifest says of the clips that were heard, some of which it may keep for calibration."""
    kept = np.array([clip.split == "calibration" for clip in heard.clips], bool)
    if len(kept) - kept.sum() < FEWEST_CLIPS or kept.sum() < FEWEST_CALIBRATION:
        kept[:] = False
    places = np.flatnonzero(~kept)
    learnt, calibration = [heard.clips[place] for place in places], [heard.clips[p] for p in np.flatnonzero(kept)]
    sessions = numbered([clip.session or clip.clip_id for clip in learnt]) if any(c.session for c in learnt) else None
    chosen = chosen_for_planting(len(learnt)) if learnt else []
    times = (time for clip in heard.clips if (time := time_of(clip)) is not None)
    return MachineClips(
        machine,
        files,
        heard.numbers[places],
        sessions,
        _digest(clips),
        [PlantSource(number, learnt[number].path, heard.key(int(places[number]))) for number in chosen],
        [_condition(clip, recipe) for clip in learnt],
        heard.numbers[kept],
        [_condition(clip, recipe) for clip in calibration],
        left_out,
        heard.channels,
        max(times, default=None),
    )


def _condition(clip: Clip, recipe: Recipe) -> str:
    """The value of the column that the recipe goes by."""
    return dict(clip.columns).get(recipe.condition, "") if recipe.condition else ""


def _left_out(clip_id: str, code: str, reason: str) -> dict[str, str]:
    return {"clip_id": clip_id, "code": code, "reason": printable_text(reason)}


def _digest(clips: list[Clip]) -> str:
    """sha256 over what the manifest says of the training clips, as JSON: which model came from which rows."""
    digest = hashlib.sha256(b"[")
    for number, clip in enumerate(clips):
        row = [clip.clip_id, clip.machine, clip.split, clip.label, clip.session, clip.condition]
        digest.update(((", " if number else "") + json.dumps(row)).encode())
    digest.update(b"]")
    return digest.hexdigest()
