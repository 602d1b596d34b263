"""What a manifest said of clips that were scored: the columns that a recipe may go by."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from acoustic_ad.errors import AcousticADError
from acoustic_ad.jobs.clip_files import ClipFile
from acoustic_ad.jobs.punctuality import runs_of
from acoustic_ad.jobs.store import Store
from acoustic_ad.sound.manifest import read_manifest

Columns = tuple[tuple[str, str], ...]


class ManifestColumns:
    """The columns of clips, from the folder or manifest that the last run over their root was given."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[str, Mapping[tuple[str, str], Columns]] = {}

    def of(self, machine: str, file: ClipFile) -> Columns:
        """The columns of a clip; none where its manifest is gone or no longer lists it."""
        if file.root not in self._known:
            self._known[file.root] = self._read(file.root)
        return self._known[file.root].get((machine, file.clip_id), ())

    def _read(self, root: str) -> Mapping[tuple[str, str], Columns]:
        for run in runs_of(self._store, root)[-1:]:
            try:
                manifest = read_manifest(Path(str(run.arguments.get("folder", root))))
            except AcousticADError:
                continue
            return {(clip.machine, clip.clip_id): clip.columns for clip in manifest.clips if clip.columns}
        return {}
