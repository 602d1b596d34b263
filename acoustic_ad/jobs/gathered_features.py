"""The features of a machine's clips, gathered by the parent: those that an earlier run kept, and new ones."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import numpy as np
import numpy.typing as npt

from acoustic_ad.jobs.feature_file import FeatureFile, FeatureWriter, NotThisFile
from acoustic_ad.jobs.feature_place import MachineFiles, needed, told, written
from acoustic_ad.jobs.read_features import HeardFeatures

IntArray = npt.NDArray[np.int64]


class Gathered:
    """Takes the features of clips one by one; see `gathering`."""

    def __init__(self, files: MachineFiles, total: int, mels: int) -> None:
        self._files, self._total, self._mels = files, total, mels
        self._known: FeatureFile | None = None
        if files.kept_clips is not None:
            try:
                self._known = FeatureFile.open(files.clips, files.spec)
            except NotThisFile:
                self._known = None
        self._stack = ExitStack()
        self._writer: FeatureWriter | None = None
        self._numbers: list[int] = []

    @property
    def numbers(self) -> IntArray:
        """The clips' numbers [n] in the file."""
        return np.array(self._numbers, np.int64)

    def add(self, heard: HeardFeatures) -> None:
        """A further clip; raises FeaturesError."""
        if heard.number is not None and self._writer is None:
            self._numbers.append(heard.number)
            return
        with told(self._files.clips.parent, self._need()):
            writer = self._begun() if self._writer is None else self._writer
            self._numbers.append(len(writer))
            if heard.log_mel is not None:
                writer.add(heard.key, heard.log_mel, heard.channels)
            elif heard.number is not None:
                self._copy(heard.number, writer)

    def finish(self) -> None:
        """The file is there when this returns; raises FeaturesError."""
        with told(self._files.clips.parent, self._need()):
            self._stack.close()

    def abandon(self, error: BaseException) -> None:
        """Leave nothing.

        On a full disk the file cannot be closed without an error either, which must not take the place of `error`.
        """
        with suppress(OSError):
            self._stack.__exit__(type(error), error, error.__traceback__)

    def _begun(self) -> FeatureWriter:
        """A new file, which begins with the clips so far."""
        files = self._files
        self._writer = self._stack.enter_context(written(files.clips, files.kept_clips, files.spec, self._mels))
        for number in self._numbers:
            self._copy(number, self._writer)
        self._numbers = list(range(len(self._numbers)))
        return self._writer

    def _copy(self, number: int, writer: FeatureWriter) -> None:
        if self._known is None:
            raise ValueError(f"clip {number} of a file that is not known")
        entry = self._known.index[number]
        writer.add(entry["key"].tobytes(), self._known.stored(number), int(entry["channels"]))

    def _need(self) -> str:
        total = f"{self._total} clips are to be written"
        return total if self._writer is None else needed(self._writer, self._total)


@contextmanager
def gathering(files: MachineFiles, total: int, mels: int) -> Iterator[Gathered]:
    """Gathers the features of `total` clips into `files.clips` while the block runs.

    The file of an earlier run stays as it is where it has them all. Else a new one takes its place, of these clips
    alone, so that what is kept does not grow with every training. Raises FeaturesError.
    """
    gathered = Gathered(files, total, mels)
    try:
        yield gathered
    except BaseException as error:
        gathered.abandon(error)
        raise
    gathered.finish()
