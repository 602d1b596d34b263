"""The model store: which machines have models, which versions there are, and which of them is in use.

    models/<machine, escaped>/v0001/    a bundle, never changed
                              v0002/
                              current   which of them scores, and which did before

Writers (`save`, `promote`, `rollback`) must not run at the same time on one machine: `train` locks the models folder.
Readers need no lock. Whatever happens to a writer, at any moment, the machine keeps a current version that loads.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import Field

from acoustic_ad.errors import BundleError, refusal
from acoustic_ad.models.bundle import (
    BundleInfo,
    TrainingDetails,
    read_bundle,
    read_calibration,
    read_info,
    write_bundle,
)
from acoustic_ad.models.bundle_facts import Facts, Version
from acoustic_ad.models.bundle_files import (
    MOST_JSON_BYTES,
    clear_leftovers,
    read_regular,
    replace_durably,
    strict_json,
)
from acoustic_ad.models.bundle_info import JSON_NAME, validated
from acoustic_ad.models.names import folder_name, machine_name, version_name, version_number
from acoustic_ad.models.signing import (
    SigningKey,
    Trust,
    check_signature,
    put_signature,
    read_signature,
    signature_of,
)

if TYPE_CHECKING:
    from acoustic_ad.models.machine_model import MachineModel
    from acoustic_ad.scores.calibration import Calibration

__all__ = ["Registry", "folder_name"]

POINTER_NAME: Final = "current"
MOST_POINTER_BYTES: Final = 65_536
# Promotions that a rollback can go back through.
HISTORY: Final = 50


class Pointer(Facts):
    """The content of a machine's file `current`."""

    format: Literal[1] = 1
    machine: str
    current: Version | None = None
    history: Annotated[tuple[Version, ...], Field(max_length=HISTORY)] = ()  # promoted before, the latest last
    newest: Annotated[int, Field(ge=0, lt=10**18)] = 0  # the highest number ever given


