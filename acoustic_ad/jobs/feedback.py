"""What people found out about alarms, put to use: labels for `evaluate`, and clips that join the calibration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from acoustic_ad.errors import TrainingError
from acoustic_ad.health.feedback import labelled, may_join
from acoustic_ad.jobs.baselines import Baselines
from acoustic_ad.jobs.day_traces import Judged
from acoustic_ad.jobs.fleet_health import Told, events_of_history, tell
from acoustic_ad.jobs.history import History, history_of
from acoustic_ad.jobs.lock import hold_lock
from acoustic_ad.jobs.store import Store
from acoustic_ad.models.bundle import BundleInfo, TrainingDetails
from acoustic_ad.models.registry import Registry
from acoustic_ad.models.signing import SigningKey, Trust
from acoustic_ad.scores.calibration import Calibration
from acoustic_ad.sound.clip import one_line


def labels_from_events(store: Store, models: Path) -> dict[tuple[str, str], str]:
    """(machine, sha256) -> normal or anomaly, of the clips of which people know what they were."""
    baselines = Baselines(models)
    found: dict[tuple[str, str], str] = {}
    for row in store.machines():
        history = history_of(store, row.machine)
        if history.events:
            labels = _labels(history, tell(store, baselines, history))
            found |= {(row.machine, content): label for content, label in labels.items()}
    return found


def _labels(history: History, told: Told) -> dict[str, str]:
    return dict(labelled(told.points, told.health.episodes, events_of_history(history)))


@dataclass(frozen=True, slots=True)
class Recalibration:
    """A version whose calibration has grown."""

    machine: str
    version: str
    before: str
    joined: int
    clips: int
    promise: str

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "machine": self.machine,
            "version": self.version,
            "before": self.before,
            "joined": self.joined,
            "calibration_clips": self.clips,
            "promise": self.promise,
        }


def recalibrate(
    store: Store, models: Path, machine: str, key: SigningKey | None = None, trust: Trust | None = None
) -> Recalibration:
    """Let the clips of the machine's false alarms join the calibration of its current model, as a new version.

    The model itself stays as it is, and so do the scores of known clips and the version of before. `trust`: only a
    model that one of its keys signed, so that a signature by `key` passes on no trust that was not there. Raises
    TrainingError where a warning or an alarm stands, or where no clip is to join; BundleError, LockedError.
    """
    history = history_of(store, machine)
    told = tell(store, Baselines(models, trust), history)
    if refused := may_join(told.health):
        raise TrainingError(f"{one_line(machine)}: nothing joins the calibration: {refused}")
    registry = Registry(models, trust)
    with hold_lock(models / ".train"):
        model, info = registry.load(machine)
        joining = _joining(history, told, info.digest)
        if not joining or model.calibration is None:
            raise TrainingError(
                f"{one_line(machine)}: no clip to join: `acoustic-ad events add MACHINE false-alarm --at TIME` tells "
                f"which alarms were false; their clips must have been judged by the current version {info.version}"
            )
        model.calibration = _grown(model.calibration, joining)
        saved = registry.save(machine, model, _details(info, len(joining)), key=key)
    return Recalibration(
        machine, saved.version, info.version, len(joining), saved.calibration.n, saved.calibration.promise
    )


def _joining(history: History, told: Told, digest: str) -> list[Judged]:
    """The confirmed normal clips, oldest first, that the version with this digest judged."""
    labels = _labels(history, told)
    return [clip for clip in history.clips if clip.model == digest and labels.get(clip.sha256) == "normal"]


def _grown(calibration: Calibration, joining: Sequence[Judged]) -> Calibration:
    """The calibration with further clips behind its own, each day of them a recording."""
    if calibration.conditions:
        raise TrainingError("the model goes by operating conditions, which the store does not keep: train it again")
    n = len(calibration.scores)
    place = np.arange(n) if calibration.order is None else calibration.order
    own = np.empty(n)
    own[place] = calibration.scores
    days = {day: number for number, day in enumerate(sorted({clip.recorded_at.date() for clip in joining}))}
    session = None  # unless the recordings of the others are known
    if calibration.session is not None:
        session = np.empty(n, np.int64)
        session[place] = calibration.session
        further = [int(session.max()) + 1 + days[clip.recorded_at.date()] for clip in joining]
        session = np.concatenate([session, further])
    return Calibration.of(
        np.concatenate([own, [clip.score for clip in joining if clip.score is not None]]),
        calibration.sessions + len(days),
        session=session,
    )


def _details(info: BundleInfo, joined: int) -> TrainingDetails:
    return TrainingDetails(
        n_clips=info.n_clips + joined,
        feature_spec=info.feature_spec,
        manifest_digest=info.manifest_digest,
        left_out=[clip.model_dump() for clip in info.left_out],
        extra={**info.extra, "recalibrated_from": info.version, "confirmed_normals": joined},
        kept=info,
    )
