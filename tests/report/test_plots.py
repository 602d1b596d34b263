"""Figures: what is drawn stands where its axes say, and colours keep their order for colour-blind eyes and in print."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from plant import Plant, faulty, normal
from sklearn.metrics import roc_auc_score

from acoustic_ad.jobs.baselines import Baselines
from acoustic_ad.jobs.clip_map import Box
from acoustic_ad.jobs.machine_story import machine_story
from acoustic_ad.jobs.store import Store
from acoustic_ad.models.bundle_facts import DetectionFacts
from acoustic_ad.report import plots
from acoustic_ad.report.pictures import EXCESS_COLOURS, LEVEL_COLOURS
from acoustic_ad.sound.features import FeatureSpec, LogMel

SPEC = FeatureSpec()
EDGES = tuple(SPEC.band_edges_hz.tolist())


def tone(hz: float, duration_s: float = 2.0) -> np.ndarray:
    """The log-mel of a tone that sounds in the second half, in faint noise."""
    t = np.arange(int(duration_s * SPEC.sample_rate_hz)) / SPEC.sample_rate_hz
    noise = 1e-4 * np.random.default_rng(0).standard_normal(t.size)
    return LogMel(SPEC)((0.1 * np.sin(2 * np.pi * hz * t) * (t >= duration_s / 2) + noise).astype(np.float32))


def mesh_of(figure: Figure) -> QuadMesh:
    (mesh,) = [one for one in figure.axes[0].collections if isinstance(one, QuadMesh)]
    return mesh


@pytest.mark.parametrize("draw", [plots.spectrogram, plots.residual_map])
@pytest.mark.parametrize("hz", [440.0, 3400.0])
def test_a_tone_stands_at_its_frequency_and_time(draw: Any, hz: float) -> None:
    level = tone(hz)
    figure = draw(level - (level.mean() if draw is plots.residual_map else 0.0), EDGES, SPEC.frame_s)
    axes, mesh = figure.axes[0], mesh_of(figure)
    assert axes.get_xlabel() == "time, s" and axes.get_ylabel() == "frequency, Hz"
    assert figure.axes[1].get_ylabel().endswith("dB"), "the colour bar has a unit"
    corners, values = np.asarray(mesh.get_coordinates()), np.asarray(mesh.get_array())
    band, frame = np.unravel_index(values.argmax(), values.shape)
    (start_s, low_hz), (end_s, high_hz) = corners[band, frame], corners[band + 1, frame + 1]
    assert low_hz - 40 <= hz <= high_hz + 40 and start_s >= 0.95 and end_s <= 2.05
    assert 1.9 < axes.get_xlim()[1] < 2.1
    assert axes.get_ylim()[0] == pytest.approx(EDGES[0]) and EDGES[-1] <= axes.get_ylim()[1] <= 1.02 * EDGES[-1]


def test_frequencies_are_written_where_they_are() -> None:
    axes = plots.spectrogram(tone(440.0), EDGES, SPEC.frame_s).axes[0]
    axes.figure.canvas.draw()
    written = {label.get_text(): where for label, where in zip(axes.get_yticklabels(), axes.get_yticks(), strict=True)}
    assert written["1k"] == 1000 and written["500"] == 500 and written["8k"] == 8000
    heights = [axes.transData.transform((0, hz))[1] for hz in EDGES]
    steps = np.diff(heights)
    assert steps.std() < 0.01 * steps.mean(), "every band is as high as any other"


def test_the_box_is_drawn_around_its_region() -> None:
    box = Box(1.0, 2.0, 3300.0, 3500.0, 20.0, 9.0)
    axes = plots.spectrogram(tone(3400.0), EDGES, SPEC.frame_s, box).axes[0]
    frames = [patch for patch in axes.patches if isinstance(patch, Rectangle)]
    assert len(frames) == 2
    for frame in frames:
        (left, low), (right, high) = frame.get_bbox().get_points()
        assert (left, right) == pytest.approx((1.0, 2.0))
        assert 3200 < low < 3300 and 3500 < high < 3620, "its inside stays visible"


def test_maps_that_do_not_fit_their_bands_are_refused() -> None:
    with pytest.raises(ValueError, match="does not fit"):
        plots.spectrogram(np.zeros((10, 8)), EDGES, SPEC.frame_s)


# Machado, Oliveira and Fernandes 2009, severity 1, on linear RGB; grey is luminance (ITU-R BT.709).
EYES = {
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
    "print": [[0.2126, 0.7152, 0.0722]] * 3,
}


def lightness(colours: str, eyes: str) -> np.ndarray:
    """Luminance of a colour map as it is seen, [256]."""
    rgb = matplotlib.colormaps[colours](np.arange(256))[:, :3]
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return np.asarray(np.clip(linear @ np.array(EYES[eyes]).T, 0, 1) @ [0.2126, 0.7152, 0.0722])


@pytest.mark.parametrize("eyes", EYES)
def test_colours_keep_their_order(eyes: str) -> None:
    level, excess = lightness(LEVEL_COLOURS, eyes), lightness(EXCESS_COLOURS, eyes)
    assert (np.diff(level) > -1e-3).all() and level[-1] - level[0] > 0.5
    assert (np.diff(excess[:128]) > -1e-2).all() and (np.diff(excess[128:]) < 1e-2).all(), "lightest in the middle"


@pytest.mark.parametrize("eyes", ["protanopia", "deuteranopia", "tritanopia"])
def test_louder_and_quieter_have_different_colours(eyes: str) -> None:
    rgb = matplotlib.colormaps[EXCESS_COLOURS]([40, 215])[:, :3]
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ np.array(EYES[eyes]).T, 0, 1)
    assert abs(seen[0] - seen[1]).max() > 0.15


def test_the_timeline_of_a_machine(tmp_path: Path) -> None:
    plant = Plant(tmp_path)
    times = plant.add_clips("fan", normal(120) + faulty(30))
    plant.tell()
    with Store.open(plant.db, read_only=True) as store:
        story = machine_story(store, Baselines(plant.models), "fan", days=None)
    assert story is not None
    above, below = plots.timeline(story).axes
    assert len(above.get_lines()[0].get_xdata()) == 150
    assert len(above.get_lines()[1].get_xdata()) >= 30, "what is above the normal range is marked by shape as well"
    index = below.get_lines()[0].get_ydata()
    assert max(index[:100]) < 80 <= index[-1]
    assert {line.get_label() for line in below.get_lines()[2:4]} == {"WARNING limit", "ALARM limit"}
    raised = below.get_lines()[-1].get_xdata()[0]
    assert times[119] < raised <= times[-1] and len(below.texts) == len(story.alarms) > 0


def limit(hz: float, limit_db: float | None) -> DetectionFacts:
    return DetectionFacts(
        kind="tone", words=f"a tone at {hz:g} Hz", low_hz=hz / 1.122, high_hz=hz * 1.122,
        levels_db=(1.0, 2.0, 4.0, 8.0), found=(0.0, 0.0, 1.0, 1.0), limit_db=limit_db,
    )  # fmt: skip


def test_the_detection_limit_over_frequency() -> None:
    figure = plots.detection_limit([limit(1000.0, 2.0), limit(100.0, None), limit(4000.0, 1.0)])
    axes = figure.axes[0]
    found, blind = axes.get_lines()
    assert found.get_xdata() == pytest.approx([1000.0, 4000.0]) and list(found.get_ydata()) == [2.0, 1.0]
    assert blind.get_xdata() == pytest.approx([100.0]) and list(blind.get_ydata()) == [8.0]
    assert "Hz" in axes.get_xlabel() and "dB" in axes.get_ylabel() and axes.get_xscale() == "log"
    with pytest.raises(ValueError, match="no tones"):
        plots.detection_limit([])


def test_the_roc_is_that_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(80) % 2
    scores = rng.standard_normal(80) + labels
    axes = plots.roc(labels, scores).axes[0]
    curve = axes.get_lines()[0]
    area = np.trapezoid(curve.get_ydata(), curve.get_xdata())
    assert area == pytest.approx(roc_auc_score(labels, scores))
    assert f"AUC {area:.3f}" in str(curve.get_label())


def test_the_histogram_counts_every_clip() -> None:
    normal, odd = np.random.default_rng(0).gamma(2.0, size=50), np.full(7, 9.0)
    axes = plots.score_histogram(normal, odd, limit=5.0).axes[0]
    bars = [patch.get_height() for patch in axes.patches if isinstance(patch, Rectangle)]
    assert sum(bars) == 50 and axes.get_lines()[0].get_xdata()[0] == 5.0


def test_figures_can_be_saved_for_print() -> None:
    file = io.BytesIO()
    plots.spectrogram(tone(440.0), EDGES, SPEC.frame_s, title="$a_machine").savefig(file, format="pdf")
    assert file.getvalue().startswith(b"%PDF")
