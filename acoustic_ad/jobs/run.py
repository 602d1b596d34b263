"""A job as a scheduler sees it: with events from begin to end, and metrics, whatever becomes of it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from acoustic_ad.errors import AcousticADError, LockedError
from acoustic_ad.jobs.events import event, run_context
from acoustic_ad.jobs.score import ScoreOptions, ScoreReport, score

if TYPE_CHECKING:
    from acoustic_ad.jobs.metrics import JobMetrics
    from acoustic_ad.jobs.train import Listener, TrainOptions, TrainReport

QUIET_STATES = ("learning", "normal", "off")


def run_score(
    options: ScoreOptions,
    metrics: Path | None = None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> ScoreReport:
    """`score`, with events, and with metrics in the file `metrics`, also where it fails; raises what `score` raises.

    Where another job is at work (LockedError), the metrics are left to that one.
    """
    from acoustic_ad.jobs.metrics import JobMetrics

    written = None if metrics is None else JobMetrics(metrics, options.folder)
    clock = time.monotonic()
    with run_context():
        try:
            report = score(options, on_progress)
            if written is not None:
                written.write(report, time.monotonic() - clock)
        except BaseException as error:
            _tell_failure(error, _since(clock), written)
            raise
        for machine in report.fleet.machines:
            row = machine.row
            level = logging.DEBUG if row.state in QUIET_STATES else logging.WARNING
            event(level, "machine_state", machine=row.machine, state=row.state, index=row.index)
        for notice in report.notices:
            event(logging.WARNING, notice.kind, about=notice.about, text=notice.text)
        event(logging.INFO, "run_ended", exit_code=report.exit_code, duration_s=_since(clock))
        return report


def _tell_failure(error: BaseException, duration_s: float, metrics: JobMetrics | None) -> None:
    code = int(getattr(error, "exit_code", 1))
    event(logging.INFO, "run_ended", exit_code=code, duration_s=duration_s, reason=str(error))
    if metrics is None or isinstance(error, LockedError):
        return
    try:
        metrics.write_failure(code, duration_s)
    except AcousticADError as unwritten:  # the failure of the run is the news
        event(logging.ERROR, "metrics_not_written", reason=str(unwritten))


def run_train(options: TrainOptions, listen: Listener) -> TrainReport:
    """`train`, with events; the summary accounts for every clip that was to be learnt from."""
    from acoustic_ad.jobs.train import train  # loads torch

    clock = time.monotonic()
    with run_context():
        event(logging.INFO, "training_started", data=str(options.data), recipe=options.recipe.name)
        try:
            report = train(options, listen)
        except BaseException as error:
            code = int(getattr(error, "exit_code", 1))
            event(logging.INFO, "training_ended", exit_code=code, duration_s=_since(clock), reason=str(error))
            raise
        _tell_training(report)
        ended = {"exit_code": report.exit_code, "duration_s": _since(clock)}
        event(logging.INFO, "training_ended", **ended, recognised=report.description)
        return report


def _tell_training(report: TrainReport) -> None:
    left_out = 0
    for trained in report.trained:
        learnt = {"clips": trained.clips, "left_out": len(trained.left_out)}
        event(logging.INFO, "machine_trained", machine=trained.machine, version=trained.version, **learnt)
        left_out += _tell_left_out(trained.machine, trained.left_out)
    for machine, reason, clips in report.refused:
        event(logging.WARNING, "machine_refused", machine=machine, reason=reason)
        left_out += _tell_left_out(machine, clips)
    counts = {"machines": len(report.trained) + len(report.refused), "trained": len(report.trained)}
    event(logging.INFO, "summary", **counts, refused=len(report.refused), clips_left_out=left_out)


def _tell_left_out(machine: str, clips: list[dict[str, str]]) -> int:
    for clip in clips:
        event(logging.WARNING, "clip_left_out", machine=machine, **clip)
    return len(clips)


def _since(clock: float) -> float:
    return round(time.monotonic() - clock, 3)
