"""A model on disk: a folder with `bundle.json` (what it is) and `weights.safetensors` (its arrays), nothing else but,
where it was signed, `bundle.sig`.

A bundle appears whole or not at all, and is refused whole: JSON, schema, hashes, keys, shapes and finiteness are
checked before anything is built from it, and no format that can run code is ever read. The hashes prove that nothing
was damaged or exchanged by halves; they do not prove who made the bundle, see `signing`.
"""

from __future__ import annotations

import os
import shutil
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from acoustic_ad.errors import AcousticADError, BundleError, refusal
from acoustic_ad.models.bundle_facts import FileFacts
from acoustic_ad.models.bundle_files import (
    MOST_JSON_BYTES,
    MOST_WEIGHTS_BYTES,
    Arrays,
    clear_leftovers,
    fsync_folder,
    pack_arrays,
    read_regular,
    temporary_name,
    unpack_arrays,
    write_durably,
)
from acoustic_ad.models.bundle_info import (
    JSON_NAME,
    WEIGHTS_NAME,
    BundleInfo,
    TrainingDetails,
    describe,
    parse,
    sha256,
)
from acoustic_ad.models.names import folder_name, stands_in
from acoustic_ad.models.signing import SIGNATURE_NAME, SigningKey, Trust, read_signature, signature_of
from acoustic_ad.recipe import parse_recipe

if TYPE_CHECKING:  # torch and scikit-learn take seconds to import; listing models needs neither
    from acoustic_ad.detectors.base import Runtime
    from acoustic_ad.models.machine_model import MachineModel
    from acoustic_ad.scores.calibration import Calibration

__all__ = ["BundleInfo", "TrainingDetails", "read_bundle", "read_calibration", "read_info", "write_bundle"]

# What building a model out of parts that contradict one another can raise, besides our own errors.
MISFITS: Final = (ValueError, TypeError, LookupError, RuntimeError, ArithmeticError, AttributeError, MemoryError)
LONGEST_REASON: Final = 500  # characters: it becomes one line of a log


