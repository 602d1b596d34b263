"""Signed models on the command line: keys, signing, and jobs that take nothing else.

Commands run inside this process, where keys and bundles cost no start; `score` has its workers all the same.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_process import RECIPE, write_clips, write_manifest
from typer.testing import CliRunner

from acoustic_ad.cli import app
from acoustic_ad.errors import BundleError
from acoustic_ad.jobs import feedback
from acoustic_ad.jobs.clip_work import _loaded
from acoustic_ad.jobs.feature_place import MachineFiles, feature_place
from acoustic_ad.jobs.store import Store
from acoustic_ad.jobs.train_clips import MachineClips, read_machine
from acoustic_ad.jobs.train_work import MachineTask, _sister, train_machines
from acoustic_ad.jobs.workers import worker_pool
from acoustic_ad.models.bundle import TrainingDetails
from acoustic_ad.models.registry import Registry
from acoustic_ad.models.signing import SigningKey, Trust, read_signing_key
from acoustic_ad.recipe import load_recipe
from acoustic_ad.sound.manifest import read_manifest


def run(*arguments: str | Path, code: int = 0, **environment: str) -> tuple[str, str]:
    """A command that ends with this exit code; what it said on stdout and on stderr."""
    done = CliRunner().invoke(app, list(map(str, arguments)), env=environment)
    assert done.exit_code == code, (done.exit_code, done.output, done.exception)
    return done.stdout, done.stderr


def answer(*arguments: str | Path, code: int = 0, **environment: str) -> Any:
    return json.loads(run(*arguments, "--json", code=code, **environment)[0])


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two machines of twelve clips each."""
    root = tmp_path_factory.mktemp("sound")
    for machine in ("fan", "pump"):
        write_clips(root / machine, machine, range(12))
    return root


def learn(sound: Path, folder: Path, key: SigningKey | None = None) -> Path:
    """Models of both machines, as a worker of `train` learns and saves them."""
    (folder / "tiny.toml").write_text(RECIPE)
    recipe = load_recipe(folder / "tiny.toml")
    for machine in ("fan", "pump"):
        chosen = read_manifest(sound / machine).clips
        with worker_pool(1) as workers, feature_place(folder / "models", None) as place:
            clips = read_machine(machine, list(chosen), recipe, workers, place)
            train_machines(MachineTask(machine, recipe, [clips], folder / "models", True, key))
    return folder / "models"


