"""Train: normal recordings -> one model per machine, written as versioned bundles."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from acoustic_ad.errors import AcousticADError, BundleError, ClipError, ManifestError
from acoustic_ad.jobs.feature_place import FeaturePlace, feature_place
from acoustic_ad.jobs.lock import hold_lock
from acoustic_ad.jobs.pending import Pending, outcome
from acoustic_ad.jobs.train_clips import read_machine, time_of
from acoustic_ad.jobs.train_work import MachineTask, NotKept, Trained, train_machines
from acoustic_ad.jobs.worker_process import ProgressPipe
from acoustic_ad.jobs.workers import Workers, progress_pipe, worker_pool
from acoustic_ad.models.machine_sound import FEWEST_CLIPS
from acoustic_ad.models.signing import SigningKey, Trust
from acoustic_ad.recipe import Recipe
from acoustic_ad.sound.manifest import Clip, Manifest, read_manifest
from acoustic_ad.sound.manifest_check import REFUSED_BY_TRAIN, Finding, check_manifest

# Findings that spoil their own clip only: it is left out, as one that cannot be decoded.
LEFT_OUT_BY_NAME = frozenset({"unreadable", "outside_root"})
NEWS_EVERY_CLIPS = 10
LOOK_AGAIN_S = 0.1  # for progress


@dataclass(frozen=True, slots=True)
class TrainOptions:
    """What `acoustic-ad train` was asked for."""

    data: Path
    recipe: Recipe
    models: Path
    workers: int
    promote: bool = True
    allow_findings: bool = False
    clip_timeout_s: float | None = None
    machine: str | None = None
    signing_key: SigningKey | None = None
    trust: Trust | None = None  # a warm start begins only with a model signed by one of its keys
    cache: Path | None = None  # keeps the features for other trainings; None: they go with the run


@dataclass(slots=True)
class TrainReport:
    """What became of it."""

    description: str
    trained: list[Trained] = field(default_factory=list)
    refused: list[tuple[str, str, list[dict[str, str]]]] = field(default_factory=list)  # machine, why, left-out clips

    @property
    def exit_code(self) -> int:
        """0 all machines trained, 3 some, 1 none."""
        return 0 if not self.refused else 3 if self.trained else 1


@dataclass(frozen=True, slots=True)
class TrainNews:
    """How far a training is, for a progress bar."""

    what: str  # a machine's name, or "reading clips"
    done: int
    total: int
    loss: float | None = None
    held_out_loss: float | None = None


Listener = Callable[[TrainNews], None]


def train(options: TrainOptions, listen: Listener = lambda news: None) -> TrainReport:
    """Learn every machine of DATA from its normal clips; clips of split `test` are never read.

    Raises ManifestError (nothing to learn from; leaks or missing files), LockedError (another training writes here).
    """
    manifest = read_manifest(options.data, machine=options.machine)
    groups = _groups(training_clips(manifest), options.recipe)
    if not groups:
        raise ManifestError(f"{options.data}: no normal recordings to learn from ({manifest.description})")
    _refuse_findings(manifest, options, listen)
    _make_folder(options.models)
    report = TrainReport(manifest.description)
    with (
        hold_lock(options.models / ".train"),
        feature_place(options.models, options.cache) as place,
        _listening(listen) as pipe,
        worker_pool(options.workers, progress=pipe, libraries="train") as workers,
    ):
        _train_groups(options, groups, workers, place, report, listen)
    report.trained.sort(key=lambda trained: trained.machine)
    return report


def _make_folder(models: Path) -> None:
    try:
        models.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BundleError(
            f"{models}: the folder of the models cannot be made: {error.strerror or error}; pass another --models"
        ) from error


def training_clips(manifest: Manifest) -> dict[str, list[Clip]]:
    """The clips to learn each machine from: never an anomaly, never split `test`.

    Where any clip is in split train or calibration, only those; else every clip without a split.
    """
    usable = [clip for clip in manifest.clips if clip.label != "anomaly" and clip.split != "test"]
    if any(clip.split for clip in usable):
        usable = [clip for clip in usable if clip.split]
    machines: dict[str, list[Clip]] = {}
    for clip in usable:
        machines.setdefault(clip.machine, []).append(clip)
    return {machine: _by_time(clips) for machine, clips in sorted(machines.items())}


def _by_time(clips: list[Clip]) -> list[Clip]:
    """In the order of recording where manifest or names tell it of all clips, else as they came."""
    times = [time for clip in clips if (time := time_of(clip)) is not None]
    if len(times) < len(clips):
        return clips
    return [clips[place] for place in sorted(range(len(clips)), key=times.__getitem__)]


def _refuse_findings(manifest: Manifest, options: TrainOptions, listen: Listener) -> None:
    if options.allow_findings:
        return

    def hashing(done: int, total: int) -> None:
        listen(TrainNews("checking the manifest", done, total))

    refused = REFUSED_BY_TRAIN - LEFT_OUT_BY_NAME
    findings = [found for found in check_manifest(manifest, on_progress=hashing) if found.code in refused]
    if findings:
        raise ManifestError(_refusal(findings))


def _refusal(findings: list[Finding]) -> str:
    shown = "\n".join(f"  {finding}" for finding in findings[:10])
    more = f"\n  and {len(findings) - 10} more" if len(findings) > 10 else ""
    return (
        f"the manifest has {len(findings)} findings that spoil a training:\n{shown}{more}\n"
        "mend them (`acoustic-ad manifest check` lists all), or pass --allow"
    )


def _groups(chosen: dict[str, list[Clip]], recipe: Recipe) -> dict[str, dict[str, list[Clip]]]:
    """The machines that share a network: each alone, or all of a type (the name's part before the first slash)."""
    groups: dict[str, dict[str, list[Clip]]] = {}
    for machine, clips in chosen.items():
        name = machine if recipe.group == "machine" else machine.partition("/")[0]
        groups.setdefault(name, {})[machine] = clips
    return groups


def _train_groups(
    options: TrainOptions,
    groups: dict[str, dict[str, list[Clip]]],
    workers: Workers,
    place: FeaturePlace,
    report: TrainReport,
    listen: Listener,
) -> None:
    """Read a group's clips while earlier groups are learnt, so that the features of a few groups only take room.

    Clips that have been read are let go, which leaves `groups` empty.
    """
    running: list[tuple[MachineTask, Pending]] = []
    total = sum(len(clips) for machines in groups.values() for clips in machines.values())
    before = 0  # clips of the machines that have been read

    def heard(clips: int) -> None:
        if clips % NEWS_EVERY_CLIPS == 0:
            listen(TrainNews("reading clips", before + clips, total))

    for name in list(groups):
        machines, learnable = groups.pop(name), []
        for machine in list(machines):
            count = len(machines[machine])
            from_here = (options.recipe, workers, place, options.clip_timeout_s, heard)
            found = read_machine(machine, machines.pop(machine), *from_here)
            before += count
            heard(0)
            if len(found.learnt) < FEWEST_CLIPS:
                reason = f"{len(found.learnt)} usable normal clips of {count}; training needs {FEWEST_CLIPS}"
                report.refused.append((machine, reason, found.left_out))
                found.files.remove()
            else:
                learnable.append(found)
        if learnable:
            to_disk = (options.models, options.promote, options.signing_key)
            task = MachineTask(name, options.recipe, learnable, *to_disk, options.trust)
            running.append((task, workers.submit(train_machines, task)))
        while len(running) > workers.count:
            _collect(*running.pop(0), report)
    for task, pending in running:
        _collect(task, pending, report)


def _collect(task: MachineTask, pending: Pending, report: TrainReport) -> None:
    names = [clips.machine for clips in task.machines]
    try:
        result = outcome(pending)
    except AcousticADError as error:
        report.refused += [(machine, str(error), []) for machine in names]
        return
    finally:
        for clips in task.machines:
            clips.files.remove()
    if isinstance(result, ClipError):
        report.refused += [(machine, f"the training process failed: {result}", []) for machine in names]
        return
    for ended in result:
        if isinstance(ended, NotKept):
            report.refused.append((ended.machine, ended.reason, ended.left_out))
        else:
            report.trained.append(ended)


@contextmanager
def _listening(listen: Listener) -> Iterator[ProgressPipe]:
    """A pipe whose news, sent by workers, reach the listener while the block runs."""
    pipe = progress_pipe()
    over = threading.Event()

    def pass_on() -> None:
        # No "end" is sent through the pipe: a worker that was killed while it wrote holds the pipe's lock for ever.
        while not over.is_set() or not pipe.empty():
            if pipe.empty():
                over.wait(LOOK_AGAIN_S)
                continue
            name, progress = pipe.get()
            listen(TrainNews(name, progress.step, progress.steps, progress.loss, progress.held_out_loss))

    thread = threading.Thread(target=pass_on, daemon=True)
    thread.start()
    try:
        yield pipe
    finally:
        over.set()
        thread.join(timeout=1)