def write_bundle(
    folder: Path,
    machine: str,
    version: str,
    model: MachineModel,
    details: TrainingDetails,
    key: SigningKey | None = None,
) -> BundleInfo:
    """Write a fitted model to `folder / version`, the folder being the machine's own, signed where there is a key.

    It is written beside, read back, and renamed, so that it appears whole or not at all, also after a power cut.
    Raises BundleError (the model cannot be kept, the version exists, the disk refuses), NotFittedError.
    """
    bundle = folder / version
    if not stands_in(bundle, machine, version):
        raise BundleError(f"{bundle}: bundles of {machine!r} belong into {folder_name(machine)}")
    weights = pack_arrays(model.state())
    text = describe(machine, version, model, details, _facts_of(weights))
    temporary = folder / temporary_name(version)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        fsync_folder(folder.parent)
        clear_leftovers(folder)
        temporary.mkdir()
        write_durably(temporary / WEIGHTS_NAME, weights)
        write_durably(temporary / JSON_NAME, text)
        if key is not None:
            write_durably(temporary / SIGNATURE_NAME, signature_of(text, key))
        fsync_folder(temporary)
        info, kept = _read_files(temporary)
        _build(info, unpack_arrays(kept))
        if os.path.lexists(bundle):
            raise BundleError(f"{bundle} exists already; bundles are never overwritten")
        temporary.rename(bundle)
        fsync_folder(folder)
    except OSError as error:
        raise BundleError(f"{bundle} cannot be written: {refusal(error)}") from error
    except BundleError as error:
        raise BundleError(f"{bundle} was not written: {_in_short(error)}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return info


def read_info(path: Path, trust: Trust | None = None) -> BundleInfo:
    """What the bundle in folder `path` says of itself; no model is built.

    JSON, schema, place and hashes (of the arrays too) are checked, and where there is a `trust`, that it is signed by
    one of its keys. Raises BundleError with the reason.
    """
    try:
        info, _ = _read_files(path, trust)
        return _in_its_place(path, info)
    except BundleError as error:
        raise BundleError(f"{path} was refused: {_in_short(error)}") from error


def read_bundle(
    path: Path, trust: Trust | None = None, digest: str | None = None, runtime: Runtime = "torch"
) -> tuple[MachineModel, BundleInfo]:
    """The model in the bundle folder `path`, which stands where it was written: `<machine's folder>/<version>`.

    Everything is checked before anything is built, and the signature, where there is a `trust`, before all else. With
    `digest` it must still be the model of that digest, which has been checked before. Without torch (`runtime` "onnx")
    the model scores, and does nothing else. Raises BundleError with the reason.
    """
    try:
        info, weights = _read_files(path, trust)
        if digest not in (None, info.digest):
            raise BundleError("it is not the model any more that was checked before: run again")
        return _build(_in_its_place(path, info), unpack_arrays(weights), runtime), info
    except BundleError as error:
        raise BundleError(f"{path} was refused: {_in_short(error)}") from error


def read_calibration(path: Path, trust: Trust | None = None) -> tuple[BundleInfo, Calibration]:
    """What the bundle in folder `path` says of itself, and its calibration; no model is built, torch is not needed.

    Checked as in `read_info`, and the calibration's arrays. Raises BundleError with the reason.
    """
    try:
        info, weights = _read_files(path, trust)
        return _in_its_place(path, info), _calibration(info, unpack_arrays(weights))
    except MISFITS as error:
        raise BundleError(f"{path} was refused: its calibration does not fit together: {error}") from error
    except BundleError as error:
        raise BundleError(f"{path} was refused: {_in_short(error)}") from error


def _in_its_place(path: Path, info: BundleInfo) -> BundleInfo:
    # A healthy bundle of another machine would score without complaint, and mean nothing.
    if not stands_in(path, info.machine, info.version):
        raise BundleError(f"it is version {info.version} of machine {info.machine!r}, whose place is elsewhere")
    return info


def _read_files(path: Path, trust: Trust | None = None) -> tuple[BundleInfo, bytes]:
    _check_folder(path)
    text = read_regular(path / JSON_NAME, MOST_JSON_BYTES)
    if trust is not None:
        trust.check(text, read_signature(path))
    info = parse(text)
    weights = read_regular(path / WEIGHTS_NAME, MOST_WEIGHTS_BYTES)
    said, found = info.files[WEIGHTS_NAME], _facts_of(weights)
    if said.bytes != found.bytes:
        raise BundleError(f"{WEIGHTS_NAME} has {found.bytes} bytes, {JSON_NAME} says {said.bytes}")
    if said.sha256 != found.sha256:
        raise BundleError(f"{WEIGHTS_NAME} has sha256 {found.sha256[:12]}..., {JSON_NAME} says {said.sha256[:12]}...")
    return info, weights


def _check_folder(path: Path) -> None:
    for folder in (path, path.parent):  # the models folder itself may be a link: it is the user's own
        if folder.is_symlink():
            raise BundleError(f"{folder.name} is a symbolic link")
    try:
        entries = {entry.name for entry in os.scandir(path)}
    except OSError as error:
        raise BundleError(f"cannot be read: {error.strerror}") from error
    wanted = {JSON_NAME, WEIGHTS_NAME}
    if missing := sorted(wanted - entries):
        raise BundleError(f"missing: {', '.join(missing)}")
    if extra := sorted(entries - wanted - {SIGNATURE_NAME}):
        raise BundleError(f"files that do not belong to a bundle: {', '.join(map(ascii, extra[:3]))}")


def _in_short(error: BundleError) -> str:
    """One line of bounded length, whatever the bundle holds."""
    line = " ".join(str(error).split())
    return line if len(line) <= LONGEST_REASON else line[:LONGEST_REASON] + "..."


def _facts_of(weights: bytes) -> FileFacts:
    return FileFacts(bytes=len(weights), sha256=sha256(weights))


def _build(info: BundleInfo, state: Arrays, runtime: Runtime = "torch") -> MachineModel:
    from acoustic_ad.models.machine_model import MachineModel

    spec = info.feature_spec
    try:
        recipe = parse_recipe(info.recipe.model_dump(mode="json"), JSON_NAME, detectors=runtime == "torch")
        with np.errstate(all="ignore"):  # hostile numbers overflow; what comes of it is refused, not warned about
            model = MachineModel.from_state(recipe, state, _calibration(info, state), runtime)
            kept = model.state()
    except MISFITS as error:
        raise BundleError(f"its parts do not fit together: {error}") from error
    except BundleError:
        raise
    except AcousticADError as error:
        raise BundleError(str(error)) from error
    if spec is not None and spec.n_mels != model.n_mels:
        raise BundleError(f"the front-end gives {spec.n_mels} mels, the model takes {model.n_mels}")
    _check_kept(state, kept)
    return model


def _calibration(info: BundleInfo, state: Arrays) -> Calibration:
    from acoustic_ad.scores.calibration import Calibration

    scores = state.get("calibration.scores")
    if scores is None or scores.dtype != np.float64 or scores.ndim != 1 or (np.diff(scores) < 0).any():
        raise BundleError("calibration.scores must be ascending F64 numbers")
    if len(scores) not in (0, info.calibration.n):  # none at all is refused below
        raise BundleError(f"{len(scores)} calibration scores; {JSON_NAME} says {info.calibration.n}")
    calibration = Calibration(
        scores,
        info.calibration.sessions,
        datetime.fromisoformat(info.calibration.made_at),
        state.get("calibration.condition"),
        info.calibration.conditions,
        state.get("calibration.order"),
        state.get("calibration.session"),
    )
    if calibration.smallest_p != info.calibration.smallest_p:
        raise BundleError(f"{len(scores)} calibration scores cannot give the smallest p-value of {JSON_NAME}")
    return calibration


def _check_kept(given: Arrays, kept: Arrays) -> None:
    """The model must have taken over every array as it is: nothing ignored, converted or cut."""
    if ignored := sorted(given.keys() ^ kept.keys()):
        raise BundleError(f"arrays that the model does not know: {', '.join(map(ascii, ignored[:3]))}")
    for name, value in kept.items():
        if value.dtype != given[name].dtype or not np.array_equal(value, given[name]):
            raise BundleError(f"array {name!r} is {given[name].dtype}; the model takes {value.dtype}")
