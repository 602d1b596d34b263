"""Whether the job itself is in order: runs that were missed, and clips that came late."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any, Final, Literal

import sqlalchemy as sa

from acoustic_ad.jobs.schema import runs, utc_time
from acoustic_ad.jobs.store import Store, root_text
from acoustic_ad.sound.clip import one_line

# A schedule is learnt from the last runs where that many gaps between them, three of four, are about their median.
FEWEST_GAPS: Final = 8
MOST_GAPS: Final = 30
ABOUT: Final = (0.75, 1.25)
REGULAR: Final = 0.75
SHORTEST_S: Final = 55.0  # no scheduler is quicker, but people in a row are
# Recorded that long before a run which did not find it, or one interval if that is longer, a clip came late.
LATE: Final = timedelta(hours=1)
DID_ITS_WORK: Final = (0, 3, 4)  # exit codes


@dataclass(frozen=True, slots=True)
class Notice:
    """Something about the job, not about the sound of a machine, that somebody should know."""

    kind: Literal["missed_runs", "late_clips", "stale_model"]
    about: str  # a folder, or a machine
    text: str
    facts: Mapping[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """The notice in a document."""
        return {"kind": self.kind, "about": self.about, "text": self.text, **self.facts}


@dataclass(frozen=True, slots=True)
class Run:
    """A run over one folder."""

    id: int
    started_at: datetime
    ended_at: datetime | None
    exit_code: int | None
    arguments: Mapping[str, Any]
    counts: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Beat:
    """How often a folder is scored."""

    every_s: float
    source: Literal["told", "learnt"]  # told: by --every


def runs_of(store: Store, root: str, before: int | None = None) -> list[Run]:
    """The last runs over a folder (its `root_text`), oldest first; with `before`, those before that run."""
    query = sa.select(runs).where(runs.c.root == root).order_by(runs.c.id.desc()).limit(MOST_GAPS + 1)
    if before is not None:
        query = query.where(runs.c.id < before)
    with store.reading() as connection:
        rows = connection.execute(query).all()[::-1]
    return [
        Run(
            row.id,
            datetime.fromisoformat(row.started_at),
            utc_time(row.ended_at),
            row.exit_code,
            json.loads(row.arguments),
            json.loads(row.counts or "{}"),
        )
        for row in rows
    ]


def beat_of(known: Sequence[Run]) -> Beat | None:
    """How often the folder is scored: as the last run was told, else as the runs show; None where neither tells."""
    told = known[-1].arguments.get("every_s") if known else None
    if isinstance(told, int | float) and told > 0:
        return Beat(float(told), "told")
    starts = [run.started_at.timestamp() for run in known]
    gaps = [after - before for before, after in pairwise(starts)]
    if len(gaps) < FEWEST_GAPS:
        return None
    usual = median(gaps)
    near = sum(ABOUT[0] * usual <= gap <= ABOUT[1] * usual for gap in gaps)
    return Beat(usual, "learnt") if usual >= SHORTEST_S and near >= REGULAR * len(gaps) else None


def missed(last: Run, beat: Beat, until: datetime) -> int:
    """How many starts there should have been between a run and a moment, which is itself a start or the present.

    A run that takes longer than an interval leaves out the starts that it lies over: they are not missed.
    """
    every = timedelta(seconds=beat.every_s)
    since = last.started_at
    if last.ended_at is not None and last.ended_at - since > every:
        since = last.ended_at
    return max(0, int((until - since) / every + 0.5) - 1)


def missed_before(known: Sequence[Run], root: str, run: Run) -> list[Notice]:
    """That starts were missed before `run`; `known` are the runs before it."""
    beat = beat_of(known)
    told = run.arguments.get("every_s")
    if known and isinstance(told, int | float) and told > 0:
        beat = Beat(float(told), "told")
    count = missed(known[-1], beat, run.started_at) if beat is not None else 0
    if beat is None or not count:
        return []
    text = (
        f"{_runs(count)} missed before the one of {_moment(run.started_at)}: {_usually(beat)}, and the last before it "
        f"began at {_moment(known[-1].started_at)}"
    )
    return [Notice("missed_runs", root, text, _facts(beat, count, known[-1], overdue=False))]


def overdue(known: Sequence[Run], root: str, now: datetime) -> list[Notice]:
    """That the next run should have begun."""
    beat = beat_of(known)
    count = missed(known[-1], beat, now) if beat is not None else 0
    if beat is None or not count:
        return []
    text = (
        f"no run of {one_line(root)} since {_moment(known[-1].started_at)}: {_usually(beat)}, so "
        f"{_runs(count)} missed; is its timer at work?"
    )
    return [Notice("missed_runs", root, text, _facts(beat, count, known[-1], overdue=True))]


def _facts(beat: Beat, count: int, last: Run, overdue: bool) -> dict[str, Any]:
    every = {"every_s": round(beat.every_s, 1), "every_from": beat.source}
    return {"missed": count, "overdue": overdue, "run_before_at": last.started_at.isoformat(), **every}


# --- late clips ------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class LateClips:
    """Clips of one run that an earlier run should have found: they came late, and so did what they tell."""

    before: datetime | None  # recorded before this, a clip is late; None: no earlier run looked
    clips: dict[str, int] = field(default_factory=dict)  # by machine
    earliest: datetime | None = None

    @classmethod
    def after(cls, known: Sequence[Run]) -> LateClips:
        """For the run after these."""
        looked = [run for run in known if run.exit_code in DID_ITS_WORK]
        if not looked:
            return cls(None)
        beat = beat_of(known)
        return cls(looked[-1].started_at - max(LATE, timedelta(seconds=0 if beat is None else beat.every_s)))

    def take(self, machine: str, recorded_at: datetime, source: str) -> None:
        """A new clip. One that is dated by its modification tells nothing of when it came."""
        if self.before is None or source == "mtime" or recorded_at >= self.before:
            return
        self.clips[machine] = self.clips.get(machine, 0) + 1
        self.earliest = min(self.earliest or recorded_at, recorded_at)

    def as_json(self) -> dict[str, Any] | None:
        """What is kept of them with the run; None where there are none."""
        if not self.clips or self.earliest is None:
            return None
        return {"clips": self.clips, "earliest": self.earliest.astimezone(UTC).isoformat()}


def late_notices(root: str, late: Mapping[str, Any] | None, run: Run) -> list[Notice]:
    """That clips came late in `run`, from what is kept of them."""
    if not late:
        return []
    clips: Mapping[str, int] = late["clips"]
    count, machines = sum(clips.values()), len(clips)
    some = ", ".join(sorted(clips)[:3]) + (", ..." if machines > 3 else "")
    earliest = _moment(datetime.fromisoformat(late["earliest"]))
    text = (
        f"{count} {'clip' if count == 1 else 'clips'} of {some} came late in the run of {_moment(run.started_at)}: the "
        f"earliest was recorded at {earliest}, long before the run before it; look at how recordings are copied"
    )
    return [Notice("late_clips", root, text, {"clips": dict(clips), "earliest": late["earliest"]})]


# --- all of it -------------------------------------------------------------------------------------------------------


def job_notices(store: Store, now: datetime | None = None) -> list[Notice]:
    """What is to be said of the jobs of all folders at a moment: the last run of each, and whether one is overdue."""
    now = now or datetime.now(UTC)
    with store.reading() as connection:
        roots = list(connection.scalars(sa.select(runs.c.root).distinct().order_by(runs.c.root)))
    found: list[Notice] = []
    for root in roots:
        known = runs_of(store, root)
        found += overdue(known, root, now) or missed_before(known[:-1], root, known[-1])
        found += late_notices(root, known[-1].counts.get("late"), known[-1])
    return found


def run_notices(store: Store, folder: Path, run_id: int, late: LateClips) -> list[Notice]:
    """What is to be said of the run that is at work on a folder."""
    root = root_text(folder)
    known = runs_of(store, root)
    run = next(run for run in known if run.id == run_id)
    before = [earlier for earlier in known if earlier.id < run_id]
    return missed_before(before, root, run) + late_notices(root, late.as_json(), run)


def _runs(count: int) -> str:
    return "1 run was" if count == 1 else f"{count} runs were"


def _usually(beat: Beat) -> str:
    from acoustic_ad.jobs.schedule import interval_words

    every = interval_words(round(beat.every_s) if beat.every_s >= 1 else beat.every_s)
    return f"they come every {every}" if beat.source == "told" else f"they came about every {every} until then"


def _moment(time: datetime) -> str:
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
