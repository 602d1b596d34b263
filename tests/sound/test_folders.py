"""Scanning folders: what is listed, what is passed over, and that links neither loop nor leave the root."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import soundfile

from acoustic_ad.errors import ManifestError
from acoustic_ad.sound.folders import AUDIO_EXTENSIONS, is_audio, scan_folder


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def listed(root: Path) -> list[str]:
    return [found.relative for found in scan_folder(root).files() if found.problem is None]


def problems(root: Path) -> dict[str, str]:
    return {found.relative: found.problem[0] for found in scan_folder(root).files() if found.problem is not None}


def test_lists_audio_of_any_letter_case_and_counts_the_rest(tmp_path: Path) -> None:
    touch(
        tmp_path, "a/x.wav", "a/b/Y.FLAC", "z.Ogg", "notes.txt", "wav", ".hidden.wav", ".git/x.wav", "lost+found/x.wav"
    )
    os.mkfifo(tmp_path / "pipe.wav")
    scan = scan_folder(tmp_path)
    assert [found.relative for found in scan.files()] == ["a/b/Y.FLAC", "a/x.wav", "z.Ogg"]
    assert scan.ignored == {"not audio": 2, "hidden": 3, "not a regular file": 1}


def test_every_container_of_libsndfile_has_its_extension() -> None:
    special = {"RAW", "MAT4", "MAT5", "MPC2K"}
    formats = {name.lower() for name in soundfile.available_formats() if name not in special}
    assert formats and formats <= AUDIO_EXTENSIONS
    assert is_audio("x.AIFF") and not is_audio("wav") and not is_audio("x.wav.part")


def test_link_loops_end_and_nothing_is_listed_twice(tmp_path: Path) -> None:
    touch(tmp_path, "a/x.wav", "b/y.wav")
    (tmp_path / "a/loop").symlink_to(tmp_path)
    (tmp_path / "b/to_a").symlink_to("../a")
    (tmp_path / "again.wav").symlink_to("a/x.wav")
    (tmp_path / "self.wav").symlink_to("self.wav")
    (tmp_path / "self").symlink_to("self")
    assert listed(tmp_path) == ["a/x.wav", "b/y.wav"]
    assert problems(tmp_path) == {"self.wav": "unreadable"}
    assert scan_folder(tmp_path).ignored["link to something listed already"] == 3


def test_links_into_hidden_folders_are_followed_once(tmp_path: Path) -> None:
    touch(tmp_path, ".store/x.wav", ".store/deep/y.wav")
    (tmp_path / ".store/deep/up").symlink_to("..")
    (tmp_path / "first").symlink_to(".store")
    (tmp_path / "second").symlink_to(".store")
    assert listed(tmp_path) == ["first/deep/y.wav", "first/x.wav"]


def test_links_that_leave_the_root_are_entries_and_never_followed(tmp_path: Path) -> None:
    root = tmp_path / "root"
    touch(tmp_path, "outside/secret.wav", "outside/secret.txt", "root/x.wav", "root2/near.wav")
    (root / "file.wav").symlink_to(tmp_path / "outside/secret.wav")
    (root / "folder").symlink_to("../outside")
    (root / "chain").symlink_to("folder")
    (root / "near.wav").symlink_to("../root2/near.wav")
    (root / "notes.txt").symlink_to("../outside/secret.txt")
    assert listed(root) == ["x.wav"]
    assert problems(root) == dict.fromkeys(["chain", "file.wav", "folder", "near.wav"], "outside_root")
    assert scan_folder(root).ignored == {"not audio": 1}


def test_the_root_itself_may_be_a_link(tmp_path: Path) -> None:
    touch(tmp_path, "real/a/x.wav")
    (tmp_path / "link").symlink_to("real")
    assert listed(tmp_path / "link") == ["a/x.wav"]


def test_names_of_any_bytes(tmp_path: Path) -> None:
    for name in (b"new\nline.wav", b"\xff\xfe.wav", b"=cmd.wav", b"<script>.wav"):
        (tmp_path / os.fsdecode(name)).touch()
    assert listed(tmp_path) == ["<script>.wav", "=cmd.wav", "new\nline.wav", os.fsdecode(b"\xff\xfe.wav")]


def test_a_folder_that_cannot_be_listed_is_not_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "ok/x.wav", "closed/y.wav")
    scandir = os.scandir

    def refuse(path: str) -> object:  # root, who may run the tests, is refused nothing
        if path.endswith("closed"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert listed(tmp_path) == ["ok/x.wav"]
    assert problems(tmp_path) == {"closed": "unreadable"}
    with pytest.raises(ManifestError, match="cannot be listed"):
        scan_folder(tmp_path / "closed" / ".." / "missing")
