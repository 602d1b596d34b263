"""What a clip costs in work, which no computer's speed changes: bytes read, frames decoded, forward passes, SQL.

Times are measured in benchmarks/; here stands what must not creep back in.
"""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from cli_process import samples, write_clips
from plant import Plant, normal
from torch import nn

from acoustic_ad.jobs import plan
from acoustic_ad.jobs.clip_work import feature_spec, score_clip
from acoustic_ad.jobs.feature_file import HEADER_BYTES
from acoustic_ad.jobs.feature_place import feature_place
from acoustic_ad.jobs.punctuality import job_notices
from acoustic_ad.jobs.score import ScoreOptions, score
from acoustic_ad.jobs.store import Store
from acoustic_ad.jobs.tasks import FileStamp, Scored, ScoreTask
from acoustic_ad.jobs.train_clips import read_machine
from acoustic_ad.jobs.train_work import MachineTask, train_machines
from acoustic_ad.models.bundle import TrainingDetails
from acoustic_ad.models.machine_model import MachineModel
from acoustic_ad.models.registry import Registry
from acoustic_ad.recipe import Recipe, parse_recipe
from acoustic_ad.sound import audio
from acoustic_ad.sound.features import LogMel
from acoustic_ad.sound.manifest import read_manifest
from acoustic_ad.sound.planted import LEVELS_DB, planted_faults

SECONDS = 4.0
RATE = 16_000
DENSE = {"steps": 4, "hidden": 16, "latent": 4, "batch_size": 32}
DETECTORS: dict[str, dict[str, Any]] = {
    "dae": {"kind": "dae", **DENSE},
    "vae": {"kind": "vae", **DENSE},
    "ganomaly": {"kind": "ganomaly", "steps": 2, "width": 4, "latent": 4, "batch_size": 8},
}


