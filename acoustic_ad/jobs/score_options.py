"""What a run of `score` is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from acoustic_ad.jobs.notify_targets import Target
from acoustic_ad.jobs.stale_models import STALE_AFTER

if TYPE_CHECKING:
    from acoustic_ad.detectors.base import Runtime
    from acoustic_ad.models.signing import Trust


@dataclass(frozen=True, slots=True)
class ScoreOptions:
    """What `acoustic-ad score` was asked for."""

    folder: Path
    models: Path
    db: str
    workers: int
    out: Path | None = None
    machine: str | None = None
    splits: tuple[str, ...] = ()
    new_only: bool = False
    rescore: bool = False
    retry_failed: bool = False
    allow_empty: bool = False
    clip_timeout_s: float | None = None
    settle_s: float = 60.0
    exit_on: str | None = None  # a key of EXIT_ON
    worker_memory_gib: float | None = None  # beyond its libraries; None: see `memory_share`
    targets: tuple[Target, ...] = ()  # who is told of changes
    trust: Trust | None = None  # only models signed by one of its keys are used
    every_s: float | None = None  # from start to start, where a scheduler starts the job
    stale_after: timedelta = STALE_AFTER  # models that are older are spoken of
    runtime: Runtime = "torch"  # what judges the clips

    @property
    def worker_terms(self) -> tuple[int, float | None, Runtime]:
        """How many workers, the GiB that each may take, and what judges in them."""
        return self.workers, self.worker_memory_gib, self.runtime
