"""The features of clips with planted faults: computed once a training, or once for all that share a cache."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from acoustic_ad.errors import ClipError
from acoustic_ad.jobs.clip_work import feature_spec
from acoustic_ad.jobs.feature_file import FeatureFile, FeatureWriter, NotThisFile
from acoustic_ad.jobs.feature_place import MachineFiles, told, written
from acoustic_ad.jobs.read_features import NO_KEY
from acoustic_ad.models.planting import LONGEST_PLANTED_S, PLANTING_VERSION, PlantedClip, plant_in_recordings
from acoustic_ad.recipe import Recipe
from acoustic_ad.sound.audio import mono_blocks
from acoustic_ad.sound.clip import sha256_of
from acoustic_ad.sound.features import LogMel
from acoustic_ad.sound.log_mels import in_steps

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class PlantSource:
    """A recording to plant faults into."""

    clip: int  # its number among the training clips
    path: Path
    key: bytes  # of its content, see `HeardFeatures`


def planted_features(recipe: Recipe, sources: list[PlantSource], files: MachineFiles) -> list[PlantedClip]:
    """Every fault at every level in each recording, with log-mels that lie in a file.

    A recording that has gone or changed since its features were computed is passed over. Raises FeaturesError.
    """
    recordings = [(source.clip, partial(_waveform, recipe, source)) for source in sources]
    planted = plant_in_recordings(recordings, LogMel(feature_spec(recipe)), recipe.seed)
    keys = _keys(recipe, sources, planted)
    known = _opened(files)
    numbers = [] if known is None else [known.find(key) for key in keys]
    if known is None or None in numbers:
        with (
            told(files.planted, f"{len(planted)} log-mels with planted faults are to be written"),
            written(files.planted, files.kept_planted, files.spec, recipe.features.n_mels) as writer,
        ):
            numbers = _compute(planted, keys, known, writer)
        known = _opened(files)
    if known is None:
        return []
    return [
        replace(one, log_mel=partial(_read, known, number))
        for one, number in zip(planted, numbers, strict=True)
        if number is not None
    ]


def _compute(
    planted: list[PlantedClip], keys: list[bytes], known: FeatureFile | None, writer: FeatureWriter
) -> list[int | None]:
    """Write all log-mels, copied where they are known; the number of each in the new file, None where its clip is gone.

    A clip's recording is forgotten before the next one is read.
    """
    numbers: list[int | None] = []
    gone: set[int] = set()
    for place, (one, key) in enumerate(zip(planted, keys, strict=True)):
        found = None if known is None else known.find(key)
        numbers.append(None)
        if one.clip in gone:
            continue
        try:
            stored = in_steps(one.log_mel()) if known is None or found is None else known.stored(found)
        except (ClipError, OSError, StopIteration):
            gone.add(one.clip)
            continue
        finally:
            planted[place] = replace(one, log_mel=_forgotten)
        numbers[place] = len(writer)
        writer.add(key, stored)
    return numbers


def _forgotten() -> FloatArray:
    raise RuntimeError("the log-mel lies in the file")


def _read(file: FeatureFile, number: int) -> FloatArray:
    return file.clips(np.array([number]))[0]


def _opened(files: MachineFiles) -> FeatureFile | None:
    try:
        return FeatureFile.open(files.planted, files.spec)
    except NotThisFile:
        return None


def _keys(recipe: Recipe, sources: list[PlantSource], planted: list[PlantedClip]) -> list[bytes]:
    """A key for each planted clip, of all that decides what it sounds like; the features' spec is the file's."""
    contents = {source.clip: source.key.hex() for source in sources}
    counts: dict[int, int] = defaultdict(int)
    keys = []
    for one in planted:
        seeds = (recipe.seed, one.clip, counts[one.clip])
        counts[one.clip] += 1
        text = json.dumps([PLANTING_VERSION, contents[one.clip], *seeds, asdict(one.fault)], sort_keys=True)
        keys.append(hashlib.sha256(text.encode()).digest())
    return keys


def _waveform(recipe: Recipe, source: PlantSource) -> FloatArray:
    """The beginning of a recording, as mono samples at the recipe's rate; raises ClipError, OSError, StopIteration."""
    if source.key != NO_KEY and bytes.fromhex(sha256_of(source.path)) != source.key:
        raise ClipError("changed", "the file changed since its features were computed")
    blocks = mono_blocks(
        source.path,
        sample_rate_hz=recipe.audio.sample_rate_hz,
        channel=recipe.audio.channel,
        block_s=LONGEST_PLANTED_S,
    )
    return next(blocks)
