"""What is wrong with a manifest before anyone learns from it: missing files, duplicates, leaks between splits."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from acoustic_ad.sound.clip import Clip, one_line, sha256_of
from acoustic_ad.sound.manifest import Manifest
from acoustic_ad.sound.manifest_csv import MISSING

# What makes results wrong, or a model learn what it must not; the other findings are untidy, yet harmless.
REFUSED_BY_TRAIN: Final = frozenset(
    {
        "missing_file",
        "unreadable",
        "outside_root",
        "content_in_two_splits",
        "session_in_two_splits",
        "anomaly_in_train",
        "anomaly_in_calibration",
    }
)
FINDING_CODES: Final = REFUSED_BY_TRAIN | {"duplicate_path", "duplicate_content", "similar_machines"}
ROWS_SHOWN: Final = 5


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, at the clip where it shows. `row` is the manifest's (header: 1), None for a folder."""

    code: str  # one of FINDING_CODES
    row: int | None
    clip_id: str
    message: str

    def __str__(self) -> str:
        return f"{_where(self.row, self.clip_id)}: {self.message} ({self.code})"


def check_manifest(
    manifest: Manifest, *, contents: bool = True, on_progress: Callable[[int, int], None] | None = None
) -> list[Finding]:
    """All findings, in the order of rows (folders: of clip_ids); an empty list means clean.

    `contents=True` reads every file that has another's size, to find equal bytes under two names;
    `on_progress(done, total)` is called after each of them. Clips without a split are compared with none.
    """
    findings = [
        *_problems(manifest.clips),
        *_duplicate_paths(manifest.clips),
        *_anomalies(manifest.clips),
        *_sessions(manifest.clips),
        *_similar_machines(manifest.clips),
    ]
    if contents:
        findings += _contents(manifest.clips, on_progress)
    return sorted(findings, key=lambda finding: (finding.row or 0, finding.clip_id, finding.code))


def _problems(clips: Iterable[Clip]) -> Iterator[Finding]:
    for clip in clips:
        if clip.problem is not None:
            code, reason = clip.problem
            yield _finding("missing_file" if reason.startswith(MISSING) else code, clip, reason)


def _duplicate_paths(clips: Collection[Clip]) -> Iterator[Finding]:
    for first, *others in _groups(clips, lambda clip: clip.clip_id):
        for clip in others:
            yield _finding("duplicate_path", clip, f"the same path as {_place(first)}")


def _anomalies(clips: Iterable[Clip]) -> Iterator[Finding]:
    for clip in clips:
        if clip.label == "anomaly" and clip.split in ("train", "calibration"):
            yield _finding(f"anomaly_in_{clip.split}", clip, f"an anomaly in split {clip.split}; move it to test")


def _sessions(clips: Collection[Clip]) -> Iterator[Finding]:
    """Clips of one session are near copies of one another. Machines share none: each has a model of its own."""
    named = [clip for clip in clips if clip.session and clip.split]
    for first, *others in _groups(named, lambda clip: (clip.machine, clip.session)):
        strangers = [clip for clip in others if clip.split != first.split]
        if strangers:
            yield _finding(
                "session_in_two_splits",
                strangers[0],
                f"session {one_line(first.session)!r} of machine {one_line(first.machine)} is in split "
                f"{first.split} ({_place(first)}) and in {_splits(strangers)} ({_places(strangers)})",
            )


def _similar_machines(clips: Collection[Clip]) -> Iterator[Finding]:
    firsts = {clip.machine: clip for clip in sorted(clips, key=_order, reverse=True)}
    for first, *others in _groups(firsts.values(), lambda clip: " ".join(clip.machine.split())):
        for clip in others:
            yield _finding(
                "similar_machines", clip, f"machine {clip.machine!r} and {first.machine!r} differ by white space only"
            )


def _contents(clips: Iterable[Clip], on_progress: Callable[[int, int], None] | None) -> Iterator[Finding]:
    present: list[Clip] = []
    sizes: list[int] = []
    for clip in sorted(clips, key=_order):
        if clip.problem is None:
            try:
                sizes.append(os.stat(clip.place).st_size)  # noqa: PTH116 (see `place`)
                present.append(clip)
            except OSError as error:
                yield _finding("unreadable", clip, f"cannot be read: {error.strerror}")
    suspects = [present[place] for same in _alike(sizes, "i8") for place in same]
    hashed: list[Clip] = []
    digests = bytearray()  # of many clips, a third of what a table of them takes
    for done, clip in enumerate(suspects, start=1):
        try:
            digests += bytes.fromhex(sha256_of(clip.place))
            hashed.append(clip)
        except OSError as error:
            yield _finding("unreadable", clip, f"cannot be read: {error.strerror}")
        if on_progress is not None:
            on_progress(done, len(suspects))
    for same in _alike(digests, "S32"):
        yield from _same_content([hashed[place] for place in same])


def _alike(values: list[int] | bytearray, kind: str) -> Iterator[list[int]]:
    """The places of equal values, ascending, for each value that is there twice or more; `kind` is numpy's for them."""
    import numpy as np  # the command line imports this module at its start, and does without

    array = np.frombuffer(values, kind) if isinstance(values, bytearray) else np.array(values, kind)
    order = np.argsort(array, kind="stable")
    ends = np.flatnonzero(array[order][1:] != array[order][:-1]) + 1
    return (same.tolist() for same in np.split(order, ends) if len(same) > 1)


def _same_content(same: list[Clip]) -> Iterator[Finding]:
    """`same`, clips of equal bytes, in the order of rows."""
    assigned = next((clip for clip in same if clip.split), None)
    for clip in same[1:]:
        if assigned is not None and clip.split and clip.split != assigned.split:
            yield _finding(
                "content_in_two_splits",
                clip,
                f"split {clip.split}, with the same bytes as {_place(assigned)} of split {assigned.split}",
            )
        elif clip.clip_id != same[0].clip_id:
            yield _finding("duplicate_content", clip, f"the same bytes as {_place(same[0])}")


# --- helpers ---------------------------------------------------------------------------------------------------------


def _order(clip: Clip) -> tuple[int, str]:
    return clip.row or 0, clip.clip_id


def _groups(clips: Collection[Clip], key: Callable[[Clip], Hashable]) -> Iterator[list[Clip]]:
    """Groups of two and more, each in the order of rows."""
    several = {value for value, count in Counter(map(key, clips)).items() if count > 1}
    groups: dict[Hashable, list[Clip]] = defaultdict(list)
    for clip in sorted((clip for clip in clips if key(clip) in several), key=_order):
        groups[key(clip)].append(clip)
    return iter(groups.values())


def _finding(code: str, clip: Clip, message: str) -> Finding:
    return Finding(code, clip.row, clip.clip_id, message)


def _where(row: int | None, clip_id: str) -> str:
    return f"row {row}, {one_line(clip_id)}" if row else one_line(clip_id)


def _place(clip: Clip) -> str:
    return _where(clip.row, clip.clip_id)


def _places(clips: list[Clip]) -> str:
    more = len(clips) - ROWS_SHOWN
    return ", ".join(map(_place, clips[:ROWS_SHOWN])) + (f" and {more} more" if more > 0 else "")


def _splits(clips: Iterable[Clip]) -> str:
    return " and ".join(sorted({clip.split for clip in clips}))
