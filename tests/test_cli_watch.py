"""`acoustic-ad watch`: the same job again and again in one process, which only a signal or --runs ends."""

from __future__ import annotations

import json
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
from cli_process import acoustic_ad, clip_name, finish, processes_of, start, wait_until, write_clips
from plant import Plant, normal

from acoustic_ad.errors import LockedError
from acoustic_ad.jobs.lock import hold_lock


class Watch:
    """A watch at work, and the events of its log."""

    def __init__(self, *args: Any) -> None:
        self.process = start("watch", *args, "--log-format", "json", stdout=subprocess.DEVNULL)

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *error: object) -> None:
        self.process.kill()
        self.process.wait()

    def events(self) -> Iterator[dict[str, Any]]:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            yield json.loads(line)

    def until(self, **wanted: Any) -> list[dict[str, Any]]:
        """The events up to the next one that has these fields."""
        found = []
        for said in self.events():
            found.append(said)
            if all(said.get(name) == value for name, value in wanted.items()):
                return found
        raise AssertionError(f"it ended without {wanted}: {found}")

    def end(self, number: int) -> int:
        """Ask it to end; it must say so in its log, and leave nothing behind."""
        self.process.send_signal(number)
        finished = finish(self.process)
        assert json.loads(finished.err.splitlines()[-1])["event"] == "error"
        assert wait_until(lambda: not processes_of(self.process.pid), 5)
        return finished.code


@pytest.fixture
def plant(tmp_path) -> Plant:
    plant = Plant(tmp_path)
    plant.add_clips("fan", normal(5))
    return plant


def judge_of(db: Path) -> str:
    """The digest of the model that the machine's health was told by."""
    with sqlite3.connect(db) as store:
        (facts,) = store.execute("select facts from machines").fetchone()
    return str(json.loads(facts)["judge"])


def test_it_survives_what_goes_wrong(plant, tmp_path):
    with Watch(plant.sound, "--every", "0.2s", *plant.where, "--workers", "1") as watch:
        watch.until(event="run_ended", exit_code=0)
        plant.sound.rename(tmp_path / "unmounted")
        gone = watch.until(event="run_ended", exit_code=1)
        assert any("sound" in str(said.get("reason")) for said in gone)
        (tmp_path / "unmounted").rename(plant.sound)
        watch.until(event="run_ended", exit_code=0)
        with ExitStack() as stack:

            def take() -> bool:
                """Between two runs."""
                with suppress(LockedError):
                    stack.enter_context(hold_lock(plant.db))
                    return True
                return False

            assert wait_until(take, 60)
            watch.until(event="run_ended", exit_code=5)
        watch.until(event="run_ended", exit_code=0)
        assert judge_of(plant.db) == plant.digests["fan"]
        plant.add_machine("fan", clear_clips=11)  # another version
        assert wait_until(lambda: judge_of(plant.db) == plant.digests["fan"], 60)
        assert watch.end(signal.SIGTERM) == 143


def test_its_memory_does_not_grow(plant):
    """Resident memory after 10 runs and after 60 of them; then it waits for an hour, and ends when it is told."""
    with Watch(plant.sound, "--every", "0.01s", *plant.where) as watch:
        taken = []
        for runs in (10, 50):
            for _ in range(runs):
                watch.until(event="run_ended", exit_code=0)
            pages = int(Path(f"/proc/{watch.process.pid}/statm").read_text().split()[1])
            taken.append(pages * 4096)
        assert taken[1] - taken[0] < 20e6, taken
    with Watch(plant.sound, "--every", "1h", *plant.where) as watch:
        watch.until(event="run_ended", exit_code=0)
        assert watch.end(signal.SIGINT) == 130


FORGETS_A_SIGNAL = """
import os, signal, sys
from acoustic_ad import cli
from acoustic_ad.console import run_program, sleep_unless_asked_to_end

class Cleared:
    def __del__(self):  # what is raised here is printed, and forgotten
        os.kill(os.getpid(), signal.SIGTERM)

def program():
    one = Cleared()
    del one
    print("goes on", flush=True)
    sleep_unless_asked_to_end(3600)

run_program(program)
"""


def test_a_signal_that_came_while_an_object_was_cleared_away_ends_it_all_the_same():
    run = subprocess.run([sys.executable, "-c", FORGETS_A_SIGNAL], capture_output=True, text=True, timeout=280)
    assert (run.returncode, run.stdout) == (143, "goes on\n")
    assert "terminated; what was finished is kept" in run.stderr


def test_so_many_runs(plant):
    """--runs ends it with the last code, and each run tells what `score` tells."""
    run = acoustic_ad("watch", plant.sound, "--every", "0.1s", *plant.where, "--runs", "3")
    assert len(re.findall("^fan ", run.out, flags=re.MULTILINE)) == 3
    assert run.err.count("5 already scored") == 3
    missing = acoustic_ad("watch", plant.sound / "missing", "--every", "0.1s", *plant.where, "--runs", "2", code=1)
    assert missing.err.count("missing") == 2


def test_wrong_options_end_it_at_once(plant):
    assert "smoke" in acoustic_ad("watch", plant.sound, *plant.where, "--exit-on", "smoke", code=2).complaint
    assert "--every" in acoustic_ad("watch", plant.sound, *plant.where, "--every", "soon", code=2).complaint
    assert "--nonsense" in acoustic_ad("watch", plant.sound, *plant.where, "--nonsense", code=2).err


def test_it_takes_all_that_score_takes():
    said = {name: acoustic_ad(name, "--help").out for name in ("score", "watch")}
    options = {name: set(re.findall(r"--[a-z-]+", text)) for name, text in said.items()}
    assert len(options["score"]) > 15
    assert options["watch"] == options["score"] | {"--runs", "--every"}


def test_new_recordings_are_scored_as_they_come(models, db, tmp_path):
    folder = tmp_path / "sound"
    write_clips(folder / "fan", "fan", range(2))
    write_clips(tmp_path / "new", "fan", [300])
    with Watch(folder, "--every", "0.5s", "--models", models, "--db", db, "--workers", "1") as watch:
        watch.until(event="summary", found=2, already_scored=2)
        shutil.move(tmp_path / "new" / clip_name(300), folder / "fan" / clip_name(300))
        watch.until(event="summary", found=3, scored=1)
        watch.until(event="summary", found=3, already_scored=3)
        assert watch.end(signal.SIGTERM) == 143
