"""The command line with operating conditions, and what `models show` tells of a model's detection limit."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest
from cli_process import acoustic_ad

from acoustic_ad.jobs.clip_columns import ManifestColumns
from acoustic_ad.jobs.clip_files import files_of
from acoustic_ad.jobs.store import Store


@pytest.fixture(scope="module")
def by_load(recordings: Path, recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the recordings whose manifest knows the load: one of the test clips ran under a new one."""
    root = tmp_path_factory.mktemp("by_load")
    shutil.copytree(recordings, root / "sound")
    rows = list(csv.DictReader((root / "sound" / "manifest.csv").open(newline="")))
    for number, row in enumerate(rows):
        row["load"] = "idle" if number % 2 else "full"
    rows[-1]["load"] = "reverse"
    with (root / "sound" / "manifest.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    (root / "by_load.toml").write_text('condition = "load"\n' + recipe.read_text())
    acoustic_ad("train", "sound", "--recipe", "by_load.toml", cwd=root)
    return root


def test_a_load_that_was_not_learnt_is_said(by_load: Path) -> None:
    acoustic_ad("score", "sound", "--split", "test", "--out", "rows.jsonl", cwd=by_load)
    rows = [json.loads(line) for line in (by_load / "rows.jsonl").read_text().splitlines()]
    notes = {row["clip_id"]: row["detail"] for row in rows if row["detail"]}
    assert len(rows) == 16 and all(row["status"] == "scored" for row in rows)
    assert list(notes.values()) == ["load 'reverse' was not in training"]


def test_explain_judges_as_score_does_where_it_is_told_the_condition(by_load: Path) -> None:
    acoustic_ad("score", "sound", "--split", "test", "--out", "rows.jsonl", "--db", "explained.db", cwd=by_load)
    row = json.loads((by_load / "rows.jsonl").read_text().splitlines()[0])
    with (by_load / "sound" / "manifest.csv").open(newline="") as file:
        load = {one["path"]: one["load"] for one in csv.DictReader(file)}[row["clip_id"]]
    words = ("explain", f"sound/{row['clip_id']}", "--machine", row["machine"], "--json")
    told = json.loads(acoustic_ad(*words, "--condition", load, cwd=by_load).out)
    assert (told["score"], told["p_value"]) == (row["score"], row["p_value"])
    unlike = json.loads(acoustic_ad(*words, "--condition", "reverse", cwd=by_load).out)
    assert unlike["score"] != row["score"]


def test_the_page_hears_clips_again_under_their_condition(by_load: Path, tmp_path: Path) -> None:
    """The store keeps no condition: it is read where `score` has read it, as long as that is there."""
    sound = tmp_path / "sound"
    shutil.copytree(by_load / "sound", sound)
    db = tmp_path / "page.db"
    acoustic_ad("score", "sound", "--split", "test", "--models", by_load / "models", "--db", db, cwd=tmp_path)
    with (sound / "manifest.csv").open(newline="") as file:
        loads = {one["path"]: one["load"] for one in csv.DictReader(file)}
    with Store.open(str(db), read_only=True, create=False) as store:
        columns = ManifestColumns(store)
        rows = store.rows_of(sound, {("fan/" + name.name, "fan") for name in (sound / "fan").iterdir()})
        files = files_of(store, "fan", {row.sha256 for row in rows if row.sha256})
        assert len(files) >= 8
        for file in files.values():
            assert dict(columns.of("fan", file))["load"] == loads[file.clip_id]
        (sound / "manifest.csv").unlink()
        assert not any("load" in dict(ManifestColumns(store).of("fan", file)) for file in files.values())
    acoustic_ad("report", "--models", by_load / "models", "--db", db, "--out", tmp_path / "page.html", cwd=tmp_path)


def test_the_model_tells_its_conditions_and_how_faint_a_fault_it_finds(by_load: Path) -> None:
    shown = acoustic_ad("models", "show", "fan", cwd=by_load).out
    assert "load: full, idle" in shown
    assert "finds a tone from +" in shown and "missing strokes" in shown
    document = json.loads(acoustic_ad("models", "show", "fan", "--json", cwd=by_load).out)
    assert document["calibration"]["conditions"] == ["full", "idle"]
    tones = [curve for curve in document["detection"] if curve["kind"] == "tone"]
    assert len(tones) == 7
    # At 8 dB a steady tone in a third octave is plain somewhere, at .25 dB it is hardly there.
    assert max(curve["found"][-1] for curve in tones) == 1.0
    assert min(curve["found"][0] for curve in tones) < 0.5


def test_a_recipe_by_a_column_that_the_manifest_lacks_is_refused(by_load: Path) -> None:
    (by_load / "by_speed.toml").write_text((by_load / "by_load.toml").read_text().replace('"load"', '"speed"'))
    run = acoustic_ad("train", "sound", "--recipe", "by_speed.toml", "--models", "none", cwd=by_load, code=1)
    assert "'speed'" in run.out + run.err
