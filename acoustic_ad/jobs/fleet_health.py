"""The health of machines from their stored clips, and what is kept of it.

What is kept is a pure function of clips, models, recipes and events, as of the machine's last clip. What depends on the
present (no data for too long, shelvings that end) is added when it is read, see `fleet_report`.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from statistics import NormalDist
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
import sqlalchemy as sa

from acoustic_ad.health.baseline import Baseline
from acoustic_ad.health.clip_table import SCORED, Array, ClipTable
from acoustic_ad.health.policy import Policy
from acoustic_ad.health.timeline import Event, MachineHealth, machine_health
from acoustic_ad.jobs.alarm_book import settle
from acoustic_ad.jobs.alarm_rows import alarm_of, life_at
from acoustic_ad.jobs.alarm_schema import AlarmRow
from acoustic_ad.jobs.baselines import Baselines
from acoustic_ad.jobs.explanation import Explanation, explain, speaking_clips
from acoustic_ad.jobs.history import History, Mark, history_of, keep_read, mark_of, rows_of_contents
from acoustic_ad.jobs.kept_lives import PackedLife, keep_life, packed_life
from acoustic_ad.jobs.life import is_coarse, life_of
from acoustic_ad.jobs.limit_memory import limits_remembered
from acoustic_ad.jobs.machine_facts import machine_row
from acoustic_ad.jobs.many_rows import many_rows
from acoustic_ad.jobs.schema import IS_FAILED, MachineRow, clip_scores, utc_time
from acoustic_ad.jobs.store import Store, newest_of, root_text, write_machines
from acoustic_ad.jobs.upkeep_schema import machine_days

if TYPE_CHECKING:
    from acoustic_ad.models.signing import Trust

MACHINES_AT_ONCE: Final = 50  # in one transaction
NOTING_S: Final = 1.0  # that an interrupted job may still take
TRIES: Final = 5  # of a machine whose events or clips change while its health is told

# The z of a clip whose model is gone is that of its p-value, which says less; these are z = -3.1 and 4.8.
_P_BOUNDS: Final = (1e-6, 0.999)


@dataclass(frozen=True, slots=True)
class Told:
    """What the clips tell of a machine."""

    row: MachineRow
    alarms: list[AlarmRow]  # of all episodes, ids not yet given
    health: MachineHealth
    points: ClipTable  # by time


class _ToKeep(NamedTuple):
    mark: Mark  # of the history that it was told from
    row: MachineRow
    alarms: list[AlarmRow]
    life: PackedLife | None  # None: too short for a copy


def refresh(store: Store, models: Path, machines: Sequence[str], trust: Trust | None = None) -> None:
    """Bring what is kept of these machines, and their alarms, up to date; `trust` says whose policies count."""
    if not machines:
        return
    baselines = Baselines(models, trust)
    with limits_remembered(store):
        for start in range(0, len(machines), MACHINES_AT_ONCE):
            wanted = list(machines[start : start + MACHINES_AT_ONCE])
            for attempt in range(TRIES):
                told = [_told(store, baselines, machine) for machine in wanted]
                with store.writing() as connection:
                    wanted = _keep(connection, told, insist=attempt == TRIES - 1)
                if not wanted:
                    break


def _told(store: Store, baselines: Baselines, machine: str) -> _ToKeep:
    """What is to be kept of a machine. Its clips are let go: those of many machines would take much memory."""
    history = history_of(store, machine)
    keep_read(store, history)
    found = tell(store, baselines, history)
    return _ToKeep(history.mark, found.row, found.alarms, _packed(store, baselines, found))


def _packed(store: Store, baselines: Baselines, told: Told) -> PackedLife | None:
    if not len(told.points) or told.health.last_clip_at is None:
        return None
    first, last = told.points.at(0), told.health.last_clip_at
    if not is_coarse(told.health.clips, first, last):
        return None
    with store.reading() as connection:
        return packed_life(connection, baselines, told.row.machine, life_of(told.health, first, last))


def _keep(connection: sa.Connection, told: Iterable[_ToKeep], insist: bool) -> list[str]:
    """Write down what was told; returns the machines of which more has become known meanwhile, which are left out."""
    changed, kept, lives = [], [], []
    for found in told:
        machine = found.row.machine
        as_told = mark_of(connection, machine) == found.mark
        if not as_told and not insist:
            changed.append(machine)
            continue
        kept.append(found.row)
        settle(connection, machine, found.alarms, life_at())
        if as_told and found.life is not None:
            lives.append((machine, found.life))
    write_machines(connection, kept)
    for machine, life in lives:
        keep_life(connection, machine, life)
    return changed


def note_clips(store: Store, machines: Iterable[str]) -> None:
    """Note how many clips the machines have, and when the last was recorded; what was known of their health stays.

    For a job that is interrupted and has no time to tell their health: the next one does. What takes longer than a
    second is left out.
    """
    end = time.monotonic() + NOTING_S
    clips = clip_scores.c
    scored = sa.func.sum(sa.case((clips.status == "scored", 1), else_=0))
    query = sa.select(scored, sa.func.max(clips.recorded_at))
    known = {row.machine: row for row in store.machines()}
    rows = []
    with store.writing() as connection:
        for machine in machines:
            if time.monotonic() > end:
                break
            found = query.where(clips.machine == machine, ~IS_FAILED, clips.id == newest_of(clip_scores))
            count, last = connection.execute(found).one()
            days = sa.select(sa.func.sum(machine_days.c.scored)).where(machine_days.c.machine == machine)
            count = (count or 0) + (connection.scalar(days) or 0)
            row = known.get(machine) or MachineRow(machine, "learning" if count else "no_data", None, None, 0, None)
            facts = {**(row.facts or {}), "format": 0}  # stale
            rows.append(replace(row, clips=count, last_clip_at=utc_time(last), facts=facts))
        write_machines(connection, rows)


def was_cut_short(store: Store, root: Path) -> bool:
    """Whether the last job on this folder ended before it had brought the machines' health up to date."""
    return root_text(root) in store.cut_short()


