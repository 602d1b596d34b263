"""What a worker does with one clip: decode, features, model. At most five calls lead from a path to a clip score."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from acoustic_ad.detectors.base import Runtime
from acoustic_ad.errors import BundleError, ClipError
from acoustic_ad.health.policy import clip_index
from acoustic_ad.jobs.limits import deadline_paused
from acoustic_ad.jobs.tasks import FileStamp, Off, ReadTask, Scored, ScoreTask, Unscored
from acoustic_ad.models.bundle import read_bundle
from acoustic_ad.models.machine_model import MachineModel
from acoustic_ad.recipe import Recipe
from acoustic_ad.scores.explain import standouts
from acoustic_ad.sound.audio import mono_blocks, probe
from acoustic_ad.sound.features import FeatureSpec, FramedLogMel, LogMel
from acoustic_ad.sound.numpy_log_mel import NumpyLogMel
from acoustic_ad.sound.sensor import SensorCheck

FloatArray = npt.NDArray[np.float32]
# Models kept in a worker at a time: clips come sorted by machine, so more would only take memory.
MODELS_KEPT = 3
# Shorter than what any format begins with.
LEAST_HEADER_BYTES = 12
CHANNELS = "channels"  # in a bundle's `extra`: how many were alive in every training clip


def feature_spec(recipe: Recipe) -> FeatureSpec:
    """The front-end that a recipe asks for."""
    table = recipe.features
    return FeatureSpec(
        recipe.audio.sample_rate_hz, table.n_fft, recipe.hop_samples, table.n_mels, table.fmin_hz, table.fmax_hz
    )


@dataclass(frozen=True, slots=True)
class HeardClip:
    """A clip to learn from."""

    log_mel: FloatArray  # [frames, mels] in dB
    channels: int  # that were alive


def score_clip(task: ScoreTask) -> Scored | Off | Unscored:
    """Score a clip; every clip error becomes an Unscored, so that only bugs are exceptions."""
    try:
        with deadline_paused():
            model, front_end, channels = _loaded(task.bundle, task.digest, task.runtime)
    except BundleError as error:
        return Unscored("bad_model", str(error))
    try:
        clip = _Decoded(task.path, model.recipe)
        condition = dict(task.columns).get(model.recipe.condition) if model.recipe.condition else None
        verdict = model.score_stream(front_end.stream(clip.blocks()), condition, paper=False)
        clip.check(channels)
        _check_finished(task)
    except ClipError as error:
        return _unscored(error, task)
    except MemoryError:
        return Unscored("out_of_memory", "while the clip was decoded")
    except BundleError as error:  # of a network that runs, but not with these patches
        return Unscored("bad_model", str(error))
    absence = model.absence(verdict)
    if absence is not None:
        kind, reason = absence
        return Off(reason, clip.duration_s, clip.rms_db) if kind == "off" else Unscored(kind, reason)
    found = standouts(verdict.bands, verdict.band_z, front_end.spec.band_centres_hz)
    return Scored(
        verdict.score,
        verdict.p_value,
        [band.as_dict() for band in found],
        clip_index(verdict.score, *model.normal_range()),
        clip.duration_s,
        clip.rms_db,
        None if verdict.condition_known else f"{model.recipe.condition} {condition!r} was not in training",
    )


def read_log_mel(task: ReadTask) -> HeardClip | Unscored:
    """The log-mel of a clip, or why it cannot be learnt from."""
    try:
        clip = _Decoded(task.path, task.recipe)
        log_mel = np.concatenate(list(_front_end(feature_spec(task.recipe)).stream(clip.blocks())))
        clip.check()
    except ClipError as error:
        return Unscored(error.code, error.reason)
    except MemoryError:
        return Unscored("out_of_memory", "while the clip was decoded")
    if len(log_mel) < task.recipe.features.patch_frames:
        needed = task.recipe.features.patch_frames
        return Unscored("too_short", f"{len(log_mel)} frames; one patch of the model needs {needed}")
    return HeardClip(log_mel, clip.channels)


class _Decoded:
    """A clip's samples, block by block, with an eye on the sensor."""

    def __init__(self, path: Path, recipe: Recipe) -> None:
        self._path, self._audio = path, recipe.audio
        self._sensor = SensorCheck()
        self._samples = 0
        self._energy = 0.0

    def blocks(self) -> Iterator[FloatArray]:
        """Mono samples at the model's rate, counted as they pass."""
        for block in mono_blocks(
            self._path,
            sample_rate_hz=self._audio.sample_rate_hz,
            channel=self._audio.channel,
            sensor=self._sensor,
        ):
            self._samples += len(block)
            self._energy += float(np.dot(block, block))
            yield block

    def check(self, channels: int = 0) -> None:
        """Raise the sensor's fault, if the samples showed one; `channels` were alive in training."""
        fault = self._sensor.fault(channels)
        if fault is not None:
            raise fault

    @property
    def channels(self) -> int:
        return self._sensor.alive

    @property
    def duration_s(self) -> float:
        return self._samples / self._audio.sample_rate_hz

    @property
    def rms_db(self) -> float:
        return 10.0 * math.log10(max(self._energy / max(self._samples, 1), 1e-20))


