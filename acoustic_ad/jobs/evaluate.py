"""Evaluate: how well the scores of labelled clips separate normal from anomalous, per machine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from acoustic_ad.errors import BundleError, ClipError, ManifestError
from acoustic_ad.jobs.clip_work import score_clip
from acoustic_ad.jobs.feedback import labels_from_events
from acoustic_ad.jobs.plan import Model, current_model
from acoustic_ad.jobs.score_report import Failure
from acoustic_ad.jobs.store import Store
from acoustic_ad.jobs.tasks import FileStamp, Off, Scored, ScoreTask, rehearsal
from acoustic_ad.jobs.train_clips import clip_deadline
from acoustic_ad.jobs.workers import worker_pool
from acoustic_ad.models.registry import Registry
from acoustic_ad.models.signing import Trust
from acoustic_ad.report.tables import count_of
from acoustic_ad.scores.metrics import (
    AtThreshold,
    Separation,
    arithmetic_mean,
    at_threshold,
    harmonic_mean,
    separation,
)
from acoustic_ad.sound.clip import one_line
from acoustic_ad.sound.manifest import Clip, Manifest, read_manifest, sha256_of

PLAIN: Final = ("plain", "flat")  # layouts that carry no labels


@dataclass(frozen=True, slots=True)
class Judged:
    """One labelled clip with its verdict."""

    clip: Clip
    verdict: Scored


@dataclass(slots=True)
class MachineResult:
    """How well one machine's clips are told apart."""

    machine: str
    detector: Separation | None  # None where a label is missing among the scored clips
    level_only: Separation | None  # the clip's RMS as the score: what a sound level meter would reach
    threshold: AtThreshold | None
    limit_p: float
    unscored: int
    recordings: int
    counts: tuple[int, int]  # normal, anomalous clips that were scored
    reason: str = ""


@dataclass(slots=True)
class Evaluation:
    """All machines, and the means over those that could be evaluated."""

    machines: list[MachineResult]
    recipes: list[str]
    seeds: list[int]
    failures: list[Failure] = field(default_factory=list)
    judged: list[Judged] = field(default_factory=list)
    from_events: dict[str, int] = field(default_factory=dict)  # label -> clips that have it because people said so

    @property
    def evaluated(self) -> list[MachineResult]:
        return [machine for machine in self.machines if machine.detector is not None]

    @property
    def left_out(self) -> list[str]:
        """The machines that the means leave out."""
        return [machine.machine for machine in self.machines if machine.detector is None]


def evaluate(
    data: Path,
    models: Path,
    *,
    workers: int,
    clip_timeout_s: float | None = None,
    limit_p: float = 0.05,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
    store: Store | None = None,
    trust: Trust | None = None,
) -> Evaluation:
    """Score the labelled clips of split `test` (all labelled ones where no split is given) and rate the scores.

    Clips without a label get that of the alarm that they belong to in `store`, where people have judged it. `trust`:
    only models that one of its keys signed are used. Raises ManifestError where there is nothing labelled, BundleError
    where no machine has a usable model.
    """
    manifest, from_events = _with_events(read_manifest(data), store, models)
    clips = _labelled(manifest, data)
    registry = Registry(models, trust)
    found_models = {machine: current_model(models, machine, trust) for machine in {clip.machine for clip in clips}}
    judged, failures = _judge(clips, found_models, workers, clip_timeout_s, on_progress)
    _refuse_without_models(clips, failures)
    results = [
        _rate(machine, found, sum(clip.machine == machine for clip in clips), limit_p)
        for machine, found in sorted(judged.items())
    ]
    infos = [registry.info(machine) for machine, found in judged.items() if found]
    return Evaluation(
        results,
        sorted({info.recipe.name for info in infos}),
        sorted({info.recipe.seed for info in infos}),
        failures,
        [one for found in judged.values() for one in found],
        from_events,
    )


def _judge(
    clips: list[Clip],
    models: Mapping[str, Model],
    workers: int,
    clip_timeout_s: float | None,
    on_progress: Callable[[int, int], None],
) -> tuple[dict[str, list[Judged]], list[Failure]]:
    """By machine the clips that could be scored, and those that could not."""
    judged: dict[str, list[Judged]] = {clip.machine: [] for clip in clips}
    failures: list[Failure] = []
    clip_of: dict[ScoreTask, Clip] = {}
    tasks = []
    for clip in clips:
        try:
            task = _task(clip, models[clip.machine])
            clip_of[task] = clip
            tasks.append((task, clip_deadline(clip, clip_timeout_s)))
        except ClipError as error:
            failures.append(Failure(clip.clip_id, clip.machine, error.code, error.reason))
    with worker_pool(workers) as pool:
        for done, (task, result) in enumerate(pool.map(score_clip, tasks, rehearsal), start=1):
            clip = clip_of[task]
            if isinstance(result, Scored):
                judged[clip.machine].append(Judged(clip, result))
            elif isinstance(result, Off):
                failures.append(Failure(clip.clip_id, clip.machine, "off", result.reason))
            else:
                failures.append(Failure(clip.clip_id, clip.machine, result.code, result.reason))
            on_progress(done, len(tasks))
    return judged, failures


