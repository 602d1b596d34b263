"""Which clips of a folder need work: a clip's identity is its content, its machine and the model."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final

from acoustic_ad.errors import BundleError, ClipError
from acoustic_ad.jobs.schema import FileFact, LedgerEntry
from acoustic_ad.jobs.score_report import MODEL_CODES
from acoustic_ad.jobs.store import Store
from acoustic_ad.jobs.tasks import FileStamp, ScoreTask
from acoustic_ad.sound.manifest import Clip, recording_time, sha256_of

if TYPE_CHECKING:
    from acoustic_ad.models.signing import Trust


# What the ledger knows of so many clips is held at a time: a job's memory must not grow with the clips of a folder.
CLIPS_AT_ONCE: Final = 500


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


def current_model(models: Path, machine: str, trust: Trust | None = None) -> Model:
    """The model of a machine that clips are scored by; where there is a `trust`, only if one of its keys signed it."""
    from acoustic_ad.models.registry import Registry

    registry = Registry(models, trust)
    try:
        if registry.current(machine) is None:
            return Model(None, None, ClipError("no_model", f"no model for {machine} in {models}"))
        return Model(*registry.checked(machine), None)
    except BundleError as error:
        return Model(None, None, ClipError("bad_model", str(error)))


@dataclass(slots=True)
class Known:
    """Clips that need no work, counted."""

    already_scored: int = 0
    already_failed: int = 0
    other_model: Counter[str] = field(default_factory=Counter)  # machine -> of already_scored, by another of its models
    facts: list[FileFact] = field(default_factory=list)  # known bytes under a new name, or touched


class Planner:
    """Goes through the clips, and hashes only what the ledger has not seen as it is now.

    Clips come sorted by machine: what is known of contents is held for one machine at a time.
    """

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
        self._machine = ""  # whose clips are being looked at, and of whose contents the next three tell
        self._digests: Collection[str] | None = None  # that need no work; None: not asked for yet
        self._by_some_model: Counter[str] = Counter()  # of clips that need no work
        self._in_work: set[str] = set()
        self.known = Known()
        # The same bytes are in work under another name: look again when that is done. None: nobody waits any more.
        self._twins: list[Clip] | None = []

    def plan(self, clips: Iterable[Clip]) -> Iterator[Planned]:
        """The clips that need work, in their order, which is that of their machines."""
        remaining = iter(clips)
        while chunk := list(islice(remaining, CLIPS_AT_ONCE)):
            # Not the whole ledger: it also has every file that has left the folder, which in the end are most.
            self._ledger = self._store.files(self._root, [clip.clip_id for clip in chunk])
            for clip in chunk:
                if clip.machine != self._machine:
                    self._turn_to(clip.machine)
                planned = self._look(clip)
                if planned is not None:
                    yield planned
        self._turn_to("")

    def _turn_to(self, machine: str) -> None:
        self._count_other_models()
        self._machine, self._digests = machine, None
        self._in_work.clear()

    def take_twins(self) -> list[Clip]:
        """The clips that waited for a twin, when all that was in work is in the store: known now, or to be tried."""
        twins, self._twins = self._twins or [], None
        return twins

    def _look(self, clip: Clip) -> Planned | None:
        entry = self._ledger.get((clip.clip_id, clip.machine))
        if clip.problem:
            return self._without_file(clip, entry, ClipError(*clip.problem))
        try:
            stat = os.stat(clip.place)  # noqa: PTH116 (a Path per clip would double the time of a run without work)
        except OSError as error:
            return self._without_file(clip, entry, ClipError("unreadable", error.strerror or str(error)))
        untouched = entry if entry is not None and entry.is_still(stat) else None
        if untouched is not None and self._is_settled(clip, untouched):
            return None
        model = self.model_of(clip.machine)
        if model.error is not None:
            return Planned(clip, FileFact.of(clip.clip_id, clip.machine, stat, None), None, model.error, None)
        try:
            digest = (untouched.sha256 if untouched else None) or sha256_of(clip.place)
        except OSError as error:
            return self._without_file(clip, entry, ClipError("unreadable", error.strerror or str(error)), stat)
        return self._by_content(clip, model, stat, digest)

    def _is_settled(self, clip: Clip, entry: LedgerEntry) -> bool:
        """Whether an untouched file needs nothing more, counted."""
        if entry.outcome == "failed":
            settled = entry.reason not in MODEL_CODES and not self._retry_failed
            self.known.already_failed += settled
        else:
            settled = not self._rescore or entry.sha256 in self._known_digests()
            if settled:
                self._count_scored(entry.sha256)
        return settled

    def _by_content(self, clip: Clip, model: Model, stat: os.stat_result, digest: str) -> Planned | None:
        at, _ = recording_time(clip, stat.st_mtime)
        fact = FileFact.of(clip.clip_id, clip.machine, stat, digest, at)
        if digest in self._known_digests():
            self._count_scored(digest)
            self.known.facts.append(fact)
            return None
        if self._twins is not None and digest in self._in_work:
            self._twins.append(clip)
            return None
        self._in_work.add(digest)
        if model.bundle is None:
            raise BundleError(f"{clip.machine}: the model has no bundle")
        stamp = FileStamp(stat.st_size, stat.st_mtime_ns, stat.st_ino)
        task = ScoreTask(clip.clip_id, clip.path, stamp, model.bundle, clip.columns, digest=model.digest)
        return Planned(clip, fact, task, None, model.digest)

    def _count_scored(self, digest: str | None) -> None:
        self.known.already_scored += 1
        if digest is not None:
            self._by_some_model[digest] += 1

    def _count_other_models(self) -> None:
        current = self.digest_as_said(self._machine) if self._by_some_model else None
        if current is not None:
            others = self._store.digests_of_others(self._machine, current, self._by_some_model)
            self.known.other_model[self._machine] += sum(self._by_some_model[digest] for digest in others)
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
            self._current[machine] = current_model(self._models, machine, self._trust)
        return self._current[machine]

    def _known_digests(self) -> Collection[str]:
        if self._digests is None:
            model = self.model_of(self._machine).digest if self._rescore else None
            self._digests = self._store.scored_digests(self._machine, model)
        return self._digests
