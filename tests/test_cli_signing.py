"""Signed models as processes: keys, signing, and jobs that take nothing else."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import pytest
from cli_process import acoustic_ad

from acoustic_ad.models.registry import Registry


@pytest.fixture
def key(tmp_path: Path) -> Path:
    acoustic_ad("models", "keygen", tmp_path / "key")
    return tmp_path / "key"


def trusting(key: Path) -> tuple[str | Path, ...]:
    return ("--require-signed", "--trust", key.with_name(f"{key.name}.pub"))


def test_only_what_a_trusted_key_signed_scores(recordings: Path, own_models: Path, key: Path, tmp_path: Path) -> None:
    job = ("score", recordings, "--models", own_models, "--db", tmp_path / "a.db", "--workers", "1", "--json")
    # Nothing is signed: the job fails, and says why in one line.
    run = acoustic_ad(*job, *trusting(key), code=1)
    lines = run.err.splitlines()
    assert "no machine has a usable model" in lines[-1] and "it is not signed" in lines[-1]
    with sqlite3.connect(tmp_path / "a.db") as store:
        assert store.execute("SELECT count(*) FROM clip_scores WHERE status = 'scored'").fetchone() == (0,)
    store.close()
    # One is: the other machine's clips fail, each with the reason.
    acoustic_ad("models", "sign", "fan", "--key", key, "--models", own_models)
    document = acoustic_ad(*job, *trusting(key), code=3).json
    assert document["clips"]["scored"] == 22 and document["clips"]["failed"] == 22
    assert {(one["machine"], one["code"]) for one in document["failures"]} == {("pump", "bad_model")}
    assert all("it is not signed" in one["reason"] for one in document["failures"])
    # Both are: what failed is tried again.
    acoustic_ad("models", "sign", "--key", key, "--models", own_models)
    document = acoustic_ad(*job, *trusting(key)).json
    assert document["clips"]["scored"] == 22 and document["clips"]["already_scored"] == 22


def test_the_key_of_somebody_else_is_no_use(recordings: Path, own_models: Path, key: Path, tmp_path: Path) -> None:
    acoustic_ad("models", "keygen", tmp_path / "theirs")
    acoustic_ad("models", "sign", "--key", tmp_path / "theirs", "--models", own_models)
    job = ("score", recordings, "--models", own_models, "--db", tmp_path / "a.db", "--workers", "1")
    assert "which is not trusted" in acoustic_ad(*job, *trusting(key), code=1).err.splitlines()[-1]
    # So that nobody forgets it in a unit file: the environment asks for it as well.
    env = {"ACOUSTIC_AD_REQUIRE_SIGNED": "1", "ACOUSTIC_AD_TRUST": f"{key}.pub"}
    assert "which is not trusted" in acoustic_ad(*job, code=1, env=env).err.splitlines()[-1]
    acoustic_ad(*job, *trusting(key), "--trust", tmp_path / "theirs.pub")


def test_train_signs(recordings: Path, recipe: Path, key: Path, tmp_path: Path) -> None:
    models = tmp_path / "models"
    acoustic_ad(
        "train", recordings, "--recipe", recipe, "--models", models, "--workers", "1", "--sign-key", key, "--json"
    )
    verified = acoustic_ad("models", "verify", *trusting(key), "--models", models, "--json").json["bundles"]
    assert [(one["machine"], one["problem"]) for one in verified] == [("fan", None), ("pump", None)]
    for file in models.rglob("*"):
        assert not file.is_file() or b"PRIVATE" not in file.read_bytes()


def test_verify_tells_a_good_bundle_from_a_changed_one(own_models: Path, key: Path) -> None:
    acoustic_ad("models", "sign", "fan", "--key", key, "--models", own_models)
    listed = acoustic_ad("models", "verify", *trusting(key), "--models", own_models, code=1).out
    assert "good" in listed and "it is not signed" in listed
    assert acoustic_ad("models", "verify", "--models", own_models).out.count("good") == 2
    weights = next((Registry(own_models).folder_of("pump")).glob("v*/weights.safetensors"))
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 1
    weights.write_bytes(content)
    found = acoustic_ad("models", "verify", "--models", own_models, "--json", code=1).json["bundles"]
    assert [one["machine"] for one in found if one["problem"]] == ["pump"]
    assert "sha256" in next(one["problem"] for one in found if one["problem"])
    assert "sha256" in acoustic_ad("models", "sign", "pump", "--key", key, "--models", own_models, code=1).complaint


def test_what_is_asked_wrongly(own_models: Path, key: Path, tmp_path: Path) -> None:
    public = f"{key}.pub"
    (tmp_path / "sound").mkdir()
    score = ("score", tmp_path / "sound", "--models", own_models, "--db", tmp_path / "a.db")
    for arguments, words in (
        ((*score, "--require-signed"), "needs --trust"),
        ((*score, "--trust", public), "add --require-signed"),
        ((*score, "--require-signed", "--trust", key), "is a private key"),
        (("models", "sign", "--models", own_models), "--key FILE"),
        (("models", "keygen", key), "exists already"),
    ):
        assert words in acoustic_ad(*arguments, code=2).complaint
    assert not (tmp_path / "a.db").exists()


def test_a_model_that_is_exchanged_while_the_job_runs_scores_nothing(models: Path, tmp_path: Path) -> None:
    """A worker takes only the bundle that the job has checked, by its digest."""
    from acoustic_ad.errors import BundleError
    from acoustic_ad.jobs.clip_work import _loaded

    registry = Registry(models)
    bundle, digest = registry.bundle_path("fan"), registry.info("fan").digest
    _loaded(bundle, digest)
    own = tmp_path / "models"
    shutil.copytree(models, own)
    with pytest.raises(BundleError, match="not the model any more"):
        _loaded(Registry(own).bundle_path("fan"), "0" * 64)
