"""Very many small clips, each with bytes of its own; and a store that knows them without any having been heard."""

from __future__ import annotations

import os
from pathlib import Path

from cli_process import encoded, samples

from acoustic_ad.jobs.schema import ClipRow, FileFact
from acoustic_ad.jobs.store import Store
from acoustic_ad.models.registry import Registry
from acoustic_ad.sound.manifest import read_manifest, recording_time, sha256_of

FIRST_AT = 1_767_600_000.0  # 2026-01-05
EVERY_S = 60.0
CLIP_S = 0.2


def write_many(root: Path, count: int, machines: tuple[str, ...] = ("fan",)) -> None:
    """`count` clips of 0.2 s, a minute apart; variants differ in their last samples, which hold the number."""
    kinds = {machine: [encoded(samples(machine, number, CLIP_S)) for number in range(20)] for machine in machines}
    for machine in machines:
        (root / machine).mkdir(parents=True)
    for number in range(count):
        machine = machines[number % len(machines)]
        content = kinds[machine][number // len(machines) % 20]
        file = root / machine / f"{number:06d}.wav"
        file.write_bytes(content[:-3] + number.to_bytes(3, "little"))
        at = FIRST_AT + EVERY_S * number
        os.utime(file, (at, at))


def note_as_scored(root: Path, models: Path, db: Path) -> int:
    """Make a store in which every clip of `root` has a score, as if a job had run. Returns how many."""
    registry = Registry(models)
    manifest = read_manifest(root)
    digests = {machine: registry.info(machine).digest for machine in manifest.machines}
    with Store.open(db) as store:
        run = store.begin_run(manifest.root)
        rows: list[ClipRow] = []
        facts: list[FileFact] = []
        for number, clip in enumerate(manifest.clips):
            stat = clip.path.stat()
            at, source = recording_time(clip, stat.st_mtime)
            digest = sha256_of(clip.path)
            score, p_value = 1.0 + number % 997 / 1000.0, (1 + number % 997) / 1000.0
            rows.append(
                ClipRow(clip.clip_id, clip.machine, at, source, digest, digests[clip.machine], score, p_value, "scored")
            )
            facts.append(FileFact.of(clip.clip_id, clip.machine, stat, digest, at))
            if len(rows) == 2_000:
                store.commit(run, manifest.root, rows, facts)
                rows, facts = [], []
        store.commit(run, manifest.root, rows, facts)
        store.end_run(run, {}, 0)
    return len(manifest.clips)
