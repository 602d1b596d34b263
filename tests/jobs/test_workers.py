"""Workers: a task that hangs, dies or runs out of memory costs its own result only."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from work_in_workers import double, process_id, trouble

from acoustic_ad.errors import AcousticADError, ClipError
from acoustic_ad.jobs import workers as module
from acoustic_ad.jobs.workers import LazyWorkers, Workers, deadline_s, worker_pool


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_results_come_in_the_order_of_the_tasks():
    with worker_pool(2) as pool:
        tasks = [(number, None) for number in range(60)]
        assert list(pool.map(double, iter(tasks))) == [(number, 2 * number) for number in range(60)]


def test_trouble_costs_its_own_result_only():
    """A hang is killed at its deadline, a death is noticed, and the pool goes on, in order."""
    kinds = {
        "hang": "decode_timeout",
        "exit": "worker_died",
        "hang in C": "decode_timeout",
        "killed": "worker_died",
        "memory": "out_of_memory",
    }
    tasks = ["fine", "hang", "also fine", "exit", "hang in C", "still fine", "killed", "memory", "fine at last"]
    with worker_pool(2) as pool:
        results = list(pool.map(trouble, [(what, 1.0 if what.startswith("hang") else 60.0) for what in tasks]))
    assert [task for task, _ in results] == tasks
    for task, result in results:
        if task in kinds:
            assert isinstance(result, ClipError)
            assert result.code == kinds[task]
        else:
            assert result == task


def test_no_process_is_left():
    with worker_pool(2) as pool:
        pids = {pid for _, pid in pool.map(process_id, [(number, None) for number in range(20)])}
    assert pids
    assert not any(is_alive(pid) for pid in pids)


ORPHAN = """
from work_in_workers import process_id, trouble
from acoustic_ad.jobs.workers import Workers
pool = Workers(1)
print(pool.submit(process_id, 0).result(), flush=True)
pool.submit(trouble, "hang in C").result()
"""


def test_no_worker_outlives_a_job_that_is_killed():
    """Not even one that a clip makes hang, when kill -9 takes the parent alone."""
    path = os.pathsep.join(sys.path)
    job = subprocess.Popen(
        [sys.executable, "-c", ORPHAN], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        env=os.environ | {"PYTHONPATH": path},
    )  # fmt: skip
    pid = int(job.stdout.readline())
    time.sleep(0.2)
    job.kill()
    job.communicate()
    end = time.monotonic() + 20
    while is_alive(pid) and time.monotonic() < end:
        time.sleep(0.05)
    assert not is_alive(pid)


def test_an_exception_in_the_parent_kills_what_hangs():
    with pytest.raises(KeyboardInterrupt), worker_pool(1) as pool:
        pid = pool.submit(process_id, 0).result()
        pool.submit(trouble, "hang in C")
        raise KeyboardInterrupt
    assert not is_alive(pid)


def test_a_bug_is_not_a_result():
    with pytest.raises(KeyError, match="a bug"), worker_pool(1) as pool:
        list(pool.map(trouble, [("bug", None)]))


def test_a_pool_that_breaks_down_says_so():
    """Idle workers killed from outside: an error in words, for the user can run the job again."""
    pool = Workers(1)
    pid = pool.submit(process_id, 0).result()
    os.kill(pid, 9)
    with pytest.raises(AcousticADError, match="run again"):
        for _ in range(1000):
            pool.map(process_id, [(0, None)]).__next__()
            time.sleep(0.01)
    pool.kill()


def test_lazy_workers_do_nothing_without_tasks(monkeypatch):
    monkeypatch.setattr(module, "Workers", None)
    with LazyWorkers(2) as workers:
        assert list(workers.map(double, [])) == []


def test_lazy_workers_work_once_there_is_a_task():
    with LazyWorkers(1) as workers:
        for _ in range(2):
            assert list(workers.map(double, [(1, None), (2, None)])) == [(1, 2), (2, 4)]


def test_deadline():
    """30 s and a tenth of the clip, unless the user says otherwise."""
    assert deadline_s(0.0) == 30.0
    assert deadline_s(86_400.0) == 8670.0
    assert deadline_s(86_400.0, 5.0) == 5.0
