"""What is told of the model that judges a machine: its bundle, its calibration, and how labelled clips scored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import sqlalchemy as sa

from acoustic_ad.errors import BundleError
from acoustic_ad.jobs.schema import IS_LABELLED, clip_scores
from acoustic_ad.jobs.store import Store, newest_of
from acoustic_ad.models.bundle_info import BundleInfo
from acoustic_ad.models.registry import Registry
from acoustic_ad.scores.calibration import Calibration
from acoustic_ad.scores.uniformity import held_out_p_values
from acoustic_ad.sound.manifest import read_manifest

FAULT_COLUMN: Final = "fault"
Array = npt.NDArray[np.float64]


class Labelled(NamedTuple):
    """A scored clip that somebody has labelled."""

    clip_id: str
    score: float
    label: str  # normal, anomaly
    fault: str  # what kind, where known; "" else


@dataclass(frozen=True, slots=True)
class ModelStory:
    """The current model of a machine."""

    info: BundleInfo
    calibration: Calibration
    held_out_p: Array | None  # [n] of the calibration clips; None where recordings, or their order, are not known
    labelled: tuple[Labelled, ...]  # scores of this very model


def faults_named(manifests: Sequence[Path]) -> dict[tuple[str, str], str]:
    """(clip_id, machine) -> kind of fault, of the clips whose manifest names one in a column `fault`."""
    clips = [clip for data in manifests for clip in read_manifest(data).clips]
    named = {(clip.clip_id, clip.machine): dict(clip.extra).get(FAULT_COLUMN, "") for clip in clips}
    return {key: fault for key, fault in named.items() if fault}


def model_story(
    store: Store, models: Registry, machine: str, faults: Mapping[tuple[str, str], str] | None = None
) -> ModelStory | str:
    """What there is to tell of a machine's current model, or why there is nothing.

    `faults` is by (clip_id, machine) the kind of fault that a manifest names.
    """
    try:
        info, calibration = models.calibration(machine)
    except BundleError as error:
        return str(error)
    return ModelStory(info, calibration, _held_out(calibration), _labelled(store, machine, info.digest, faults or {}))


def _held_out(calibration: Calibration) -> Array | None:
    if calibration.order is None:
        return None
    scores = np.empty_like(calibration.scores)
    scores[calibration.order] = calibration.scores
    sessions = None
    if calibration.session is not None and np.unique(calibration.session).size > 1:
        sessions = np.empty_like(calibration.session)
        sessions[calibration.order] = calibration.session
    try:
        return held_out_p_values(scores, sessions)
    except ValueError:
        return None


def _labelled(store: Store, machine: str, model: str, faults: Mapping[tuple[str, str], str]) -> tuple[Labelled, ...]:
    clips = clip_scores.c
    query = sa.select(clips.clip_id, clips.score, clips.label).where(
        clips.machine == machine,
        IS_LABELLED,
        clips.status == "scored",
        clips.model == model,
        clips.label.in_(("normal", "anomaly")),
        clips.id == newest_of(clip_scores),
    )
    with store.reading() as connection:
        rows = connection.execute(query.order_by(clips.recorded_at, clips.clip_id)).all()
    return tuple(Labelled(*row, faults.get((row.clip_id, machine), "")) for row in rows)
