"""Very many clips, and very long ones: memory stays flat (gates 3 and 11), and a bad file among many costs its own row
only (gate 4). Also what a run costs that finds nothing to do.

The clips are an eighth of a second long: what grows with their number is what is kept of each, not their sound.
"""

from __future__ import annotations

import io
import struct
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from cli_process import RATE_HZ, clip_name, encoded, rows_of, samples, verdicts, wav
from plant import BEGIN
from watched import Watched, watched

from acoustic_ad.models.bundle import TrainingDetails
from acoustic_ad.models.registry import Registry

FLAT = 1.1  # gate 11: within 10 %
CLIPS_OF_A_MACHINE = 1000  # nearly a week, one every ten minutes
HOUR_S = 3600


class Fleet:
    """Machines with the model of a fan, as many short clips each as are asked for, and a store of their own."""

    def __init__(self, root: Path, models: Path, machines: int, clips: int) -> None:
        self.sound, self.out, self.own = root / "sound", root / "rows.csv", root / "models"
        self.files = ("--db", root / "fleet.db", "--out", self.out)
        model, info = Registry(models).load("fan")
        details = TrainingDetails(n_clips=info.n_clips, feature_spec=info.feature_spec, extra=dict(info.extra))
        content = bytearray(encoded(samples("fan", 0)[: RATE_HZ // 8]))
        for number in range(machines):
            machine = f"fan {number:03}"
            Registry(self.own).save(machine, model, details)
            (self.sound / machine).mkdir(parents=True)
            for clip in range(clips):
                content[-4:] = struct.pack("<I", clip)  # the last two samples: known bytes would not be scored again
                at = BEGIN + timedelta(minutes=10 * clip)
                (self.sound / machine / f"{at:%Y%m%dT%H%M%SZ}.wav").write_bytes(content)

    @property
    def arguments(self) -> list[str | Path]:
        return ["score", self.sound, "--models", self.own, *self.files, "--workers", "2", "--json"]

    def score(self, *more: str, code: int = 0, timeout: float = 280) -> Watched:
        """A run over all clips, under watch."""
        return watched(*self.arguments, *more, code=code, timeout=timeout)


def check_flat(few: Watched, many: Watched) -> None:
    """Memory of all processes together, and of the largest worker."""
    print(f"few clips: {few}; many: {many}")
    assert many.job_mb < FLAT * few.job_mb
    assert many.worker_mb < FLAT * few.worker_mb


def test_memory_does_not_grow_with_the_number_of_clips(models, tmp_path):
    few, many = Fleet(tmp_path / "few", models, 1, 400).score(), Fleet(tmp_path / "many", models, 10, 200).score()
    assert (few.run.json["clips"]["scored"], many.run.json["clips"]["scored"]) == (400, 2000)
    check_flat(few, many)


@pytest.fixture(scope="module")
def scored_fleet(models, tmp_path_factory) -> tuple[Fleet, Watched]:
    """100,000 clips of 100 machines, and the run that scored them."""
    fleet = Fleet(tmp_path_factory.mktemp("fleet"), models, 100, CLIPS_OF_A_MACHINE)
    return fleet, fleet.score(timeout=7000)


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_memory_of_100_000_clips(scored_fleet, models, tmp_path):
    _, many = scored_fleet
    assert many.run.json["clips"]["scored"] == 100 * CLIPS_OF_A_MACHINE
    check_flat(Fleet(tmp_path, models, 1, CLIPS_OF_A_MACHINE).score(), many)


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_a_run_over_100_000_known_clips_takes_less_than_10_s(scored_fleet):
    """Without --out, which would write all rows again. In processor time, whatever else the computer does."""
    fleet, _ = scored_fleet
    again = watched("score", fleet.sound, "--models", fleet.own, *fleet.files[:2], "--json")
    print(f"a run without work: {again}")
    assert again.run.json["clips"]["already_scored"] == 100 * CLIPS_OF_A_MACHINE
    assert again.cpu_s < 10


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_one_bad_file_among_10_000_changes_no_other_score(models, tmp_path):
    """Not by a bit; the bad one is in the middle, and has its row."""
    without, beside = (Fleet(tmp_path / name, models, 10, CLIPS_OF_A_MACHINE) for name in ("without", "beside"))
    bad = beside.sound / "fan 005" / clip_name(45)
    bad.write_bytes(wav("fan", 0)[:-2001])
    without.score(timeout=3000)
    print(f"10,000 clips and a bad one: {beside.score('--settle', '0', code=3, timeout=3000)}")
    (failed,) = [row for row in rows_of(beside.out) if row["status"] != "scored"]
    assert (failed["clip_id"], failed["reason"]) == (f"fan 005/{bad.name}", "truncated")
    expected = {(row["machine"], row["sha256"]): row for row in rows_of(without.out)}
    assert len(expected) == 10 * CLIPS_OF_A_MACHINE
    same = [row for row in rows_of(beside.out) if row["status"] == "scored"]
    assert len(same) == 10 * CLIPS_OF_A_MACHINE
    for row in same:
        known = expected[row["machine"], row["sha256"]]
        assert [row[name] for name in ("score", "p_value", "index", "bands")] == [
            known[name] for name in ("score", "p_value", "index", "bands")
        ]


# --- long clips ------------------------------------------------------------------------------------------------------


def write_long(file: Path, duration_s: int, seed: int) -> None:
    """One minute of a fan, again and again, written piece by piece: what is to be large is the file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    minute = np.tile((samples("fan", seed) * 32_767).astype("<i2"), 60).tobytes()
    size = 2 * RATE_HZ * duration_s
    with file.open("wb") as stream:
        header = io.BytesIO()
        header.write(b"RIFF" + struct.pack("<I", 36 + size) + b"WAVEfmt ")
        header.write(struct.pack("<IHHIIHH", 16, 1, 1, RATE_HZ, 2 * RATE_HZ, 2, 16) + b"data" + struct.pack("<I", size))
        stream.write(header.getvalue())
        for begin in range(0, size, len(minute)):
            stream.write(minute[: size - begin])


def worker_of(models: Path, folder: Path, duration_s: int, clips: int = 1) -> float:
    """MB of the worker that scored clips of this length."""
    for number in range(clips):
        write_long(folder / "sound" / "fan" / clip_name(number), duration_s, seed=number)
    files = ("--db", folder / "x.db", "--out", folder / "rows.csv")
    run = watched("score", folder / "sound", "--models", models, *files, "--workers", "1", "--json", timeout=7000)
    assert [float(row["duration_s"]) for row in rows_of(folder / "rows.csv")] == [duration_s] * clips
    assert len(verdicts(folder / "rows.csv")) == clips
    print(f"{clips} of {duration_s} s: {run}")
    return run.worker_mb


def worker_of_short_clips(models: Path, folder: Path) -> float:
    """Of twenty: a worker that is gone after one is not always seen at its largest."""
    return worker_of(models, folder, 60, clips=20)


def test_memory_does_not_grow_with_the_length_of_a_clip(models, tmp_path):
    """20 minutes are 38 MB as they stand in the file, and 77 MB as the samples that are computed with."""
    assert worker_of(models, tmp_path / "long", 20 * 60) < worker_of_short_clips(models, tmp_path / "short") + 40


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_a_clip_of_24_hours_within_500_mb_of_a_short_one(models, tmp_path):
    assert worker_of(models, tmp_path / "long", 24 * HOUR_S) < worker_of_short_clips(models, tmp_path / "short") + 500
