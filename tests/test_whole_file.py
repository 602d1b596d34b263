"""Files that are written whole: two at once in one folder, and blocks that fail."""

from __future__ import annotations

from pathlib import Path

import pytest

from acoustic_ad.whole_file import whole_file


def test_two_at_once_in_one_folder_do_not_meet(tmp_path: Path) -> None:
    """Containers share process numbers: two jobs may be the same process of two computers."""
    with whole_file(tmp_path / "a.csv") as one, whole_file(tmp_path / "b.csv") as other:
        one.write(b"one")
        other.write(b"other")
    assert (tmp_path / "a.csv").read_bytes() == b"one" and (tmp_path / "b.csv").read_bytes() == b"other"
    assert len(list(tmp_path.iterdir())) == 2


def test_a_block_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_bytes(b"old")
    file.chmod(0o640)
    with pytest.raises(RuntimeError), whole_file(file) as new:
        new.write(b"half")
        raise RuntimeError
    assert file.read_bytes() == b"old" and list(tmp_path.iterdir()) == [file]
    with whole_file(file) as new:
        new.write(b"new")
    assert file.read_bytes() == b"new" and file.stat().st_mode & 0o777 == 0o640
