"""`acoustic-ad watch`: the same job again and again in one process, which only a signal or --runs ends."""

from __future__ import annotations

import json
import shutil
import signal
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from typing import Any

import pytest
from cli_process import acoustic_ad, clip_name, finish, processes_of, start, wait_until, write_clips

from acoustic_ad.errors import LockedError
from acoustic_ad.jobs.lock import hold_lock
from acoustic_ad.models.registry import Registry


class Watch:
    """A watch at work, and the events of its log."""

    def __init__(self, *args: Any) -> None:
        self.process = start("watch", *args, "--log-format", "json", stdout=subprocess.DEVNULL)

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
        self.process.send_signal(number)
        finished = finish(self.process)
        assert [json.loads(line)["event"] for line in finished.err.splitlines()][-1] == "error"
        assert wait_until(lambda: not processes_of(self.process.pid), 5)
        return finished.code


@pytest.fixture
def sound(tmp_path):
    folder = tmp_path / "sound"
    write_clips(folder / "fan", "fan", range(2))
    return folder


def test_it_survives_what_goes_wrong_and_takes_new_models(sound, recordings, recipe, own_models, db, tmp_path):
    watch = Watch(sound, "--every", "0.2s", "--models", own_models, "--db", db, "--workers", "1")
    try:
        watch.until(event="run_ended", exit_code=0)
        sound.rename(tmp_path / "unmounted")
        gone = watch.until(event="run_ended", exit_code=1)
        assert any("sound" in str(said.get("reason")) for said in gone)
        (tmp_path / "unmounted").rename(sound)
        watch.until(event="run_ended", exit_code=0)
        with ExitStack() as stack:

            def take() -> bool:
                """Between two runs."""
                with suppress(LockedError):
                    stack.enter_context(hold_lock(db))
                    return True
                return False

            assert wait_until(take, 60)
            watch.until(event="run_ended", exit_code=5)
        watch.until(event="run_ended", exit_code=0)
        before = Registry(own_models).digest_as_said("fan")
        data = tmp_path / "data"
        write_clips(data / "fan", "fan", range(12))
        acoustic_ad("train", data, "--recipe", recipe, "--models", own_models, "--workers", "1")
        now = Registry(own_models).digest_as_said("fan")
        assert now != before
        write_clips(tmp_path / "new", "fan", [300])
        shutil.move(tmp_path / "new" / clip_name(300), sound / "fan" / clip_name(300))
        watch.until(event="summary", scored=1)
        watch.until(event="run_ended", exit_code=0)
        with sqlite3.connect(db) as store:
            query = "select model from clip_scores where clip_id = ?"
            assert store.execute(query, (f"fan/{clip_name(300)}",)).fetchall() == [(now,)]
        assert watch.end(signal.SIGTERM) == 143
    finally:
        watch.process.kill()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_it_ends_between_runs(number, code, sound, models, db):
    watch = Watch(sound, "--every", "1h", "--models", models, "--db", db)
    try:
        watch.until(event="run_ended", exit_code=0)
        assert watch.end(number) == code
    finally:
        watch.process.kill()


def test_so_many_runs(sound, models, db):
    """--runs ends it with the last code; its memory does not grow, and each run tells what `score` tells."""
    arguments = ("--every", "0.1s", "--models", models, "--db", db)
    run = acoustic_ad("watch", sound, *arguments, "--runs", "3")
    assert run.out.count("fan ") >= 3
    assert run.err.count("2 already scored") == 3
    assert acoustic_ad("watch", sound / "missing", *arguments, "--runs", "2", code=1).err.count("missing") == 2


def test_wrong_options_end_it_at_once(sound, models, db):
    arguments = ("--models", models, "--db", db)
    assert "smoke" in acoustic_ad("watch", sound, *arguments, "--exit-on", "smoke", code=2).complaint
    assert "--every" in acoustic_ad("watch", sound, *arguments, "--every", "soon", code=2).complaint
    assert "--nonsense" in acoustic_ad("watch", sound, *arguments, "--nonsense", code=2).err


def test_it_takes_all_that_score_takes():
    options = {name: set(acoustic_ad(name, "--help").out.split()) for name in ("score", "watch")}
    of = {name: {word for word in words if word.startswith("--")} for name, words in options.items()}
    assert len(of["score"]) > 10
    assert of["watch"] - of["score"] >= {"--every", "--runs"}
    assert of["score"] <= of["watch"]


def test_its_memory_does_not_grow(sound, models, db):
    """Resident memory after 10 runs and after 60 of them."""
    watch = Watch(sound, "--every", "0.01s", "--models", models, "--db", db)
    try:
        taken = []
        for runs in (10, 50):
            for _ in range(runs):
                watch.until(event="run_ended", exit_code=0)
            with open(f"/proc/{watch.process.pid}/statm") as file:  # noqa: PTH123
                taken.append(int(file.read().split()[1]) * 4096)
        assert taken[1] - taken[0] < 20e6, taken
        watch.end(signal.SIGTERM)
    finally:
        watch.process.kill()
