"""What kind of file system a path lies on, as far as Linux tells."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final, NamedTuple

MOUNTS: Final = Path("/proc/self/mounts")

# File systems that several computers can have mounted at once. Those that merely pass a folder of the same computer
# into a container or a virtual machine (overlay, 9p, virtiofs) are as good as local.
_NETWORK: Final = re.compile(
    r"nfs\d?|cifs|smb\w*|ncpfs?|afs|coda|ceph|glusterfs|lustre|gpfs|beegfs|davfs\d?|orangefs|pvfs2|"
    r"fuse\.(sshfs|glusterfs\S*|ceph\S*|s3fs|rclone|goofys|mount-s3|gcsfuse|blobfuse2?|davfs\d?|smbnetfs|juicefs|"
    r"cephfs|moosefs|mfs|seaweedfs|curlftpfs|afp\S*)"
)


class Mount(NamedTuple):
    """A file system where it is mounted."""

    point: str
    kind: str  # ext4, nfs4, fuse.sshfs, ...

    @property
    def is_network(self) -> bool:
        """Whether other computers may have it mounted as well."""
        return _NETWORK.fullmatch(self.kind) is not None


def mount_of(path: Path, table: Path | None = None) -> Mount | None:
    """The file system that `path` (absolute, links followed; it need not exist) lies on; None where nobody tells.

    `table` is written like /proc/self/mounts, which is read where it is None.
    """
    try:
        lines = (table or MOUNTS).read_bytes().splitlines()
    except OSError:
        return None
    found = None
    for line in lines:
        fields = line.split(b" ")
        if len(fields) < 3:
            continue
        point, kind = os.fsdecode(_unescaped(fields[1])), os.fsdecode(fields[2])
        # Of several at one place the last one counts: it hides the others.
        if _is_below(str(path), point) and (found is None or len(point) >= len(found.point)):
            found = Mount(point, kind)
    return found


def _is_below(path: str, point: str) -> bool:
    return path == point or path.startswith(point.rstrip("/") + "/")


def _unescaped(field: bytes) -> bytes:
    r"""The table writes blanks, tabs, line ends and backslashes as octal numbers: `\040`."""
    return re.sub(rb"\\([0-7]{3})", lambda code: bytes([int(code[1], 8) & 0xFF]), field)
