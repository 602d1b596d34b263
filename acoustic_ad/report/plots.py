"""Figures for papers and notebooks: each function returns a matplotlib Figure, with units on every axis.

Nothing here touches pyplot or a file: `figure.savefig("name.pdf")`, or let a notebook show it. Maps are viridis
(levels) and orange-violet (differences): both keep their order in grey and for colour-blind eyes. Lines are Okabe and
Ito's colours, and differ in style as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from acoustic_ad.report.curves import BLUE, GREY, VERMILION, curves_figure
from acoustic_ad.report.pictures import EXCESS_COLOURS, LEVEL_COLOURS, excess_range, level_range

if TYPE_CHECKING:  # matplotlib takes half a second to import, and only who draws needs it
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from acoustic_ad.jobs.clip_map import Box
    from acoustic_ad.jobs.machine_story import MachineStory
    from acoustic_ad.models.bundle_facts import DetectionFacts
    from acoustic_ad.models.bundle_info import BundleInfo

INK, SKY, AMBER = "#1b2733", "#56B4E9", "#B37400"
MARKS_HZ: Final = (50, 100, 200, 500, 1000, 2000, 4000, 8000, 16000, 32000, 64000, 128000)
FRAME_APART: Final = 0.008  # of the axis, between a box and its frame
LEAST_APART: Final = 0.045  # of the axis, between two frequencies that are written


def spectrogram(
    level_db: npt.ArrayLike, edges_hz: Sequence[float], frame_s: float, box: Box | None = None, title: str = ""
) -> Figure:
    """A log-mel [frames, mels] in dB over time in s and frequency in Hz, on the mel scale.

    `edges_hz` [mels + 1] are the edges of the bands, `frame_s` the time between frames. Raises ValueError where these
    do not fit.
    """
    figure, axes = _figure(title)
    draw_spectrogram(axes, level_db, edges_hz, frame_s, box)
    return figure


def residual_map(
    excess_db: npt.ArrayLike, edges_hz: Sequence[float], frame_s: float, box: Box | None = None, title: str = ""
) -> Figure:
    """What a clip has more (orange) or less (violet) than its machine's normal, [frames, mels] in dB.

    Otherwise as `spectrogram`.
    """
    figure, axes = _figure(title)
    draw_residual(axes, excess_db, edges_hz, frame_s, box)
    return figure


def timeline(story: MachineStory, title: str = "") -> Figure:
    """A machine's clip scores in standard deviations of normal clips, and its health index with limits and alarms.

    `story` is what `jobs.machine_story.machine_story` tells of it.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.0, 4.8), dpi=120, layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    figure.suptitle(title or story.machine, parse_math=False, fontsize=11)
    times: Any = [point.at for point in story.points]
    z = np.array([point.z for point in story.points], np.float64)
    above.plot(times, z, ".", color=BLUE, markersize=4, label="clip")
    above.plot([at for at, one in zip(times, z, strict=True) if one >= 1.645], z[z >= 1.645], "^", color=VERMILION,
               markersize=4, label="above the normal range (1 in 20)")  # fmt: skip
    above.set_ylabel("clip score, s.d. of normal clips")
    below.plot(times, [point.index for point in story.points], color=INK, linewidth=1.4, label="index")
    below.plot(times, [point.slow for point in story.points], color=SKY, linewidth=2.0, label="slow EWMA")
    below.axhline(50, color=AMBER, linestyle="--", linewidth=1.2, label="WARNING limit")
    below.axhline(80, color=VERMILION, linestyle="-", linewidth=1.2, label="ALARM limit")
    for alarm in story.alarms:
        when: Any = alarm.raised_at
        below.axvline(when, color=GREY, linestyle=":", linewidth=1.2)
        below.annotate(f"{alarm.level} {alarm.id}", (when, 102), fontsize=7, annotation_clip=False)
    below.set_ylim(-2, 102)
    below.set_ylabel("health index")
    below.set_xlabel("time, UTC")
    _finish(above, below)
    return figure


def training_curves(info: BundleInfo) -> Figure:
    """Losses of a model's training by step, and the step that was kept. Raises AcousticADError where it has none."""
    return curves_figure(info)