def _with_events(manifest: Manifest, store: Store | None, models: Path) -> tuple[Manifest, dict[str, int]]:
    """The manifest with labels by what people found out, and how many clips got which.

    A label that the manifest gives stays. In plain folders none does, they only count as normal.
    """
    known = {} if store is None else labels_from_events(store, models)
    machines = {machine for machine, _ in known}
    unlabelled = ("", "unknown", "normal") if manifest.layout in PLAIN else ("", "unknown")
    counts: Counter[str] = Counter()
    clips = []
    for clip in manifest.clips:
        label = None
        if clip.label in unlabelled and clip.machine in machines and not clip.problem:
            with suppress(OSError):  # a clip that cannot be read fails when it is scored
                label = known.get((clip.machine, sha256_of(clip.path)))
        counts.update([label] if label else [])
        clips.append(replace(clip, label=label) if label else clip)
    return replace(manifest, clips=tuple(clips)), dict(counts)


def _refuse_without_models(clips: list[Clip], failures: list[Failure]) -> None:
    if len(failures) == len(clips) and {failure.code for failure in failures} <= {"no_model", "bad_model"}:
        first = f"{one_line(failures[0].clip_id)}: {failures[0].reason}"
        raise BundleError(f"no machine has a usable model; {first}; train one with `acoustic-ad train`")


def _labelled(manifest: Manifest, data: Path) -> list[Clip]:
    if manifest.layout in PLAIN and all(clip.label != "anomaly" for clip in manifest.clips):
        raise ManifestError(
            f"{one_line(str(data))}: plain folders carry no labels, all their clips count as normal; `evaluate` needs "
            "labels normal and anomaly: write a manifest with `acoustic-ad manifest build` and correct its label "
            "column (or pass --db, where events tell of confirmed faults)"
        )
    labelled = [clip for clip in manifest.clips if clip.label in ("normal", "anomaly")]
    if any(clip.split for clip in manifest.clips):
        labelled = [clip for clip in labelled if clip.split == "test"]
    if not labelled:
        raise ManifestError(
            f"{one_line(str(data))}: no labelled clips; `evaluate` needs normal and anomaly (split test)"
        )
    return sorted(labelled, key=lambda clip: (clip.machine, clip.clip_id))


def _task(clip: Clip, model: Model) -> ScoreTask:
    if clip.problem:
        raise ClipError(*clip.problem)
    if model.bundle is None:
        raise model.error or ClipError("no_model", f"no model for {clip.machine}")
    stamp = FileStamp.of(clip.path)
    return ScoreTask(clip.clip_id, clip.path, stamp, model.bundle, clip.columns, digest=model.digest)


def _rate(machine: str, found: list[Judged], labelled: int, limit_p: float) -> MachineResult:
    labels = np.array([judged.clip.label == "anomaly" for judged in found], np.int64)
    scores = np.array([judged.verdict.score for judged in found])
    levels = np.array([judged.verdict.rms_db for judged in found])
    named = [judged.clip.session for judged in found]
    sessions = [session or judged.clip.clip_id for session, judged in zip(named, found, strict=True)]
    counts = (int((labels == 0).sum()), int(labels.sum()))
    result = MachineResult(machine, None, None, None, limit_p, labelled - len(found), len(set(sessions)), counts)
    if 0 in counts:
        result.reason = (
            f"{count_of(counts[0], 'normal clip')} and {count_of(counts[1], 'anomalous clip')} scored: needs both"
        )
        return result
    by_session = sessions if any(named) else None
    result.detector = separation(labels, scores, by_session)
    result.level_only = separation(labels, levels, by_session)
    result.threshold = at_threshold(labels, [judged.verdict.p_value < limit_p for judged in found])
    return result


def as_json(evaluation: Evaluation) -> dict[str, Any]:
    """The document of `evaluate --json`."""
    machines = []
    for result in evaluation.machines:
        row: dict[str, Any] = {"machine": result.machine, "unscored": result.unscored, "recordings": result.recordings}
        row |= dict.fromkeys(("auc", "pauc", "ap", "auc_ci"))
        row["n_normal"], row["n_anomaly"] = result.counts
        if result.detector:
            row |= asdict(result.detector)
        row["level_only"] = asdict(result.level_only) if result.level_only else None
        row["threshold"] = {"p": result.limit_p, **asdict(result.threshold)} if result.threshold else None
        row["reason"] = result.reason or None
        machines.append(row)
    return {
        "recipes": evaluation.recipes,
        "seeds": evaluation.seeds,
        "machines": machines,
        "mean": means(evaluation, arithmetic_mean),
        "hmean": means(evaluation, harmonic_mean),
        "failures": [failure.as_json for failure in evaluation.failures],
        "from_events": evaluation.from_events,
    }


def means(evaluation: Evaluation, mean: Callable[[list[float]], float]) -> dict[str, float | None]:
    """AUC, pAUC and AP averaged over the machines; None where none could be evaluated."""
    found = [result.detector for result in evaluation.evaluated if result.detector]
    if not found:
        return {"auc": None, "pauc": None, "ap": None}
    return {
        "auc": mean([one.auc for one in found]),
        "pauc": mean([one.pauc for one in found]),
        "ap": mean([one.ap for one in found]),
    }
