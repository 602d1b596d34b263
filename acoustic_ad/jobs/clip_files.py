"""Where the sound of stored clips lies, as far as it is still there."""

from __future__ import annotations

import json
import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import sqlalchemy as sa

from acoustic_ad.jobs.schema import clip_scores
from acoustic_ad.jobs.store import Store
from acoustic_ad.sound.clip import from_printable
from acoustic_ad.sound.folders import is_inside

_AT_ONCE: Final = 500


@dataclass(frozen=True, slots=True)
class ClipFile:
    """A file that held a clip's bytes when they were scored."""

    sha256: str
    clip_id: str  # under which it is there now
    path: Path
    root: str  # as the store names it


def files_of(store: Store, machine: str, contents: Collection[str]) -> dict[str, ClipFile]:
    """sha256 -> a file that is there now and held these bytes, for clips of a machine; the others are missing.

    Whoever opens one compares its bytes first: it may have changed since, and a store may name any path.
    """
    wanted = sorted(set(contents))
    found: dict[str, ClipFile] = {}
    clips = clip_scores.c
    with store.reading() as connection:
        for start in range(0, len(wanted), _AT_ONCE):
            here = clips.sha256.in_(wanted[start : start + _AT_ONCE])
            query = sa.select(clips.sha256, clips.root, clips.clip_id, clips.also_known_as)
            for content, root, clip_id, others in connection.execute(query.where(clips.machine == machine, here)):
                for name in [clip_id, *json.loads(others)]:
                    path = Path(from_printable(root)) / from_printable(name)
                    if content not in found and _is_file(path, root):
                        found[content] = ClipFile(content, name, path, root)
    return found


def _is_file(path: Path, root: str) -> bool:
    """Whether it is a file below the root, also when links are followed."""
    try:
        return path.is_file() and is_inside(os.path.realpath(path), os.path.realpath(from_printable(root)))
    except (OSError, ValueError):
        return False
