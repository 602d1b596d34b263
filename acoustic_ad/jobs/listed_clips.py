"""The clips of a run in the order of their machines, and which names are among them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from itertools import groupby

from acoustic_ad.sound.clip import Clip
from acoustic_ad.sound.folder_clips import FolderClips


def by_machine(clips: Sequence[Clip]) -> Sequence[Clip]:
    """The clips in the order of `_key_of`. A manifest may list a file twice: it is one clip all the same."""
    if isinstance(clips, FolderClips):
        return clips.by_machine()
    return [next(same) for _, same in groupby(sorted(clips, key=_key_of), _key_of)]


class Listed:
    """The (clip_id, machine) of clips that are sorted by `_key_of`; a set of them would take as much as the clips."""

    def __init__(self, clips: Sequence[Clip]) -> None:
        self._clips = clips

    def __contains__(self, key: object) -> bool:
        clip_id, machine = key if isinstance(key, tuple) else ("", "")
        if isinstance(self._clips, FolderClips):
            return self._clips.has(clip_id, machine)
        at = bisect_left(self._clips, (machine, clip_id), key=_key_of)
        return at < len(self._clips) and _key_of(self._clips[at]) == (machine, clip_id)


def _key_of(clip: Clip) -> tuple[str, str]:
    return clip.machine, clip.clip_id
