"""kill -9 of everything at random moments: the next run ends where one without interruption would have ended."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from cli_process import acoustic_ad, cpu_seconds_of, processes_of, rows_of, start, wait_until, write_clips
from watched import watched

from acoustic_ad.errors import StoreError
from acoustic_ad.jobs.store import Store
from acoustic_ad.models.registry import Registry


def killed(moment_s: float, *arguments: str | Path) -> bool:
    """Run `acoustic-ad`, kill its whole group when it has taken so much processor time, and tell whether it was still
    running. Processor time, so that the moments cover the whole run however busy the computer is."""
    return killed_when(lambda pid: cpu_seconds_of(pid) >= moment_s, 0.0, *arguments)


def killed_when(due: Callable[[int], bool], later_s: float, *arguments: str | Path) -> bool:
    """Run `acoustic-ad`, kill its whole group so long after `due`, of its process, has come true; whether it ran."""
    process = start(*arguments, stdout=subprocess.DEVNULL)
    wait_until(lambda: process.poll() is not None or due(process.pid), 300)
    time.sleep(later_s)
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
        undisturbed = watched(*self.arguments("whole"), code=3)
        self.whole, self.cpu_s = undisturbed.run.json, undisturbed.cpu_s
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

    def stored(self, store: str) -> int:
        """Clips with a row in the store, as a run left it."""
        try:
            with sqlite3.connect(f"file:{self.folder / store}.db?mode=ro", uri=True) as database:
                return int(database.execute("select count(*) from clip_scores").fetchone()[0])
        except sqlite3.OperationalError:  # no database, or no tables yet
            return 0

    def check(self, store: str) -> None:
        """After a run that came to its end: every row as without a kill, none twice, none lost."""
        assert rows_of(self.folder / f"{store}.csv") == self.rows
        assert self.is_sound(store)
        with sqlite3.connect(self.folder / f"{store}.db") as database:
            assert database.execute("select count(*) from clip_scores").fetchone() == (len(self.rows),)
        health = acoustic_ad("status", "--db", self.folder / f"{store}.db", "--json").json
        assert health["machines"] == self.whole["machines"]


def kill_scoring(scoring: Scoring, points: int) -> None:
    """Also says how often a killed run had stored something: kills that all come before that would show little."""
    rng = random.Random(points)
    store, hits, progress = 0, 0, 0
    while hits < points:
        before = scoring.stored(f"killed{store}")
        if killed(rng.uniform(0, scoring.cpu_s), *scoring.arguments(f"killed{store}")):
            hits += 1
            progress += scoring.stored(f"killed{store}") > before
            assert scoring.is_sound(f"killed{store}")
        else:  # it was quicker, and is itself the run that follows the kills
            scoring.check(f"killed{store}")
            store += 1
    acoustic_ad(*scoring.arguments(f"killed{store}"), code=None)
    scoring.check(f"killed{store}")
    print(f"{hits} kills in {store + 1} stores; {progress} of the killed runs had stored clips of their own")


class ScoringIntoPostgreSQL:
    """A folder, the rows of a run that nobody disturbed, and schemas of a server, which outlives killed jobs."""

    def __init__(self, new_database: Callable[[], str], folder: Path, models: Path, clips: int) -> None:
        self.new_database, self.folder, self.models, self.out = new_database, folder, models, folder / "rows.csv"
        write_clips(folder / "sound" / "fan", "fan", range(100, 100 + clips - 1))
        (folder / "sound" / "fan" / "broken.wav").write_bytes(b"no sound" * 9)
        undisturbed = watched(*self.arguments(new_database()), code=3)
        self.machines, self.cpu_s = undisturbed.run.json["machines"], undisturbed.cpu_s
        self.rows = rows_of(self.out)
        assert len(self.rows) == clips

    def arguments(self, url: str) -> list[str | Path]:
        # By onnx, which is at work in half the time: what is tested is the store.
        call = ["score", self.folder / "sound", "--models", self.models, "--workers", "2", "--runtime", "onnx"]
        return [*call, "--settle", "0", "--json", "--db", url, "--out", self.out]

    def kill(self, url: str, moment_s: float | None, later_s: float) -> bool:
        """Kill a run at that moment of its processor time, or so long after it has stored something; whether it ran."""
        if moment_s is not None:
            return killed(moment_s, *self.arguments(url))
        before = stored_in(url)
        return killed_when(lambda _: stored_in(url) > before, later_s, *self.arguments(url))

    def finish(self, url: str) -> None:
        """A run to the end: every row as without a kill, none twice, none lost, and the same health.

        Nobody refuses it: the server frees the lock of a job that died.
        """
        self.out.unlink(missing_ok=True)
        last = acoustic_ad(*self.arguments(url), code=None).json  # 0 where the broken clip was stored as well
        assert last["machines"] == self.machines and last["clips"]["found"] == len(self.rows)
        assert rows_of(self.out) == self.rows
        assert stored_in(url) == len(self.rows)
        assert acoustic_ad("db", "check", "--db", url, "--json").json["sound"] is True


def stored_in(url: str) -> int:
    """Clips with a row in a PostgreSQL store, which a run may not have made yet."""
    try:
        with Store.open(url, read_only=True, create=False) as store, store.reading() as connection:
            return int(connection.exec_driver_sql("SELECT count(*) FROM clip_scores").scalar() or 0)
    except StoreError:
        return 0


def kill_into_postgresql(scoring: ScoringIntoPostgreSQL, points: int) -> None:
    """Half of the kills at any moment of a run, the others while rows are being stored."""
    rng = random.Random(points + 1)  # of 2 points the first is then early, while nothing is stored
    url, stores, hits, progress = scoring.new_database(), 1, 0, 0
    while hits < points:
        before = stored_in(url)
        if before == len(scoring.rows):  # nothing is left to be stored
            scoring.finish(url)
            url, stores, before = scoring.new_database(), stores + 1, 0
        hits += scoring.kill(url, None if hits % 2 else rng.uniform(0, scoring.cpu_s), rng.uniform(0, 0.2))
        progress += stored_in(url) > before
    scoring.finish(url)
    print(f"{hits} kills in {stores} stores; {progress} of the runs had stored clips of their own")


def kill_training(own: Path, recordings: Path, recipe: Path, points: int) -> None:
    arguments = ("train", recordings, "--recipe", recipe, "--models", own, "--workers", "2", "--json")
    registry = Registry(own)
    rng = random.Random(points)
    whole = watched(*arguments)
    hits, progress, versions = 0, 0, _versions(registry)
    runs = 0
    while hits < points:
        runs += 1
        if runs % 2:
            hits += killed(rng.uniform(0, whole.cpu_s), *arguments)
        else:  # while models are written, which takes a moment of the run
            before = _entries(registry)
            hits += killed_when(lambda _, before=before: _entries(registry) != before, rng.uniform(0, 0.3), *arguments)
        progress += _versions(registry) > versions
        versions = _versions(registry)
        assert registry.machines() == ["fan", "pump"]
        for machine in registry.machines():
            registry.load(machine)
    print(f"{hits} of {runs} runs were killed; {progress} of the runs had kept models of their own")
    document = acoustic_ad(*arguments).json
    assert [machine["machine"] for machine in document["machines"]] == ["fan", "pump"]
    for machine in document["machines"]:
        assert registry.current(machine["machine"]) == machine["version"]
    assert {problem for _, _, problem in registry.verify()} == {None}
    for machine in registry.machines():
        left = {entry.name for entry in registry.folder_of(machine).iterdir()}
        assert left == {*registry.versions(machine), "current"}
    assert not (own / ".features").exists()


def _entries(registry: Registry) -> set[Path]:
    """What lies in the folders of the models, unfinished bundles included."""
    return {entry for machine in ("fan", "pump") for entry in registry.folder_of(machine).iterdir()}


def _versions(registry: Registry) -> int:
    return sum(len(registry.versions(machine)) for machine in registry.machines())


def test_killed_scoring(models, tmp_path):
    kill_scoring(Scoring(tmp_path, models, clips=60), points=10)


def test_killed_training(own_models, recordings, recipe):
    kill_training(own_models, recordings, recipe, points=4)


def test_killed_scoring_into_postgresql(postgres, models, tmp_path):
    kill_into_postgresql(ScoringIntoPostgreSQL(postgres.new_database, tmp_path, models, clips=36), points=2)


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_killed_scoring_into_postgresql_at_100_points(postgres, models, tmp_path):
    kill_into_postgresql(ScoringIntoPostgreSQL(postgres.new_database, tmp_path, models, clips=500), points=100)


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_killed_scoring_at_200_points(models, tmp_path):
    kill_scoring(Scoring(tmp_path, models, clips=500), points=200)


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_killed_training_at_100_points(own_models, recordings, recipe):
    kill_training(own_models, recordings, recipe, points=100)
