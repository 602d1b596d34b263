"""Which clips of a folder need work: a clip's identity is its content, its machine and the model."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from acoustic_ad.errors import BundleError, ClipError
from acoustic_ad.jobs.schema import FileFact, LedgerEntry
from acoustic_ad.jobs.score_report import MODEL_CODES
from acoustic_ad.jobs.store import Store
from acoustic_ad.jobs.tasks import FileStamp, ScoreTask
from acoustic_ad.sound.manifest import Clip, recording_time, sha256_of

if TYPE_CHECKING:
    from acoustic_ad.models.signing import Trust


@dataclass(frozen=True, slots=True)
class Planned:
    """A clip that needs work: a task for a worker, or an error that needs none."""

    clip: Clip
    fact: FileFact
    task: ScoreTask | None
    error: ClipError | None
    model: str | None  # digest


@dataclass(frozen=True, slots=True)
class Model:
    """The current bundle of a machine, or why there is none."""

    bundle: Path | None
    digest: str | None
    error: ClipError | None


@dataclass(slots=True)
class Known:
    """Clips that need no work, counted."""

    already_scored: int = 0
    already_failed: int = 0
    other_model: Counter[str] = field(default_factory=Counter)  # machine -> of already_scored, by another of its models
    facts: list[FileFact] = field(default_factory=list)  # known bytes under a new name, or touched


class Planner:
    """Goes through the clips, and hashes only what the ledger has not seen as it is now."""

    def __init__(
        self,
        store: Store,
        root: Path,
        models: Path,
        *,
        rescore: bool = False,
        retry_failed: bool = False,
        trust: Trust | None = None,
    ) -> None:
        self._store, self._models, self._trust = store, models, trust
        self._rescore, self._retry_failed = rescore, retry_failed
        self._root = root
        self._ledger: dict[tuple[str, str], LedgerEntry] = {}
        self._current: dict[str, Model] = {}
        self._digests: dict[str, dict[str, str]] = {}
        self._by_some_model: dict[str, Counter[str]] = {}  # machine -> contents of its clips that need no work
        self._in_work: set[tuple[str, str]] = set()
        self.known = Known()
        # The same bytes are in work under another name: look again when that is done. None: nobody waits any more.
        self._twins: list[Clip] | None = []

    def plan(self, clips: list[Clip]) -> Iterator[Planned]:
        """The clips that need work, in their order."""
        # Not the whole ledger: it also has every file that has left the folder, which in the end are most.
        self._ledger = self._store.files(self._root, [clip.clip_id for clip in clips])
        for clip in clips:
            planned = self._look(clip)
            if planned is not None:
                yield planned
        self._count_other_models()

    def take_twins(self) -> list[Clip]:
        """The clips that waited for a twin, when all that was in work is in the store: known now, or to be tried."""
        twins, self._twins = self._twins or [], None
        self._digests.clear()
        return twins

    def _look(self, clip: Clip) -> Planned | None:
        entry = self._ledger.get((clip.clip_id, clip.machine))
        if clip.problem:
            return self._without_file(clip, entry, ClipError(*clip.problem))
        try:
            stat = clip.path.stat()
        except OSError as error:
            return self._without_file(clip, entry, ClipError("unreadable", error.strerror or str(error)))
        untouched = entry if entry is not None and entry.is_still(stat) else None
        if untouched is not None and self._is_settled(clip, untouched):
            return None
        model = self.model_of(clip.machine)
        if model.error is not None:
            return Planned(clip, FileFact.of(clip.clip_id, clip.machine, stat, None), None, model.error, None)
        try:
            digest = (untouched.sha256 if untouched else None) or sha256_of(clip.path)
        except OSError as error:
            return self._without_file(clip, entry, ClipError("unreadable", error.strerror or str(error)), stat)
        return self._by_content(clip, model, stat, digest)

    def _is_settled(self, clip: Clip, entry: LedgerEntry) -> bool:
        """Whether an untouched file needs nothing more, counted."""
        if entry.outcome == "failed":
            settled = entry.reason not in MODEL_CODES and not self._retry_failed
            self.known.already_failed += settled
        else:
            settled = not self._rescore or entry.sha256 in self._known_digests(clip.machine)
            if settled:
                self._count_scored(clip.machine, entry.sha256)
        return settled

    def _by_content(self, clip: Clip, model: Model, stat: os.stat_result, digest: str) -> Planned | None:
        at, _ = recording_time(clip, stat.st_mtime)
        fact = FileFact.of(clip.clip_id, clip.machine, stat, digest, at)
        if digest in self._known_digests(clip.machine):
            self._count_scored(clip.machine, digest)
            self.known.facts.append(fact)
            return None
        if self._twins is not None and (clip.machine, digest) in self._in_work:
            self._twins.append(clip)
            return None
        self._in_work.add((clip.machine, digest))
        if model.bundle is None:
            raise BundleError(f"{clip.machine}: the model has no bundle")
        stamp = FileStamp(stat.st_size, stat.st_mtime_ns, stat.st_ino)
        task = ScoreTask(clip.clip_id, clip.path, stamp, model.bundle, clip.columns, digest=model.digest)
        return Planned(clip, fact, task, None, model.digest)

    def _count_scored(self, machine: str, digest: str | None) -> None:
        self.known.already_scored += 1
        if digest is not None:
            self._by_some_model.setdefault(machine, Counter())[digest] += 1

    def _count_other_models(self) -> None:
        for machine, contents in self._by_some_model.items():
            current = self.digest_as_said(machine)
            if current is not None:
                others = self._store.digests_of_others(machine, current, contents)
                self.known.other_model[machine] += sum(contents[digest] for digest in others)
        self._by_some_model.clear()

    def digest_as_said(self, machine: str) -> str | None:
        """The digest of the current bundle in its own words: checking them would load torch for a run without work."""
        from acoustic_ad.models.registry import Registry

        return Registry(self._models).digest_as_said(machine)

    def _without_file(
        self, clip: Clip, entry: LedgerEntry | None, error: ClipError, stat: os.stat_result | None = None
    ) -> Planned | None:
        """A clip that cannot be read at all is tried by every run, a failure of the first, and known to the others."""
        if entry is not None and (entry.outcome, entry.reason) == ("failed", error.code) and not self._retry_failed:
            self.known.already_failed += 1
            return None
        fact = FileFact(clip.clip_id, clip.machine, 0, 0, None)
        if stat is not None:
            fact = FileFact.of(clip.clip_id, clip.machine, stat, None).as_unread
        return Planned(clip, fact, None, error, None)

    def model_of(self, machine: str) -> Model:
        """The machine's current model, read once a run."""
        if machine not in self._current:
            self._current[machine] = self._find_model(machine)
        return self._current[machine]

    def _find_model(self, machine: str) -> Model:
        from acoustic_ad.models.registry import Registry

        registry = Registry(self._models, self._trust)
        try:
            if registry.current(machine) is None:
                return Model(None, None, ClipError("no_model", f"no model for {machine} in {self._models}"))
            return Model(registry.bundle_path(machine), registry.info(machine).digest, None)
        except BundleError as error:
            return Model(None, None, ClipError("bad_model", str(error)))

    def _known_digests(self, machine: str) -> dict[str, str]:
        if machine not in self._digests:
            model = self.model_of(machine).digest if self._rescore else None
            self._digests[machine] = self._store.scored_digests(machine, model)
        return self._digests[machine]
