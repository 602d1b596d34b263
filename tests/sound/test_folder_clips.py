"""Clips of plain folders are made when they are asked for, and are those that a list of them would hold."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from acoustic_ad.sound.clip import printable
from acoustic_ad.sound.folder_clips import FolderClips

ROOT = Path("/data/plant")
PARTS = st.text(st.characters(exclude_characters="/\0", exclude_categories=()), min_size=1, max_size=4)
NAMES = st.lists(
    st.lists(PARTS, min_size=1, max_size=3).map("/".join), unique_by=printable, max_size=20
)  # surrogates, line ends and backslashes included


@given(NAMES)
def test_sorted_by_clip_id_or_by_machine(names: list[str]) -> None:
    clips = FolderClips(ROOT, names, {})
    assert [clip.file for clip in clips] == sorted(names, key=printable)
    expected = sorted(clips, key=lambda clip: (clip.machine, clip.clip_id))
    assert list(clips.by_machine()) == expected and len(clips) == len(names)


@given(NAMES, PARTS)
def test_knows_which_clips_it_has(names: list[str], other: str) -> None:
    clips = FolderClips(ROOT, names, {}).by_machine()
    for clip in clips:
        assert clips.has(clip.clip_id, clip.machine) and not clips.has(clip.clip_id, clip.machine + "?")
    assert clips.has(printable(other), "plant") == (other in names)


def test_a_machine_has_one_name_whatever_its_files_are_called() -> None:
    clips = FolderClips(ROOT, ["pump\\3/a.wav", "pump\\3/l\udcfc.wav"], {})
    assert {clip.machine for clip in clips} == {"pump\\3"}


def test_problems_labels_and_machines() -> None:
    names = ["b/2.wav", "1.wav", "b/anomaly_id_00_1.wav", "a/deep/3.wav"]
    clips = FolderClips(ROOT, names, {"1.wav": ("unreadable", "gone")}, frozenset({"b/anomaly_id_00_1.wav"}))
    found = {clip.clip_id: (clip.machine, clip.label, clip.problem) for clip in clips}
    assert found == {
        "1.wav": ("plant", "normal", ("unreadable", "gone")),
        "a/deep/3.wav": ("a", "normal", None),
        "b/2.wav": ("b", "normal", None),
        "b/anomaly_id_00_1.wav": ("b", "anomaly", None),
    }
    assert clips[0].path == ROOT / "1.wav" and clips[-2:] == list(clips)[-2:]
    assert clips == list(clips) and clips != list(clips)[1:]
