"""Machine names and version numbers as names of folders.

A machine's name is data and may be any text; the folder of its models must be one harmless path component, and no two
machines may share one.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from urllib.parse import unquote_to_bytes

LONGEST = 200  # bytes; file systems take 255
_KEPT = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-.")
# Never part of an escape, where two hexadecimal digits follow the %: it marks names that cannot be turned back.
_MARK = "%-"
_VERSION = re.compile(r"v([0-9]{4,18})", re.ASCII)


def folder_name(machine: str) -> str:
    """The folder of a machine: percent-encoded UTF-8 of all but A-Z a-z 0-9 _ - and dots that are not the first.

    Distinct names give distinct folders. A name that would take more than 200 bytes is cut, and ends in the sha256 of
    the whole.
    """
    data = machine.encode("utf-8", "surrogatepass")
    parts = [chr(byte) if byte in _KEPT else f"%{byte:02X}" for byte in data]
    if not parts:
        return _MARK
    if parts[0] == ".":
        parts[0] = "%2E"  # neither hidden, nor "." or ".."
    name = "".join(parts)
    if len(name) <= LONGEST:
        return name
    digest = hashlib.sha256(data).hexdigest()
    return name[: LONGEST - len(_MARK) - len(digest)] + _MARK + digest


def machine_name(folder: str) -> str | None:
    """The machine whose folder has this name; None where the name was cut, or is not one that `folder_name` gives."""
    try:
        name = "" if folder == _MARK else unquote_to_bytes(folder).decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return None
    return name if folder_name(name) == folder else None


def version_name(number: int) -> str:
    """1 -> v0001."""
    return f"v{number:04d}"


def version_number(name: str) -> int | None:
    """v0001 -> 1; None for anything that is not written like that."""
    found = _VERSION.fullmatch(name)
    number = int(found[1]) if found else 0
    return number if number and version_name(number) == name else None


def check_version(name: str) -> str:
    """The name itself; raises ValueError unless it is a version's."""
    if version_number(name) is None:
        raise ValueError(f"{name!r} is no version; versions look like v0001")
    return name


def stands_in(bundle: Path, machine: str, version: str) -> bool:
    """Whether a bundle's folder is the one that belongs to this machine and version."""
    bundle = bundle.absolute()
    return bundle.name == version and bundle.parent.name == folder_name(machine)
