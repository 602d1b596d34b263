"""Files of features: what was written is read, and what is damaged, foreign or unfinished is no file of features."""

from __future__ import annotations

import fcntl
import os
import random
from pathlib import Path

import numpy as np
import pytest

from acoustic_ad.errors import FeaturesError
from acoustic_ad.jobs import feature_place as places
from acoustic_ad.jobs.feature_file import ENTRY, HEADER_BYTES, FeatureFile, NotThisFile
from acoustic_ad.jobs.feature_place import feature_place, told, written
from acoustic_ad.sound.log_mels import in_steps

RNG = np.random.default_rng(0)
CLIPS = [RNG.normal(-50.0, 12.0, (frames, 4)).astype(np.float32) for frames in (7, 12, 5)]
KEYS = [bytes([number]) * 32 for number in (9, 3, 5)]


def write(path: Path, spec: str = "spec") -> Path:
    with written(path, None, spec, 4) as writer:
        for key, clip in zip(KEYS, CLIPS, strict=True):
            writer.add(key, in_steps(clip), channels=2)
    return path


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_clips_come_back_by_number_and_by_key(tmp_path: Path) -> None:
    file = FeatureFile.open(write(tmp_path / "x"), "spec")
    assert [file.find(key) for key in KEYS] == [0, 1, 2]
    assert file.find(bytes(32)) is None and file.find(KEYS[0][:31] + b"x") is None
    clips = file.clips(np.array([2, 0]))
    assert np.abs(clips[0] - CLIPS[2]).max() < 0.0021 and np.abs(clips[1] - CLIPS[0]).max() < 0.0021
    assert file.index["channels"].tolist() == [2, 2, 2]
    assert names(tmp_path) == ["x"]


def test_another_spec_is_another_file(tmp_path: Path) -> None:
    with pytest.raises(NotThisFile, match="front-end"):
        FeatureFile.open(write(tmp_path / "x"), "another spec")


def test_every_cut_and_every_flipped_bit_is_noticed(tmp_path: Path) -> None:
    """In header and index at once, in the frames of a clip when it is looked for; never as wrong numbers."""
    whole = write(tmp_path / "x").read_bytes()
    damaged = tmp_path / "damaged"
    rng = random.Random(0)
    frames_end = len(whole) - ENTRY.itemsize * len(CLIPS)
    for place in [0, 5, 30, 100, *(rng.randrange(len(whole)) for _ in range(300))]:
        changed = bytearray(whole)
        changed[place] ^= 1 << rng.randrange(8)
        damaged.write_bytes(changed)
        if HEADER_BYTES <= place < frames_end:
            file = FeatureFile.open(damaged, "spec")
            assert [file.find(key) for key in KEYS].count(None) == 1
        else:
            with pytest.raises(NotThisFile):
                FeatureFile.open(damaged, "spec")
    for size in [0, 1, 100, HEADER_BYTES, *(rng.randrange(len(whole)) for _ in range(50))]:
        damaged.write_bytes(whole[:size])
        with pytest.raises(NotThisFile):
            FeatureFile.open(damaged, "spec")
    damaged.write_bytes(whole + b"x")
    with pytest.raises(NotThisFile):
        FeatureFile.open(damaged, "spec")
    with pytest.raises(NotThisFile):
        FeatureFile.open(tmp_path / "missing", "spec")


def test_an_unfinished_file_never_appears(tmp_path: Path) -> None:
    write(tmp_path / "x")
    before = (tmp_path / "x").read_bytes()
    with pytest.raises(KeyboardInterrupt), written(tmp_path / "x", tmp_path / "kept", "spec", 4) as writer:
        writer.add(KEYS[0], in_steps(CLIPS[0]))
        raise KeyboardInterrupt
    assert names(tmp_path) == ["x"] and (tmp_path / "x").read_bytes() == before


def test_a_runs_folder_goes_with_it_and_the_next_one_tidies_up(tmp_path: Path) -> None:
    """What a killed run left has a lock that nobody holds; that of a run that is alive stays."""
    kept = tmp_path / "kept"
    with feature_place(tmp_path / "models", kept) as alive:
        (alive.own / "file").write_text("in use")
        dead = kept / f"{places.RUN}dead{places.LOCK}"
        dead.touch()
        dead.with_suffix("").mkdir()
        (dead.with_suffix("") / "file").write_text("left behind")
        with feature_place(tmp_path / "models", kept) as other:
            assert other.own != alive.own and (alive.own / "file").exists()
            assert not dead.exists() and not dead.with_suffix("").exists()
        assert not other.own.exists() and alive.own.exists()
    assert names(kept) == [] and not (tmp_path / "models").exists()
    with pytest.raises(ValueError, match="error"), feature_place(tmp_path / "models", None) as place:
        (place.own / "file").write_text("x")
        raise ValueError("error")
    assert names(tmp_path / "models") == []


def test_a_lock_that_a_tidying_run_took_away_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flock, taken = fcntl.flock, []

    def stolen(lock: int, how: int) -> None:
        if not taken:
            (path,) = tmp_path.glob("*.lock")
            path.unlink()
            taken.append(path)
        flock(lock, how)

    monkeypatch.setattr(fcntl, "flock", stolen)
    lock, path = places._locked(tmp_path)
    os.close(lock)
    assert path.exists() and path != taken[0]


def test_a_full_disk_is_told_with_what_is_needed(tmp_path: Path) -> None:
    with pytest.raises(FeaturesError, match=r"no room .*100 clips need 3 GB, .* are free; .*--cache"):  # noqa: SIM117
        with told(tmp_path, "100 clips need 3 GB"):
            raise OSError(28, "No space left on device")
