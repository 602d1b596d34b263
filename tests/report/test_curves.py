"""Training curves as drawn: what each panel shows, and that nothing in a bundle can break the page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex

from acoustic_ad.errors import AcousticADError, UsageError
from acoustic_ad.models.bundle_info import BundleInfo
from acoustic_ad.recipe import parse_recipe
from acoustic_ad.report.curves import BLUE, VERMILION, curves_figure, write_curves

STARTS = {".png": b"\x89PNG\r\n\x1a\n", ".svg": b"<?xml", ".pdf": b"%PDF-"}


def point(step: int, loss: float | None = 2.0, held_out: float | None = 1.5, **more: Any) -> dict[str, Any]:
    return {"step": step, "loss": loss, "held_out_loss": held_out, **more}


def info_of(
    curve: Sequence[dict[str, Any]], kind: str = "dae", machine: str = "fan/id_00", kept: int = 200, **options: Any
) -> BundleInfo:
    """What a bundle with this curve says of itself."""
    recipe = {"name": "small", "features": {"patch_frames": 32}, "detector": {"kind": kind, **options}}
    made_at = "2026-01-11T08:00:00+00:00"
    return BundleInfo.model_validate(
        {
            "format": 2,
            "judges": (),
            "detection": (),
            "machine": machine,
            "version": "v0003",
            "created_at": made_at,
            "digest": "ab" * 32,
            "recipe": parse_recipe(recipe, "test"),
            "features_from": "outside",
            "front_end": None,
            "spec_digest": None,
            "n_clips": 20,
            "manifest_digest": "",
            "left_out": (),
            "versions": {},
            "training": {"seconds": 1.0, "steps": kept, "cross_fitted": False, "curve": tuple(curve)},
            "calibration": {"n": 20, "sessions": 5, "made_at": made_at, "smallest_p": 0.05, "promise": "-"},
            "files": {"weights.safetensors": {"bytes": 1, "sha256": "ab" * 32}},
            "extra": {},
        }
    )


def falling(count: int = 4, **parts: float) -> list[dict[str, Any]]:
    """A curve whose losses fall, with a spread and, where given, named parts."""
    return [
        point(100 * n, 3.0 / n, 2.0 / n, held_out_spread=0.5 / n, losses={name: at / n for name, at in parts.items()})
        for n in range(1, count + 1)
    ]


def panels(info: BundleInfo) -> dict[str, Axes]:
    """The axes by their titles; that of the total loss has none."""
    figure = curves_figure(info)
    figure.canvas.draw()
    return {axes.get_title(): axes for axes in figure.axes}


def legend(axes: Axes) -> list[str]:
    found = axes.get_legend()
    return [] if found is None else [text.get_text() for text in found.get_texts()]


def line(axes: Axes, label: str) -> Any:
    return next(line for line in axes.get_lines() if str(line.get_label()).startswith(label))


def test_losses_their_spread_and_the_kept_step_are_drawn() -> None:
    info = info_of(falling())
    total = panels(info)[""]
    assert line(total, "training").get_xydata().tolist() == [[100, 3], [200, 1.5], [300, 1], [400, 0.75]]
    assert line(total, "held-out").get_xydata().tolist() == pytest.approx(
        np.array([[100, 2], [200, 1], [300, 2 / 3], [400, 0.5]])
    )
    edge = total.collections[0].get_paths()[0].vertices  # of the band: twice the spread high at every step
    heights = [np.ptp(edge[edge[:, 0] == step, 1]) for step in (100, 200, 300, 400)]
    assert heights == pytest.approx([1.0, 0.5, 1 / 3, 0.25])
    assert line(total, "kept").get_xdata() == [200, 200]
    assert "kept: step 200" in legend(total)
    title = curves_figure(info).get_suptitle()
    assert "fan/id_00" in title and "v0003" in title and "small" in title


def test_each_named_part_has_a_labelled_panel() -> None:
    parts = {"zeta": 1.0, "discriminator_accuracy": 0.9, "kl": 0.1, "reconstruction": 0.4}
    found = panels(info_of(falling(**parts), kind="vae"))
    assert list(found) == ["", "reconstruction", "kl", "discriminator accuracy", "zeta"]
    for axes in found.values():
        assert axes.get_xlabel() == "step" and axes.get_ylabel()
    assert found["kl"].get_ylabel() == "nats per element"
    assert found["kl"].get_lines()[0].get_ydata() == pytest.approx([0.1, 0.05, 0.1 / 3, 0.025])
    assert list(line(found["discriminator accuracy"], "chance").get_ydata()) == [0.5, 0.5]
    low, high = found["discriminator accuracy"].get_ylim()
    assert low <= 0 and high >= 1, "chance and certainty are where one expects them"
    assert legend(found["kl"]) == []


def test_the_unit_of_the_total_is_that_of_the_detector() -> None:
    def unit(kind: str, **options: Any) -> str:
        return panels(info_of(falling(), kind, **options))[""].get_ylabel()

    assert "squared error" in unit("dae")
    assert "nats per element" in unit("vae")
    assert unit("ganomaly") == unit("vae", adversarial=0.5) == "weighted sum of losses"
    held_out = [label for label in legend(panels(info_of(falling(), "ganomaly"))[""]) if "held-out normal" in label]
    assert held_out == ["held-out normal (context and encoder only)"], "it has not the terms of the training loss"


def test_series_differ_in_more_than_colour() -> None:
    total = panels(info_of(falling()))[""]
    training, held_out = line(total, "training"), line(total, "held-out")
    assert {to_hex(training.get_color()).upper(), to_hex(held_out.get_color()).upper()} == {BLUE, VERMILION}
    assert training.get_linestyle() != held_out.get_linestyle()
    assert training.get_marker() != held_out.get_marker()


def test_what_is_not_there_is_not_drawn() -> None:
    """Curves of older bundles have no spread and no parts; without held-out clips there is no held-out loss."""
    older = panels(info_of([point(100), point(200)]))
    assert list(older) == [""] and not older[""].collections
    assert not any("deviation" in label for label in legend(older[""]))
    alone = panels(info_of([point(100, 2.0, None), point(200, None, None)]))[""]
    assert legend(alone) == ["training", "kept: step 200"]
    assert np.isnan(line(alone, "training").get_ydata()[1]), "a loss that is missing is a gap, not zero"


def test_a_cross_fitted_model_says_what_its_curve_is() -> None:
    info = info_of(falling())
    assert curves_figure(info).axes[0].get_title(loc="left") == ""
    crossed = info.model_copy(update={"training": info.training.model_copy(update={"cross_fitted": True})})
    assert "all clips" in curves_figure(crossed).axes[0].get_title(loc="left")


@pytest.mark.parametrize("suffix", STARTS)
def test_each_format_is_written_whole_and_the_same_again(suffix: str, tmp_path: Path) -> None:
    info, file = info_of(falling(kl=0.1, reconstruction=0.4), kind="vae"), tmp_path / f"curves{suffix.upper()}"
    write_curves(file, info)
    first = file.read_bytes()
    assert first.startswith(STARTS[suffix])
    write_curves(file, info)
    assert file.read_bytes() == first
    assert list(tmp_path.iterdir()) == [file], "nothing is left beside"


@pytest.mark.parametrize("name", ["curves.jpg", "curves", ".png", "folder.png"])
def test_other_names_are_usage_errors(name: str, tmp_path: Path) -> None:
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(UsageError, match="--plot"):
        write_curves(tmp_path / name, info_of(falling()))
    assert [entry.name for entry in tmp_path.rglob("*")] == ["folder.png"]


def test_a_file_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    for path in (tmp_path / "none" / "curves.png", tmp_path / "file" / "curves.png", tmp_path / f"{'x' * 300}.png"):
        with pytest.raises(AcousticADError, match="cannot be written"):
            write_curves(path, info_of(falling()))
    assert [entry.name for entry in tmp_path.rglob("*")] == ["file"]


def test_a_disk_that_fills_up_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    file = tmp_path / "curves.png"
    file.write_bytes(b"the old picture")
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(AcousticADError, match="No space left"):
        write_curves(file, info_of(falling()))
    assert file.read_bytes() == b"the old picture" and list(tmp_path.iterdir()) == [file]


def test_a_link_stays_one(tmp_path: Path) -> None:
    (tmp_path / "link.png").symlink_to(tmp_path / "pictured")
    write_curves(tmp_path / "link.png", info_of(falling()))
    assert (tmp_path / "link.png").is_symlink()
    assert (tmp_path / "pictured").read_bytes().startswith(STARTS[".png"])


def test_a_detector_that_learns_in_one_go_has_no_curve(tmp_path: Path) -> None:
    with pytest.raises(AcousticADError, match=r"fan/id_00 v0003 .*mahalanobis.* step by step") as raised:
        write_curves(tmp_path / "curves.png", info_of([], kind="mahalanobis", kept=0))
    assert raised.value.exit_code == 1, "the call was right; it is the model that has nothing to show"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("machine", ["$\\frac{1$", "a\nb\x1b[2J\x00", "ポンプ/一号機", "x" * 5000, "<script>&"])
def test_names_are_data(machine: str, tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    curve = falling(**{machine: 1.0})
    for suffix in STARTS:
        write_curves(tmp_path / f"curves{suffix}", info_of(curve, machine=machine))
        assert (tmp_path / f"curves{suffix}").read_bytes().startswith(STARTS[suffix])
    assert not [str(warning.message) for warning in recwarn]


def test_numbers_are_data(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    """A hostile bundle may hold any finite number; a training may have one check only, or thousands."""
    huge = [point(1, 1e308, -1e308, held_out_spread=1e308, losses={"kl": 5e-324}), point(10**12, 0.0, 0.0)]
    many = [point(n, 1.0, 1.0, held_out_spread=0.1) for n in range(1, 5001)]
    for curve in (huge, many, [point(7)], [point(1, None, None)]):
        write_curves(tmp_path / "curves.png", info_of(curve))
    assert not [str(warning.message) for warning in recwarn]


def test_settings_of_the_user_neither_change_nor_suffer(tmp_path: Path) -> None:
    info = info_of(falling())
    write_curves(tmp_path / "plain.png", info)
    with matplotlib.rc_context({"text.usetex": True, "figure.facecolor": "black", "savefig.dpi": 7}):
        write_curves(tmp_path / "own.png", info)
        assert matplotlib.rcParams["text.usetex"] and matplotlib.rcParams["savefig.dpi"] == 7
    assert (tmp_path / "own.png").read_bytes() == (tmp_path / "plain.png").read_bytes()
