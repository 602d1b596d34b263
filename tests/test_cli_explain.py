"""`acoustic-ad explain`: the words of `score`, a picture or numbers of one clip, and mistakes in one line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from cli_process import acoustic_ad, clip_name, rows_of, write_clips
from PIL import Image
from written_page import in_process


@pytest.fixture(scope="module")
def faulty(recordings: Path) -> Path:
    """A clip of a pump that cavitates."""
    return recordings / "pump" / clip_name(20)


def test_a_picture_and_the_words_of_score(faulty: Path, scoring: object, models: Path, tmp_path: Path) -> None:
    out = tmp_path / "clip.png"
    run = acoustic_ad("explain", faulty, "--models", models, "--out", out, "--json", cwd=tmp_path)
    told = run.json
    assert told["machine"] == "pump" and told["status"] == "scored" and run.err == ""
    (row,) = [row for row in rows_of(scoring.path.parent / "all.csv") if row["clip_id"] == f"pump/{faulty.name}"]  # type: ignore[attr-defined]
    assert told["score"] == float(row["score"]) and told["p_value"] == float(row["p_value"])
    assert told["model"] == row["model"] and told["bands"] == json.loads(row["bands"])
    box = told["box"]
    assert 0 <= box["start_s"] < box["end_s"] < 1.1 and 0 < box["low_hz"] < box["high_hz"] <= 8000
    width, height = Image.open(out).size
    assert width > 1000 and height > 400


def test_all_numbers_as_json(faulty: Path, models: Path, tmp_path: Path) -> None:
    out = tmp_path / "clip.json"
    run = in_process("explain", faulty, "--models", models, "--machine", "pump", "--out", out)
    document = json.loads(out.read_text())
    assert run.out.splitlines()[0] == "pump v0001" and run.out.splitlines()[1] == document["stands_out"]
    level, excess = np.array(document["level_db"]), np.array(document["excess_db"])
    assert level.shape == excess.shape == (32, 32) and len(document["edges_hz"]) == 33
    assert np.abs(level - excess - np.array(document["normal_db"])).max() < 0.25, "the difference is from the normal"
    assert document["frame_s"] == pytest.approx(0.032) and min(document["spread_db"]) > 0


def test_the_store_knows_whose_clip_it_is(faulty: Path, db: Path, models: Path, tmp_path: Path) -> None:
    stray = tmp_path / "stray.wav"
    stray.write_bytes(faulty.read_bytes())
    told = in_process("explain", stray, "--models", models, "--db", db, "--json").json
    assert told["machine"] == "pump"
    told = in_process("explain", stray, "--models", models, "--db", db, "--machine", "fan", "--json").json
    assert told["machine"] == "fan", "who names one is believed"


def test_mistakes_are_one_line_and_no_file(faulty: Path, models: Path, broken: dict, tmp_path: Path) -> None:
    def refused(clip: Path, *args: str | Path, code: int) -> str:
        return in_process("explain", clip, "--models", models, "--db", tmp_path / "no.db", *args, code=code).complaint

    out = tmp_path / "x.png"
    assert ".png, .svg, .pdf, .json" in refused(faulty, "--out", tmp_path / "x.jpg", code=2)
    assert "is a folder" in refused(faulty, "--out", _folder(tmp_path / "d.png"), code=2)
    assert "No such file" in refused(tmp_path / "none.wav", "--out", out, code=1)
    assert "directory" in refused(tmp_path, "--out", out, code=1)
    assert "stranger" in refused(faulty, "--machine", "stranger", "--out", out, code=1)
    (clip,) = write_clips(tmp_path / "elsewhere", "fan", [3])
    assert "add --machine, one of fan, pump" in refused(clip, "--out", out, code=2)
    for code in ("empty", "truncated", "unsupported", "not_finite", "silent"):
        clip.write_bytes(broken[code]())
        assert f"cannot be explained: {code}" in refused(clip, "--machine", "fan", "--out", out, code=1)
    assert "cannot be written" in refused(faulty, "--out", tmp_path / "none" / "x.png", code=1)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["d.png", "elsewhere"]


def _folder(path: Path) -> Path:
    path.mkdir()
    return path
