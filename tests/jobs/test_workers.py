"""Workers: a task that hangs, dies or runs out of memory costs its own result only."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from work_in_workers import die, double, hog, load_for_long, process_id, trouble

from acoustic_ad.errors import ClipError, WorkersError
from acoustic_ad.jobs import workers as module
from acoustic_ad.jobs.lazy_workers import LazyWorkers
from acoustic_ad.jobs.limits import memory_share
from acoustic_ad.jobs.pending import CLIPS_AT_ONCE, SINGLY, deadline_s, handfuls
from acoustic_ad.jobs.workers import IN_FLIGHT, IN_RESERVE, REVIVALS, Workers, worker_pool


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_results_come_in_the_order_of_the_tasks():
    with worker_pool(2) as pool:
        tasks = [(number, None) for number in range(60)]
        assert list(pool.map(double, iter(tasks))) == [(number, 2 * number) for number in range(60)]


def frozen(_: str) -> int:
    return gc.get_freeze_count()


def test_what_is_loaded_stays_shared_between_workers():
    """A collection in a worker would write into all that the server has loaded, and so copy it."""
    with worker_pool(1) as pool:
        ((_, objects),) = pool.map(frozen, [("x", 60.0)])
    assert objects > 10_000


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


def test_trouble_in_a_handful_costs_its_own_result_only():
    """After the first clips a worker is handed several at a time: one that kills it takes none of the others along."""
    tasks = [f"fine {number}" for number in range(SINGLY + 3 * CLIPS_AT_ONCE)]
    for place, what in ((SINGLY + 1, "hang"), (SINGLY + 5, "killed"), (SINGLY + 6, "memory"), (SINGLY + 10, "exit")):
        tasks[place] = what
    codes = {"hang": "decode_timeout", "killed": "worker_died", "memory": "out_of_memory", "exit": "worker_died"}
    with worker_pool(1) as pool:
        results = list(pool.map(trouble, [(what, 1.0 if what == "hang" else 50.0) for what in tasks]))
    assert [task for task, _ in results] == tasks
    assert [getattr(result, "code", result) for _, result in results] == [codes.get(what, what) for what in tasks]


def test_a_bug_in_a_handful_is_not_a_result():
    tasks = [(f"fine {number}", 50.0) for number in range(SINGLY + 2)]
    with pytest.raises(KeyError), worker_pool(1) as pool:
        list(pool.map(trouble, [*tasks, ("bug", 50.0), ("fine", 50.0)]))


def test_handfuls_keep_the_order_and_let_long_clips_go_alone():
    tasks = [(number, 500.0 if number in (12, 13) else 30.0) for number in range(31)]
    found = list(handfuls(tasks, 2))
    assert [one for some in found for one in some] == tasks
    assert [len(some) for some in found] == [1, 1, 8, 2, 1, 1, 8, 8, 1]


@pytest.mark.parametrize(("deadline", "least", "most"), [(30.0, IN_RESERVE, IN_FLIGHT), (None, 2, 4), (500.0, 2, 4)])
def test_workers_are_supplied_before_results_are_looked_at(deadline: float | None, least: int, most: int):
    """So many tasks are taken ahead that none waits, and no more: results of long clips, as in training, are large."""
    taken = []
    with worker_pool(2) as pool:
        results = pool.map(trouble, ((taken.append(number) or f"fine {number}", deadline) for number in range(400)))
        next(results)
        assert 2 * least <= len(taken) <= 2 * most + CLIPS_AT_ONCE
        assert len(list(results)) == 399


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


def test_idle_workers_that_are_killed_are_replaced():
    """Pebble gives up when a worker dies that had nothing to do; the job does not, time and again."""
    with worker_pool(1) as pool:
        for number in range(REVIVALS + 2):
            os.kill(pool.submit(process_id, 0).result(), signal.SIGKILL)
            time.sleep(0.3)
            assert list(pool.map(double, [(number, None), (7, 60.0)])) == [(number, 2 * number), (7, 14)]


def test_workers_that_all_die_idle_end_the_job(monkeypatch):
    """Not even started: an error in words, for the user can run the job again."""
    monkeypatch.setattr(module, "start_worker", die)
    pool = Workers(2)
    with pytest.raises(WorkersError, match="run again"):
        list(pool.map(double, [(number, 60.0) for number in range(9)]))
    pool.kill()


def rehearsed(good: str):
    """A rehearsal that is given `good` to do, and notes it."""
    noted = []

    def rehearsal(task, folder):
        noted.append((task, folder.is_dir()))
        return good

    return rehearsal, noted


def test_bad_clips_in_a_row_cost_themselves_only():
    """25 of them, by workers that live: asked twice in the row and once at its end, the job goes on, in order."""
    tasks = ["exit"] * 12 + ["killed"] * 13 + ["fine", "exit"]
    rehearsal, noted = rehearsed("known to be good")
    with worker_pool(2) as pool:
        results = list(pool.map(trouble, [(what, 60.0) for what in tasks], rehearsal))
    assert [task for task, _ in results] == tasks
    assert [getattr(result, "code", result) for _, result in results] == ["worker_died"] * 25 + ["fine", "worker_died"]
    assert noted == [("exit", True), ("killed", True), ("exit", True)]


@pytest.mark.parametrize("tasks", [["fine"] * 3 + ["exit"] * 30, ["killed"]])
def test_workers_that_always_die_end_the_job(tasks):
    """No clip is blamed when even what is known to be good kills the worker; what was finished before is kept."""
    results = []
    rehearsal, _ = rehearsed("memory")
    with pytest.raises(WorkersError, match=r"every worker dies.*--worker-memory"), worker_pool(2) as pool:
        for result in pool.map(trouble, [(what, 60.0) for what in tasks], rehearsal):
            results.append(result)  # noqa: PERF402  # those before the error count
    assert results == [("fine", "fine")] * tasks.count("fine")


@pytest.mark.parametrize("how", ["numpy", "torch", "pieces"])
def test_memory_is_limited(how):
    """A clip that wants more than its worker may take is out of memory, and the same worker goes on."""
    with worker_pool(1, memory_gib=0.5) as pool:
        (_, before), (_, greedy), (_, after) = pool.map(hog, [("x", 60.0), (how, 60.0), ("y", 60.0)])
    assert (before, after) == ("x", "y")
    assert isinstance(greedy, ClipError)
    assert greedy.code == "out_of_memory" and "0.5 GiB" in greedy.reason


def test_memory_of_what_is_no_clip():
    """A decoder in C gets none, and may notice; a training, which has no deadline, takes what it needs."""
    with worker_pool(1, memory_gib=0.5) as pool:
        assert [result for _, result in pool.map(hog, [("C", 60.0), ("C", None), ("numpy", None)])] == ["0", "1", "1"]
    with worker_pool(1, memory_gib=2.0) as pool:
        assert list(pool.map(hog, [("numpy", 60.0)])) == [("numpy", "1")]


def test_loading_a_model_is_not_the_clips_fault():
    with worker_pool(1) as pool:
        tasks = [(1.2, 0.5), (0.1, 0.5)]
        assert list(pool.map(load_for_long, tasks)) == [(1.2, "loaded"), (0.1, "loaded")]
        ((_, late),) = pool.map(trouble, [("hang", 0.5)])
    assert late.code == "decode_timeout" and "0.5 s" in late.reason


def test_memory_share():
    """2 GiB each, but no more than the computer has for all, and enough for a model."""
    assert memory_share(1) <= 2.0
    assert 0.25 == memory_share(100_000) <= memory_share(2) <= memory_share(1)


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