def learnt(kind: str) -> MachineModel:
    """A model that has learnt next to nothing."""
    frames = 32 if kind == "ganomaly" else 5
    table = {"name": kind, "features": {"patch_frames": frames, "n_mels": 32}, "detector": DETECTORS[kind]}
    recipe = parse_recipe({**table, "scorer": {"kind": "nearest_neighbour"}, "training": {"folds": 2}}, kind)
    front_end = LogMel(feature_spec(recipe))
    log_mels = [front_end(samples("fan", number, SECONDS)) for number in range(12)]
    return MachineModel(recipe).fit(log_mels, [number // 3 for number in range(12)])


@pytest.fixture(scope="module", params=sorted(DETECTORS))
def known(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """(detector, folder of its model)."""
    models = tmp_path_factory.mktemp(request.param) / "models"
    model = learnt(request.param)
    details = TrainingDetails(n_clips=12, feature_spec=feature_spec(model.recipe))
    Registry(models).save("fan", model, details)
    return request.param, models


@contextmanager
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter[str]]:
    """Frames that are decoded, frames of a log-mel, in how many pieces of each; forward passes, patches in them."""
    counts: Counter[str] = Counter()
    read, frames = audio._read, LogMel._frames

    def reading(sound: Any, buffer: Any, position: int) -> Any:
        block = read(sound, buffer, position)
        counts["decoded"] += len(block)
        counts["reads"] += 1
        return block

    def transforming(front_end: LogMel, waveform: Any) -> Any:
        found = frames(front_end, waveform)
        counts["log-mel frames"] += len(found)
        counts["transforms"] += 1
        return found

    def passing(module: nn.Module, inputs: Any, output: Any) -> None:
        if type(module).__name__ in ("Unscored", "DenseUnscored", "_Judging"):
            counts["passes"] += 1
            counts["patches"] += len(inputs[0])
            counts["passes over copies"] += inputs[0].is_contiguous()
        elif isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d | nn.BatchNorm1d | nn.BatchNorm2d):
            counts[type(module).__name__] += 1

    monkeypatch.setattr(audio, "_read", reading)
    monkeypatch.setattr(LogMel, "_frames", transforming)
    hook = nn.modules.module.register_module_forward_hook(passing)
    try:
        yield counts
    finally:
        hook.remove()


def test_a_clip_is_decoded_transformed_and_judged_once(
    known: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind, models = known
    (file,) = write_clips(tmp_path / "fan", "fan", [40], SECONDS)
    task = ScoreTask("fan/clip.wav", file, FileStamp.of(file), Registry(models).bundle_path("fan"))
    score_clip(task)  # loads the model, and folds its network
    with counted(monkeypatch) as counts:
        assert isinstance(score_clip(task), Scored)
    frames = 1 + int(SECONDS * RATE) // 512
    assert counts["decoded"] == int(SECONDS * RATE)
    assert counts["log-mel frames"] == frames
    assert (counts["reads"], counts["transforms"]) == (1, 1), "a short clip is one piece of work at every stage"
    assert (counts["passes"], counts["patches"]) == (1, frames - (31 if kind == "ganomaly" else 4))
    assert counts["passes over copies"] == 0, "overlapping patches are views of the frames they share"
    assert counts["BatchNorm1d"] == 0, "folded into the layers before"
    assert counts["BatchNorm2d"] == (1 if kind == "ganomaly" else 0), "but for that of the map that the code becomes"
    layers = counts["Linear"] + counts["Conv2d"] + counts["ConvTranspose2d"]
    network = Registry(models).load("fan")[0].judges[0].fitted.detector.module()
    whole = sum(isinstance(one, nn.Linear | nn.Conv2d | nn.ConvTranspose2d) for one in network.modules())
    if kind == "ganomaly":
        assert layers == whole * 2 / 3, "the second encoder serves the paper score alone"
    else:
        assert layers == whole - 1, "the first layer goes over the frames"


class InThisProcess:
    """In the place of workers: whatever is counted is counted here."""

    def map(self, function: Any, tasks: Any, rehearsal: Any) -> Iterator[tuple[Any, Any]]:
        for task, _ in tasks:
            yield task, function(task)


def trained(recipe: Recipe, sound: Path, models: Path, cache: Path | None) -> bytes:
    """The weights that a training gives, made in this process."""
    clips = read_manifest(sound).clips
    with feature_place(models, cache) as place:
        found = read_machine("fan", list(clips), recipe, InThisProcess(), place)
        train_machines(MachineTask("fan", recipe, [found], models, True))
    folder = max((models / "fan").glob("v*"))
    return (folder / "weights.safetensors").read_bytes()


def of_two(kind: str) -> Recipe:
    """A recipe of two judges, by what is planted, or of the first alone."""
    features = {"patch_frames": 1, "n_mels": 32}
    one = {"name": "one", "features": features, "detector": {"kind": "mahalanobis"}}
    two = {**one, "name": "two", "features": {**features, "patch_frames": 2}}
    both = {"name": "both", "members": [one, two], "features": features}
    return parse_recipe(one if kind == "one" else both, kind)


def test_features_are_computed_once_and_with_a_cache_never_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not for a second judge, not for another fold; warm, no clip is decoded, and models are the same bit by bit."""
    write_clips(tmp_path / "sound" / "fan", "fan", range(12), 1.0)
    sound, cache = tmp_path / "sound" / "fan", tmp_path / "cache"
    decoded = 18 * RATE  # twelve clips, and six of them once more to plant faults into
    faults = len(planted_faults(RATE, 8_000.0)) * len(LEVELS_DB)
    frames = (12 + 6 * faults) * (1 + RATE // 512)
    found = {}
    for kind in ("one", "both"):
        with counted(monkeypatch) as counts:
            found[kind] = trained(of_two(kind), sound, tmp_path / f"models {kind}", None)
        assert (counts["decoded"], counts["log-mel frames"]) == (decoded, frames), kind
    with counted(monkeypatch) as counts:
        assert trained(of_two("one"), sound, tmp_path / "cold", cache) == found["one"]
    assert (counts["decoded"], counts["log-mel frames"]) == (decoded, frames)
    with counted(monkeypatch) as counts:
        assert trained(of_two("one"), sound, tmp_path / "warm", cache) == found["one"]
        assert trained(of_two("both"), sound, tmp_path / "other", cache) == found["both"]
    assert (counts["decoded"], counts["log-mel frames"]) == (0, 0)


def test_a_cache_takes_new_clips_and_makes_damaged_ones_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = write_clips(tmp_path / "sound" / "fan", "fan", range(12), 1.0)
    sound, cache, recipe = tmp_path / "sound" / "fan", tmp_path / "cache", of_two("one")
    trained(recipe, sound, tmp_path / "models", cache)
    (clips,) = cache.glob("*.clips")
    write_clips(sound, "fan", [20, 21], 1.0)
    shutil.copy(files[0], files[1])  # its content is known, by another name
    cold = trained(recipe, sound, tmp_path / "cold", None)
    with counted(monkeypatch) as counts:
        assert trained(recipe, sound, tmp_path / "grown", cache) == cold
    assert counts["decoded"] % RATE == 0 and counts["decoded"] // RATE <= 2 + 6
    kept = clips.read_bytes()
    for place in (HEADER_BYTES + 77, 100, len(kept) - 5):
        damaged = bytearray(kept)
        damaged[place] ^= 1
        clips.write_bytes(damaged)
        assert trained(recipe, sound, tmp_path / f"damaged {place}", cache) == cold
        assert clips.read_bytes() == kept
    assert sorted(entry.suffix for entry in cache.iterdir()) == [".clips", ".planted"]


def test_sql_does_not_grow_with_the_clips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Statements of a first run and of one without work, over a few clips and over four times as many.

    Contents are hashed once each, and not again.
    """
    sound, models = tmp_path / "sound", tmp_path / "models"
    recipe = parse_recipe({"name": "m", "detector": {"kind": "mahalanobis"}, "features": {"patch_frames": 1}}, "m")
    front_end = LogMel(feature_spec(recipe))
    model = MachineModel(recipe).fit([front_end(samples("fan", n, 1.0)) for n in range(12)], list(range(12)))
    Registry(models).save("fan", model, TrainingDetails(n_clips=12, feature_spec=feature_spec(recipe)))
    statements: Counter[str] = Counter()
    hashed: Counter[str] = Counter()
    now, hash_of = "", plan.sha256_of

    def hashing(path: Path) -> str:
        hashed[now] += 1
        return hash_of(path)

    monkeypatch.setattr(plan, "sha256_of", hashing)

    def note(*_: Any) -> None:
        statements[now] += 1

    sa.event.listen(sa.Engine, "before_cursor_execute", note)
    try:
        for count in (10, 40):
            folder = sound / str(count)
            write_clips(folder / "fan", "fan", range(100, 100 + count))
            for now in (f"first {count}", f"again {count}"):
                report = score(ScoreOptions(folder, models, str(tmp_path / f"{count}.db"), 1, settle_s=0.0))
                assert report.counts["found"] == count
                assert report.counts["scored"] == (count if now.startswith("first") else 0)
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", note)
    assert hashed == {"first 10": 10, "first 40": 40}
    assert statements["first 40"] - statements["first 10"] < 10, statements
    assert statements["again 40"] == statements["again 10"] < 60, statements


SMALL_INDICES = ("one_failed_row", "failed_by_machine", "files_of_broken_sensors")  # of the few rows that are amiss


def test_neither_status_nor_a_run_without_work_goes_through_all_clips(tmp_path: Path) -> None:
    """How SQLite would answer each question of both: never by a walk through the clips or the ledger."""
    plant = Plant(tmp_path)
    for machine in ("fan", "pump"):
        plant.add_clips(machine, [*normal(40), "failed", "off"])
    plant.tell()
    asked: list[tuple[str, Any]] = []

    def note(connection: Any, cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if statement.lstrip().upper().startswith(("SELECT", "WITH")):
            asked.append((statement, parameters))

    sa.event.listen(sa.Engine, "before_cursor_execute", note)
    try:
        plant.status()
        with Store.open(plant.database, read_only=True) as store:
            job_notices(store)
        report = plant.tell()
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", note)
    assert report.counts["already_scored"] == 82 and len(asked) > 10
    with sqlite3.connect(plant.db) as store:
        for statement, parameters in asked:
            plan_of = store.execute(f"EXPLAIN QUERY PLAN {statement}", parameters).fetchall()
            walks = [step for *_, step in plan_of if step.startswith(("SCAN clip_scores", "SCAN files"))]
            assert all(step.endswith(SMALL_INDICES) for step in walks), (statement, walks)


NOT_TO_SCORE = (
    *("torch._inductor", "torch._dynamo.", "scipy.linalg", "scipy.fft", "scipy.signal", "scipy.stats"),
    *("sklearn", "librosa", "matplotlib"),
)


def test_scoring_loads_no_compiler_and_nothing_to_learn_by(known: tuple[str, Path], tmp_path: Path) -> None:
    """Torch's compiler alone takes a second and 100 MB of every worker, and is loaded by a harmless looking call."""
    _, models = known
    (file,) = write_clips(tmp_path / "fan", "fan", [40], SECONDS)
    program = (
        "import sys, pathlib\n"
        "from acoustic_ad.jobs.tasks import FileStamp, ScoreTask, score_clip\n"
        f"file = pathlib.Path({str(file)!r})\n"
        f"bundle = pathlib.Path({str(Registry(models).bundle_path('fan'))!r})\n"
        "print(type(score_clip(ScoreTask('clip', file, FileStamp.of(file), bundle))).__name__)\n"
        f"print(*(name for name in sys.modules if name.startswith({NOT_TO_SCORE})))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120)
    result, loaded = done.stdout.split("\n")[:2]
    assert result == "Scored"
    assert not loaded
