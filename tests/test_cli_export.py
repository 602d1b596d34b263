"""`acoustic-ad export`: the file that it writes scores recordings as `acoustic-ad score` does."""

from __future__ import annotations

import csv
import hashlib
from pathlib import Path
from typing import Any

import pytest
import soundfile
from cli_process import acoustic_ad

from acoustic_ad.models.registry import Registry

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
onnxruntime = pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def exported(models: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The file of the pump's model, and what was said of it."""
    file = tmp_path_factory.mktemp("onnx") / "pump.onnx"
    run = acoustic_ad("export", "pump", "--onnx", file, "--models", models, "--json")
    assert run.err == ""
    return file, run.json


def test_every_clip_scores_as_with_the_tool(exported: Any, recordings: Path, scoring: Any) -> None:
    session = onnxruntime.InferenceSession(str(exported[0]), providers=["CPUExecutionProvider"])
    with (scoring.path.parent / "all.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["machine"] == "pump" and row["status"] == "scored"]
    assert len(rows) >= 8
    scale = max(abs(float(row["score"])) for row in rows)
    for row in rows:
        waveform, rate_hz = soundfile.read(recordings / row["clip_id"], dtype="float32")
        assert rate_hz == exported[1]["sample_rate_hz"] and waveform.ndim == 1
        score, p_value = session.run(["score", "p_value"], {"waveform": waveform})
        assert float(score) == pytest.approx(float(row["score"]), abs=1e-4 * scale)
        assert float(p_value) == pytest.approx(float(row["p_value"]), abs=1e-6)


def test_the_answer_and_the_file_name_the_model(exported: Any, models: Path) -> None:
    file, said = exported
    model, info = Registry(models).load("pump")
    content = file.read_bytes()
    assert said["file"] == str(file) and said["bytes"] == len(content)
    assert said["sha256"] == hashlib.sha256(content).hexdigest()
    assert (said["machine"], said["version"], said["digest"]) == ("pump", info.version, info.digest)
    assert 0 <= said["deviation"] < 1e-4 and said["condition"] is None
    kept = {one.key: one.value for one in onnx.load_from_string(content).metadata_props}
    assert kept["machine"] == "pump" and kept["version"] == info.version and kept["digest"] == info.digest
    assert kept["recipe"] == "tiny" and kept["sample_rate_hz"] == "16000"
    assert float(kept["score_limit"]) == model.normal_range()[1]
    for told in said["limits"]:
        assert told in kept["limits"]
    assert "resampling" in kept["limits"] and "4096 frames" in kept["limits"]


def test_the_answer_for_people(own_models: Path, tmp_path: Path) -> None:
    run = acoustic_ad("export", "fan", "--onnx", "fan.onnx", "--models", own_models, "--version", "v0001", cwd=tmp_path)
    assert "fan.onnx" in run.out and "v0001" in run.out and "beware" in run.out and run.err == ""
    assert [entry.name for entry in tmp_path.iterdir() if entry.name != "models"] == ["fan.onnx"]


def test_what_cannot_be_exported_is_one_line_and_no_file(models: Path, tmp_path: Path) -> None:
    def refused(*args: str | Path, code: int, **options: Any) -> str:
        return acoustic_ad("export", *args, "--models", models, code=code, **options).complaint

    assert "stranger" in refused("stranger", "--onnx", tmp_path / "a.onnx", code=1)
    assert "v0009" in refused("fan", "--onnx", tmp_path / "a.onnx", "--version", "v0009", code=1)
    assert "cannot be written" in refused("fan", "--onnx", tmp_path / "none" / "a.onnx", code=1)
    assert "--condition fast" in refused("fan", "--onnx", tmp_path / "a.onnx", "--condition", "fast", code=2)
    acoustic_ad("export", "fan", "--models", models, code=2)
    assert list(tmp_path.iterdir()) == []


def test_an_old_file_stays_where_the_new_one_cannot_be_had(models: Path, tmp_path: Path) -> None:
    file = tmp_path / "a.onnx"
    file.write_bytes(b"of before")
    acoustic_ad("export", "stranger", "--onnx", file, "--models", models, code=1)
    assert file.read_bytes() == b"of before"


def test_missing_packages_are_named(models: Path, tmp_path: Path) -> None:
    """A finder that hides two packages stands in for an environment without them."""
    (tmp_path / "sitecustomize.py").write_text(
        "import importlib.util as util\n"
        "find = util.find_spec\n"
        "util.find_spec = lambda name, *rest: None if name in ('onnx', 'onnxscript') else find(name, *rest)\n"
    )
    run = acoustic_ad(
        "export", "fan", "--onnx", tmp_path / "a.onnx", "--models", models, code=1, env={"PYTHONPATH": str(tmp_path)}
    )
    assert "pip install onnx onnxscript`" in run.complaint and "acoustic-ad[onnx]" in run.complaint
    assert not (tmp_path / "a.onnx").exists()


def test_the_help_says_what_is_not_in_the_file() -> None:
    words = " ".join(acoustic_ad("export", "--help").out.split())
    assert "resampling" in words and "4096 frames" in words and "onnxruntime" in words
