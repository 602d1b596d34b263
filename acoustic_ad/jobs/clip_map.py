"""Hearing one clip again, to show it: its log-mel beside the machine's normal, where it stands out, and its sound."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from acoustic_ad.errors import BundleError, ClipError
from acoustic_ad.jobs.limits import deadline_paused
from acoustic_ad.jobs.tasks import Unscored
from acoustic_ad.models.bundle import read_bundle
from acoustic_ad.models.excess import ExcessMap, excess_map
from acoustic_ad.models.machine_model import MachineModel
from acoustic_ad.sound.audio import mono_blocks
from acoustic_ad.sound.clip import sha256_of
from acoustic_ad.sound.features import FeatureSpec, LogMel

FloatArray = npt.NDArray[np.float32]
LONGEST_S: Final = 60.0  # of a clip that is shown: nobody can read more on one page


@dataclass(frozen=True, slots=True)
class MapTask:
    """A clip to hear again with one model. `sha256`: only if its bytes are still the ones that were scored."""

    path: Path
    bundle: Path
    sha256: str | None = None
    columns: tuple[tuple[str, str], ...] = ()  # of the manifest: a recipe may go by one of them
    keep_sound: bool = False
    digest: str | None = None  # of the bundle, as it was checked


@dataclass(frozen=True, slots=True)
class Box:
    """The region that stands out, in seconds and Hz."""

    start_s: float
    end_s: float
    low_hz: float
    high_hz: float
    db: float  # mean excess of its cells, signed
    z: float  # in standard deviations of a normal cell, signed


@dataclass(frozen=True, slots=True)
class ClipMap:
    """A clip as people see it; arrays are [frames, mels] or [mels], in dB."""

    level_db: FloatArray
    excess_db: FloatArray  # the clip minus the machine's mean normal frame
    normal_db: FloatArray  # [mels]
    spread_db: FloatArray  # [mels], of normal frames
    box: Box | None
    edges_hz: tuple[float, ...]  # [mels + 1]
    frame_s: float
    sample_rate_hz: int
    sound: FloatArray | None  # [samples], mono, as the model heard it
    cut: bool  # the clip is longer than what is here


def map_clip(task: MapTask) -> ClipMap | Unscored:
    """Hear a clip, at most its first minute. What is wrong with it becomes an Unscored; for a worker with a deadline.

    `changed` where the file holds other bytes than those that were scored.
    """
    try:
        with deadline_paused():  # a slow share of models is not the clip's fault
            model, front_end = _loaded(task.bundle, task.digest)
        if task.sha256 is not None and _sha256(task.path) != task.sha256:
            raise ClipError("changed", "the file holds other sound than when it was scored")
        sound, cut = _sound(task.path, model)
        log_mel = front_end(sound)
    except BundleError as error:
        return Unscored("bad_model", str(error))
    except ClipError as error:
        return Unscored(error.code, error.reason)
    except MemoryError:
        return Unscored("out_of_memory", "while the clip was decoded")
    condition = dict(task.columns).get(model.recipe.condition) if model.recipe.condition else None
    spec = front_end.spec
    found = excess_map(model, log_mel, spec.frame_s, condition)
    return ClipMap(
        log_mel,
        found.excess.astype(np.float32),
        found.normal.astype(np.float32),
        found.spread.astype(np.float32),
        _box(found, spec),
        tuple(spec.band_edges_hz.tolist()),
        spec.frame_s,
        spec.sample_rate_hz,
        sound if task.keep_sound else None,
        cut,
    )


def _sha256(path: Path) -> str:
    try:
        return sha256_of(path)
    except OSError as error:
        raise ClipError("unreadable", error.strerror or str(error)) from error


def _sound(path: Path, model: MachineModel) -> tuple[FloatArray, bool]:
    """The first minute [samples], mono at the model's rate, and whether there is more."""
    audio = model.recipe.audio
    blocks: Iterator[FloatArray] = mono_blocks(
        path, sample_rate_hz=audio.sample_rate_hz, channel=audio.channel, block_s=LONGEST_S
    )
    found = list(islice(blocks, 2))
    if not found:
        raise ClipError("empty", "0 samples")
    return found[0], len(found) > 1


def _box(found: ExcessMap, spec: FeatureSpec) -> Box | None:
    region = found.region
    if region is None:
        return None
    edges = spec.band_edges_hz
    return Box(
        region.first_frame * spec.frame_s,
        region.end_frame * spec.frame_s,
        float(edges[region.first_band]),
        float(edges[region.end_band]),
        region.db,
        region.z,
    )


@lru_cache(maxsize=4)
def _loaded(bundle: Path, digest: str | None) -> tuple[MachineModel, LogMel]:
    model, info = read_bundle(bundle, digest=digest)
    spec = info.feature_spec
    if spec is None:
        raise BundleError("the model was fitted on features made elsewhere: it cannot show sound files")
    return model, LogMel(spec)