class Registry:
    """The models of a fleet in one folder. Nothing is read before it is asked for.

    Where there is a `trust`, only bundles that one of its keys signed are loaded or promoted.
    """

    def __init__(self, models: Path, trust: Trust | None = None) -> None:
        self.models, self.trust = Path(models), trust

    def machines(self) -> list[str]:
        """Names of the machines that have at least one version, sorted."""
        names = {self._name(folder) for folder in self._folders()}
        return sorted(name for name in names if name is not None)

    def folder_of(self, machine: str) -> Path:
        """The folder of a machine's models, existing or not."""
        return self.models / folder_name(machine)

    def versions(self, machine: str) -> list[str]:
        """Versions of a machine, oldest first; whether they load, `verify` tells."""
        return _versions_in(self.folder_of(machine))

    def current(self, machine: str) -> str | None:
        """The version in use, None where none was promoted; raises BundleError where the pointer is damaged."""
        return self._pointer(machine).current

    def bundle_path(self, machine: str, version: str | None = None) -> Path:
        """The folder of a version, by default the current one; raises BundleError where there is none."""
        versions = self.versions(machine)
        if not versions:
            raise BundleError(f"no model of machine {machine!r} in {self.models}: train one with `acoustic-ad train`")
        wanted = version or self.current(machine)
        if wanted is None:
            choice = ", ".join(versions)
            raise BundleError(
                f"no version of machine {machine!r} is in use; `acoustic-ad models promote` one of {choice}"
            )
        if wanted not in versions:
            raise BundleError(f"no version {wanted!r} of machine {machine!r}; there are: {', '.join(versions)}")
        return self.folder_of(machine) / wanted

    def load(self, machine: str, version: str | None = None) -> tuple[MachineModel, BundleInfo]:
        """A model and what its bundle says, by default the current version; raises BundleError with the reason."""
        return read_bundle(self.bundle_path(machine, version), self.trust)

    def info(self, machine: str, version: str | None = None) -> BundleInfo:
        """What a bundle says of itself, without building its model; raises BundleError with the reason."""
        return read_info(self.bundle_path(machine, version), self.trust)

    def checked(self, machine: str) -> tuple[Path, str]:
        """The folder of the current version and its digest, by which a worker knows that it is still what was checked
        here: as `info`."""
        return self.bundle_path(machine), self.info(machine).digest

    def digest_as_said(self, machine: str, version: str | None = None) -> str | None:
        """The digest of a version, by default the current one, in its bundle's own words and unchecked; None without.

        Checking it would read all weights: enough to ask whether a bundle could be the one that is looked for.
        """
        said = (self.as_said(machine, version) or {}).get("digest")
        return said if isinstance(said, str) else None

    def as_said(self, machine: str, version: str | None = None) -> dict[str, Any] | None:
        """What the bundle of a version, by default the current one, says of itself, unchecked; None without one."""
        try:
            return strict_json(read_regular(self.bundle_path(machine, version) / JSON_NAME, MOST_JSON_BYTES), JSON_NAME)
        except BundleError:
            return None

    def calibration(self, machine: str, version: str | None = None) -> tuple[BundleInfo, Calibration]:
        """What a bundle says of itself, and its calibration, without building its model; raises BundleError."""
        return read_calibration(self.bundle_path(machine, version), self.trust)

    def save(
        self,
        machine: str,
        model: MachineModel,
        details: TrainingDetails,
        promote: bool = True,
        key: SigningKey | None = None,
    ) -> BundleInfo:
        """Keep a fitted model as the next version, in use at once unless `promote` is False, signed if there is a key.

        Raises BundleError (it cannot be kept or written; the version in use stays), NotFittedError.
        """
        pointer = self._mendable_pointer(machine)
        newest = 1 + max([pointer.newest, *(version_number(version) or 0 for version in self.versions(machine))])
        version = version_name(newest)
        info = write_bundle(self.folder_of(machine), machine, version, model, details, key)
        pointer = pointer.model_copy(update={"newest": newest})
        try:
            self._point(_promoted(pointer, version) if promote else pointer)
        except BundleError as error:
            raise BundleError(f"{version} of {machine!r} was kept, but perhaps not put into use: {error}") from error
        return info

    def sign(self, machine: str, version: str | None, key: SigningKey) -> str:
        """Sign a version, by default the current one, after it has loaded, and name it; raises BundleError."""
        bundle = self.bundle_path(machine, version)
        read_bundle(bundle)
        put_signature(bundle, signature_of(read_regular(bundle / JSON_NAME, MOST_JSON_BYTES), key))
        return bundle.name

    def promote(self, machine: str, version: str) -> None:
        """Put a version into use, after it has loaded; raises BundleError."""
        self.load(machine, version)
        self._point(_promoted(self._mendable_pointer(machine), version))

    def rollback(self, machine: str) -> str:
        """Put the version that was in use before back into use, and name it; raises BundleError where there is none."""
        pointer = self._pointer(machine)
        existing = self.versions(machine)
        before = [version for version in pointer.history if version in existing]
        if not before:
            raise BundleError(f"machine {machine!r} has no earlier version in use to go back to")
        self.load(machine, before[-1])
        self._point(pointer.model_copy(update={"current": before[-1], "history": tuple(before[:-1])}))
        return before[-1]

    def verify(self, machine: str | None = None) -> list[tuple[str, str, str | None]]:
        """(machine, version, None or why it is refused) of every version, and of every pointer that is refused.

        Folders with versions that belong to no machine name are listed under the folder's name.
        """
        if machine is not None:
            return self._verified(machine)
        found = [row for name in self.machines() for row in self._verified(name)]
        for folder in self._folders():
            if self._name(folder) is None:
                reason = f"{folder} is not the folder of any machine: was it renamed?"
                found += [(folder.name, version, reason) for version in _versions_in(folder)]
        return found

    def _verified(self, machine: str) -> list[tuple[str, str, str | None]]:
        rows: list[tuple[str, str, str | None]] = []
        for version in self.versions(machine):
            try:
                bundle = self.bundle_path(machine, version)
                self.load(machine, version)
                if self.trust is None and (signature := read_signature(bundle)) is not None:
                    check_signature(read_regular(bundle / JSON_NAME, MOST_JSON_BYTES), signature)
                rows.append((machine, version, None))
            except BundleError as error:
                rows.append((machine, version, str(error)))
        try:
            if self.current(machine) is not None:  # None: trained, and not promoted yet
                self.bundle_path(machine)
        except BundleError as error:
            rows.append((machine, POINTER_NAME, str(error)))
        return rows

    def _folders(self) -> list[Path]:
        """Folders that hold versions."""
        try:
            entries = sorted(entry for entry in self.models.iterdir() if not entry.name.startswith("."))
        except FileNotFoundError:
            return []
        except OSError as error:
            raise BundleError(f"{self.models}: cannot be read: {error.strerror}; check --models") from error
        return [entry for entry in entries if _versions_in(entry)]

    def _name(self, folder: Path) -> str | None:
        """The machine that a folder belongs to; of a folder whose name was cut, its files know it."""
        name = machine_name(folder.name)
        if name is not None:
            return name
        try:
            name = _read_pointer(folder / POINTER_NAME).machine
        except BundleError:
            for version in reversed(_versions_in(folder)):
                try:
                    return read_info(folder / version).machine
                except BundleError:
                    continue
            return None
        return name if folder_name(name) == folder.name else None

    def _pointer(self, machine: str) -> Pointer:
        file = self.folder_of(machine) / POINTER_NAME
        if file.parent.is_symlink():
            raise BundleError(f"{file.parent} is a symbolic link: models of {machine!r} are not read from elsewhere")
        if not os.path.lexists(file):
            return Pointer(machine=machine)
        try:
            pointer = _read_pointer(file)
        except BundleError as error:
            raise BundleError(f"{file} was refused: {error}; `acoustic-ad models promote` makes a new one") from error
        if pointer.machine != machine:
            raise BundleError(f"{file} is that of machine {pointer.machine!r}, not of {machine!r}")
        return pointer

    def _mendable_pointer(self, machine: str) -> Pointer:
        """The pointer, a fresh one in place of a damaged one: a new promotion mends it."""
        try:
            return self._pointer(machine)
        except BundleError:
            return Pointer(machine=machine)

    def _point(self, pointer: Pointer) -> None:
        file = self.folder_of(pointer.machine) / POINTER_NAME
        try:
            clear_leftovers(file.parent)
            replace_durably(file, json.dumps(pointer.model_dump(mode="json"), indent=2).encode())
        except OSError as error:
            raise BundleError(f"{file} cannot be written: {refusal(error)}") from error


def _promoted(pointer: Pointer, version: str) -> Pointer:
    if pointer.current in (None, version):
        return pointer.model_copy(update={"current": version})
    history = (*pointer.history, pointer.current)[-HISTORY:]
    return pointer.model_copy(update={"current": version, "history": history})


def _read_pointer(file: Path) -> Pointer:
    return validated(Pointer, strict_json(read_regular(file, MOST_POINTER_BYTES), file.name), file.name)


def _versions_in(folder: Path) -> list[str]:
    """Names of versions, oldest first; files and links of such a name count, and are refused when they are read."""
    try:
        names = [entry.name for entry in folder.iterdir()]
    except OSError:  # no folder: no versions
        return []
    numbered = [(number, name) for name in names if (number := version_number(name)) is not None]
    return [name for _, name in sorted(numbered)]
