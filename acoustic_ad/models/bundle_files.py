"""Files of a bundle: written so that they survive a power cut, read as if an enemy had written them."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import secrets
import shutil
import stat
import struct
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from acoustic_ad.errors import BundleError

Arrays = dict[str, npt.NDArray[Any]]

MOST_JSON_BYTES: Final = 16 * 2**20
MOST_WEIGHTS_BYTES: Final = 512 * 2**20
# What models are made of. Half-precision and complex kinds are not: numpy would convert them without a word.
ARRAY_KINDS: Final = ("F64", "F32", "I64", "I32", "U8", "BOOL")
# A temporary of a process that is still there may be in use; after a day it is that of another process with its id.
LEFTOVER_AGE_S: Final = 86_400.0
_LEFTOVER = re.compile(r"\.tmp-.+-([0-9]+)-[0-9a-f]{8}")


def read_regular(path: Path, most_bytes: int) -> bytes:
    """The content of a regular file of at most `most_bytes`; raises BundleError for links, devices and all else."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        why = "is a symbolic link" if error.errno == errno.ELOOP else f"cannot be read: {error.strerror}"
        raise BundleError(f"{path.name} {why}") from error
    try:
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode):
            raise BundleError(f"{path.name} is not a regular file")
        if facts.st_size > most_bytes:
            raise BundleError(f"{path.name} has {facts.st_size} bytes; at most {most_bytes} are read")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            content = file.read(facts.st_size + 1)
    except OSError as error:
        raise BundleError(f"{path.name} cannot be read: {error.strerror}") from error
    finally:
        os.close(descriptor)
    if len(content) != facts.st_size:
        raise BundleError(f"{path.name} changed while it was read: {facts.st_size} bytes, then {len(content)}")
    return content


def strict_json(data: bytes, what: str) -> dict[str, Any]:
    """The one object of a JSON text; raises BundleError for duplicate keys, NaN, Inf, and whatever else is not JSON."""
    try:
        found = json.loads(
            data.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=_finite
        )
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{what} is not valid JSON: {error}") from error
    if not isinstance(found, dict):
        raise BundleError(f"{what} holds a {type(found).__name__}, not a JSON object")
    return found


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"duplicate key {twice!r}")
    return found


def _no_constant(text: str) -> float:
    raise ValueError(f"{text} is not a JSON number")


def _finite(text: str) -> float:
    number = float(text)
    if not np.isfinite(number):
        raise ValueError(f"{text} is too large a number")
    return number


def pack_arrays(arrays: Mapping[str, npt.NDArray[Any]]) -> bytes:
    """Arrays as safetensors; raises BundleError for kinds that `unpack_arrays` would refuse."""
    from safetensors.numpy import save

    # save() writes the memory as it lies and calls it C order, so that a transposed array would come back scrambled.
    content: bytes = save({name: np.array(value, order="C") for name, value in arrays.items()})
    _check_header(content)
    return content


def unpack_arrays(content: bytes) -> Arrays:
    """The arrays of a safetensors file; raises BundleError. Keys, kinds and finiteness are checked beyond its own."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    _check_header(content)
    try:
        # Copied: torch wants arrays that it may write to, at aligned addresses.
        arrays = {name: np.array(value) for name, value in load(content).items()}
    except (SafetensorError, ValueError, TypeError, KeyError) as error:
        raise BundleError(f"the weights are not safetensors: {error}") from error
    for name, value in arrays.items():
        if not np.isfinite(value).all():
            raise BundleError(f"array {name!r} contains NaN or Inf")
    return arrays


def _check_header(content: bytes) -> None:
    """The safetensors library takes the last of duplicate keys, and kinds that no model has."""
    length = struct.unpack("<Q", content[:8])[0] if len(content) >= 8 else 0
    if not 2 <= length <= min(len(content) - 8, MOST_JSON_BYTES):
        raise BundleError("the weights are not safetensors: no header where one must be")
    header = strict_json(content[8 : 8 + length], "the header of the weights")
    for name, entry in header.items():
        kind = entry.get("dtype") if isinstance(entry, dict) else None
        if kind not in ARRAY_KINDS:
            raise BundleError(f"array {name!r} is of kind {kind!r}; a bundle holds {', '.join(ARRAY_KINDS)}")


def write_durably(path: Path, content: bytes) -> None:
    """Write a new file and see it on the disk."""
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def fsync_folder(folder: Path) -> None:
    """See a folder's entries (a new name, a rename) on the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace_durably(path: Path, content: bytes) -> None:
    """Replace a file's content: at every moment, and after a power cut, the path holds the old one or the new one."""
    temporary = path.with_name(temporary_name(path.name))
    try:
        write_durably(temporary, content)
        temporary.replace(path)
        fsync_folder(path.parent)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def temporary_name(what: str) -> str:
    """A hidden name that no other process, thread or earlier attempt uses."""
    return f".tmp-{what}-{os.getpid()}-{secrets.token_hex(4)}"


def clear_leftovers(folder: Path) -> None:
    """Remove the temporaries of processes that died while they wrote to this folder."""
    for entry in folder.iterdir():
        found = _LEFTOVER.fullmatch(entry.name)
        if not found:
            continue
        with contextlib.suppress(OSError):  # gone meanwhile, or not ours to remove: no reason to fail
            facts = entry.lstat()
            if _is_alive(int(found[1])) and time.time() - facts.st_mtime < LEFTOVER_AGE_S:
                continue
            if stat.S_ISDIR(facts.st_mode):
                shutil.rmtree(entry)
            else:
                entry.unlink()


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
