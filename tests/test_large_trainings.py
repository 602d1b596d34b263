"""Very many clips of one machine, and very many machines: what a training keeps in memory stays flat (gate 11).

Counted is memory of the processes' own. Features are mapped from a file, and the system keeps as much of it in memory
as it has to spare.
"""

from __future__ import annotations

import struct
from datetime import timedelta
from pathlib import Path

import pytest
from cli_process import DAE_RECIPE, RATE_HZ, encoded, samples
from plant import BEGIN
from watched import Watched, watched

FLAT = 1.1
CLIP_S = 0.125
SOUNDS = 24


def write_fleet(folder: Path, machines: int, clips: int) -> Path:
    """Short clips of simulated fans, all of them different."""
    sounds = [bytearray(encoded(samples("fan", number)[: int(CLIP_S * RATE_HZ)])) for number in range(SOUNDS)]
    for number in range(machines):
        own = folder / f"fan {number:03}"
        own.mkdir(parents=True)
        for clip in range(clips):
            content = sounds[clip % SOUNDS]
            content[-4:] = struct.pack("<I", number * clips + clip)
            (own / f"{BEGIN + timedelta(minutes=10 * clip):%Y%m%dT%H%M%SZ}.wav").write_bytes(content)
    return folder


def trained(folder: Path, machines: int, clips: int) -> Watched:
    """A training of them, under watch."""
    recipe = folder.with_suffix(".toml")
    recipe.write_text(DAE_RECIPE.format(steps=200).replace('group = "machine_type"\n', ""))
    sound = write_fleet(folder, machines, clips)
    arguments = ("train", sound, "--recipe", recipe, "--models", folder.with_suffix(".models"), "--workers", "2")
    seen = watched(*arguments, "--json", timeout=7000)
    assert len(seen.run.json["machines"]) == machines
    print(f"{machines} machines of {clips} clips: {seen}; own {seen.job_own_mb:.0f}, {seen.worker_own_mb:.0f} MB")
    return seen


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_memory_does_not_grow_with_the_clips_of_a_machine(tmp_path):
    few, many = trained(tmp_path / "few", 1, 1_000), trained(tmp_path / "many", 1, 100_000)
    assert many.worker_own_mb < FLAT * few.worker_own_mb
    assert many.job_own_mb < FLAT * few.job_own_mb


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_memory_does_not_grow_with_the_machines(tmp_path):
    """One after another; both workers learn at a time."""
    few, many = trained(tmp_path / "few", 10, 20), trained(tmp_path / "many", 100, 20)
    assert many.worker_own_mb < FLAT * few.worker_own_mb
    assert many.job_own_mb < FLAT * few.job_own_mb