# A recorder may keep the header true of what it has written so far: between two of its writes the file looks whole. So
# a file of this moment is looked at again when nothing has been written to it for so long. Files grow old while others
# are scored: a run waits for this once, not with every clip.
QUIET_S = 2.0
ENDLESS = ("MP3",)  # formats that end anywhere between two frames


def _check_finished(task: ScoreTask) -> None:
    age_s = time.time() - task.stamp.mtime_ns / 1e9
    # One of the future (a share whose clock runs ahead) would be waited for with every clip, and tell nothing.
    if 0.0 <= age_s < min(task.settle_s, QUIET_S):
        with deadline_paused():
            time.sleep(QUIET_S - age_s)
    if FileStamp.of(task.path) != task.stamp:
        raise ClipError("changed", "the file changed while it was read")
    if time.time() - task.stamp.mtime_ns / 1e9 < task.settle_s:
        info = probe(task.path)
        if info.open_ended or info.format in ENDLESS:
            raise ClipError(
                "changed", "nothing says where the sound ends, and the file is new: it may still be written"
            )


def _unscored(error: ClipError, task: ScoreTask) -> Unscored:
    """A file that is cut short, has hardly begun, or has changed meanwhile, may only be unfinished."""
    try:
        growing = error.code in ("changed", "truncated", "empty") or task.stamp.size < LEAST_HEADER_BYTES
        growing = growing or FileStamp.of(task.path) != task.stamp
    except ClipError as gone:
        return Unscored(gone.code, gone.reason)
    return Unscored(error.code, error.reason, growing)


_models: OrderedDict[tuple[Path, str | None, Runtime], tuple[MachineModel, FramedLogMel, int]] = OrderedDict()
_front_ends: dict[tuple[FeatureSpec, Runtime], FramedLogMel] = {}


def _loaded(bundle: Path, digest: str | None, runtime: Runtime = "torch") -> tuple[MachineModel, FramedLogMel, int]:
    """A bundle's model, the front-end that it was fitted behind, and the channels that were alive in training."""
    key = (bundle, digest, runtime)
    if key not in _models:
        model, info = read_bundle(bundle, digest=digest, runtime=runtime)
        spec = feature_spec(model.recipe)
        if info.feature_spec is None or info.feature_spec.digest != spec.digest:
            raise BundleError("the model was fitted on features made elsewhere: it cannot score sound files")
        channels = info.extra.get(CHANNELS)
        _models[key] = (model, _front_end(spec, runtime), channels if isinstance(channels, int) else 0)
        while len(_models) > MODELS_KEPT:
            _models.popitem(last=False)
    _models.move_to_end(key)
    return _models[key]


def _front_end(spec: FeatureSpec, runtime: Runtime = "torch") -> FramedLogMel:
    key = (spec, runtime)
    if key not in _front_ends:
        _front_ends[key] = LogMel(spec) if runtime == "torch" else NumpyLogMel(spec)
    return _front_ends[key]
