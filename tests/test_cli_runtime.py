"""`score --runtime onnx`: the rows of torch, from processes that never load it."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from cli_process import DAE_RECIPE, RATE_HZ, acoustic_ad, encoded, rows_of, samples, write_clips, write_manifest

from acoustic_ad.models.registry import Registry

pytest.importorskip("onnxruntime")
HEAVY = ("torch", "torchaudio", "librosa", "sklearn", "matplotlib", "numba")
LONG_S = 135.0  # more than one stretch of 4096 frames
MEMBER = """
[[members]]
name = "{kind}"
features = {{ n_mels = 32, patch_frames = 8 }}
{scorer}
detector = {{ kind = "{kind}", {options} }}
"""
MEMBERS = {
    "dae": 'steps = 20, hidden = 16, layers = 2, predict = "centre"',
    "vae": 'net = "conv", steps = 10, width = 4, latent = 4',
    "ganomaly": "steps = 5, width = 4, latent = 4, batch_size = 8",
}
SCORERS = {
    "statistics": 'scorer = { kind = "nearest_neighbour", statistics = ["residual", "spectrum_high", "latent"] }',
    "paper": 'scorer = { kind = "paper" }',
}


def ensemble(scorer: str) -> str:
    """A recipe of all networks, with operating conditions."""
    members = [MEMBER.format(kind=kind, options=options, scorer=scorer) for kind, options in MEMBERS.items()]
    own = 'name = "tiny_ensemble"\ncondition = "load"\n[features]\nn_mels = 32\n[training]\nfolds = 2\n'
    return "# Assumes nothing: for tests.\n" + own + "".join(members)


@dataclass(frozen=True)
class Watched:
    """An environment in which heavy packages cannot be imported, and whoever tries is noted."""

    env: dict[str, str]
    notes: Path

    def tried(self) -> list[str]:
        return self.notes.read_text().split() if self.notes.exists() else []


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    notes, folder = tmp_path / "tried.txt", tmp_path / "not installed"
    for name in HEAVY:
        (folder / name).mkdir(parents=True)
        words = f"open({str(notes)!r}, 'a').write('{name} ')\nraise ImportError('{name} must not be loaded')\n"
        (folder / name / "__init__.py").write_text(words)
    path = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
    return Watched({"PYTHONPATH": path}, notes)


def odd_clips(folder: Path) -> None:
    """Clips of the fan of every kind: good, changed, long, at another rate in stereo, broken, silent, too short."""
    write_clips(folder, "fan", range(30, 34))
    (folder / "fault.wav").write_bytes(encoded(samples("fan", 40, fault="imbalance")))
    (folder / "long.flac").write_bytes(encoded(samples("fan", 41, LONG_S), kind="FLAC"))
    both = np.stack([samples("fan", 42, 2.0), samples("fan", 43, 2.0)], axis=1)
    soundfile.write(folder / "stereo.wav", both, 44_100, subtype="PCM_24")
    (folder / "broken.wav").write_bytes(encoded(samples("fan", 44))[:-2000])
    (folder / "silent.wav").write_bytes(encoded(np.zeros(RATE_HZ)))
    (folder / "short.wav").write_bytes(encoded(samples("fan", 45)[:600]))
    (folder / "faint.wav").write_bytes(encoded(1e-3 * samples("fan", 46), subtype="FLOAT"))
    (folder / "nonsense.wav").write_bytes(b"This is not sound.\n" * 50)


def scored_by(runtime: str, sound: Path, models: Path, tmp_path: Path, **options: Any) -> list[dict[str, str]]:
    out = tmp_path / f"{runtime}.csv"
    words = ("--models", models, "--db", tmp_path / f"{runtime}.db", "--out", out, "--settle", "0", "--workers", "2")
    acoustic_ad("score", sound, *words, "--runtime", runtime, code=options.pop("code", None), **options)
    return rows_of(out)


def assert_same(found: list[dict[str, str]], wanted: list[dict[str, str]], models: Path) -> None:
    """Rows that differ by rounding alone: the score by less than 1e-4 of its scale."""
    registry = Registry(models)
    limit = {name: registry.load(name)[0].normal_range()[1] for name in registry.machines()}
    assert [row["clip_id"] for row in found] == [row["clip_id"] for row in wanted]
    for mine, theirs in zip(found, wanted, strict=True):
        for name in ("score", "index"):
            a, b = mine.pop(name), theirs.pop(name)
            scale = 100.0 if name == "index" else max(abs(limit[mine["machine"]]), abs(float(b or 0.0)))
            assert (a, b) == ("", "") or abs(float(a) - float(b)) < 1e-4 * scale, mine["clip_id"]
        bands, others = json.loads(mine.pop("bands")), json.loads(theirs.pop("bands"))
        for band, other in zip(bands, others, strict=True):
            assert band == pytest.approx(other, abs=0.11)  # rounded to a tenth
        assert mine == theirs


def test_rows_are_those_of_torch_and_nobody_loads_it(
    recordings: Path, models: Path, scoring: Any, watched: Watched, tmp_path: Path
) -> None:
    found = scored_by("onnx", recordings, models, tmp_path, env=watched.env, code=0)
    assert_same(found, rows_of(scoring.path.parent / "all.csv"), models)
    assert len(found) == 44 and all(row["status"] == "scored" for row in found)
    assert watched.tried() == []


@pytest.fixture(scope="module")
def dense(recordings: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models of a denoising autoencoder."""
    root = tmp_path_factory.mktemp("dense")
    (root / "dae.toml").write_text(DAE_RECIPE.format(steps=100))
    acoustic_ad("train", recordings, "--recipe", root / "dae.toml", "--models", root / "models", "--workers", "2")
    return root / "models"


