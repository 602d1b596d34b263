"""Score: every new clip of a folder -> its row in the store -> each machine's health."""

from __future__ import annotations

import logging
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from typing import Any

from acoustic_ad.errors import AcousticADError, BundleError, ClipError, ManifestError, WorkersError
from acoustic_ad.jobs.clip_rows import clip_row_of
from acoustic_ad.jobs.events import event, telling_run
from acoustic_ad.jobs.fleet_health import note_clips, refresh, was_cut_short
from acoustic_ad.jobs.fleet_report import fleet_status
from acoustic_ad.jobs.lazy_workers import LazyWorkers
from acoustic_ad.jobs.listed_clips import Listed, by_machine
from acoustic_ad.jobs.machine_facts import FACTS_FORMAT
from acoustic_ad.jobs.notify import notify
from acoustic_ad.jobs.pending import deadline_s
from acoustic_ad.jobs.plan import Planned, Planner
from acoustic_ad.jobs.punctuality import LateClips, run_notices, runs_of
from acoustic_ad.jobs.schema import ClipRow, FileFact
from acoustic_ad.jobs.score_options import ScoreOptions
from acoustic_ad.jobs.score_report import MODEL_CODES, Failure, ScoreReport, as_json
from acoustic_ad.jobs.stale_models import stale_models
from acoustic_ad.jobs.store import Store, root_text
from acoustic_ad.jobs.store_lock import hold_store
from acoustic_ad.jobs.tasks import Off, Scored, ScoreTask, Unscored, rehearsal, score_clip
from acoustic_ad.jobs.workers import BYTES_A_SECOND
from acoustic_ad.report.rows import check_out_suffix, write_rows
from acoustic_ad.sound.clip import one_line, printable_text
from acoustic_ad.sound.manifest import Clip, Manifest, read_manifest

__all__ = ["ScoreOptions", "ScoreReport", "as_json", "score"]

# A batch is committed when it is this large or this old: a kill costs at most the work of one batch.
BATCH_ROWS = 200
BATCH_S = 5.0
QUIET = ("scored", "off")  # outcomes that only a detailed log names


def score(options: ScoreOptions, on_progress: Callable[[int, int], None] = lambda done, total: None) -> ScoreReport:
    """Score what is new in the folder, store it, and bring the machines' health up to date.

    Raises ManifestError (nothing there), BundleError (no usable model at all), StoreError, LockedError.
    """
    if options.out is not None:
        check_out_suffix(options.out)
    manifest = _to_score(options)
    with ExitStack() as stack:
        stack.enter_context(hold_store(options.db, manifest.root))
        store = stack.enter_context(Store.open(options.db))
        job = _Job(options, manifest, store)
        with telling_run(job.run_id, options.folder, manifest.description, job.counts, job.ignored):
            job.run(on_progress)
            return job.report()


def _to_score(options: ScoreOptions) -> Manifest:
    """What there is to score, by machine. Nothing else is kept of the folder, whose clips may be very many."""
    manifest = read_manifest(options.folder, machine=options.machine)
    clips: Sequence[Clip] = manifest.clips
    if options.splits:
        clips = [clip for clip in clips if clip.split in options.splits]
    if not clips and not options.allow_empty:
        raise ManifestError(_nothing_there(options, manifest))
    ordered = by_machine(clips)
    twice = len(clips) - len(ordered)
    ignored = {**manifest.ignored, **({"listed twice": twice} if twice else {})}
    return replace(manifest, clips=ordered, ignored=ignored)


def _nothing_there(options: ScoreOptions, manifest: Manifest) -> str:
    ignored = ", ".join(f"{count} {reason}" for reason, count in manifest.ignored.items())
    split = f" in split {', '.join(options.splits)}" if options.splits else ""
    return (
        f"{options.folder}: no clips{split}{f' (ignored: {ignored})' if ignored else ''}; "
        "is the share mounted? pass --allow-empty if this is meant"
    )


