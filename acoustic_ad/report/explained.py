"""One clip explained: as a picture, as a document, in words."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from acoustic_ad.jobs.explain_clip import ExplainedClip
from acoustic_ad.jobs.explanation import WHOLE_PATTERN
from acoustic_ad.jobs.tasks import Off
from acoustic_ad.report.figures import check_suffix, write_figure, write_file
from acoustic_ad.report.page_machine import box_words
from acoustic_ad.scores.explain import in_words
from acoustic_ad.sound.clip import one_line, printable

if TYPE_CHECKING:  # matplotlib takes half a second to import, and only who draws needs it
    from matplotlib.figure import Figure

WIDE = 110  # characters of a line in the picture
UNUSUAL_P = 0.05


def check_explained_suffix(path: Path) -> None:
    """Raise UsageError where no explanation can be written to `path`. Touches nothing."""
    check_suffix(path, "--out", (".json",))


def write_explained(path: Path, clip: ExplainedClip) -> None:
    """The picture (.png, .svg, .pdf), or the document with all numbers (.json). Raises UsageError, AcousticADError."""
    check_explained_suffix(path)
    if path.suffix.lower() == ".json":
        text = json.dumps(explained_document(clip) | _maps(clip), ensure_ascii=True, allow_nan=False)
        write_file(path, "--out", text.encode("ascii") + b"\n")
    else:
        write_figure(path, "--out", lambda: explained_figure(clip), clip.model)


def explained_words(clip: ExplainedClip) -> list[str]:
    """What stands out, how unusual the clip is, and where to look, a line each."""
    verdict = clip.verdict
    if isinstance(verdict, Off):
        return [f"the machine stands still: {verdict.reason}"]
    found = in_words(clip.standouts)
    if not found:
        found = WHOLE_PATTERN if verdict.p_value < UNUSUAL_P else "nothing stands out"
    share = f"p = {verdict.p_value:.2g}: so unusual, or more so, are {100 * verdict.p_value:.2g} in 100 normal clips"
    where = "no region stands out"
    if clip.found.box is not None:
        what = "the box" if verdict.p_value < UNUSUAL_P else "the least usual place, which every clip has"
        where = f"{what}: {box_words(clip.found)}"
    remarks = [one_line(verdict.note)] if verdict.note else []
    remarks += ["the picture shows the first minute only"] if clip.found.cut else []
    return [found, f"score {verdict.score:.4g}, {share}", where, *remarks]


def explained_document(clip: ExplainedClip) -> dict[str, Any]:
    """All but the maps. Times are in s from the beginning of the clip, frequencies in Hz, levels in dB."""
    verdict, box = clip.verdict, clip.found.box
    off = isinstance(verdict, Off)
    return {
        "clip": printable(str(clip.path)),
        "machine": clip.machine,
        "version": clip.version,
        "model": clip.model,
        "status": "off" if off else "scored",
        "score": None if isinstance(verdict, Off) else verdict.score,
        "p_value": None if isinstance(verdict, Off) else verdict.p_value,
        "stands_out": explained_words(clip)[0],
        "bands": [band.as_dict() for band in clip.standouts],
        "box": None if box is None else {name: round(getattr(box, name), 3) for name in box.__slots__},
        "box_words": box_words(clip.found),
        "first_minute_only": clip.found.cut,
    }


def _maps(clip: ExplainedClip) -> dict[str, Any]:
    found = clip.found
    return {
        "frame_s": found.frame_s,
        "edges_hz": [round(edge, 2) for edge in found.edges_hz],
        "normal_db": _tenths(found.normal_db),
        "spread_db": _tenths(found.spread_db),
        "level_db": _tenths(found.level_db),
        "excess_db": _tenths(found.excess_db),
    }


def _tenths(values: Any) -> Any:
    return np.round(np.asarray(values, np.float64), 1).tolist()


def explained_figure(clip: ExplainedClip) -> Figure:
    """The clip's spectrogram, the machine's normal beside it, and the difference, with the region that stands out."""
    from matplotlib.figure import Figure

    from acoustic_ad.report.plots import draw_normal, draw_residual, draw_spectrogram

    found = clip.found
    figure = Figure(figsize=(13.0, 4.8), dpi=110, layout="constrained")
    level, normal, excess = figure.subplots(1, 3, width_ratios=[1.15, 0.75, 1.15])
    draw_spectrogram(level, found.level_db, found.edges_hz, found.frame_s, found.box)
    level.set_title("this clip", fontsize=10)
    draw_normal(normal, found.normal_db, found.spread_db, found.level_db.mean(axis=0), found.edges_hz)
    normal.set_title("its machine's normal", fontsize=10)
    draw_residual(excess, found.excess_db, found.edges_hz, found.frame_s, found.box)
    excess.set_title("the difference", fontsize=10)
    words = explained_words(clip)
    head = textwrap.shorten(f"{one_line(clip.machine)}: {one_line(clip.path.name)}", WIDE, placeholder=" ...")
    lines = [head, *textwrap.wrap(words[0], WIDE), *words[1:3]]
    figure.suptitle("\n".join(lines), parse_math=False, fontsize=10, x=0.01, ha="left")
    return figure
