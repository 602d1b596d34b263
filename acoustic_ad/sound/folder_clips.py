"""The clips of plain folders, made when they are asked for: a job keeps all of a folder, and their names are enough."""

from __future__ import annotations

import sys
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import overload

from acoustic_ad.sound.clip import Clip, printable


class Packed:
    """Names in one string of bytes, read as a list is: a string and its place in a list take 57 bytes more each."""

    def __init__(self, names: Sequence[str]) -> None:
        self._ends = array("Q", accumulate((len(_packed(name)) for name in names), initial=0))
        self._bytes = b"".join(map(_packed, names))

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __iter__(self) -> Iterator[str]:
        return map(self.__getitem__, range(len(self)))

    def __getitem__(self, number: int) -> str:
        place = range(len(self))[number]  # raises IndexError
        return self._bytes[self._ends[place] : self._ends[place + 1]].decode("utf-8", "surrogatepass")


def _packed(name: str) -> bytes:
    return name.encode("utf-8", "surrogatepass")


class FolderClips(Sequence[Clip]):
    """One folder per machine, or one flat folder of one machine; everything is normal but what its name calls anomaly.

    Sorted by clip_id, or after `by_machine` by machine and clip_id. A clip takes a twentieth of the memory of a `Clip`.
    """

    def __init__(
        self,
        root: Path,
        names: Iterable[str],
        problems: Mapping[str, tuple[str, str]],
        anomalies: frozenset[str] = frozenset(),
        machine: str | None = None,
    ) -> None:
        """`names` are raw and relative to `root`; `machine` is that of clips that lie directly in it."""
        self._folder, self._problems, self._anomalies = str(root), problems, anomalies
        self._machine = own_name(root) if machine is None else machine
        self._names = Packed(sorted(names, key=printable))

    def by_machine(self) -> FolderClips:
        """The same clips, those of a machine together."""
        found = FolderClips.__new__(FolderClips)
        found.__dict__.update(self.__dict__, _names=Packed(sorted(self._names, key=self._key)))
        return found

    def has(self, clip_id: str, machine: str) -> bool:
        """Whether there is such a clip; only where they are sorted by machine."""
        at = bisect_left(self._names, (machine, clip_id), key=self._key)
        return at < len(self._names) and self._key(self._names[at]) == (machine, clip_id)

    def _key(self, name: str) -> tuple[str, str]:
        folder, slash, _ = name.partition("/")
        return sys.intern(printable(folder)) if slash else self._machine, printable(name)

    def __len__(self) -> int:
        return len(self._names)

    @overload
    def __getitem__(self, number: int) -> Clip: ...
    @overload
    def __getitem__(self, number: slice) -> list[Clip]: ...
    def __getitem__(self, number: int | slice) -> Clip | list[Clip]:
        if isinstance(number, slice):
            return [self._clip(self._names[place]) for place in range(len(self))[number]]
        return self._clip(self._names[number])

    def _clip(self, name: str) -> Clip:
        machine, clip_id = self._key(name)
        label = "anomaly" if name in self._anomalies else "normal"
        return Clip(clip_id, name, machine, label=label, problem=self._problems.get(name), folder=self._folder)

    def __eq__(self, other: object) -> bool:
        return tuple(self) == tuple(other) if isinstance(other, Sequence) else NotImplemented

    def __hash__(self) -> int:
        return hash(tuple(self))


def own_name(root: Path) -> str:
    """The machine of clips that lie directly in `root`."""
    return printable(root.name) or "machine"
