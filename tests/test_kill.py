"""kill -9 of everything at random moments: the next run ends where one without interruption would have ended."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import time
from pathlib import Path

import pytest
from cli_process import acoustic_ad, processes_of, rows_of, start, wait_until, write_clips

from acoustic_ad.models.registry import Registry

# Processes of a run: parent; resource tracker and fork server, which loads torch for seconds; then the workers.
STAGES = (1, 3, 4, 4, 5, 5)


def killed(rng: random.Random, *arguments: str | Path) -> bool:
    """Run `acoustic-ad`, kill its whole group at a random moment, and tell whether it was still running."""
    process = start(*arguments, stdout=subprocess.DEVNULL)
    stage, delay_s = rng.choice(STAGES), rng.uniform(0.0, 0.5)
    wait_until(lambda: process.poll() is not None or len(processes_of(process.pid)) >= stage, 60)
    time.sleep(delay_s)
    running = process.poll() is None
    if running:
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)
    assert wait_until(lambda: not processes_of(process.pid), 10)
    return running


class Scoring:
    """A folder, the rows of a run that nobody disturbed, and stores in which others were killed."""

    def __init__(self, folder: Path, models: Path, clips: int) -> None:
        self.folder, self.models = folder, models
        write_clips(folder / "sound" / "fan", "fan", range(100, 100 + clips - 22))
        write_clips(folder / "sound" / "pump", "pump", range(100, 120))
        for name in ("broken.wav", "broken too.wav"):
            # Long enough to be a whole file: fewer bytes than a header, just written, would be deferred.
            (folder / "sound" / "pump" / name).write_bytes(b"no sound" * 9)
        self.whole = acoustic_ad(*self.arguments("whole"), code=3).json
        self.rows = rows_of(folder / "whole.csv")
        assert len(self.rows) == clips

    def arguments(self, store: str) -> list[str | Path]:
        files = ("--db", self.folder / f"{store}.db", "--out", self.folder / f"{store}.csv")
        return ["score", self.folder / "sound", "--models", self.models, "--workers", "2", "--json", *files]

    def is_sound(self, store: str) -> bool:
        """Whether SQLite finds no damage; a run may be killed before it has made its database."""
        if not (self.folder / f"{store}.db").exists():
            return True
        with sqlite3.connect(self.folder / f"{store}.db") as database:
            return database.execute("pragma integrity_check").fetchone() == ("ok",)

    def check(self, store: str) -> None:
        """After a run that came to its end: every row as without a kill, none twice, none lost."""
        assert rows_of(self.folder / f"{store}.csv") == self.rows
        assert self.is_sound(store)
        with sqlite3.connect(self.folder / f"{store}.db") as database:
            assert database.execute("select count(*) from clip_scores").fetchone() == (len(self.rows),)
        health = acoustic_ad("status", "--db", self.folder / f"{store}.db", "--json").json
        assert health["machines"] == self.whole["machines"]


def kill_scoring(scoring: Scoring, points: int) -> None:
    rng = random.Random(points)
    store, hits = 0, 0
    while hits < points:
        if killed(rng, *scoring.arguments(f"killed{store}")):
            hits += 1
            assert scoring.is_sound(f"killed{store}")
        else:  # it was quicker, and is itself the run that follows the kills
            scoring.check(f"killed{store}")
            store += 1
    acoustic_ad(*scoring.arguments(f"killed{store}"), code=None)
    scoring.check(f"killed{store}")


def kill_training(own: Path, recordings: Path, recipe: Path, points: int) -> None:
    arguments = ("train", recordings, "--recipe", recipe, "--models", own, "--workers", "2", "--json")
    registry = Registry(own)
    rng = random.Random(points)
    for _ in range(points):
        killed(rng, *arguments)
        assert registry.machines() == ["fan", "pump"]
        for machine in registry.machines():
            registry.load(machine)
    document = acoustic_ad(*arguments).json
    assert [machine["machine"] for machine in document["machines"]] == ["fan", "pump"]
    for machine in document["machines"]:
        assert registry.current(machine["machine"]) == machine["version"]
    assert {problem for _, _, problem in registry.verify()} == {None}
    for machine in registry.machines():
        left = {entry.name for entry in registry.folder_of(machine).iterdir()}
        assert left == {*registry.versions(machine), "current"}


def test_killed_scoring(models, tmp_path):
    kill_scoring(Scoring(tmp_path, models, clips=60), points=10)


def test_killed_training(own_models, recordings, recipe):
    kill_training(own_models, recordings, recipe, points=4)


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_killed_scoring_at_200_points(models, tmp_path):
    kill_scoring(Scoring(tmp_path, models, clips=500), points=200)


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_killed_training_at_100_points(own_models, recordings, recipe):
    kill_training(own_models, recordings, recipe, points=100)
