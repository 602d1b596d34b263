"""Names made printable without collisions, and recording times with strict patterns."""

from __future__ import annotations

import os
import pickle
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acoustic_ad.sound.clip import Clip, from_printable, one_line, printable, recording_time, sha256_of, time_in_name

HALF_PAST_TWO = datetime(2026, 1, 5, 14, 30, tzinfo=UTC)


def test_printable_shows_undecodable_bytes_and_leaves_names_alone() -> None:
    assert printable(os.fsdecode(b"a\xff.wav")) == r"a\xff.wav"
    for name in ("fan/id_00", "pömp", "a\nb", "back\\slash"):
        assert printable(name) == name


NAMES = st.lists(st.sampled_from([b"\\", b"x", b"f", b"5c", b"\xff", b"\x80", "é".encode()])).map(b"".join)


@given(NAMES, NAMES)
def test_printable_never_makes_two_names_one(a: bytes, b: bytes) -> None:
    names = [os.fsdecode(a), os.fsdecode(b)]
    shown = [printable(name) for name in names]
    assert (shown[0] == shown[1]) == (a == b)
    assert [os.fsencode(from_printable(text)) for text in shown] == [a, b]
    for text in shown:
        text.encode("utf-8")


def test_one_line_shows_controls() -> None:
    assert one_line("a\nb\x1b[2J\u202e\udcff") == r"a\nb\x1b[2J\u202e\xff"


@pytest.mark.parametrize(
    "name",
    [
        "20260105T143000Z.wav",
        "20260105T143000.wav",
        "pump_20260105_143000.WAV",
        "20260105143000.wav",
        "2026-01-05_14-30-00.wav",
        "2026-01-05 14:30:00.flac",
        "mic1-2026-01-05T14-30-00_0007.wav",
        "2026_01_05_14_30_00.wav",
        "20260105T153000+0100.wav",
        "2026-01-05T09:30:00-05:00.wav",
        "20260105_143000-0100.wav",
        "20260105T143000Z_20260105T143010Z.wav",
        "20261341_143000_20260105_143000.wav",
        "1767623400.wav",
        "1767623400000.wav",
    ],
)
def test_time_stamps_in_names(name: str) -> None:
    assert time_in_name(name) == HALF_PAST_TWO


def test_fractions_of_seconds_in_names() -> None:
    assert time_in_name("2026-01-05T14:30:00.250Z.wav") == HALF_PAST_TWO.replace(microsecond=250_000)


@pytest.mark.parametrize(
    "name",
    [
        "normal_id_00_00000000.wav",
        "normal_id_00_20260105.wav",
        "section_00_source_train_normal_0000_vel_6.wav",
        "20260230T143000Z.wav",
        "20260105T253000Z.wav",
        "920260105143000.wav",
        "202601051430001.wav",
        "2026-0105_143000.wav",
        "20260105-14-3000.wav",
        "1000000001.wav",
        "clip_1767623400.wav",
        "x.wav",
    ],
)
def test_what_is_no_time_stamp(name: str) -> None:
    assert time_in_name(name) is None


def test_manifest_then_name_then_mtime() -> None:
    told = datetime(2025, 1, 1, tzinfo=UTC)
    named = "/d/20260105T143000Z.wav"
    assert recording_time(Clip("c", named, "m", recorded_at=told), 0.0) == (told, "manifest")
    assert recording_time(Clip("c", named, "m"), 0.0) == (HALF_PAST_TWO, "name")
    assert recording_time(Clip("c", "/20260105T143000Z/x.wav", "m"), 1767623400.0) == (HALF_PAST_TWO, "mtime")


@pytest.mark.parametrize("mtime", [1e30, -1e30, -1.0])
def test_absurd_modification_times(mtime: float) -> None:
    time, source = recording_time(Clip("c", "/x.wav", "m"), mtime)
    assert source == "mtime" and time.tzinfo is UTC and time.year <= 1970


def test_clips_hash_pickle_and_compare_without_their_row() -> None:
    clip = Clip("c", "/c", "m", extra=(("a", "1"),), row=2)
    assert pickle.loads(pickle.dumps(clip)) == clip
    assert hash(clip) == hash(Clip("c", "/c", "m", extra=(("a", "1"),), row=3))


def test_sha256_of(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abc")
    assert sha256_of(tmp_path / "x") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
