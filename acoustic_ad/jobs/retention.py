"""Pruning: old clips give up their rows, and leave what the health of their machines is told from.

What stays whole: alarms and events; the clips that speak for any alarm; all those of an alarm that stands or waits for
somebody, with clips of before to hear beside; the clips that the baseline after the last maintenance was made of.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa

from acoustic_ad.errors import StoreError
from acoustic_ad.health.policy import Policy
from acoustic_ad.jobs.alarm_book import actions_of, alarms_of
from acoustic_ad.jobs.alarm_list import OVER
from acoustic_ad.jobs.alarm_rows import life_at
from acoustic_ad.jobs.baselines import Baselines
from acoustic_ad.jobs.coverage import Heard
from acoustic_ad.jobs.day_traces import Judged, Traces, add_traces
from acoustic_ad.jobs.explanation import speaking_clips
from acoustic_ad.jobs.fleet_health import TRIES, Told, tell
from acoustic_ad.jobs.history import History, Mark, history_of, mark_of, stored_clips
from acoustic_ad.jobs.kept_clips import forget_clips
from acoustic_ad.jobs.outbox import prune_messages
from acoustic_ad.jobs.schema import IS_FAILED, clip_scores, files, runs, utc_text, utc_time
from acoustic_ad.jobs.store import Store
from acoustic_ad.sound.clip import one_line

CLIPS_OF_BEFORE: Final = 20  # before the beginning of an alarm that stands: what the machine sounded like
_AT_ONCE: Final = 500


@dataclass(slots=True)
class Pruned:
    """What was pruned, or would be."""

    clips: int = 0  # that lost their rows
    failed: int = 0  # failed clips whose files are gone
    kept: int = 0  # old clips that alarms or baselines rest on
    days: int = 0  # of machines, that the traces are of
    forgotten: int = 0  # files in the ledger that have left their folders
    remembered: int = 0  # files in the ledger that have not, or of which that is not known
    runs: int = 0
    messages: int = 0  # that were delivered or given up, and are of no use to what is told next


@dataclass(slots=True)
class _Plan:
    """What is to be done about one machine."""

    mark: Mark
    traces: Traces = field(default_factory=Traces)
    contents: list[str] = field(default_factory=list)
    failed: list[int] = field(default_factory=list)  # ids of rows
    kept: int = 0
    gone: list[dict[str, str]] = field(default_factory=list)  # ledger: root, clip_id
    there: list[dict[str, str]] = field(default_factory=list)


def prune(store: Store, models: Path, before: datetime, now: datetime, *, dry_run: bool = False) -> Pruned:
    """Prune what was recorded before the day of `before` (with a zone); the health of no machine changes by it.

    One transaction a machine: a prune that is killed has pruned some machines wholly, and the next one does the others.
    """
    cutoff = before.replace(hour=0, minute=0, second=0, microsecond=0)
    baselines, folders, done = Baselines(models), _Folders(), Pruned()
    old = clip_scores.c.recorded_at < utc_text(cutoff)
    with store.reading() as connection:
        machines = connection.scalars(sa.select(clip_scores.c.machine).where(old).distinct().order_by("machine")).all()
    for machine in machines:
        for _ in range(TRIES):
            plan = _plan(store, baselines, folders, machine, cutoff, now)
            if dry_run or _carry_out(store, machine, plan, now):
                break
        else:
            raise StoreError(f"{one_line(machine)}: its clips or events kept changing: run again")
        done.clips += len(plan.contents)
        done.failed += len(plan.failed)
        done.kept += plan.kept
        times = [clip.recorded_at for clip in plan.traces.clips] + [clip.recorded_at for clip in plan.traces.failed]
        done.days += len({at.date() for at in times})
        done.forgotten += len(plan.gone)
        done.remembered += len(plan.there)
    done.runs = _prune_runs(store, cutoff, dry_run)
    with store.reading() if dry_run else store.writing() as connection:
        done.messages = prune_messages(connection, cutoff, now, dry_run)
    return done


# --- what to prune ---------------------------------------------------------------------------------------------------


def _plan(
    store: Store, baselines: Baselines, folders: _Folders, machine: str, cutoff: datetime, now: datetime
) -> _Plan:
    history = history_of(store, machine)
    told = tell(store, baselines, history)
    needed = _needed(store, history, told, baselines.policy(machine), now)
    plan = _Plan(history.mark)
    with store.reading() as connection:
        contents: dict[str, list[Judged]] = {}
        for clip in stored_clips(connection, machine):
            contents.setdefault(clip.sha256, []).append(clip)
        old = {key: clips for key, clips in contents.items() if clips[-1].recorded_at < cutoff}
        plan.contents = sorted(old.keys() - needed)
        plan.kept = len(old) - len(plan.contents)
        plan.traces.clips.extend(clip for key in plan.contents for clip in old[key])
        for root, clip_id in _ledger_of(connection, machine, plan.contents):
            (plan.gone if folders.has_lost(root, clip_id) else plan.there).append({"root": root, "clip_id": clip_id})
        for row in _failed_before(connection, machine, cutoff):
            if folders.has_lost(row.root, row.clip_id):
                at, dated = datetime.fromisoformat(row.recorded_at), row.recorded_at_source != "mtime"
                plan.failed.append(row.id)
                plan.traces.failed.append(Heard(at, "failed", row.reason, dated))
                plan.gone.append({"root": row.root, "clip_id": row.clip_id})
    return plan


def _needed(store: Store, history: History, told: Told, policy: Policy, now: datetime) -> set[str]:
    """Contents whose rows stay whatever their age."""
    clips = list(history.clips)
    needed = {key for episode in told.health.episodes for key in speaking_clips(episode, told.points)}
    spans: list[tuple[datetime, datetime | None]] = []
    spans += [(one.began_at, None) for one in told.health.episodes if one.cleared_at is None]
    life = life_at(now)
    with store.reading() as connection:
        actions = actions_of(connection, history.machine)
        for stored in alarms_of(connection, history.machine):
            alarm = life(stored, actions.get(stored.id, []))
            if stored.state not in OVER and alarm.state not in OVER:
                spans.append((utc_time(alarm.facts.get("began_at")) or alarm.raised_at, alarm.cleared_at))
    for begin, end in spans:
        inside = [clip for clip in clips if begin <= clip.recorded_at and (end is None or clip.recorded_at <= end)]
        earlier = [clip for clip in clips if clip.recorded_at < begin and clip.status == "scored"]
        needed |= {clip.sha256 for clip in (*inside, *earlier[-CLIPS_OF_BEFORE:])}
    maintained = max((event.at for event in history.events if event.kind == "maintenance"), default=None)
    if maintained is not None:
        after = [clip for clip in clips if clip.recorded_at >= maintained and clip.status == "scored"]
        needed |= {clip.sha256 for clip in after[: policy.relearn_clips]}
    return needed


def _ledger_of(connection: sa.Connection, machine: str, contents: Sequence[str]) -> Iterator[tuple[str, str]]:
    for some in _chunks(contents):
        query = sa.select(files.c.root, files.c.clip_id).where(
            files.c.machine == machine, files.c.outcome != "failed", files.c.sha256.in_(some)
        )
        for root, clip_id in connection.execute(query):  # noqa: UP028  # rows, as what is promised
            yield root, clip_id


def _failed_before(connection: sa.Connection, machine: str, cutoff: datetime) -> Sequence[Any]:
    clips = clip_scores.c
    names = (clips.id, clips.root, clips.clip_id, clips.recorded_at, clips.recorded_at_source, clips.reason)
    old = clips.recorded_at < utc_text(cutoff)
    return connection.execute(sa.select(*names).where(clips.machine == machine, IS_FAILED, old)).all()


class _Folders:
    """Which files have left their folders."""

    def __init__(self) -> None:
        self._there: dict[str, bool] = {}

    def has_lost(self, root: str, clip_id: str) -> bool:
        """Whether the file is gone for certain: its folder is there and holds something, so that it is no share that
        is not mounted, or another computer's. A name that could not be stored as it is counts as there."""
        if root not in self._there:
            try:
                self._there[root] = any(os.scandir(root))
            except OSError:
                self._there[root] = False
        return self._there[root] and "\\" not in root + clip_id and not os.path.lexists(Path(root) / clip_id)


