"""Score: every new clip of a folder -> its row in the store -> each machine's health."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from acoustic_ad.errors import BundleError, ClipError, ManifestError
from acoustic_ad.jobs.fleet_health import machine_rows
from acoustic_ad.jobs.lock import hold_lock
from acoustic_ad.jobs.plan import Planned, Planner
from acoustic_ad.jobs.schema import ClipRow, FileFact, MachineRow
from acoustic_ad.jobs.store import Store
from acoustic_ad.jobs.tasks import Scored, ScoreTask, Unscored
from acoustic_ad.jobs.workers import Workers, deadline_s
from acoustic_ad.report.rows import check_out_suffix, write_rows
from acoustic_ad.sound.manifest import Clip, Manifest, read_manifest, recording_time

# A batch is committed when it is this large or this old: a kill costs at most the work of one batch.
BATCH_ROWS = 200
BATCH_S = 5.0
BYTES_A_SECOND = 16_000


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


@dataclass(slots=True)
class ScoreReport:
    """What became of it."""

    run_id: int
    description: str
    counts: dict[str, int]
    failures: list[dict[str, str]] = field(default_factory=list)
    machines: list[MachineRow] = field(default_factory=list)
    ignored: dict[str, int] = field(default_factory=dict)

    @property
    def exit_code(self) -> int:
        """0, or 3 where clips failed in this run."""
        return 3 if self.failures else 0


def score(options: ScoreOptions, on_progress: Callable[[int, int], None] = lambda done, total: None) -> ScoreReport:
    """Score what is new in the folder, store it, and bring the machines' health up to date.

    Raises ManifestError (nothing there), BundleError (no usable model at all), StoreError, LockedError.
    """
    if options.out is not None:
        check_out_suffix(options.out)
    manifest = read_manifest(options.folder, machine=options.machine)
    clips = [clip for clip in manifest.clips if not options.splits or clip.split in options.splits]
    if not clips and not options.allow_empty:
        raise ManifestError(_nothing_there(options, manifest))
    with ExitStack() as stack:
        stack.enter_context(hold_lock(options.db))
        store = stack.enter_context(Store.open(options.db))
        job = _Job(options, manifest, clips, store)
        job.run(on_progress)
        return job.report()


def _nothing_there(options: ScoreOptions, manifest: Manifest) -> str:
    ignored = ", ".join(f"{count} {reason}" for reason, count in manifest.ignored.items())
    split = f" in split {', '.join(options.splits)}" if options.splits else ""
    return (
        f"{options.folder}: no clips{split}{f' (ignored: {ignored})' if ignored else ''}; "
        "is the share mounted? pass --allow-empty if this is meant"
    )


class _Job:
    """One run over one folder."""

    def __init__(self, options: ScoreOptions, manifest: Manifest, clips: list[Clip], store: Store) -> None:
        self.options, self.manifest, self.store = options, manifest, store
        self.clips = sorted(clips, key=lambda clip: (clip.machine, clip.clip_id))
        self.root = manifest.root
        self.planner = Planner(
            store, self.root, options.models, rescore=options.rescore, retry_failed=options.retry_failed
        )
        self.outcomes: Counter[str] = Counter()
        self.failures: list[dict[str, str]] = []
        self.touched: set[str] = set()  # machines with new rows
        self.new_clips: set[tuple[str, str]] = set()
        self.run_id = store.begin_run(self.root, {"folder": str(options.folder), "models": str(options.models)})
        self._rows: list[ClipRow] = []
        self._facts: list[FileFact] = []
        self._committed = time.monotonic()

    def run(self, on_progress: Callable[[int, int], None]) -> None:
        """Score, first what is new, then what turned out to be a copy of something that failed."""
        done = 0
        with _LazyWorkers(self.options.workers) as workers:
            for clips in (self.clips, self.planner.twins):
                for planned, result in self._results(clips, workers):
                    self._take(planned, result)
                    done += 1
                    on_progress(done, len(self.clips))
                self.commit()
                self.planner.forget_work()
        self._facts += self.planner.known.facts
        self.commit()
        self._refuse_without_models()
        self.store.upsert_machines(machine_rows(self.store, self.options.models, sorted(self.touched)))

    def _results(
        self, clips: list[Clip], workers: _LazyWorkers
    ) -> Iterator[tuple[Planned, Scored | Unscored | ClipError]]:
        """Each planned clip with what became of it, errors that need no worker included."""
        planned: dict[str, Planned] = {}
        ready: list[tuple[Planned, ClipError]] = []

        def tasks() -> Iterator[tuple[ScoreTask, float | None]]:
            for plan in self.planner.plan(clips):
                if plan.task is None:
                    ready.append((plan, plan.error or ClipError("unreadable", "")))
                    continue
                planned[plan.task.clip_id] = plan
                yield plan.task, deadline_s(plan.fact.size / BYTES_A_SECOND, self.options.clip_timeout_s)

        for task, result in workers.score(tasks()):
            yield planned.pop(task.clip_id), result
            yield from ready
            ready.clear()
        yield from ready

    def _take(self, planned: Planned, result: Scored | Unscored | ClipError) -> None:
        if isinstance(result, Unscored) and result.growing and self._is_recent(planned):
            self.outcomes["deferred"] += 1
            return
        row = self._row(planned, result)
        self.outcomes[row.status] += 1
        if row.status == "failed":
            reason = {"clip_id": row.clip_id, "code": row.reason or "", "reason": row.detail or ""}
            self.failures.append(reason)
        self.touched.add(row.machine)
        self.new_clips.add((row.clip_id, row.machine))
        self._rows.append(row)
        self._facts.append(planned.fact)
        if len(self._rows) >= BATCH_ROWS or time.monotonic() - self._committed > BATCH_S:
            self.commit()

    def _is_recent(self, planned: Planned) -> bool:
        """Whether the file was modified within `settle_s`; clocks that run ahead do not defer for ever."""
        try:
            age = time.time() - planned.clip.path.stat().st_mtime
        except OSError:
            return False
        return abs(age) < self.options.settle_s

    def _row(self, planned: Planned, result: Scored | Unscored | ClipError) -> ClipRow:
        clip = planned.clip
        mtime = planned.fact.mtime_ns / 1e9 if planned.fact.mtime_ns else time.time()
        recorded_at, source = recording_time(clip, mtime)
        row: dict[str, Any] = {
            "clip_id": clip.clip_id,
            "machine": clip.machine,
            "recorded_at": recorded_at,
            "recorded_at_source": source,
            "sha256": planned.fact.sha256,
            "label": clip.label,
        }
        if isinstance(result, Scored):
            return ClipRow(
                **row,
                model=planned.model,
                status="scored",
                score=result.score,
                p_value=result.p_value,
                bands=tuple(result.bands),
                index=result.index,
                duration_s=result.duration_s,
                level_db=result.rms_db,
            )
        error = ClipError(result.code, result.reason)
        model = planned.model if error.status == "sensor_fault" else None
        return ClipRow(
            **row, model=model, status=error.status, reason=error.code, detail=error.reason, score=None, p_value=None
        )

    def commit(self) -> None:
        """Store what has been gathered: rows and ledger in one transaction."""
        if self._rows or self._facts:
            self.store.commit(self.run_id, self.root, self._rows, self._facts)
        self._rows, self._facts = [], []
        self._committed = time.monotonic()

    def _refuse_without_models(self) -> None:
        """With no model at all, or none that is not refused, the job has failed as a whole."""
        codes = {failure["code"] for failure in self.failures}
        if not codes <= {"no_model", "bad_model"} or len(self.failures) != sum(self.outcomes.values()):
            return
        if not codes or self.planner.known.already_scored or (codes == {"no_model"} and self._any_model()):
            return
        self.store.end_run(self.run_id, self.counts(), 1)
        first = self.failures[0]
        raise BundleError(
            f"none of the {len(self.clips)} clips has a usable model; {first['clip_id']}: {first['reason']}; "
            "train one with `acoustic-ad train`, or point --models at the right folder"
        )

    def _any_model(self) -> bool:
        from acoustic_ad.models.registry import Registry

        return bool(Registry(self.options.models).machines())

    def counts(self) -> dict[str, int]:
        """How the clips ended, each counted once."""
        known = self.planner.known
        return {
            "found": len(self.clips),
            "scored": self.outcomes["scored"],
            "already_scored": known.already_scored,
            "already_failed": known.already_failed,
            "deferred": self.outcomes["deferred"],
            "failed": self.outcomes["failed"],
            "off": self.outcomes["off"],
            "sensor_fault": self.outcomes["sensor_fault"],
        }

    def report(self) -> ScoreReport:
        """Write --out, close the run, and tell."""
        if self.options.out is not None:
            keys = self.new_clips if self.options.new_only else {(clip.clip_id, clip.machine) for clip in self.clips}
            write_rows(self.options.out, self.store.rows_of(self.root, keys))
        present = {clip.machine for clip in self.clips}
        report = ScoreReport(
            self.run_id,
            self.manifest.description,
            self.counts(),
            self.failures,
            [machine for machine in self.store.machines() if machine.machine in present],
            dict(self.manifest.ignored),
        )
        self.store.end_run(self.run_id, report.counts, report.exit_code)
        return report


class _LazyWorkers:
    """Workers that start with the first task: a run with nothing to do loads no model and no torch."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._workers: Workers | None = None

    def score(
        self, tasks: Iterable[tuple[ScoreTask, float | None]]
    ) -> Iterator[tuple[ScoreTask, Scored | Unscored | ClipError]]:
        """As `Workers.map` of `score_clip`."""
        ahead = iter(tasks)
        first = next(ahead, None)
        if first is None:
            return
        from acoustic_ad.jobs.clip_work import score_clip

        if self._workers is None:
            self._workers = Workers(self._count)

        def again() -> Iterator[tuple[ScoreTask, float | None]]:
            yield first
            yield from ahead

        yield from self._workers.map(score_clip, again())

    def __enter__(self) -> _LazyWorkers:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if self._workers is not None:
            self._workers.close() if kind is None else self._workers.kill()


def as_json(report: ScoreReport) -> dict[str, Any]:
    """The document of `score --json`."""
    return {
        "run_id": report.run_id,
        "recognised": report.description,
        "clips": report.counts,
        "ignored": report.ignored,
        "failures": report.failures,
        "machines": [machine_json(machine) for machine in report.machines],
    }


def machine_json(machine: MachineRow) -> dict[str, Any]:
    """A machine's health as JSON."""
    return {
        "machine": machine.machine,
        "state": machine.state,
        "since": _iso(machine.since),
        "index": machine.index,
        "clips": machine.clips,
        "last_clip_at": _iso(machine.last_clip_at),
        "alarm": None,
        "stands_out": (machine.facts or {}).get("stands_out"),
    }


def _iso(time: datetime | None) -> str | None:
    return None if time is None else time.astimezone(UTC).isoformat().replace("+00:00", "Z")
