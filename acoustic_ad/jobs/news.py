"""Whether a folder holds something that its store cannot know yet: asked before either is read."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def has_news(folder: Path, db: str) -> bool:
    """Whether files came into the folder, or into one directly below it, after the store was last written.

    A guess, by which nothing is decided but whether libraries are loaded while the folder is listed: of a database on
    a server, or of files deep below the folder, it knows nothing and says no.
    """
    with suppress(OSError):
        if not os.path.lexists(db):
            return "://" not in db and any(os.scandir(folder))
        written_ns = os.stat(db).st_mtime_ns  # noqa: PTH116
        if os.stat(folder).st_mtime_ns > written_ns:  # noqa: PTH116
            return True
        with os.scandir(folder) as entries:
            return any(entry.stat().st_mtime_ns > written_ns for entry in entries if entry.is_dir())
    return False
