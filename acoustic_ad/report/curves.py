"""How a training went, drawn: losses, their named parts and the spread of the held-out loss, step by step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from acoustic_ad.errors import AcousticADError
from acoustic_ad.report.figures import check_suffix, write_figure
from acoustic_ad.sound.clip import one_line

if TYPE_CHECKING:  # matplotlib takes half a second to import, and only who draws needs it
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from acoustic_ad.models.bundle_facts import CurvePoint
    from acoustic_ad.models.bundle_info import BundleInfo

# Okabe and Ito's colours, which stay apart for colour-blind eyes; line style and marker tell the same again.
BLUE, VERMILION, GREY = "#0072B2", "#D55E00", "#595959"
LONGEST_TITLE: Final = 90  # characters; a machine's name may have any number of them
LARGEST: Final = 1e30  # matplotlib's arithmetic overflows on what JSON may hold
MARKED_POINTS: Final = 60  # more markers than these run into one another
CHANCE: Final = {"discriminator_accuracy": 0.5}

# Units: patches are normalised per band, so that errors are in training standard deviations (s.d.) of the band.
LOSS_UNITS: Final = {"dae": "squared error, s.d.² per element", "vae": "-ELBO, nats per element"}
WEIGHTED_SUM: Final = "weighted sum of losses"
PART_UNITS: Final = {  # and the order of the panels; parts with other names come last
    "reconstruction": "nats per element",
    "kl": "nats per element",
    "context": "absolute error, s.d. per element",
    "encoder": "squared distance per code element",
    "adversarial": "squared distance per feature",
    "moments": "squared distance per feature",
    "discriminator": "cross-entropy, nats per patch",
    "discriminator_accuracy": "share of patches",
}


def check_plot_suffix(path: str | Path) -> None:
    """Raise UsageError where `write_curves` could not write `path`: another suffix, or a folder. Touches nothing."""
    check_suffix(path, "--plot")


def write_curves(path: str | Path, info: BundleInfo) -> None:
    """Draw the training curves of a model to `path`, in the format of its suffix (.png, .svg, .pdf).

    Written beside, then renamed; the same model gives the same bytes. Raises UsageError for other suffixes, and
    AcousticADError where there is no curve to draw or the file cannot be written, which is then as it was before.
    """
    check_plot_suffix(path)
    write_figure(path, "--plot", lambda: curves_figure(info), info.digest)


def curves_figure(info: BundleInfo) -> Figure:
    """Training and held-out loss with its spread and the step that was kept; below, a panel for each named part.

    Raises AcousticADError where the detector learns nothing step by step.
    """
    from matplotlib.figure import Figure

    curve = info.training.curve
    if not curve:
        raise AcousticADError(
            f"{one_line(info.machine)} {info.version} has no training curve: "
            f"its detector, {info.recipe.detector.kind}, learns nothing step by step; nothing was drawn"
        )
    found = list(dict.fromkeys(name for point in curve for name in point.losses))
    parts = [name for name in PART_UNITS if name in found] + [name for name in found if name not in PART_UNITS]
    columns = 3 if len(parts) in (3, 5, 6) or len(parts) > 8 else 2
    rows = math.ceil(len(parts) / columns)
    figure = Figure(figsize=(9.0, 4.2 + 2.3 * rows), dpi=120, layout="constrained")
    figure.suptitle(_title(info), parse_math=False, fontsize=12)
    grid = figure.add_gridspec(1 + rows, columns, height_ratios=[1.7] + [1.0] * rows)
    _draw_total(figure.add_subplot(grid[0, :]), info)
    for number, name in enumerate(parts):
        _draw_part(figure.add_subplot(grid[1 + number // columns, number % columns]), name, info)
    return figure


def _title(info: BundleInfo) -> str:
    machine = one_line(info.machine)
    if len(machine) > LONGEST_TITLE:
        machine = machine[:LONGEST_TITLE] + "..."
    return f"{machine}, {info.version}, recipe {one_line(info.recipe.name)[:LONGEST_TITLE]}"


def _draw_total(axes: Axes, info: BundleInfo) -> None:
    curve = info.training.curve
    unit, only = _of_total(info)
    steps, loss = [point.step for point in curve], _series([point.held_out_loss for point in curve])
    axes.plot(steps, _series([point.loss for point in curve]), label="training", **_line(curve, BLUE, "o"))
    if not all(map(math.isnan, loss)):
        axes.plot(steps, loss, label=f"held-out normal{only}", **_line(curve, VERMILION, "s", "--"))
    spread = _series([point.held_out_spread for point in curve])
    if not all(map(math.isnan, spread)):
        low = [mean - deviation for mean, deviation in zip(loss, spread, strict=True)]
        high = [mean + deviation for mean, deviation in zip(loss, spread, strict=True)]
        label = "± 1 standard deviation over held-out patches"
        axes.fill_between(steps, low, high, color=VERMILION, alpha=0.18, linewidth=0, label=label)
    _mark_kept(axes, info, label=f"kept: step {info.training.steps}")
    if info.training.cross_fitted:
        note = "Cross-fitted: this run found the number of steps; the kept weights took as many, on all clips."
        axes.set_title(note, loc="left", fontsize=8, color=GREY)
    axes.set_ylabel(unit)
    _finish(axes)
    axes.legend(fontsize=8, frameon=False)


def _of_total(info: BundleInfo) -> tuple[str, str]:
    """Unit of the total loss, and a remark where the held-out loss has not the terms of the training loss."""
    kind, options = info.recipe.detector.kind, info.recipe.detector.options
    if kind == "ganomaly":
        return WEIGHTED_SUM, " (context and encoder only)"
    if kind == "vae" and options.get("adversarial"):
        return WEIGHTED_SUM, " (-ELBO only)"
    if kind == "vae" and options.get("warm_up_steps"):
        return LOSS_UNITS[kind], " (beta not warmed up)"
    return LOSS_UNITS.get(kind, "loss"), ""


def _draw_part(axes: Axes, name: str, info: BundleInfo) -> None:
    curve = info.training.curve
    values = _series([point.losses.get(name) for point in curve])
    axes.plot([point.step for point in curve], values, **_line(curve, BLUE, "o"))
    _mark_kept(axes, info)
    if name in CHANCE:
        axes.axhline(CHANCE[name], color=VERMILION, linestyle="--", linewidth=1.2, label="chance")
        axes.set_ylim(-0.03, 1.03)
        axes.legend(fontsize=8, frameon=False)
    axes.set_title(one_line(name).replace("_", " "), fontsize=9, parse_math=False)
    axes.set_ylabel(PART_UNITS.get(name, "loss"), fontsize=8)
    axes.tick_params(labelsize=8)
    _finish(axes)


def _mark_kept(axes: Axes, info: BundleInfo, label: str | None = None) -> None:
    axes.axvline(info.training.steps, color=GREY, linestyle=":", linewidth=1.4, label=label)


def _line(curve: Sequence[CurvePoint], colour: str, marker: str, style: str = "-") -> dict[str, Any]:
    """How a series is drawn: each check marked, where they are few enough to be told apart."""
    marker = marker if len(curve) <= MARKED_POINTS else ""
    return {"color": colour, "linestyle": style, "linewidth": 1.5, "marker": marker, "markersize": 4}


def _finish(axes: Axes) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.set_xlabel("step", fontsize=axes.yaxis.label.get_fontsize())
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, steps=[1, 2, 5, 10], integer=True))
    axes.grid(alpha=0.25)


def _series(values: Sequence[float | None]) -> list[float]:
    """The values, with gaps where there was none."""
    return [math.nan if value is None else max(-LARGEST, min(LARGEST, value)) for value in values]
