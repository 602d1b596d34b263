"""Two jobs that start at once on one store: always exactly one runs, and the other says which (gate 6)."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from cli_process import acoustic_ad, finish, start, write_clips


def run_pairs(models: Path, root: Path, pairs: int) -> None:
    """Each pair has a store of its own, so that whoever runs has work for seconds: more than the other needs to ask."""
    write_clips(root / "sound" / "fan", "fan", range(60))
    for number in range(pairs):
        db = root / f"{number}.db"
        arguments = ("score", root / "sound", "--models", models, "--db", db, "--workers", "1", "--json")
        processes = [start(*arguments) for _ in range(2)]
        ended = [finish(process) for process in processes]
        assert sorted(one.code for one in ended) == [0, 5], ended
        winner = 0 if ended[0].code == 0 else 1
        assert f"process {processes[winner].pid}" in ended[1 - winner].complaint
        assert ended[winner].json["clips"]["scored"] == 60
        with sqlite3.connect(db) as store:
            assert store.execute("select count(*) from runs").fetchone() == (1,)
            assert store.execute("select count(*) from clip_scores").fetchone() == (60,)
            assert store.execute("pragma integrity_check").fetchone() == ("ok",)
        store.close()
    # Nobody holds the last store any more.
    assert acoustic_ad(*arguments).json["clips"]["already_scored"] == 60


def test_of_two_jobs_at_once_one_runs(models, tmp_path):
    run_pairs(models, tmp_path, 3)


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_of_two_jobs_at_once_one_runs_50_times(models, tmp_path):
    run_pairs(models, tmp_path, 50)
