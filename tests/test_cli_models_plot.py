"""`acoustic-ad models show --plot`: the training curves of a kept model, as a picture."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_process import DAE_RECIPE, acoustic_ad


@pytest.fixture(scope="module")
def learnt(recordings: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The models of both machines, by a detector that learns step by step."""
    root = tmp_path_factory.mktemp("learnt")
    (root / "tiny.toml").write_text(DAE_RECIPE.format(steps=120))
    acoustic_ad("train", recordings, "--recipe", root / "tiny.toml", "--models", root / "models", "--workers", "1")
    return root / "models"


def test_curves_are_drawn_beside_the_answer(learnt: Path, tmp_path: Path) -> None:
    show = ("models", "show", "fan", "--models", learnt)
    plain = acoustic_ad(*show)
    drawn = acoustic_ad(*show, "--plot", "curves.png", cwd=tmp_path)
    assert drawn.out.startswith(plain.out) and "curves.png" in drawn.out and drawn.err == ""
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    as_json = acoustic_ad(*show, "--plot", tmp_path / "curves.svg", "--json")
    curve = as_json.json["training"]["curve"]
    assert [point["step"] for point in curve] == [100, 120]
    assert all(point["held_out_spread"] > 0 and point["losses"] == {} for point in curve)
    assert b"<svg" in (tmp_path / "curves.svg").read_bytes()
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["curves.png", "curves.svg"]


def test_what_cannot_be_drawn_is_one_line_and_no_file(learnt: Path, models: Path, tmp_path: Path) -> None:
    def refused(file: str, store: Path, machine: str, code: int) -> str:
        run = acoustic_ad("models", "show", machine, "--models", store, "--plot", tmp_path / file, code=code)
        return run.complaint

    assert ".png, .svg, .pdf" in refused("curves.jpg", learnt, "fan", 2)
    assert ".png, .svg, .pdf" in refused("curves.jpg", tmp_path / "none", "fan", 2), "nothing was tried"
    assert "mahalanobis" in refused("curves.png", models, "fan", 1)
    assert "stranger" in refused("curves.png", learnt, "stranger", 1)
    assert "cannot be written" in refused("none/curves.png", learnt, "fan", 1)
    assert list(tmp_path.iterdir()) == []