def detection_limit(detection: Sequence[DetectionFacts], title: str = "") -> Figure:
    """From how many dB on planted tones are found, by frequency in Hz; tones that are never found as crosses on top.

    `detection` is `BundleInfo.detection`. Raises ValueError where no tones were planted.
    """
    tones = sorted(
        (float(np.sqrt(one.low_hz * one.high_hz)), one.limit_db, max(one.levels_db))
        for one in detection
        if one.kind == "tone" and one.low_hz and one.high_hz
    )
    if not tones:
        raise ValueError("no tones were planted into this model: it has no detection limit")
    figure, axes = _figure(title)
    most = max(top for _, _, top in tones)
    found = [(hz, limit) for hz, limit, _ in tones if limit is not None]
    axes.plot(*zip(*found, strict=True), "o-", color=BLUE, label="half of the clips found") if found else None
    blind = [hz for hz, limit, _ in tones if limit is None]
    axes.plot(blind, [most] * len(blind), "x", color=VERMILION, markersize=8, label="blind") if blind else None
    axes.set_xscale("log")
    axes.set_xticks([hz for hz in MARKS_HZ if 0.7 * tones[0][0] <= hz <= 1.4 * tones[-1][0]], minor=False)
    axes.xaxis.set_major_formatter(lambda hz, _: _hertz(hz))
    axes.xaxis.set_minor_formatter(lambda hz, _: "")
    axes.set_ylim(0, 1.1 * most)
    axes.set_xlabel("frequency of the tone, Hz")
    axes.set_ylabel("rise of its band, dB")
    _finish(axes)
    return figure


def roc(labels: npt.ArrayLike, scores: npt.ArrayLike, title: str = "") -> Figure:
    """The ROC of clip scores [n] by labels [n] (1 anomaly, 0 normal), with AUC, its interval and pAUC up to 0.1.

    Raises ValueError unless both labels are there.
    """
    from sklearn.metrics import roc_curve

    from acoustic_ad.scores.metrics import separation

    truth, found = np.asarray(labels, np.int64), np.asarray(scores, np.float64)
    told = separation(truth, found)
    false, true, _ = roc_curve(truth, found)
    figure, axes = _figure(title, (4.6, 4.6))
    low, high = told.auc_ci
    axes.plot(false, true, color=BLUE, label=f"AUC {told.auc:.3f} (95 % {low:.3f}-{high:.3f}), pAUC {told.pauc:.3f}")
    axes.plot([0, 1], [0, 1], color=GREY, linestyle=":", label="chance")
    axes.axvspan(0, 0.1, color=SKY, alpha=0.2, linewidth=0, label="the range of pAUC")
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), xlabel="false-positive rate", ylabel="true-positive rate")
    axes.set_aspect("equal")
    _finish(axes)
    return figure


def score_histogram(
    normal: npt.ArrayLike, anomalous: npt.ArrayLike = (), limit: float | None = None, title: str = ""
) -> Figure:
    """Clip scores of held-out normal clips [n], of anomalous ones [m] where known, and the limit of normal."""
    usual, odd = np.asarray(normal, np.float64), np.asarray(anomalous, np.float64)
    edges = np.histogram_bin_edges(np.concatenate([usual, odd]), bins="auto" if usual.size > 30 else 12)
    figure, axes = _figure(title)
    axes.hist(usual, edges.tolist(), color=BLUE, alpha=0.7, label="normal")
    if odd.size:
        axes.hist(odd, edges.tolist(), histtype="step", color=VERMILION, linewidth=2, label="anomalous")
    if limit is not None:
        axes.axvline(limit, color=INK, linestyle="--", label="limit of normal")
    axes.set(xlabel="clip score (higher: more unusual)", ylabel="clips")
    _finish(axes)
    return figure


def draw_spectrogram(
    axes: Axes, level_db: npt.ArrayLike, edges_hz: Sequence[float], frame_s: float, box: Box | None = None
) -> None:
    """As `spectrogram`, into axes of one's own."""
    level = np.asarray(level_db, np.float64)
    low, high = level_range(level)
    _draw_map(axes, level, edges_hz, frame_s, box, cmap=LEVEL_COLOURS, vmin=low, vmax=high, unit="level, dB")


def draw_residual(
    axes: Axes, excess_db: npt.ArrayLike, edges_hz: Sequence[float], frame_s: float, box: Box | None = None
) -> None:
    """As `residual_map`, into axes of one's own."""
    excess = np.asarray(excess_db, np.float64)
    limit = excess_range(excess)
    _draw_map(
        axes, excess, edges_hz, frame_s, box, cmap=EXCESS_COLOURS, vmin=-limit, vmax=limit, unit="above normal, dB"
    )


