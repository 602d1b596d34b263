"""What people found out about alarms, put to use: labels for `evaluate`, and clips that join the calibration.

A `false-alarm` or `confirmed-fault` event is about the episode of its time. The clips of such an episode, from its
raising to its clearing, are confirmed normal or confirmed faulty.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import numpy as np

from acoustic_ad.errors import TrainingError
from acoustic_ad.jobs.alarm_book import WITHDRAWN, book
from acoustic_ad.jobs.fleet_report import iso
from acoustic_ad.jobs.history import Judged, history_of
from acoustic_ad.jobs.lock import hold_lock
from acoustic_ad.jobs.store import Store
from acoustic_ad.models.bundle import BundleInfo, TrainingDetails
from acoustic_ad.models.registry import Registry
from acoustic_ad.scores.calibration import Calibration
from acoustic_ad.sound.clip import one_line

LABEL_OF: Final = {"confirmed-fault": "anomaly", "false-alarm": "normal"}


@dataclass(frozen=True, slots=True)
class Confirmed:
    """A stretch of a machine's time of which people know what it was."""

    machine: str
    begin: datetime
    end: datetime | None  # None: it goes on
    label: str  # normal, anomaly

    def holds(self, machine: str, at: datetime) -> bool:
        """Whether a clip of that machine and time belongs to it."""
        return machine == self.machine and self.begin <= at and (self.end is None or at <= self.end)


def confirmed(store: Store, machine: str | None = None) -> list[Confirmed]:
    """The episodes that people have judged."""
    alarms, _ = book(store, machine)
    return [
        Confirmed(alarm.machine, alarm.raised_at, alarm.cleared_at, LABEL_OF[label])
        for alarm in alarms
        if alarm.state != WITHDRAWN and (label := str(alarm.facts.get("label"))) in LABEL_OF
    ]


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


def recalibrate(store: Store, models: Path, machine: str) -> Recalibration:
    """Let the clips of the machine's false alarms join the calibration of its current model, as a new version.

    The model itself stays as it is, and so do the scores of known clips and the version of before. Raises TrainingError
    where a warning or an alarm stands, or where no clip is to join; BundleError, LockedError.
    """
    alarms, _ = book(store, machine)
    standing = [alarm for alarm in alarms if alarm.state != WITHDRAWN and alarm.cleared_at is None]
    if standing:
        raise TrainingError(
            f"{one_line(machine)}: {standing[0].level} {standing[0].id} stands since {iso(standing[0].raised_at)}: "
            "nothing joins the calibration before it has returned to normal"
        )
    registry = Registry(models)
    with hold_lock(models / ".train"):
        model, info = registry.load(machine)
        joining = _joining(store, machine, info.digest)
        if not joining or model.calibration is None:
            raise TrainingError(
                f"{one_line(machine)}: no clip to join: `acoustic-ad events add MACHINE false-alarm --at TIME` tells "
                f"which alarms were false; their clips must have been judged by the current version {info.version}"
            )
        model.calibration = _grown(model.calibration, joining)
        saved = registry.save(machine, model, _details(info, len(joining)))
    return Recalibration(
        machine, saved.version, info.version, len(joining), saved.calibration.n, saved.calibration.promise
    )


def _joining(store: Store, machine: str, digest: str) -> list[Judged]:
    """The scored clips of false alarms, oldest first, that the version with this digest judged."""
    spans = [span for span in confirmed(store, machine) if span.label == "normal"]
    faulty = [span for span in confirmed(store, machine) if span.label == "anomaly"]
    return [
        clip
        for clip in history_of(store, machine).clips
        if clip.model == digest
        and clip.status == "scored"
        and any(span.holds(machine, clip.recorded_at) for span in spans)
        and not any(span.holds(machine, clip.recorded_at) for span in faulty)
    ]


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
