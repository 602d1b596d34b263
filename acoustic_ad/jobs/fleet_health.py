"""The health of machines from their stored clips."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import sqlalchemy as sa

from acoustic_ad.errors import BundleError
from acoustic_ad.health.policy import LIMIT_INDEX, Policy
from acoustic_ad.health.timeline import ClipPoint, machine_health
from acoustic_ad.jobs.schema import ClipRow, MachineRow, runs
from acoustic_ad.jobs.store import Store, root_text


def machine_rows(store: Store, models: Path, machines: Sequence[str]) -> list[MachineRow]:
    """The health of each machine, as its stored clips and its model's policy have it."""
    return [_machine_row(store, models, machine) for machine in machines]


def was_cut_short(store: Store, root: Path) -> bool:
    """Whether the last job on this folder ended before it had brought the machines' health up to date."""
    last = sa.select(runs.c.ended_at).where(runs.c.root == root_text(root)).order_by(runs.c.id.desc()).limit(1)
    with store.reading() as connection:
        found = connection.execute(last).first()
    return found is not None and found.ended_at is None


def _machine_row(store: Store, models: Path, machine: str) -> MachineRow:
    clips = store.history(machine)
    policy = _policy(models, machine)
    health = machine_health(
        policy, [ClipPoint(clip.recorded_at, clip.status, clip.index, clip.sha256 or "") for clip in clips]
    )
    unusual = [clip for clip in clips[-policy.window_clips :] if clip.index is not None and clip.index >= LIMIT_INDEX]
    return MachineRow(
        machine,
        health.state,
        health.since,
        health.index,
        health.clips,
        health.last_clip_at,
        clips[-1].model if clips else None,
        {"stands_out": _stands_out(unusual) if health.state == "warning" else None},
    )


def _stands_out(clips: Sequence[ClipRow]) -> str | None:
    from acoustic_ad.scores.explain import Standout, in_words, summarise

    found = summarise([[Standout(**band) for band in clip.bands] for clip in clips])
    return in_words(found) or "no single band: the pattern as a whole"


def _policy(models: Path, machine: str) -> Policy:
    from acoustic_ad.models.registry import Registry

    try:
        table = Registry(models).info(machine).recipe.health
    except BundleError:
        return Policy()
    return Policy(table.window_clips, table.unusual_share)
