"""Gate 11: what a job takes of memory depends neither on how long a clip is nor on how many there are."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import soundfile
from cli_process import finish, processes_of, samples, start
from many_clips import write_many

# What 24 hours may take more than a short clip, MiB.
ALLOWED_MIB = 500.0


def peak_mib(*arguments: str | Path, timeout: float = 280) -> tuple[float, dict[str, int]]:
    """Run `acoustic-ad ARGUMENTS`: the sum of the peaks of its processes, and the counts of the clips.

    The kernel keeps the peak of each (VmHWM), so that looking now and then misses little.
    """
    process = start(*arguments)
    peaks: dict[int, float] = {}
    while process.poll() is None:
        for number in processes_of(process.pid):
            with suppress(OSError, StopIteration):
                lines = Path(f"/proc/{number}/status").read_text().splitlines()
                peaks[number] = int(next(line for line in lines if line.startswith("VmHWM:")).split()[1]) / 1024
        time.sleep(0.02)
    ended = finish(process, timeout)
    assert ended.code == 0, ended.err
    return sum(peaks.values()), json.loads(ended.out)["clips"]


def write_long(file: Path, hours: float) -> None:
    """8 kHz, mono, 16 bits: a minute of a machine again and again, 57.6 MB an hour."""
    file.parent.mkdir(parents=True)
    minute = (samples("fan", 3, duration_s=60.0)[::2] * 32_000).astype(np.int16)
    with soundfile.SoundFile(file, "w", samplerate=8_000, channels=1, subtype="PCM_16") as sound:
        for _ in range(round(60 * hours)):
            sound.write(minute)


def check_length(root: Path, models: Path, hours: float, timeout: float = 280) -> float:
    """Score a file of so many hours, and one of a minute; returns by how much the peaks differ, MiB."""
    peaks = {}
    for name, length in (("short", 1 / 60), ("long", hours)):
        write_long(root / name / "fan" / "x.wav", length)
        files = ("--models", models, "--db", root / f"{name}.db", "--workers", "1", "--json")
        peaks[name], counts = peak_mib("score", root / name, *files, timeout=timeout)
        assert counts["scored"] == 1
    return peaks["long"] - peaks["short"]


def check_number(root: Path, models: Path, few: int, many: int, timeout: float = 280) -> float:
    """Score so many clips; returns the ratio of the peaks."""
    peaks = []
    for count in (few, many):
        write_many(root / str(count), count)
        files = ("--models", models, "--db", root / f"{count}.db", "--workers", "2", "--json")
        peak, counts = peak_mib("score", root / str(count), *files, timeout=timeout)
        assert counts["scored"] == count
        peaks.append(peak)
    return peaks[1] / peaks[0]


def test_two_hours_take_no_more_than_a_minute(models, tmp_path):
    """A twelfth of a day may take a twelfth of what a day may. In memory as a whole it would be 460 MB of samples."""
    assert check_length(tmp_path, models, hours=2.0) < ALLOWED_MIB / 12


def test_many_clips_take_no_more_than_few(models, tmp_path):
    assert check_number(tmp_path, models, few=20, many=1_000) < 1.1


@pytest.mark.soak
@pytest.mark.timeout(14_400)
def test_24_hours_take_no_more_than_a_minute(models, tmp_path):
    more = check_length(tmp_path, models, hours=24.0, timeout=10_000)
    print(f"24 h: {more:.1f} MiB more than a minute")
    assert more < ALLOWED_MIB


@pytest.mark.soak
@pytest.mark.timeout(14_400)
def test_100_000_clips_take_no_more_than_1_000(models, tmp_path):
    ratio = check_number(tmp_path, models, few=1_000, many=100_000, timeout=10_000)
    print(f"100,000 clips: {ratio:.3f} times the memory of 1,000")
    assert ratio < 1.1
