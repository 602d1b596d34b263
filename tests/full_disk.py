"""A disk with little room left, which a command finds at a folder of its own: a tmpfs that nobody else sees."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

PAGE = 4096  # what a tmpfs gives out at a time
_NAMES_KIB = 4  # a tmpfs without room for anything does not mount


def can_mount() -> bool:
    return shutil.which("unshare") is not None and not subprocess.run(["unshare", "-m", "true"], check=False).returncode


needs_mount = pytest.mark.skipif(not can_mount(), reason="needs unshare and the right to mount")


def tree(folder: Path) -> dict[str, bytes | None]:
    """Everything in a folder, by its path: the content of files, None for folders."""
    return {
        str(path.relative_to(folder)): None if path.is_dir() else path.read_bytes()
        for path in sorted(folder.rglob("*"))
    }


@dataclass(frozen=True)
class FullDisk:
    """Fill `folder` with what is on the disk before; after a command that ran `before` it, `left` is what is there."""

    folder: Path
    left: Path

    def before(self, room_kib: int) -> list[str]:
        """Words in front of a command, for which the disk has so much room beside what is on it."""
        shutil.rmtree(self.left, ignore_errors=True)
        self.left.mkdir()
        stocked = self.left.with_name("stocked")
        pages = sum(-(-path.stat().st_size // PAGE) for path in self.folder.rglob("*") if path.is_file())
        size = f"{pages * PAGE // 1024 + room_kib + _NAMES_KIB}k"
        # The last page is taken by a file of another folder, so that a disk without any room can be asked for.
        commands = (
            f"mkdir -p {stocked} && mount -t tmpfs -o size={size} none {stocked} && mkdir {stocked}/here && "
            f"head -c {1024 * _NAMES_KIB} /dev/zero > {stocked}/filler && cp -a {self.folder}/. {stocked}/here && "
            f"mount --bind {stocked}/here {self.folder} && trap 'cp -a {self.folder}/. {self.left}' EXIT"
        )
        # Not by exec: what is on the disk has to be copied afterwards.
        return ["unshare", "-m", "sh", "-c", f'{commands} && "$@"', "sh"]
