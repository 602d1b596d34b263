"""Where the time of a clip goes: processor milliseconds of each stage of `score`, in one process on one thread."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from acoustic_ad.jobs.clip_work import feature_spec
from acoustic_ad.jobs.schema import ClipRow, FileFact
from acoustic_ad.jobs.store import Store
from acoustic_ad.models.evidence import BandNormaliser
from acoustic_ad.models.registry import Registry
from acoustic_ad.scores.evidence import EvidenceSum
from acoustic_ad.sound.audio import mono_blocks
from acoustic_ad.sound.clip import sha256_of
from acoustic_ad.sound.features import LogMel, cut_patches
from acoustic_ad.sound.sensor import SensorCheck

ROUNDS = 3


def stage_table(clips: Sequence[Path], models: Path) -> str:
    """A markdown table of the stages of `score`, medians over the clips."""
    import torch

    torch.set_num_threads(1)
    model, _ = Registry(models).load("fan/id_00")
    front_end = LogMel(feature_spec(model.recipe))
    spent: dict[str, list[float]] = {}

    def stage(name: str, work: Callable[[], Any]) -> Any:
        begun = time.process_time()
        found = work()
        spent.setdefault(name, []).append(1e3 * (time.process_time() - begun))
        return found

    for _ in range(ROUNDS):
        for clip in clips:
            stage("hash of the content", lambda c=clip: sha256_of(c))
            blocks = stage("read, decode, sensor check", lambda c=clip: _decoded(c, model.recipe.audio.sample_rate_hz))
            log_mel = np.concatenate(stage("log-mel", lambda b=blocks: list(front_end.stream(b))))
            for judge in model.judges:
                _judged(judge, log_mel, stage)
    rows = _per_clip(spent, len(clips)) | {"store, in batches of 200": [_store_ms()]}
    told = [f"| {name} | {statistics.median(values):.2f} |" for name, values in rows.items()]
    return "\n".join(["| stage | CPU ms a clip |", "| --- | --- |", *told])


def _per_clip(spent: dict[str, list[float]], clips: int) -> dict[str, list[float]]:
    """Stages that an ensemble goes through once for each member are added up clip by clip."""
    rows = {}
    for name, values in spent.items():
        each = len(values) // (clips * ROUNDS)
        rows[name] = [sum(values[at : at + each]) for at in range(0, len(values), each)]
    return rows


def _decoded(clip: Path, rate_hz: int) -> list[Any]:
    sensor = SensorCheck()
    blocks = list(mono_blocks(clip, sample_rate_hz=rate_hz, sensor=sensor))
    sensor.fault(1)
    return blocks


def _judged(judge: Any, log_mel: np.ndarray[Any, Any], stage: Callable[[str, Callable[[], Any]], Any]) -> None:
    features, detector = judge.recipe.features, judge.fitted.detector
    normaliser: BandNormaliser = judge.fitted.normaliser
    normalised = stage("normalise", lambda: normaliser(log_mel))
    patches = stage("patches", lambda: cut_patches(normalised, features.patch_frames, features.patch_hop_frames))
    found = stage("forward", lambda: detector.evidence(patches, judge.scorer.paper))

    def statistics_of() -> Any:
        evidence = EvidenceSum(judge.scorer.statistics)
        evidence.add(found.score, found.residual, found.latent, normalised)
        return evidence.clip()

    evidence = stage("statistics", statistics_of)
    stage("scorer", lambda: judge.scorer.score(evidence))


def _store_ms(rows: int = 1000, batch: int = 200) -> float:
    from datetime import UTC, datetime

    at = datetime(2026, 1, 1, tzinfo=UTC)
    with tempfile.TemporaryDirectory() as folder, Store.open(str(Path(folder) / "s.db")) as store:
        run = store.begin_run(Path(folder))
        begun = time.process_time()
        for start in range(0, rows, batch):
            found = [
                ClipRow(f"{n}.wav", "fan", recorded_at=at, recorded_at_source="name", sha256=f"{n:064x}", model="m",
                        score=1.0, p_value=0.5, status="scored", label="unknown", level_db=-30.0)
                for n in range(start, start + batch)
            ]  # fmt: skip
            stat = Path(folder).stat()
            store.commit(run, Path(folder), found, [FileFact.of(r.clip_id, r.machine, stat, r.sha256) for r in found])
        return 1e3 * (time.process_time() - begun) / rows
