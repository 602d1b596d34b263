"""Files that readers see whole: the old one, or the new one."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """A file to write to, which takes the place of the one at `path` when the block ends without an error.

    It is written beside, flushed to the disk, given the old one's permissions, and renamed. A link at `path` is
    replaced: give its real path to keep it. Raises OSError; whatever the reason, nothing of an unfinished file is left.
    """
    # Short, since the name of `path` may be as long as names get; of chance, since containers share process numbers.
    beside = path.with_name(f".acoustic-ad.{secrets.token_hex(8)}.tmp")
    try:
        with beside.open("xb") as file:  # never through a link that lies there
            yield file
            file.flush()
            os.fsync(file.fileno())
        with suppress(OSError):
            beside.chmod(stat.S_IMODE(path.stat().st_mode))
        beside.replace(path)
    finally:
        with suppress(OSError):
            beside.unlink()
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Make the new name survive a power cut, where the file system can."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
