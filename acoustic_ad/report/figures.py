"""Figures into files: matplotlib as it comes, the same bytes for the same figure, whole or not at all."""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from acoustic_ad.errors import NO_ROOM, AcousticADError, UsageError, refusal
from acoustic_ad.sound.clip import one_line
from acoustic_ad.whole_file import whole_file

if TYPE_CHECKING:  # matplotlib takes half a second to import, and only who draws needs it
    from matplotlib.figure import Figure

# Suffix -> what to leave out of the file so that the same figure gives the same bytes.
FORMATS: Final[dict[str, dict[str, None]]] = {".png": {}, ".svg": {"Date": None}, ".pdf": {"CreationDate": None}}


def check_suffix(path: str | Path, option: str, others: tuple[str, ...] = ()) -> None:
    """Raise UsageError where nothing could be written to `path`: another suffix, or a folder. Touches nothing.

    `option` is what the path was given by, `others` are suffixes that are allowed beside those of figures.
    """
    path, name = Path(path), one_line(str(path))
    allowed = (*FORMATS, *others)
    if path.suffix.lower() not in allowed:
        raise UsageError(f"{option} {name}: the name must end with {', '.join(allowed)}, which chooses the format")
    if os.path.isdir(path):  # noqa: PTH112  # Path.is_dir raises where a name is too long
        raise UsageError(f"{option} {name} is a folder: name a file")


def write_figure(path: str | Path, option: str, draw: Callable[[], Figure], salt: str) -> None:
    """Draw to `path` in the format of its suffix (.png, .svg, .pdf), beside first, then renamed.

    The same figure and `salt` give the same bytes. Raises AcousticADError where the file cannot be written, which is
    then as it was before.
    """
    target = Path(os.path.realpath(path))  # a link stays one: the file that it points to is replaced
    suffix = target.suffix.lower() if target.suffix.lower() in FORMATS else Path(path).suffix.lower()
    content = io.BytesIO()
    with own_style(salt):
        draw().savefig(content, format=suffix.removeprefix("."), metadata=FORMATS[suffix])
    write_file(path, option, content.getvalue())


def write_file(path: str | Path, option: str, content: bytes) -> None:
    """Replace the file at `path`, or the one that a link there points to. Raises AcousticADError."""
    try:
        with whole_file(Path(os.path.realpath(path))) as file:
            file.write(content)
    except OSError as error:
        why = refusal(error)
        if error.errno not in NO_ROOM:
            why += "; name a file in a folder that exists and that you may write to"
        raise AcousticADError(f"{option} {one_line(str(path))} cannot be written: {why}") from error


@contextmanager
def own_style(salt: str) -> Iterator[None]:
    """matplotlib as it comes: a user's settings (LaTeX, dark themes) must not change or break a file."""
    import matplotlib

    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # of a machine's name in a script that the font lacks
        matplotlib.rcdefaults()
        matplotlib.rcParams.update({"svg.hashsalt": salt, "axes.spines.top": False, "axes.spines.right": False})
        yield
