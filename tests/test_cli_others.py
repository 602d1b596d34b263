"""The other commands: evaluate, status, recipes, manifest, models; and help, which must be quick."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cli_process import acoustic_ad, environment, rows_of, write_clips, write_manifest
from sklearn.metrics import average_precision_score, roc_auc_score

COMMANDS = (
    "train", "score", "evaluate", "status", "recipes", "demo", "manifest", "manifest build", "manifest check",
    "models", "models list", "models show", "models promote", "models rollback", "models verify",
)  # fmt: skip


def test_help_loads_nothing_heavy():
    """`--help` of the program imports nothing that takes time, and names every command."""
    shown = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "acoustic_ad", "--help"],
        capture_output=True, text=True, check=True, env=environment(),
    )  # fmt: skip
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in shown.stderr.splitlines()}
    assert "typer" in imported
    assert not imported & {"torch", "sklearn", "sqlalchemy", "pydantic", "numpy", "scipy", "pyarrow", "pebble"}
    assert all(command.split()[0] in shown.stdout for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_each_command(command):
    """In this process: the texts are what matters here."""
    from typer.testing import CliRunner

    from acoustic_ad.cli import app

    shown = CliRunner().invoke(app, [*command.split(), "--help"])
    assert shown.exit_code == 0
    assert "Usage" in shown.output


def test_unknown_words_are_usage_errors(tmp_path):
    for arguments in (["scor"], ["score"], ["score", tmp_path, "--wrokers", "2"], ["models", "shw"]):
        assert acoustic_ad(*arguments, code=2, cwd=tmp_path).out == ""
    assert list(tmp_path.iterdir()) == []


def test_evaluate_rates_the_very_scores_of_score(recordings, models, scoring):
    rows = [row for row in rows_of(scoring.path.with_name("all.csv")) if int(row["clip_id"][-11:-7]) >= 814]
    document = acoustic_ad("evaluate", recordings, "--models", models, "--workers", "2", "--json").json
    assert [machine["machine"] for machine in document["machines"]] == ["fan", "pump"]
    for machine in document["machines"]:
        own = [row for row in rows if row["machine"] == machine["machine"]]
        labels, scores = [row["label"] == "anomaly" for row in own], [float(row["score"]) for row in own]
        assert (machine["n_normal"], machine["n_anomaly"], machine["unscored"]) == (4, 4, 0)
        assert machine["auc"] == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
        assert machine["pauc"] == pytest.approx(roc_auc_score(labels, scores, max_fpr=0.1), abs=1e-12)
        assert machine["ap"] == pytest.approx(average_precision_score(labels, scores), abs=1e-12)
        low, high = machine["auc_ci"]
        assert 0 <= low <= machine["auc"] <= high <= 1
    for metric in ("auc", "pauc", "ap"):
        values = [machine[metric] for machine in document["machines"]]
        assert document["mean"][metric] == pytest.approx(sum(values) / 2)
        assert document["hmean"][metric] == pytest.approx(2 / sum(1 / value for value in values))


def test_evaluate_says_what_it_cannot_rate(recordings, own_models, tmp_path):
    """A machine without a usable model, and clips that cannot be read, are named; the others are rated."""
    shutil.copytree(recordings, tmp_path / "data")
    (tmp_path / "data" / "fan" / "20260105T081500Z.wav").write_bytes(b"no sound")
    (own_models / "pump" / "current").write_text("not JSON")
    document = acoustic_ad("evaluate", tmp_path / "data", "--models", own_models, "--workers", "1", "--json").json
    fan, pump = document["machines"]
    assert (fan["n_normal"], fan["n_anomaly"], fan["unscored"]) == (3, 4, 1)
    assert (pump["auc"], pump["auc_ci"], pump["n_normal"], pump["n_anomaly"], pump["unscored"]) == (None, None, 0, 0, 8)
    assert document["mean"]["auc"] == document["hmean"]["auc"] == fan["auc"]
    codes = [failure["code"] for failure in document["failures"]]
    assert sorted(set(codes)) == ["bad_model", "unsupported"]
    assert len(codes) == 9


def test_evaluate_needs_labels_and_models(recordings, models, tmp_path):
    write_clips(tmp_path / "plain" / "fan", "fan", range(3))
    only_normal = acoustic_ad("evaluate", tmp_path / "plain", "--models", models, "--workers", "1", code=1)
    assert "anomaly" in only_normal.err
    rows = [("plain/fan/20260105T080000Z.wav", "fan", "", "unknown", "")]
    unlabelled = acoustic_ad("evaluate", write_manifest(tmp_path, rows), "--models", models, code=1)
    assert "label" in unlabelled.complaint
    assert "train" in acoustic_ad("evaluate", recordings, "--models", tmp_path / "none", code=1).err


def test_evaluate_takes_labels_from_what_people_confirmed(recordings, models, db, tmp_path):
    """Clips of a plain folder carry no labels; those around a confirmed fault are anomalies, and it is said."""
    shutil.copytree(recordings / "fan", tmp_path / "plain" / "fan")
    where = ("--models", models, "--db", db)
    arguments = ("evaluate", tmp_path / "plain", *where, "--workers", "1")
    assert "no labels" in acoustic_ad(*arguments, code=1).err
    at = "2026-01-05T09:19Z"  # the two last clips lie within an hour, and whatever alarm stands then began before
    acoustic_ad("events", "add", "fan", "confirmed-fault", "--at", at, "--note", "bearing replaced", *where)
    found = acoustic_ad(*arguments)
    assert "without a label taken for anomaly, as events in" in found.err
    document = acoustic_ad(*arguments, "--json").json
    (fan,) = document["machines"]
    assert 2 <= fan["n_anomaly"] == document["from_events"]["anomaly"] and fan["n_normal"] == 22 - fan["n_anomaly"]
    assert fan["auc"] > 0.9
    labelled = acoustic_ad("evaluate", recordings, *where, "--workers", "1", "--json").json
    assert labelled["from_events"] == {}, "labels of the manifest stay"


def test_status(scoring, tmp_path):
    """What the last `score` found; without a database, how to get one."""
    document = acoustic_ad("status", "--db", scoring.path, "--json").json
    assert document["machines"] == scoring.run.json["machines"]
    table = acoustic_ad("status", "--db", scoring.path).out.splitlines()
    assert [line.split()[0] for line in table[:3]] == ["machine", "fan", "pump"]
    missing = acoustic_ad("status", "--db", tmp_path / "none.db", code=1)
    assert "acoustic-ad score" in missing.complaint
    assert list(tmp_path.iterdir()) == []


def test_recipes():
    listed = acoustic_ad("recipes", "--json").json["recipes"]
    files = Path(__file__).parents[1].joinpath("recipes").glob("*.toml")
    assert [recipe["name"] for recipe in listed] == sorted(file.stem for file in files)
    assert all("ssumes" in recipe["assumes"] for recipe in listed)
    shown = acoustic_ad("recipes").out
    assert all(recipe["name"] in shown for recipe in listed)


def test_manifest_build_and_check(tmp_path):
    """A folder becomes a manifest that reads back as the same clips; findings name their rows."""
    for name in ("fan", "[red] \x1b[31m"):
        write_clips(tmp_path / name, "fan" if name == "fan" else "pump", range(2))
    built = acoustic_ad("manifest", "build", tmp_path)
    assert built.out.strip() == str(tmp_path / "manifest.csv")
    assert "2 machines, 4 clips" in built.err
    refused = acoustic_ad("manifest", "build", tmp_path, code=2)
    assert "--force" in refused.complaint
    checked = acoustic_ad("manifest", "check", tmp_path)
    assert "no findings" in checked.out
    assert "[red] \\x1b[31m" in checked.out
    assert "\x1b" not in checked.out + checked.err

    with (tmp_path / "manifest.csv").open(newline="") as file:
        header, *rows = list(csv.reader(file))
    with (tmp_path / "manifest.csv").open("a", newline="") as file:
        csv.writer(file).writerow(["gone.wav", *rows[0][1:]])
    found = acoustic_ad("manifest", "check", tmp_path, "--json", code=1).json
    assert [(finding["code"], finding["row"]) for finding in found["findings"]] == [("missing_file", 6)]
    assert found["counts"]["fan"][""]["normal"] + found["counts"]["[red] \x1b[31m"][""]["normal"] == 5
    assert header[:2] == ["path", "machine"]
    assert "nowhere" in acoustic_ad("manifest", "check", tmp_path / "nowhere", code=1).complaint


def test_models(own_models):
    """list, show, promote, rollback and verify; one damaged machine hides no other."""
    where = ("--models", own_models)
    second = shutil.copytree(own_models / "fan" / "v0001", own_models / "fan" / "v0002")
    listed = acoustic_ad("models", "list", *where, "--json").json["machines"]
    assert [(machine["machine"], machine["current"]) for machine in listed] == [("fan", "v0001"), ("pump", "v0001")]
    assert listed[0]["versions"] == ["v0001", "v0002"]
    shown = acoustic_ad("models", "show", "fan", *where, "--json").json
    assert (shown["machine"], shown["version"], shown["n_clips"]) == ("fan", "v0001", 14)
    assert shown["recipe"]["seed"] == 7
    assert "14 clips" in acoustic_ad("models", "show", "fan", *where).out
    # A copy under another name is not the bundle that it says it is.
    verified = acoustic_ad("models", "verify", *where, "--json", code=1).json["bundles"]
    assert [(one["version"], one["problem"] is None) for one in verified] == [
        ("v0001", True), ("v0002", False), ("v0001", True),
    ]  # fmt: skip
    assert "v0002" in acoustic_ad("models", "promote", "fan", "v0002", *where, code=1).complaint
    shutil.rmtree(second)
    assert acoustic_ad("models", "verify", *where).out.count("good") == 2
    assert "v0009" in acoustic_ad("models", "promote", "fan", "v0009", *where, code=1).complaint
    assert "fan" in acoustic_ad("models", "rollback", "fan", *where, code=1).complaint
    assert "stranger" in acoustic_ad("models", "show", "stranger", *where, code=1).complaint

    (own_models / "pump" / "current").write_text("{}")
    listed = acoustic_ad("models", "list", *where, "--json").json["machines"]
    assert [(machine["current"], machine["problem"] is None) for machine in listed] == [("v0001", True), (None, False)]
    assert "refused" in acoustic_ad("models", "list", *where).out


def test_promote_and_roll_back(own_models, recordings, recipe):
    """A training that was not promoted waits; promoted, it judges; rolled back, the one before does."""
    where = ("--models", own_models)
    acoustic_ad("train", recordings, "--recipe", recipe, *where, "--no-promote", "--workers", "1")

    def current() -> list[str]:
        return [machine["current"] for machine in acoustic_ad("models", "list", *where, "--json").json["machines"]]

    assert current() == ["v0001", "v0001"]
    assert "v0002 is current" in acoustic_ad("models", "promote", "fan", "v0002", *where).out
    assert current() == ["v0002", "v0001"]
    assert "v0001 is current again" in acoustic_ad("models", "rollback", "fan", *where).out
    assert current() == ["v0001", "v0001"]
    assert json.loads((own_models / "fan" / "v0002" / "bundle.json").read_text())["version"] == "v0002"


def test_streams_that_were_closed(scoring, tmp_path):
    """A daemon may have closed them: nothing that was meant for people ends up in a file of ours."""

    def status(redirections: str, db: Path) -> int:
        command = f'exec "$0" -m acoustic_ad status --db "$1" {redirections}'
        return subprocess.run(["sh", "-c", command, sys.executable, str(db)], env=environment(), timeout=60).returncode

    db = shutil.copy(scoring.path, tmp_path / "copy.db")
    before = db.read_bytes()
    assert status(">&- 2>&- <&-", db) == 1
    assert status(">/dev/null 2>&- <&-", db) == 0
    assert status(">/dev/null 2>/dev/full", db) == 0
    assert db.read_bytes() == before
    shown = subprocess.run(
        [sys.executable, "-m", "acoustic_ad", "manifest", "check", tmp_path / "l\u00fcfter"],
        capture_output=True, env=environment() | {"PYTHONIOENCODING": "ascii:strict"}, timeout=60,
    )  # fmt: skip
    assert shown.returncode == 1
    assert b"l\\xfcfter" in shown.stderr


def test_the_demo_can_only_simulate(tmp_path):
    made = acoustic_ad("demo", tmp_path / "demo", "--only-simulate")
    assert Path(made.out.strip()) == tmp_path / "demo" / "sound" / "manifest.csv"
    assert "no findings" in acoustic_ad("manifest", "check", tmp_path / "demo" / "sound").out