def test_every_kind_of_file_ends_as_with_torch(dense: Path, watched: Watched, tmp_path: Path) -> None:
    odd_clips(tmp_path / "sound" / "fan")
    found = scored_by("onnx", tmp_path / "sound", dense, tmp_path, env=watched.env, code=3)
    assert {row["reason"] for row in found} >= {"truncated", "silent", "too_short", "unsupported"}
    scored = {row["clip_id"].rpartition("/")[2] for row in found if row["status"] == "scored"}
    assert scored >= {"long.flac", "stereo.wav", "fault.wav"}
    assert watched.tried() == []
    assert_same(found, scored_by("torch", tmp_path / "sound", dense, tmp_path, code=3), dense)


@pytest.mark.parametrize("scorer", SCORERS)
def test_ensembles_and_conditions(scorer: str, recordings: Path, watched: Watched, tmp_path: Path) -> None:
    sound, models = tmp_path / "sound", tmp_path / "models"
    write_clips(sound, "fan", range(20), duration_s=2.0)
    loads = ["idle" if number % 2 else "full" for number in range(19)] + ["reverse"]
    rows = [
        (file.name, "fan", "train" if number < 14 else "test", "normal", str(number), loads[number])
        for number, file in enumerate(sorted(sound.iterdir()))
    ]
    write_manifest(sound, rows, "path,machine,split,label,session,load")
    (tmp_path / "ensemble.toml").write_text(ensemble(SCORERS[scorer]))
    acoustic_ad("train", sound, "--recipe", tmp_path / "ensemble.toml", "--models", models, "--workers", "2")
    kept = [judge.recipe.detector.kind for judge in Registry(models).load("fan")[0].judges]
    # Clips that calibrated lie within rounding of a calibration score, their own: their rank may differ by one.
    for file in sorted(sound.glob("*.wav"))[:14]:
        file.unlink()
    write_manifest(sound, rows[14:], "path,machine,split,label,session,load")
    found = scored_by("onnx", sound, models, tmp_path, env=watched.env, code=0)
    assert watched.tried() == [] and kept
    assert [row["detail"] for row in found if row["detail"]] == ["load 'reverse' was not in training"]
    assert_same(found, scored_by("torch", sound, models, tmp_path, code=0), models)


def test_a_second_run_by_either_runtime_has_nothing_to_do(
    recordings: Path, dense: Path, watched: Watched, tmp_path: Path
) -> None:
    words = ("score", recordings, "--models", dense, "--db", tmp_path / "a.db", "--json")
    first = acoustic_ad(*words, "--runtime", "onnx", env=watched.env).json
    assert first["clips"]["scored"] == 44
    assert acoustic_ad(*words).json["clips"]["already_scored"] == 44
    assert acoustic_ad(*words, "--runtime", "onnx", env=watched.env).json["clips"]["already_scored"] == 44


def test_a_model_that_was_changed_is_refused(recordings: Path, dense: Path, watched: Watched, tmp_path: Path) -> None:
    models = Path(shutil.copytree(dense, tmp_path / "models"))
    weights = Registry(models).bundle_path("pump") / "weights.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    rows = scored_by("onnx", recordings, models, tmp_path, env=watched.env, code=3)
    reasons = {(row["machine"], row["status"], row["reason"]) for row in rows}
    assert reasons == {("fan", "scored", ""), ("pump", "failed", "bad_model")}
    assert all("sha256" in row["detail"] for row in rows if row["machine"] == "pump")


def test_a_missing_or_broken_onnxruntime_is_one_line(
    recordings: Path, dense: Path, watched: Watched, tmp_path: Path
) -> None:
    words = ("score", recordings, "--models", dense, "--db", tmp_path / "a.db", "--runtime")
    assert "--runtime numpy: must be torch or onnx" in acoustic_ad(*words, "numpy", code=2).complaint
    hide = "import importlib.util as util\nfind = util.find_spec\n"
    hide += "util.find_spec = lambda name, *rest: None if name == 'onnxruntime' else find(name, *rest)\n"
    (tmp_path / "hide").mkdir()
    (tmp_path / "hide" / "sitecustomize.py").write_text(hide)
    path = os.pathsep.join([str(tmp_path / "hide"), watched.env["PYTHONPATH"]])
    assert "pip install onnxruntime" in acoustic_ad(*words, "onnx", code=2, env={"PYTHONPATH": path}).complaint
    (tmp_path / "not installed" / "onnxruntime").mkdir()
    (tmp_path / "not installed" / "onnxruntime" / "__init__.py").write_text("raise ImportError('no libgomp')\n")
    run = acoustic_ad(*words, "onnx", code=1, env=watched.env)
    assert "no libgomp" in run.err and "no machine has a usable model" in run.err


def test_watch_takes_the_runtime_too(recordings: Path, models: Path, watched: Watched, tmp_path: Path) -> None:
    words = ("--runtime", "onnx", "--runs", "2", "--every", "1s", "--models", models, "--db", tmp_path / "a.db")
    acoustic_ad("watch", recordings, *words, env=watched.env)
    assert watched.tried() == []