class _Job:
    """One run over one folder."""

    def __init__(self, options: ScoreOptions, manifest: Manifest, store: Store) -> None:
        self.options, self.manifest, self.store = options, manifest, store
        self.clips, self.ignored, self.root = manifest.clips, dict(manifest.ignored), manifest.root
        self.planner = Planner(
            store,
            self.root,
            options.models,
            rescore=options.rescore,
            retry_failed=options.retry_failed,
            trust=options.trust,
        )
        self.outcomes: Counter[str] = Counter()
        self.failures: list[Failure] = []
        self.touched: set[str] = set()  # machines with new rows
        self.without_model: set[str] = set()  # machines with clips that failed for want of a usable one
        self.new_clips: set[tuple[str, str]] = set()  # where --out has only these
        self.catching_up = was_cut_short(store, self.root)
        self.late = LateClips.after(runs_of(store, root_text(self.root)))
        told = {} if options.every_s is None else {"every_s": options.every_s}
        arguments = {"folder": str(options.folder.absolute()), "models": str(options.models), **told}
        self.run_id = store.begin_run(self.root, arguments)
        self._done: list[tuple[ClipRow, FileFact]] = []
        self._committed = time.monotonic()

    def run(self, on_progress: Callable[[int, int], None]) -> None:
        """Score, first what is new, then what turned out to be a copy of something that failed."""
        try:
            with LazyWorkers(*self.options.worker_terms) as workers:
                self._work(self.clips, workers, on_progress)
                self._work(self.planner.take_twins(), workers, on_progress)
        except BaseException as error:
            # Interrupted, or left without workers or folder: what is finished is kept, and shown.
            if not isinstance(error, Exception) or isinstance(error, WorkersError | ManifestError):
                self.commit()
                with suppress(AcousticADError):
                    note_clips(self.store, sorted(self.touched))
            raise
        if self.planner.known.facts:
            self.store.commit(self.run_id, self.root, [], self.planner.known.facts)
            self.touched |= {fact.machine for fact in self.planner.known.facts}  # heard again, if only by silence
        self._update_machines()
        self._refuse_without_models()

    def _work(self, clips: Sequence[Clip], workers: LazyWorkers, on_progress: Callable[[int, int], None]) -> None:
        known = self.planner.known
        for planned, result in self._results(clips, workers):
            self._take(planned, result)
            done = sum(self.outcomes.values()) + known.already_scored + known.already_failed
            on_progress(done, len(self.clips))
        self.commit()

    def _update_machines(self) -> None:
        present = {clip.machine for clip in self.clips}
        # A machine whose clips were all stored by a job that was then killed still has the health of before; so has one
        # that an older acoustic-ad judged, or whose current model, with the policy in its recipe, is another now.
        known = {row.machine: row.facts or {} for row in self.store.machines()}
        stale = {machine for machine in present if self.catching_up or self._is_stale(machine, known.get(machine))}
        refresh(self.store, self.options.models, sorted(self.touched | stale), self.options.trust)

    def _is_stale(self, machine: str, facts: Mapping[str, Any] | None) -> bool:
        return (
            facts is None
            or facts.get("format") != FACTS_FORMAT
            or facts.get("judge") != self.planner.digest_as_said(machine)
        )

    def _results(
        self, clips: Sequence[Clip], workers: LazyWorkers
    ) -> Iterator[tuple[Planned, Scored | Off | Unscored | ClipError]]:
        """Each planned clip with what became of it, errors that need no worker included."""
        planned: dict[ScoreTask, Planned] = {}
        ready: list[tuple[Planned, ClipError]] = []

        def tasks() -> Iterator[tuple[ScoreTask, float | None]]:
            for plan in self.planner.plan(clips):
                if plan.task is None:
                    ready.append((plan, plan.error or ClipError("unreadable", "")))
                    continue
                task = replace(plan.task, settle_s=self.options.settle_s, runtime=self.options.runtime)
                planned[task] = plan
                yield task, deadline_s(plan.fact.size / BYTES_A_SECOND, self.options.clip_timeout_s)

        for task, result in workers.map(score_clip, tasks(), rehearsal):
            yield planned.pop(task), result
            yield from ready
            ready.clear()
        yield from ready

    def _take(self, planned: Planned, result: Scored | Off | Unscored | ClipError) -> None:
        if isinstance(result, Unscored) and result.growing and self._is_recent(planned):
            self.outcomes["deferred"] += 1
            event(logging.INFO, "clip_deferred", clip_id=planned.clip.clip_id, machine=planned.clip.machine)
            return
        row, fact = clip_row_of(planned, result), planned.fact
        if row.reason == "unreadable":
            self._refuse_vanished_folder()
            fact = fact.as_unread
        self.outcomes[row.status] += 1
        if row.status == "failed":
            reason = printable_text(row.detail or "")
            self.failures.append(Failure(row.clip_id, row.machine, row.reason or "", reason))
            if row.reason in MODEL_CODES:
                self.without_model.add(row.machine)
        told = {"clip_id": row.clip_id, "machine": row.machine, "code": row.reason, "reason": row.detail}
        event(logging.DEBUG if row.status in QUIET else logging.WARNING, f"clip_{row.status}", **told)
        if row.status != "failed" and not self.options.rescore:  # which takes what was there before
            self.late.take(row.machine, row.recorded_at, row.recorded_at_source)
        self.touched.add(row.machine)
        if self.options.out is not None and self.options.new_only:
            self.new_clips.add((row.clip_id, row.machine))
        self._done.append((row, fact))
        if len(self._done) >= BATCH_ROWS or time.monotonic() - self._committed > BATCH_S:
            self.commit()

    def _refuse_vanished_folder(self) -> None:
        """A share that is unmounted in the middle of a run must not look like clips that broke."""
        with suppress(OSError):
            if any(os.scandir(self.root)):
                return
        raise ManifestError(
            f"{one_line(str(self.root))} vanished while its clips were read; what was finished is kept: "
            "see that the share is mounted, and run again"
        )

    def _is_recent(self, planned: Planned) -> bool:
        """Whether the file was modified within `settle_s`; clocks that run ahead do not defer for ever."""
        try:
            age = time.time() - planned.clip.path.stat().st_mtime
        except OSError:
            return False
        return abs(age) < self.options.settle_s

    def commit(self) -> None:
        """Store what has been gathered: rows and ledger in one transaction."""
        if self._done:
            rows, facts = [row for row, _ in self._done], [fact for _, fact in self._done]
            self.store.commit(self.run_id, self.root, rows, facts)
            event(logging.DEBUG, "batch_stored", rows=len(rows))
        self._done = []
        self._committed = time.monotonic()

    def _refuse_without_models(self) -> None:
        """With no model at all, or none for any machine of this folder that is not refused, the job has failed."""
        codes = {failure.code for failure in self.failures} & set(MODEL_CODES)
        nobody_has_one = "no_model" in codes and not self._any_model()
        all_refused = "bad_model" in codes and self.without_model == {clip.machine for clip in self.clips}
        if not nobody_has_one and not all_refused:
            return
        self.store.end_run(self.run_id, self.counts(), 1)
        first = next(failure for failure in self.failures if failure.code in MODEL_CODES)
        raise BundleError(
            f"no machine has a usable model; {one_line(first.clip_id)}: {first.reason}; "
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
            keys = self.new_clips if self.options.new_only else Listed(self.clips)
            write_rows(self.options.out, self.store.rows_of(self.root, keys))
        present = {clip.machine for clip in self.clips}
        report = ScoreReport(
            self.run_id,
            self.manifest.description,
            self.counts(),
            self.failures,
            fleet_status(self.store, present),
            self.ignored,
            self.options.exit_on,
            +self.planner.known.other_model,
            notify(self.store, self.options.targets),
            run_notices(self.store, self.root, self.run_id, self.late)
            + stale_models(self.options.models, present, self.options.stale_after),
        )
        late = self.late.as_json()
        self.store.end_run(self.run_id, report.counts | ({} if late is None else {"late": late}), report.exit_code)
        return report
