"""Which audio files lie under a folder. Never leaves the folder, always ends, opens no file."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from acoustic_ad.errors import ManifestError
from acoustic_ad.sound.clip import one_line

# What libsndfile reads, by extension. Left out on purpose: .raw (says nothing about rate and width) and .mat (nearly
# always a matrix of something else).
AUDIO_EXTENSIONS: Final = frozenset(
    {"wav", "wave", "wavex", "bwf", "rf64", "w64", "flac", "ogg", "oga", "opus", "mp1", "mp2", "mp3", "aif", "aiff"}
    | {"aifc", "au", "snd", "caf", "voc", "sph", "nist", "paf", "pvf", "avr", "ircam", "sf", "htk", "svx", "8svx"}
    | {"iff", "sds", "sd2", "wve", "xi"}
)

NOT_AUDIO: Final = "not audio"
HIDDEN: Final = "hidden"
NOT_REGULAR: Final = "not a regular file"
LISTED_ALREADY: Final = "link to something listed already"


class Found(NamedTuple):
    """An audio file under the root. `relative` is the raw name (it may hold surrogate escapes)."""

    relative: str
    problem: tuple[str, str] | None = None


@dataclass
class Scan:
    """What lies under a folder: audio files sorted by name, and how much else was passed over, by reason.

    Names alone are kept, not a `Found` of each: there may be very many.
    """

    names: list[str] = field(default_factory=list)
    problems: dict[str, tuple[str, str]] = field(default_factory=dict)  # of those names that have one
    ignored: Counter[str] = field(default_factory=Counter)

    def files(self) -> Iterator[Found]:
        """The audio files, in the order of their names."""
        return (Found(name, self.problems.get(name)) for name in self.names)

    def add(self, name: str, problem: tuple[str, str] | None = None) -> None:
        """One more file, or what stands for one that has a problem."""
        self.names.append(name)
        if problem is not None:
            self.problems[name] = problem


def is_audio(name: str) -> bool:
    """Whether the name ends like a format that libsndfile reads, in any letter case."""
    return name.rpartition(".")[2].lower() in AUDIO_EXTENSIONS and "." in name


def is_inside(real_path: str, real_root: str) -> bool:
    """Whether `real_path` is `real_root` or below it; both must be free of links (`os.path.realpath`)."""
    return real_path == real_root or real_path.startswith(real_root.rstrip("/") + "/")


def scan_folder(root: Path) -> Scan:
    """All audio files below `root`, recursively.

    Links inside the root are followed, yet no file is listed under two names, so loops end. A link that leaves the
    root, a broken link and a folder that cannot be listed become entries with a problem, so that they are not lost.
    Raises ManifestError when `root` itself cannot be listed.
    """
    walk = _Walk(str(root))
    walk.below("", "")
    walk.follow_links()
    walk.scan.names.sort()
    return walk.scan


class _Walk:
    """One traversal. Every place has two names: as listed, and its real one, both relative to the root."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.real_root = os.path.realpath(root)
        self.scan = Scan()
        self.links: list[str] = []
        self.listed: set[str] = set()  # real names of files, from the first link on
        self.following = False  # until then no file can be met a second time
        self.visited: set[str] = set()  # real names of folders

    def below(self, listed: str, real: str) -> None:
        """Lists the folder and everything real below it; links are only collected."""
        stack = [(listed, real)]
        while stack:
            listed, real = stack.pop()
            if real in self.visited:
                continue
            self.visited.add(real)
            try:
                with os.scandir(f"{self.root}/{listed}") as entries:
                    names = ((entry, _join(listed, entry.name), _join(real, entry.name)) for entry in entries)
                    stack.extend(name[1:] for name in names if self._entry(*name))
            except OSError as error:
                self._cannot_list(listed, error)

    def _cannot_list(self, listed: str, error: OSError) -> None:
        if not listed:
            raise ManifestError(
                f"{one_line(self.root)}: the folder cannot be listed ({error.strerror}); check its permissions and "
                "that the share is mounted"
            ) from error
        self.scan.add(listed, ("unreadable", f"the folder cannot be listed: {error.strerror}"))

    def _entry(self, entry: os.DirEntry[str], listed: str, real: str) -> bool:
        """Notes one entry; True for a folder to descend into."""
        if entry.name.startswith(".") or entry.name == "lost+found":  # the latter belongs to the file system
            self.scan.ignored[HIDDEN] += 1
            return False
        try:
            if entry.is_symlink():
                self.links.append(listed)
            elif entry.is_dir(follow_symlinks=False):
                return True
            elif entry.is_file(follow_symlinks=False):
                self._file(listed, real)
            else:
                self.scan.ignored[NOT_REGULAR] += 1
        except OSError as error:
            self._problem(listed, "unreadable", f"cannot be examined: {error.strerror}")
        return False

    def _file(self, listed: str, real: str) -> None:
        if not is_audio(listed):
            self.scan.ignored[NOT_AUDIO] += 1
        elif real in self.listed:
            self.scan.ignored[LISTED_ALREADY] += 1
        else:
            self.scan.add(listed)
            if self.following:
                self.listed.add(real)

    def _problem(self, listed: str, code: str, reason: str) -> None:
        if is_audio(listed):
            self.scan.add(listed, (code, reason))
        else:
            self.scan.ignored[NOT_AUDIO] += 1

    def follow_links(self) -> None:
        """Sorted, and after the real files: which of several names is listed does not depend on the file system."""
        if self.links:
            self.following, self.listed = True, set(self.scan.names)  # so far, they are the real ones
        while self.links:
            batch, self.links = sorted(self.links), []
            for listed in batch:
                self._link(listed)

    def _link(self, listed: str) -> None:
        target = os.path.realpath(f"{self.root}/{listed}")
        is_folder = os.path.isdir(target)  # noqa: PTH112 (a Path here would cost more than the question)
        if not is_inside(target, self.real_root):
            if is_folder or is_audio(listed):
                self.scan.add(listed, outside_root(target, self.real_root))
            else:
                self.scan.ignored[NOT_AUDIO] += 1
            return
        real = os.path.relpath(target, self.real_root) if target != self.real_root else ""
        if is_folder:
            if real in self.visited:
                self.scan.ignored[LISTED_ALREADY] += 1
            else:
                self.below(listed, real)
        elif os.path.isfile(target):  # noqa: PTH113
            self._file(listed, real)
        elif os.path.exists(target):  # noqa: PTH110
            self.scan.ignored[NOT_REGULAR] += 1
        else:
            self._problem(listed, "unreadable", "a link to nothing")


def outside_root(target: str, real_root: str) -> tuple[str, str]:
    """The problem of a clip whose file lies at `target`, outside the root."""
    return "outside_root", f"leads to {one_line(target)}, outside {one_line(real_root)}"


def _join(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name