# --- doing it --------------------------------------------------------------------------------------------------------


def _carry_out(store: Store, machine: str, plan: _Plan, now: datetime) -> bool:
    """Whether it was done: not where the machine's clips or events have changed since it was planned."""
    clips, file = clip_scores.c, files.c
    here = (file.machine == machine) & (file.root == sa.bindparam("of_root")) & (file.clip_id == sa.bindparam("of_id"))
    with store.writing() as connection:
        if mark_of(connection, machine) != plan.mark:
            return False
        add_traces(connection, machine, plan.traces, now)
        forget_clips(connection, [machine])
        for some in _chunks(plan.contents):
            connection.execute(clip_scores.delete().where(clips.machine == machine, ~IS_FAILED, clips.sha256.in_(some)))
        for ids in _chunks(plan.failed):
            connection.execute(clip_scores.delete().where(clips.id.in_(ids)))
        for entries, statement in (
            (plan.gone, files.delete().where(here)),
            (plan.there, files.update().where(here).values(pruned_at=utc_text(now))),
        ):
            if entries:
                rows = [{"of_root": entry["root"], "of_id": entry["clip_id"]} for entry in entries]
                connection.execute(statement, rows)
    return True


def _prune_runs(store: Store, cutoff: datetime, dry_run: bool) -> int:
    """Runs that ended long ago, of which no row is left; the last one on each folder stays."""
    last = sa.select(sa.func.max(runs.c.id)).group_by(runs.c.root)
    used = sa.exists().where(clip_scores.c.run_id == runs.c.id).correlate(runs)
    old = (runs.c.ended_at < utc_text(cutoff)) & runs.c.id.not_in(last) & ~used
    if dry_run:
        with store.reading() as connection:
            return connection.scalar(sa.select(sa.func.count()).select_from(runs).where(old)) or 0
    with store.writing() as connection:
        return connection.execute(runs.delete().where(old)).rowcount


def _chunks(values: Iterable[Any]) -> Iterator[list[Any]]:
    iterator = iter(values)
    while chunk := list(islice(iterator, _AT_ONCE)):
        yield chunk