@pytest.fixture(scope="module")
def learnt(sound: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return learn(sound, tmp_path_factory.mktemp("learnt"))


@pytest.fixture
def models(learnt: Path, tmp_path: Path) -> Path:
    """One's own copy of them, not signed."""
    return Path(shutil.copytree(learnt, tmp_path / "models"))


@pytest.fixture
def key(tmp_path: Path) -> Path:
    run("models", "keygen", tmp_path / "key")
    return tmp_path / "key"


def trusting(key: Path) -> tuple[str | Path, ...]:
    return ("--require-signed", "--trust", key.with_name(f"{key.name}.pub"))


def test_only_what_a_trusted_key_signed_scores(sound: Path, models: Path, key: Path, tmp_path: Path) -> None:
    job = ("score", sound, "--models", models, "--db", tmp_path / "a.db", "--workers", "1", *trusting(key))
    # Nothing is signed: the job fails, and says why in one line.
    _, said = run(*job, code=1)
    assert "no machine has a usable model" in said.splitlines()[-1] and "it is not signed" in said.splitlines()[-1]
    with sqlite3.connect(tmp_path / "a.db") as store:
        assert store.execute("SELECT count(*) FROM clip_scores WHERE status = 'scored'").fetchone() == (0,)
    store.close()
    # One is: the other machine's clips fail, each with the reason.
    run("models", "sign", "fan", "--key", key, "--models", models)
    document = answer(*job, code=3)
    assert (document["clips"]["scored"], document["clips"]["failed"]) == (12, 12)
    assert {(one["clip_id"].split("/")[0], one["code"]) for one in document["failures"]} == {("pump", "bad_model")}
    assert all("it is not signed" in one["reason"] for one in document["failures"])
    # Both are: what failed is tried again.
    run("models", "sign", "--key", key, "--models", models)
    document = answer(*job)
    assert (document["clips"]["scored"], document["clips"]["already_scored"]) == (12, 12)


def test_the_key_of_somebody_else_is_no_use(sound: Path, models: Path, key: Path, tmp_path: Path) -> None:
    run("models", "keygen", tmp_path / "theirs")
    run("models", "sign", "--key", tmp_path / "theirs", "--models", models)
    job = ("score", sound, "--models", models, "--db", tmp_path / "a.db", "--workers", "1")
    assert "which is not trusted" in run(*job, *trusting(key), code=1)[1].splitlines()[-1]
    # So that nobody forgets it in a unit file: the environment asks for it as well.
    asked = {"ACOUSTIC_AD_REQUIRE_SIGNED": "1", "ACOUSTIC_AD_TRUST": f"{key}.pub"}
    assert "which is not trusted" in run(*job, code=1, **asked)[1].splitlines()[-1]
    listed = run("models", "verify", *trusting(key), "--trust", tmp_path / "theirs.pub", "--models", models)[0]
    assert listed.count("good") == 2


def test_what_train_makes_is_signed_from_the_start(sound: Path, key: Path, tmp_path: Path) -> None:
    models = learn(sound, tmp_path, read_signing_key(key))
    verified = answer("models", "verify", *trusting(key), "--models", models)["bundles"]
    assert [(one["machine"], one["problem"]) for one in verified] == [("fan", None), ("pump", None)]
    raw = read_signing_key(key).raw
    for file in models.rglob("*"):
        content = file.read_bytes() if file.is_file() else b""
        assert b"PRIVATE" not in content and raw not in content and raw.hex().encode() not in content


def test_train_takes_the_key_from_the_environment_and_looks_at_it_first(tmp_path: Path, sound: Path) -> None:
    (tmp_path / "key").write_text("no key")
    _, said = run("train", sound, "--models", tmp_path / "m", code=2, ACOUSTIC_AD_SIGN_KEY=str(tmp_path / "key"))
    assert "holds no private key" in said and not (tmp_path / "m").exists()


def test_verify_tells_a_good_bundle_from_a_changed_one(models: Path, key: Path) -> None:
    run("models", "sign", "fan", "--key", key, "--models", models)
    listed, _ = run("models", "verify", *trusting(key), "--models", models, code=1)
    assert "good" in listed and "it is not signed" in listed
    assert run("models", "verify", "--models", models)[0].count("good") == 2
    weights = next(Registry(models).folder_of("pump").glob("v*/weights.safetensors"))
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 1
    weights.write_bytes(content)
    found = answer("models", "verify", "--models", models, code=1)["bundles"]
    assert [one["machine"] for one in found if one["problem"]] == ["pump"]
    assert "sha256" in next(one["problem"] for one in found if one["problem"])
    assert "sha256" in run("models", "sign", "pump", "--key", key, "--models", models, code=1)[1]


def test_what_is_asked_wrongly(models: Path, key: Path, tmp_path: Path) -> None:
    (tmp_path / "sound").mkdir()
    score = ("score", tmp_path / "sound", "--models", models, "--db", tmp_path / "a.db")
    for arguments, words in (
        ((*score, "--require-signed"), "needs --trust"),
        ((*score, "--trust", f"{key}.pub"), "add --require-signed"),
        ((*score, "--require-signed", "--trust", key), "is a private key"),
        (("models", "sign", "--models", models), "--key FILE"),
        (("models", "sign", "--key", key, "--version", "v0001", "--models", models), "name it"),
        (("models", "keygen", key), "exists already"),
    ):
        said = run(*arguments, code=2)[1]
        assert words in said and said.count("\n") == 1
    assert not (tmp_path / "a.db").exists()


def test_an_unsigned_policy_is_not_followed(models: Path, key: Path) -> None:
    """The recipe in a bundle tells when a machine is in alarm: somebody else's must not."""
    from acoustic_ad.health.policy import Policy
    from acoustic_ad.jobs.baselines import Baselines

    registry = Registry(models)
    model, _ = registry.load("fan")
    deaf = model.recipe.model_dump(mode="json") | {"health": {"alarm_per_machine_year": 0.001}}
    model.recipe = type(model.recipe).model_validate(deaf)
    registry.save("fan", model, TrainingDetails(n_clips=12))
    trust = Trust(frozenset({read_signing_key(key).public}))
    assert Baselines(models).policy("fan").alarm_per_machine_year == 0.001
    assert Baselines(models, trust).policy("fan") == Policy()
    run("models", "sign", "fan", "--key", key, "--models", models)
    assert Baselines(models, trust).policy("fan").alarm_per_machine_year == 0.001


def test_whatever_loads_a_model_can_insist(sound: Path, models: Path, key: Path, tmp_path: Path) -> None:
    """Each command refuses what nobody signed, says why in one line, and takes it once it is signed."""
    clip, trusted = next((sound / "fan").iterdir()), ("--models", models, *trusting(key))
    rows = [(f"fan/{file.name}", "fan", "test", "normal", "") for file in sorted((sound / "fan").iterdir())]
    labelled = Path(shutil.copytree(sound, tmp_path / "labelled"))
    write_manifest(labelled, [*rows[:-1], (*rows[-1][:3], "anomaly", "")])
    run("score", sound, "--models", models, "--db", tmp_path / "a.db", "--workers", "1")
    commands: dict[str, tuple[str | Path, ...]] = {
        "evaluate": (labelled, "--workers", "1"),
        "explain": (clip, "--machine", "fan"),
        "export": ("fan", "--onnx", tmp_path / "fan.onnx"),
    }
    for name, arguments in commands.items():
        said = run(name, *arguments, *trusted, code=1)[1]
        assert "it is not signed" in said.splitlines()[-1], name
    page = ("report", "--db", tmp_path / "a.db", "--out", tmp_path / "page.html", "--workers", "1", *trusted)
    run(*page)
    assert "it is not signed" in (tmp_path / "page.html").read_text()
    run("models", "sign", "--key", key, "--models", models)
    for name in ("evaluate", "explain"):
        run(name, *commands[name], *trusted)
    run(*page)
    assert "it is not signed" not in (tmp_path / "page.html").read_text()


def test_a_recalibration_passes_on_no_trust_that_was_not_there(
    models: Path, key: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However well the machine is: signing the new version would vouch for a model that nobody did."""
    monkeypatch.setattr(feedback, "may_join", lambda health: "")
    with Store.open(tmp_path / "a.db") as store, pytest.raises(BundleError, match="it is not signed"):
        feedback.recalibrate(
            store, models, "fan", read_signing_key(key), Trust(frozenset({read_signing_key(key).public}))
        )
    assert Registry(models).versions("fan") == ["v0001"]


def test_a_warm_start_begins_with_signed_models_only(models: Path, key: Path, tmp_path: Path) -> None:
    model, info = Registry(models).load("fan")
    registry = Registry(tmp_path / "of a type")
    registry.save("fan/a", model, TrainingDetails(n_clips=12, feature_spec=info.feature_spec))
    none = MachineFiles("", tmp_path / "clips", tmp_path / "planted")
    clips = [MachineClips("fan/b", none, np.zeros(0, np.int64), None, "", [], [])]
    trust = Trust(frozenset({read_signing_key(key).public}))
    insisting = MachineTask("fan/b", model.recipe, clips, registry.models, True, None, trust)
    assert _sister(insisting) is None
    assert _sister(replace(insisting, trust=None)) is not None
    registry.sign("fan/a", None, read_signing_key(key))
    assert _sister(insisting) is not None


def test_a_model_that_is_exchanged_while_the_job_runs_scores_nothing(models: Path) -> None:
    """A worker takes only the bundle that the job has checked, by its digest."""
    registry = Registry(models)
    bundle, digest = registry.bundle_path("fan"), registry.info("fan").digest
    _loaded(bundle, digest)
    shutil.rmtree(bundle)
    other = json.loads((registry.bundle_path("pump") / "bundle.json").read_text())["digest"]
    shutil.copytree(registry.bundle_path("pump"), bundle)
    for wanted in (digest + "x", other):
        with pytest.raises(BundleError, match=r"not the model any more that was checked|whose place is elsewhere"):
            _loaded(bundle, wanted)
