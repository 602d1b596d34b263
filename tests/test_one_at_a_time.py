"""Gate 6: two jobs start at the same moment on one store; one runs, the other exits 5 and says who holds it."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from cli_process import acoustic_ad, environment, finish, processes_of, rows_of, start, wait_until, write_clips

# All that takes a job's start long is done; then it waits until the gate opens for both.
RUNNER = """
import sys
import acoustic_ad.jobs.score, acoustic_ad.report.fleet, acoustic_ad.report.tables
from acoustic_ad.cli import main
print("ready", flush=True)
sys.stdin.read()
main()
"""
HELD = r"is held by another job \(host (\S+), process (\d+), since (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ)\)"


def race(*arguments: str | Path, runners: int = 2) -> list[tuple[int, subprocess.Popen[bytes], str, str]]:
    """(exit code, process, stdout, stderr) of processes that call `acoustic-ad ARGUMENTS` within milliseconds."""
    gate, opened = os.pipe()
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", RUNNER, *map(str, arguments)],
            stdin=gate,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(),
            start_new_session=True,
        )
        for _ in range(runners)
    ]
    os.close(gate)
    for process in processes:
        assert process.stdout is not None and process.stdout.readline() == b"ready\n"
    os.close(opened)
    ended = [finish(process) for process in processes]
    return [(end.code, process, end.out, end.err) for process, end in zip(processes, ended, strict=True)]


def check_pairs(folder: Path, models: Path, pairs: int) -> None:
    """Each pair finds new clips, so that the one that runs is at work for as long as the other needs to be refused."""
    db, out = folder / "x.db", folder / "rows.csv"
    for pair in range(pairs):
        write_clips(folder / "sound" / "fan", "fan", range(3 * pair, 3 * pair + 3))
        ends = race("score", folder / "sound", "--models", models, "--db", db, "--out", out, "--workers", "1", "--json")
        (code, winner, told, _), (other, _, nothing, refusal) = sorted(ends, key=lambda end: end[0])
        assert (code, other) == (0, 5), ends
        assert json.loads(told)["clips"]["scored"] == 3
        assert nothing == ""
        (line,) = refusal.splitlines()
        found = re.search(HELD, line)
        assert found is not None, line
        assert found.group(1, 2) == (socket.gethostname(), str(winner.pid))
    assert len(rows_of(out)) == 3 * pairs


def test_pairs_of_jobs_at_once(models, tmp_path):
    check_pairs(tmp_path, models, pairs=5)


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_50_pairs_of_jobs_at_once(models, tmp_path):
    check_pairs(tmp_path, models, pairs=50)


def test_the_lock_of_a_killed_job_is_free_at_once(models, tmp_path):
    """kill -9 of the job alone, in the middle of its work: the next one runs, though its workers may still be there."""
    write_clips(tmp_path / "sound" / "fan", "fan", range(4), duration_s=120.0)
    db = tmp_path / "x.db"
    arguments = ("score", tmp_path / "sound", "--models", models, "--db", db, "--workers", "1", "--json")
    job = start(*arguments)
    assert wait_until(lambda: len(processes_of(job.pid)) >= 4, 60)
    assert job.poll() is None
    held = acoustic_ad(*arguments, code=5)
    assert f"process {job.pid}" in held.complaint
    os.kill(job.pid, signal.SIGKILL)
    job.wait()
    assert json.loads((tmp_path / "x.db.lock.json").read_text())["pid"] == job.pid
    after = acoustic_ad(*arguments).json["clips"]
    assert after["scored"] + after["already_scored"] == after["found"] == 4
    assert not (tmp_path / "x.db.lock.json").exists()
    job.communicate()
    assert wait_until(lambda: not processes_of(job.pid), 10)
