"""`acoustic-ad train`: what it learns from, what it refuses, and that nothing half-written is ever left."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path

import pytest
from cli_process import (
    DAE_RECIPE,
    HANG,
    acoustic_ad,
    clip_name,
    finish,
    processes_of,
    start,
    wait_until,
    write_clips,
    write_manifest,
)

from acoustic_ad.jobs.lock import hold_lock
from acoustic_ad.models.registry import Registry


def bundle_json(models: Path, machine: str, version: str = "v0001") -> dict:
    return json.loads((models / machine / version / "bundle.json").read_text())


def contents(folder: Path) -> dict[Path, bytes]:
    return {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_manifest_to_models(training, models):
    """Every machine of the manifest is learnt from split train alone: the files of split test are rubbish."""
    document = training.run.json
    assert document["recipe"] == "tiny"
    assert document["seed"] == 7
    assert document["refused"] == []
    assert "22 clips" not in training.run.err
    assert [machine["machine"] for machine in document["machines"]] == ["fan", "pump"]
    for machine in document["machines"]:
        assert (machine["version"], machine["clips"], machine["left_out"]) == ("v0001", 14, [])
        assert machine["smallest_p"] == pytest.approx(1 / 15)
        assert "1 false alarm in 15" in machine["promise"]
        bundle = bundle_json(models, machine["machine"])
        assert bundle["recipe"]["seed"] == 7
        assert bundle["extra"]["newest_clip_at"] == "2026-01-05T08:13:00+00:00"


def test_folder_to_models(recipe, broken, tmp_path):
    """Unusable clips are left out by name, a machine with too few others is refused, and the rest is learnt."""
    write_clips(tmp_path / "sound" / "fan", "fan", range(12))
    write_clips(tmp_path / "sound" / "few", "pump", range(9))
    unusable = {f"few/{code}.wav": code for code in broken}
    for clip_id, code in unusable.items():
        (tmp_path / "sound" / clip_id).write_bytes(broken[code]())
    if HANG.exists():
        shutil.copy(HANG, tmp_path / "sound" / "few" / "hang.wav")
        unusable["few/hang.wav"] = "bad_header"
    (tmp_path / "sound" / "few" / "outside.wav").symlink_to("/etc/hostname")
    unusable["few/outside.wav"] = "outside_root"
    shutil.copy(tmp_path / "sound" / "few" / "silent.wav", tmp_path / "sound" / "fan" / "silent.wav")
    arguments = ("--recipe", recipe, "--models", tmp_path / "models", "--workers", "1", "--no-promote")
    found = acoustic_ad("train", tmp_path / "sound", *arguments, "--json", code=3).json

    (fan,) = found["machines"]
    assert (fan["machine"], fan["clips"]) == ("fan", 12)
    assert [(clip["clip_id"], clip["code"]) for clip in fan["left_out"]] == [("fan/silent.wav", "silent")]
    (few,) = found["refused"]
    assert few["machine"] == "few"
    assert "9 usable" in few["reason"]
    assert "10" in few["reason"]
    assert {clip["clip_id"]: clip["code"] for clip in few["left_out"]} == unusable
    assert all(clip["reason"] for clip in few["left_out"])
    (listed,) = acoustic_ad("models", "list", "--models", tmp_path / "models", "--json").json["machines"]
    assert (listed["machine"], listed["current"], listed["versions"]) == ("fan", None, ["v0001"])
    assert bundle_json(tmp_path / "models", "fan")["left_out"] == fan["left_out"]


def test_no_machine_can_be_learnt(recipe, broken, tmp_path):
    write_clips(tmp_path / "few", "fan", range(9))
    (tmp_path / "few" / "silent.wav").write_bytes(broken["silent"]())
    arguments = ("--recipe", recipe, "--models", tmp_path / "models", "--workers", "1")
    found = acoustic_ad("train", tmp_path / "few", *arguments, "--machine", "[/name]\nnewline", code=1)
    assert "[/name]\\nnewline  not trained" in found.out
    assert "silent.wav: silent" in found.out
    assert not any((tmp_path / "models").glob("[!.]*"))


def test_manifests_that_spoil_a_training(recipe, tmp_path):
    """Leaks, anomalies and missing files, all listed with their rows; --allow is the way past them."""
    data = tmp_path / "data"
    files = write_clips(data, "fan", range(14))
    shutil.copy(files[0], data / "copy.wav")
    write_clips(data, "fan", range(20, 23))
    rows = [(file.name, "fan", "train", "normal", f"train-{number // 4}") for number, file in enumerate(files)]
    rows.append(("copy.wav", "fan", "test", "normal", "test-0"))
    rows.append((clip_name(20), "fan", "test", "normal", "train-0"))
    rows.append((clip_name(21), "fan", "train", "anomaly", "faulty"))
    rows.append((clip_name(22), "fan", "calibration", "anomaly", "faulty too"))
    rows.append(("gone.wav", "fan", "train", "normal", "train-9"))
    write_manifest(data, rows)
    arguments = ("train", data / "manifest.csv", "--recipe", recipe, "--models", tmp_path / "models", "--workers", "1")
    refused = acoustic_ad(*arguments, code=1)
    leaks = ("content_in_two_splits", "session_in_two_splits")
    assert all(code in refused.err for code in (*leaks, "anomaly_in_train", "anomaly_in_calibration", "missing_file"))
    assert refused.err.count("  row ") == 5
    assert "--allow" in refused.err
    assert not (tmp_path / "models").exists()
    (learnt,) = acoustic_ad(*arguments, "--allow", "--json").json["machines"]
    assert learnt["clips"] == 14
    assert [clip["clip_id"] for clip in learnt["left_out"]] == ["gone.wav"]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--recipe", "nosuch"], 2, ["nosuch", "dae", "mahalanobis"]),
        (["--seed", str(2**32)], 2, ["seed"]),
        (["--machine", "one"], 2, ["--machine", "flat"]),
        (["--models", "/dev/null"], 1, ["/dev/null", "--models"]),
    ],
)
def test_impossible_calls(arguments, code, words, recordings, recipe, tmp_path):
    write_clips(tmp_path / "a", "fan", range(2))
    write_clips(tmp_path / "b", "fan", range(2, 4))
    given = [] if "--recipe" in arguments else ["--recipe", recipe]
    refused = acoustic_ad("train", tmp_path, *given, *arguments, code=code, cwd=tmp_path)
    assert refused.out == ""
    assert all(word in refused.err for word in words), refused.err


def test_all_problems_of_a_recipe_come_at_once(recordings, tmp_path):
    file = tmp_path / "wrong.toml"
    file.write_text(
        'name = "wrong"\ntypo = 1\n[features]\nhop_s = nan\n[detector]\nkind = "dae"\nsteps = -1\nwords = "many"'
    )
    refused = acoustic_ad("train", recordings, "--recipe", file, code=2, cwd=tmp_path)
    for key in ("typo", "features.hop_s", "detector.steps", "detector.words"):
        assert key in refused.err
    assert list(tmp_path.iterdir()) == [file]


def test_nothing_to_learn_from(recipe, tmp_path):
    for missing in (tmp_path / "nowhere", tmp_path):
        refused = acoustic_ad("train", missing, "--recipe", recipe, "--models", tmp_path / "models", code=1)
        assert str(missing) in refused.complaint


@pytest.fixture(scope="module")
def slow_recipe(tmp_path_factory):
    file = tmp_path_factory.mktemp("recipe") / "slow.toml"
    file.write_text(DAE_RECIPE.format(steps=1_000_000))
    return file


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_training(number, code, recordings, own_models, slow_recipe, recipe):
    """A second training is refused while one runs; the one that is ended leaves the models as they were."""
    before = contents(own_models)
    arguments = ("train", recordings, "--models", own_models, "--workers", "1")
    process = start(*arguments, "--recipe", slow_recipe)
    note = own_models / ".train.lock.json"
    try:
        assert wait_until(note.exists, 60)
        # Two processes beside the parent and the resource tracker: the fork server, and a worker at work.
        assert wait_until(lambda: len(processes_of(process.pid)) >= 4, 60)
        if number == signal.SIGINT:
            second = acoustic_ad(*arguments, "--recipe", recipe, code=5)
            assert f"process {process.pid}" in second.complaint
    finally:
        os.kill(process.pid, number)
        os.kill(process.pid, number)
        ended = finish(process, 20)
    assert ended.code == code
    assert len(ended.err.splitlines()) == 1
    assert wait_until(lambda: not processes_of(process.pid), 5)
    assert contents(own_models) == before


def test_a_promotion_waits_for_no_training(own_models):
    with hold_lock(own_models / ".train"):
        refused = acoustic_ad("models", "promote", "fan", "v0001", "--models", own_models, code=5)
    assert f"process {os.getpid()}" in refused.complaint


def test_one_network_for_a_type_and_the_same_seed(tmp_path):
    """`group = "machine_type"` gives a bundle per machine; with the same seed, another run gives the same numbers."""
    rows = []
    for name, numbers in (("mill/a", range(12)), ("mill/b", range(12, 24))):
        files = write_clips(tmp_path / "data" / name, "fan", numbers)
        rows += [(f"{name}/{file.name}", name, "train", "normal", "") for file in files]
    data = write_manifest(tmp_path / "data", rows)
    recipe = tmp_path / "dae.toml"
    recipe.write_text(DAE_RECIPE.format(steps=20))
    learnt = []
    for number in (1, 2):
        models = tmp_path / f"models{number}"
        arguments = ("--recipe", recipe, "--models", models, "--seed", "3", "--workers", str(number))
        document = acoustic_ad("train", data, *arguments, "--json").json
        assert [machine["machine"] for machine in document["machines"]] == ["mill/a", "mill/b"]
        bundles = [models / "mill%2Fa" / "v0001", models / "mill%2Fb" / "v0001"]
        weights = [(folder / "weights.safetensors").read_bytes() for folder in bundles]
        said = [json.loads((folder / "bundle.json").read_text()) for folder in bundles]
        learnt.append((weights, [(bundle["calibration"]["promise"], bundle["files"]) for bundle in said]))
    assert learnt[0] == learnt[1]
    assert learnt[0][1][0] != learnt[0][1][1]


def test_of_machines_that_share_a_network_each_is_kept_or_not(tmp_path):
    """One whose bundle cannot be written is told so; the others, already written, are told as trained."""
    rows = []
    for place, name in enumerate(("mill/a", "mill/b", "mill/c")):
        files = write_clips(tmp_path / "data" / name, "fan", range(12 * place, 12 * place + 12))
        rows += [(f"{name}/{file.name}", name, "train", "normal", "") for file in files]
    data, models = write_manifest(tmp_path / "data", rows), tmp_path / "models"
    recipe = tmp_path / "dae.toml"
    recipe.write_text(DAE_RECIPE.format(steps=5))
    models.mkdir()
    (models / "mill%2Fb").write_text("in the way")
    document = acoustic_ad(
        "train", data, "--recipe", recipe, "--models", models, "--workers", "1", "--json", code=3
    ).json
    assert [(machine["machine"], machine["version"]) for machine in document["machines"]] == [
        ("mill/a", "v0001"),
        ("mill/c", "v0001"),
    ]
    (refused,) = document["refused"]
    assert refused["machine"] == "mill/b" and "mill%2Fb" in refused["reason"]
    assert Registry(models).current("mill/a") == Registry(models).current("mill/c") == "v0001"
