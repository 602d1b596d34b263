"""Inside a worker: how it starts, works at one task, tells how far it is, and ends with its job."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from acoustic_ad.jobs.limits import begin_worker, limited

ProgressPipe = Any  # multiprocessing's SimpleQueue, which has no public generic type

# glibc's numbers for `mallopt` (malloc.h), and bytes: a clip's arrays are smaller, one by one and together.
_TRIM_THRESHOLD: Final = (-1, 64 << 20)
_MMAP_THRESHOLD: Final = (-3, 32 << 20)

_progress: ProgressPipe | None = None


@dataclass(frozen=True, slots=True)
class Raised:
    """What a task raised, in the place of its result."""

    error: Exception


def tell_progress(news: Any) -> None:
    """In a worker: send news to the parent, if it wants any."""
    if _progress is not None:
        _progress.put(news)


def work(function: Callable[[Any], Any], task: Any, deadline_s: float | None) -> Any:
    """`function(task)`; with a deadline it is work at a clip, which is limited in time and memory."""
    if deadline_s is None:
        return function(task)
    with limited(deadline_s):
        return function(task)


def work_all(function: Callable[[Any], Any], tasks: Sequence[Any], deadlines_s: Sequence[float | None]) -> list[Any]:
    """What `work` makes of each task; an exception stands in the place of a result, so that the others are kept."""
    results: list[Any] = []
    for task, deadline_s in zip(tasks, deadlines_s, strict=True):
        try:
            results.append(work(function, task, deadline_s))
        except Exception as error:
            error.add_note(traceback.format_exc())
            results.append(Raised(error))
    return results


def start_worker(progress: ProgressPipe | None, memory_gib: float) -> None:
    """Settle a new worker: signals, streams, threads, limits."""
    global _progress
    _progress = progress
    # The terminal sends Ctrl-C to the whole group; only the parent answers it, and ends the workers in order.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_with_the_job, daemon=True).start()
    # Decoders write warnings of their own to standard error, which belongs to the progress bar.
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    os.close(null)
    from threadpoolctl import threadpool_limits

    # One thread a worker, for torch and for what numpy computes with: more threads than cores wait for one another.
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
    threadpool_limits(1)
    begin_worker(memory_gib)
    keep_freed_memory()


def keep_freed_memory() -> None:
    """What one clip's arrays lay in serves the next clip's.

    Else glibc hands it back to the system clip by clip, and gets it again page by page, which takes up to a tenth of
    the time. Other C libraries have no such setting.
    """
    with suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        for parameter, size in (_TRIM_THRESHOLD, _MMAP_THRESHOLD):
            mallopt(parameter, size)


def _end_with_the_job() -> None:
    """Where the job is killed, a worker that a clip makes hang must not outlive it."""
    job = multiprocessing.parent_process()
    if job is not None:
        job.join()
        os.kill(os.getpid(), signal.SIGKILL)
