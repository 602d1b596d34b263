"""The ledger: whatever happens to files between and during runs, each is accounted for, and none is lost (gate 8)."""

from __future__ import annotations

import json
import os
import sqlite3
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_process import AS_USER, NOBODY_IS_REFUSED, acoustic_ad, clip_name, encoded, rows_of, shell, wav, write_clips

from acoustic_ad.errors import ManifestError
from acoustic_ad.jobs import score as module
from acoustic_ad.jobs.score import ScoreOptions, score

LONG_AGO = 1_700_000_000.0


class Folder:
    """A folder of one machine, its store, and runs over it that must add up."""

    def __init__(self, root: Path, models: Path) -> None:
        self.root, self.sound, self.fan, self.out = root, root / "sound", root / "sound" / "fan", root / "rows.csv"
        self.options = ScoreOptions(self.sound, models, str(root / "x.db"), workers=1, out=self.out)
        files = ("--db", root / "x.db", "--out", self.out)
        self.call = ("score", self.sound, "--models", models, *files, "--workers", "1", "--json")
        self.fan.mkdir(parents=True)

    def write(self, name: str, content: bytes, *, recent: bool = False) -> Path:
        file = self.fan / name
        file.write_bytes(content)
        if not recent:
            os.utime(file, (LONG_AGO, LONG_AGO))
        return file

    def run(self, **options: Any) -> dict[str, int]:
        """The counts of a run that are not 0."""
        report = score(replace(self.options, **options))
        assert report.exit_code == (3 if report.counts["failed"] else 0)
        return self.checked(report.counts)

    def run_as_user(self) -> dict[str, int]:
        return self.checked(acoustic_ad(*self.call, code=None, before=AS_USER).json["clips"])

    def checked(self, counts: dict[str, int]) -> dict[str, int]:
        """Found is the sum of the others, and each file is named in one row, unless it is deferred."""
        counts = dict(counts)
        found = counts.pop("found")
        assert found == sum(counts.values()) == sum(file.suffix == ".wav" for file in self.fan.iterdir())
        named = [name for row in rows_of(self.out) for name in (row["clip_id"], *json.loads(row["also_known_as"]))]
        assert len(named) == len(set(named)) == found - counts["deferred"]
        return {name: count for name, count in counts.items() if count}

    def reasons(self) -> dict[str, str]:
        return {row["clip_id"].removeprefix("fan/"): row["reason"] for row in rows_of(self.out)}


@pytest.fixture
def folder(models, tmp_path):
    return Folder(tmp_path, models)


def test_every_outcome_is_counted_once(folder):
    """found = scored + failed + deferred + sensor_fault + off + what was known, in each of three runs."""
    for number in range(3):
        folder.write(clip_name(number), wav("fan", number))
    folder.write("copy.wav", wav("fan", 2))
    folder.write("silent.wav", encoded(np.zeros(16_000)))
    folder.write("broken.wav", b"no sound" * 9)
    folder.write("growing.wav", wav("fan", 4)[:-4000], recent=True)
    first = {"scored": 3, "already_scored": 1, "sensor_fault": 1, "failed": 1, "deferred": 1}
    assert folder.run() == first
    assert folder.run() == {"already_scored": 5, "already_failed": 1, "deferred": 1}
    folder.write("growing.wav", wav("fan", 4), recent=True)
    assert folder.run(retry_failed=True) == {"already_scored": 5, "failed": 1, "scored": 1}


def test_failed_clips_are_tried_again_when_they_change_or_when_asked(folder):
    """And the row of the failure goes when there is a score."""
    folder.write("mended.wav", b"no sound" * 8)
    folder.write("stays.wav", b"no sound" * 9)
    assert folder.run() == {"failed": 2}
    assert folder.run() == {"already_failed": 2}
    folder.write("mended.wav", wav("fan", 1))
    assert folder.run() == {"scored": 1, "already_failed": 1}
    assert folder.reasons() == {"mended.wav": "", "stays.wav": "unsupported"}
    assert folder.run(retry_failed=True) == {"already_scored": 1, "failed": 1}
    folder.write("stays.wav", b"no sound either" * 9)
    assert folder.run() == {"already_scored": 1, "failed": 1}


def test_files_that_have_hardly_begun_are_deferred(folder):
    """A recorder makes the file, then its header, then the sound; what stays so for `settle_s` is broken."""
    whole = wav("fan", 7)
    begun = {"made.wav": b"", "two bytes.wav": whole[:2], "header.wav": encoded(np.zeros(0)), "some.wav": whole[:900]}
    for name, content in begun.items():
        folder.write(name, content, recent=True)
    assert folder.run() == {"deferred": 4}
    for name, content in begun.items():
        folder.write(name, content)
    assert folder.run() == {"failed": 4}
    assert folder.reasons() == {
        "made.wav": "empty",
        "two bytes.wav": "unsupported",
        "header.wav": "empty",
        "some.wav": "truncated",
    }
    for number, name in enumerate(begun):
        folder.write(name, wav("fan", 10 + number), recent=True)
    assert folder.run() == {"scored": 4}


@contextmanager
def recorder(file: Path, sound: bytes, every_s: float) -> Iterator[None]:
    """Records into `file` while the block runs: a bit more sound each time, and a header that is true of it."""
    over = threading.Event()

    def record() -> None:
        with file.open("r+b") as stream:
            for end in range(8_000, len(sound), 1_000):
                stream.seek(0)
                stream.write(wav_of(sound[:end]))
                stream.flush()
                if over.wait(every_s):
                    return

    file.write_bytes(wav_of(sound[:8_000]))
    thread = threading.Thread(target=record)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def wav_of(sound: bytes) -> bytes:
    """The beginning of a WAV, with a header that says so."""
    size = len(sound) - 44
    return sound[:4] + struct.pack("<I", size + 36) + sound[8:40] + struct.pack("<I", size) + sound[44:]


