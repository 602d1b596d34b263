"""Whether a folder holds something that its store cannot know yet: asked before either is read."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from acoustic_ad.sound.folders import is_audio


def has_news(folder: Path, db: str) -> bool:
    """Whether recordings came into the folder, or anything into one directly below it, after the store was written.

    A guess, by which nothing is decided but whether libraries are loaded while the folder is listed: of a database on
    a server, or of files deep below the folder, it knows nothing and says no.
    """
    with suppress(OSError):
        if not os.path.lexists(db):
            return "://" not in db and any(os.scandir(folder))
        written_ns = os.stat(db).st_mtime_ns  # noqa: PTH116
        # What a job writes may lie in the folder, too: only its recordings count.
        flat = os.stat(folder).st_mtime_ns > written_ns  # noqa: PTH116
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir():
                    if entry.stat().st_mtime_ns > written_ns:
                        return True
                elif flat and is_audio(entry.name) and entry.stat().st_ctime_ns > written_ns:
                    return True
    return False
