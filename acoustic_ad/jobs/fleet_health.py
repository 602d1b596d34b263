"""The health of machines from their stored clips."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import sqlalchemy as sa

from acoustic_ad.errors import SENSOR_CODES, BundleError
from acoustic_ad.health.policy import LIMIT_INDEX, WORDS, Policy
from acoustic_ad.health.timeline import ClipPoint, MachineHealth, machine_health
from acoustic_ad.jobs.schema import ClipRow, MachineRow, clip_scores
from acoustic_ad.jobs.store import Store, root_text

# What an interrupted job may still read to tell the health of its machines: a fraction of a second's work.
QUICK_CLIPS: Final = 5_000
CLIPS_WORTH_OF_A_MACHINE: Final = 50  # reading its policy takes as long as reading this many clips


def machine_rows(store: Store, models: Path, machines: Sequence[str]) -> list[MachineRow]:
    """The health of each machine, as its stored clips and its model's policy have it."""
    return [_machine_row(store, models, machine) for machine in machines]


def quick_machine_rows(store: Store, models: Path, machines: Sequence[str]) -> list[MachineRow]:
    """As `machine_rows`, of as many machines as can be told at once: those with the fewest clips."""
    count = sa.select(clip_scores.c.machine, sa.func.count()).group_by(clip_scores.c.machine)
    with store.reading() as connection:
        clips: dict[str, int] = dict(connection.execute(count).tuples().all())
    left = QUICK_CLIPS
    quick = []
    for machine in sorted(machines, key=lambda machine: clips.get(machine, 0)):
        left -= clips.get(machine, 0) + CLIPS_WORTH_OF_A_MACHINE
        if left < 0:
            break
        quick.append(machine)
    return machine_rows(store, models, quick)


def was_cut_short(store: Store, root: Path) -> bool:
    """Whether the last job on this folder ended before it had brought the machines' health up to date."""
    return root_text(root) in store.cut_short()


def _machine_row(store: Store, models: Path, machine: str) -> MachineRow:
    clips = store.history(machine)
    policy = _policy(models, machine)
    health = machine_health(
        policy, [ClipPoint(clip.recorded_at, clip.status, clip.index, clip.sha256 or "") for clip in clips]
    )
    return MachineRow(
        machine,
        health.state,
        health.since,
        health.index,
        health.clips,
        health.last_clip_at,
        clips[-1].model if clips else None,
        {"stands_out": _stands_out(policy, health, clips), "heard": health.heard},
    )


def _stands_out(policy: Policy, health: MachineHealth, clips: Sequence[ClipRow]) -> str | None:
    """The sensor's fault, and what is unusual, or was until the sensor broke."""
    unusual = _unusual(policy, clips) if health.heard == "warning" else None
    if health.state != "sensor_fault":
        return unusual
    code = clips[-1].reason or ""
    fault = f"{code} ({SENSOR_CODES.get(code, 'check the sensor')})"
    return f"{fault}; {WORDS['warning']} before that: {unusual}" if unusual else fault


def _unusual(policy: Policy, clips: Sequence[ClipRow]) -> str:
    from acoustic_ad.scores.explain import Standout, in_words, summarise

    window = [clip for clip in clips if clip.index is not None][-policy.window_clips :]
    found = summarise(
        [
            [Standout(**band) for band in clip.bands]
            for clip in window
            if clip.index is not None and clip.index >= LIMIT_INDEX
        ]
    )
    return in_words(found) or "no single band: the pattern as a whole"


def _policy(models: Path, machine: str) -> Policy:
    from acoustic_ad.models.registry import Registry

    try:
        table = Registry(models).info(machine).recipe.health
    except BundleError:
        return Policy()
    return Policy(table.window_clips, table.unusual_share)