def test_a_recorder_that_keeps_its_header_true_is_found_out(folder):
    """Between two of its writes the file looks whole; so a file of this moment is looked at again a little later."""
    sound = wav("fan", 8, duration_s=4.0)
    folder.write("before.wav", wav("fan", 7))
    assert folder.run() == {"scored": 1}  # from now on workers start so quickly that they see a file between two writes
    with recorder(folder.fan / "recorded.wav", sound, every_s=1.0):
        assert folder.run() == {"already_scored": 1, "deferred": 1}
    folder.write("recorded.wav", sound, recent=True)
    # The second look is no part of what the clip itself may take.
    assert folder.run(clip_timeout_s=1.0) == {"already_scored": 1, "scored": 1}
    assert folder.run() == {"already_scored": 2}
    with sqlite3.connect(folder.root / "x.db") as store:
        assert store.execute("select round(duration_s, 2) from clip_scores order by 1").fetchall() == [(1.0,), (4.0,)]


def test_without_settling_what_looks_whole_is_scored(folder):
    """As with a recorder that writes so seldom that nothing tells: what it had written by then is a clip, and the whole
    recording another one."""
    sound = wav("fan", 9, duration_s=4.0)
    with recorder(folder.fan / "recorded.wav", sound, every_s=60.0):
        assert folder.run(settle_s=0.0) == {"scored": 1}
    folder.write("recorded.wav", sound)
    assert folder.run() == {"scored": 1}
    with sqlite3.connect(folder.root / "x.db") as store:
        assert store.execute("select count(*) from clip_scores").fetchone() == (2,)


def test_a_file_that_grows_all_the_time_is_scored_once_when_it_is_whole(folder):
    whole = wav("fan", 7)
    for end in (500, 9000, 20_000):
        folder.write("growing.wav", whole[:end], recent=True)
        assert folder.run() == {"deferred": 1}
    folder.write("growing.wav", whole, recent=True)
    assert folder.run() == {"scored": 1}
    assert folder.run() == {"already_scored": 1}
    with sqlite3.connect(folder.root / "x.db") as store:
        assert store.execute("select status from clip_scores").fetchall() == [("scored",)]


@pytest.mark.skipif(NOBODY_IS_REFUSED, reason="root needs setpriv to be like others")
def test_what_cannot_be_read_is_tried_by_every_run_and_told_once(folder):
    """Permissions and shares come back without the file changing."""
    file = folder.write("closed.wav", wav("fan", 1))
    folder.write(clip_name(2), wav("fan", 2))
    file.chmod(0)
    assert folder.run_as_user() == {"scored": 1, "failed": 1}
    assert folder.reasons()["closed.wav"] == "unreadable"
    assert folder.run_as_user() == {"already_scored": 1, "already_failed": 1}
    file.chmod(0o600)
    assert folder.run_as_user() == {"already_scored": 1, "scored": 1}


@pytest.mark.parametrize("how", ["gone", "unmounted", "one clip"])
def test_a_folder_that_vanishes_in_the_middle(how, models, tmp_path, monkeypatch):
    """What was finished is kept, what was not is no failure, and the next run goes on."""
    monkeypatch.setattr(module, "BATCH_S", 0.0)
    sound, away = tmp_path / "sound", tmp_path / "away"
    files = write_clips(sound / "fan", "fan", range(40))
    options = ScoreOptions(sound, models, str(tmp_path / "x.db"), workers=1)

    def vanish(done: int, total: int) -> None:
        if done != 5 or away.exists():
            return
        if how == "one clip":
            files[-1].rename(away)
            return
        sound.rename(away)
        if how == "unmounted":
            sound.mkdir()

    if how == "one clip":
        report = score(options, vanish)
        assert report.counts["scored"] == 39
        assert [(failure.clip_id, failure.code) for failure in report.failures] == [
            (f"fan/{files[-1].name}", "unreadable")
        ]
        assert report.exit_code == 3
        away.rename(files[-1])
    else:
        with pytest.raises(ManifestError, match=r"vanished.*share is mounted"):
            score(options, vanish)
        if how == "unmounted":
            sound.rmdir()
        away.rename(sound)
        with sqlite3.connect(tmp_path / "x.db") as store:
            kept = dict(store.execute("select status, count(*) from clip_scores group by status").fetchall())
        assert kept.keys() == {"scored"} and 5 <= kept["scored"] < 40
    after = score(options)
    assert after.counts["scored"] + after.counts["already_scored"] == 40
    assert after.failures == []


def test_one_job_more_than_the_disk_holds(folder, tmp_path):
    """The batch that does not fit is not stored at all; with room the next run goes on from the one before."""
    for number in range(30):
        folder.write(clip_name(number), wav("fan", number))
    # A limit for files, where a full disk would need the right to mount one.
    full = acoustic_ad(*folder.call, code=1, before=shell("ulimit -f 120"))
    assert "x.db" in full.complaint and "run again" in full.complaint
    assert not folder.out.exists()
    assert not list(tmp_path.glob(".acoustic-ad*"))
    counts = folder.run()
    assert counts.get("scored", 0) + counts.get("already_scored", 0) == 30
    with sqlite3.connect(tmp_path / "x.db") as store:
        assert store.execute("pragma integrity_check").fetchone() == ("ok",)