def draw_normal(
    axes: Axes, normal_db: npt.ArrayLike, spread_db: npt.ArrayLike, clip_db: npt.ArrayLike, edges_hz: Sequence[float]
) -> None:
    """The machine's mean normal spectrum with its spread of single frames, and the clip's mean; all [mels] in dB."""
    normal, spread = np.asarray(normal_db, np.float64), np.asarray(spread_db, np.float64)
    centres = (np.asarray(edges_hz[:-1]) + np.asarray(edges_hz[1:])) / 2
    axes.fill_betweenx(
        centres, normal - spread, normal + spread, color=BLUE, alpha=0.2, linewidth=0, label="± 1 s.d. of a frame"
    )
    axes.plot(normal, centres, color=BLUE, label="normal")
    axes.plot(np.asarray(clip_db), centres, color=VERMILION, linestyle="--", linewidth=1.2, label="this clip")
    _frequency_axis(axes, edges_hz)
    axes.set_xlabel("mean level, dB")
    _finish(axes)


def _draw_map(
    axes: Axes, values: npt.NDArray[np.float64], edges_hz: Sequence[float], frame_s: float, box: Box | None, *,
    cmap: str, vmin: float, vmax: float, unit: str,
) -> None:  # fmt: skip
    if values.ndim != 2 or values.shape[1] != len(edges_hz) - 1 or not frame_s > 0:
        raise ValueError(f"a map {values.shape} does not fit {len(edges_hz)} edges of bands: [frames, mels] is needed")
    times = np.arange(len(values) + 1) * frame_s
    mesh = axes.pcolormesh(times, edges_hz, values.T, cmap=cmap, vmin=vmin, vmax=vmax, rasterized=True)
    axes.figure.colorbar(mesh, ax=axes, label=unit)
    if box is not None:
        _frame(axes, box, edges_hz)
    axes.set_xlabel("time, s")
    axes.set_xlim(0, times[-1])
    _frequency_axis(axes, edges_hz)


def _frame(axes: Axes, box: Box, edges_hz: Sequence[float]) -> None:
    """A frame around the box, which leaves what is inside to see where it is only a band high."""
    from matplotlib.patches import Rectangle

    apart = FRAME_APART * float(_mel(edges_hz[-1]) - _mel(edges_hz[0]))
    low, high = (float(_hertz_of_mel(one)) for one in (_mel(box.low_hz) - apart, _mel(box.high_hz) + apart))
    for colour, thickness in (("white", 3.5), (INK, 1.5)):
        width, height = box.end_s - box.start_s, high - low
        axes.add_patch(Rectangle((box.start_s, low), width, height, fill=False, ec=colour, lw=thickness))


def _frequency_axis(axes: Axes, edges_hz: Sequence[float]) -> None:
    """Hz on the mel scale, on which every band of the model is as high as any other."""
    low, high = float(edges_hz[0]), float(edges_hz[-1])
    axes.set_yscale("function", functions=(_mel, _hertz_of_mel))
    kept: list[int] = []
    for hz in reversed([hz for hz in MARKS_HZ if low <= hz <= high * 1.02]):
        if not kept or float(_mel(kept[-1]) - _mel(hz)) > LEAST_APART * float(_mel(high) - _mel(low)):
            kept.append(hz)
    axes.set_yticks(kept, [_hertz(hz) for hz in kept])
    axes.set_yticks([], minor=True)
    axes.set_ylim(low, max(high, *kept) if kept else high)
    axes.set_ylabel("frequency, Hz")


def _mel(hz: npt.ArrayLike) -> npt.NDArray[np.float64]:
    return np.asarray(2595.0 * np.log10(1.0 + np.maximum(np.asarray(hz, np.float64), 0.0) / 700.0))


def _hertz_of_mel(mel: npt.ArrayLike) -> npt.NDArray[np.float64]:
    return np.asarray(700.0 * (10.0 ** (np.asarray(mel, np.float64) / 2595.0) - 1.0))


def _hertz(hz: float) -> str:
    return f"{hz:g}" if hz < 1000 else f"{hz / 1000:g}k"


def _figure(title: str, size: tuple[float, float] = (6.4, 4.0)) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, dpi=120, layout="constrained")
    axes = figure.subplots()
    axes.set_title(title, fontsize=10, parse_math=False)
    return figure, axes


def _finish(*every: Axes) -> None:
    for axes in every:
        axes.grid(alpha=0.25)
        axes.legend(fontsize=7, frameon=False)
