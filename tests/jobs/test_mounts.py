"""SQLite is refused on a file system that several computers share, and nowhere else."""

from __future__ import annotations

from pathlib import Path

import pytest

from acoustic_ad.errors import StoreError
from acoustic_ad.jobs import mounts
from acoustic_ad.jobs.mounts import mount_of
from acoustic_ad.jobs.store import Store
from acoustic_ad.jobs.store_lock import hold_store

TABLE = r"""overlay / overlay rw,lowerdir=/a 0 0
proc /proc proc rw 0 0
/dev/sda1 /data ext4 rw 0 0
server:/plant /data/share nfs4 rw,vers=4.2 0 0
//server/plant /data/my\040share\134x cifs rw 0 0
me@server:/ /data/ssh fuse.sshfs rw 0 0
C:\134 /mnt/c 9p rw 0 0
host /data/host virtiofs rw 0 0
/dev/sdb1 /data/usb fuseblk rw 0 0
server:/old /data/over nfs rw 0 0
/dev/sdc1 /data/over xfs rw 0 0
ceph /data/ceph ceph rw 0 0
tmpfs /data/share/local tmpfs rw 0 0
"""


@pytest.mark.parametrize(
    ("path", "kind", "network"),
    [
        ("/srv/a.db", "overlay", False),
        ("/data/a.db", "ext4", False),
        ("/data/share", "nfs4", True),
        ("/data/share/deep/er/a.db", "nfs4", True),
        ("/data/sharex/a.db", "ext4", False),
        ("/data/share/local/a.db", "tmpfs", False),
        ("/data/my share\\x/a.db", "cifs", True),
        ("/data/ssh/a.db", "fuse.sshfs", True),
        ("/data/ceph/a.db", "ceph", True),
        ("/mnt/c/a.db", "9p", False),
        ("/data/host/a.db", "virtiofs", False),
        ("/data/usb/a.db", "fuseblk", False),
        ("/data/over/a.db", "xfs", False),
    ],
)
def test_the_file_system_of_a_path(tmp_path: Path, path: str, kind: str, network: bool) -> None:
    table = tmp_path / "mounts"
    table.write_text(TABLE)
    mount = mount_of(Path(path), table)
    assert mount is not None and (mount.kind, mount.is_network) == (kind, network)


def test_without_a_table_nothing_is_known(tmp_path: Path) -> None:
    assert mount_of(Path("/data/a.db"), tmp_path / "none") is None
    (tmp_path / "odd").write_text("nonsense\n\n")
    assert mount_of(Path("/data/a.db"), tmp_path / "odd") is None


def test_this_computer_s_own_folder_is_local(tmp_path: Path) -> None:
    mount = mount_of(tmp_path.resolve())
    assert mount is None or not mount.is_network


def test_a_store_on_a_share_is_refused_with_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    share, near = tmp_path / "share", tmp_path / "near"
    share.mkdir()
    near.symlink_to(share)  # a link does not hide it
    table = tmp_path / "mounts"
    table.write_text(f"server:/plant {share.resolve()} nfs4 rw 0 0\n")
    monkeypatch.setattr(mounts, "MOUNTS", table)
    for path in (share / "a.db", near / "a.db"):
        with pytest.raises(StoreError, match=r"network file system \(nfs4 at .*share\).*local disk.*PostgreSQL"):
            Store.open(path)
        with pytest.raises(StoreError, match="network file system"), hold_store(path):
            pass
    assert list(share.iterdir()) == []
    Store.open(tmp_path / "a.db").close()