@many_rows()
def tell(
    store: Store,
    baselines: Baselines,
    history: History,
    *,
    policy: Policy | None = None,
    as_of: datetime | None = None,
) -> Told:
    """What a machine's history tells, as of its last clip or of a moment, by its own policy or by another."""
    policy = policy or baselines.policy(history.machine)
    known = baselines.of(history.machine, history.clips.current_models())
    points = points_of(history, known)
    health = machine_health(policy, known, points, events_of_history(history), as_of)
    explained = _explained(store, history.machine, health, points)
    alarms = [alarm_of(history.machine, episode, explained[episode.key], policy) for episode in health.episodes]
    row = machine_row(history, health, points, alarms, policy, baselines.digest(history.machine), as_of)
    return Told(row, alarms, health, points)


def events_of_history(history: History) -> list[Event]:
    """What people told of the machine, as its health takes it."""
    return [Event(event.at, event.kind, event.note, event.by) for event in history.events]  # type: ignore[arg-type]


def points_of(history: History, baselines: Mapping[str, Baseline]) -> ClipTable:
    """The clips with their z's; where a clip's model is gone, by the p-value that it gave."""
    clips = history.clips
    z = np.full(len(clips), np.nan)
    for digest, baseline in baselines.items():
        judged = np.flatnonzero((clips.model == clips.models.index(digest)) & ~np.isnan(clips.score))
        z[judged] = baseline.z_all(clips.score[judged])
    gone = np.flatnonzero((clips.status == SCORED) & np.isnan(z))
    z[gone] = _z_of_p(clips.p_value[gone])
    return ClipTable(clips.micros, clips.status, z, clips.keys, clips.model, clips.models)


def _z_of_p(p_values: Array) -> Array:
    """The z's [n] of p-values [n]: there are few different ones, as calibration sets are small."""
    low, high = _P_BOUNDS
    known = np.where(np.isnan(p_values) | (p_values == 0.0), high, p_values)
    different, places = np.unique(np.clip(known, low, high), return_inverse=True)
    return np.array([-NormalDist().inv_cdf(p) for p in different.tolist()], np.float64)[places]


def _explained(store: Store, machine: str, health: MachineHealth, points: ClipTable) -> dict[str, Explanation]:
    """Episode's key -> what stands out in it."""
    speaking = {episode.key: speaking_clips(episode, points) for episode in health.episodes}
    rows = rows_of_contents(store, machine, {key for keys in speaking.values() for key in keys})
    return {episode.key: explain(episode, speaking[episode.key], rows) for episode in health.episodes}
