"""Worker processes that can be killed: each clip has a deadline, and a bad file costs its own row only."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import BrokenExecutor, TimeoutError
from contextlib import contextmanager
from itertools import chain
from multiprocessing import forkserver, resource_tracker
from typing import Any, TypeVar

from pebble import ProcessExpired, ProcessPool

from acoustic_ad.errors import AcousticADError, ClipError

Task = TypeVar("Task")
Result = TypeVar("Result")
Future = Any  # pebble's ProcessFuture, which has no typed result
ProgressPipe = Any  # multiprocessing's SimpleQueue, which has no public generic type

# Loaded once, before any worker is forked: they bring torch and scikit-learn with them.
PRELOADED = ["acoustic_ad.jobs.clip_work", "acoustic_ad.jobs.train_work"]

# What a clip's deadline grants on top of a tenth of its length: opening the file, loading the model.
DEADLINE_S = 30.0
# Futures in flight per worker: enough that none waits for the parent, few enough that an interrupt drops little.
IN_FLIGHT = 8


def deadline_s(duration_s: float, clip_timeout_s: float | None = None) -> float:
    """Seconds that a worker may spend on a clip of this length before it is killed."""
    return DEADLINE_S + duration_s / 10.0 if clip_timeout_s is None else clip_timeout_s


class Workers:
    """A pool of single-threaded processes.

    The processes are forked from a small server that has the heavy libraries loaded already and has run nothing, so a
    worker that had to be killed is replaced within milliseconds, and no thread or open file of the parent is copied.
    """

    def __init__(self, count: int, *, progress: ProgressPipe | None = None) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(PRELOADED)
        _start_fork_server(context)
        self.count = count
        self._pool = ProcessPool(count, initializer=_start_worker, initargs=(progress,), context=context)

    def submit(self, function: Callable[[Task], Result], task: Task, deadline: float | None = None) -> Future:
        """Start `function(task)` in a worker that is killed when it takes longer than `deadline` seconds."""
        try:
            with _undisturbed():
                return self._pool.schedule(function, args=[task], timeout=deadline)
        except RuntimeError as error:  # pebble's word for a pool that broke down
            raise _broken() from error

    def map(
        self, function: Callable[[Task], Result], tasks: Iterable[tuple[Task, float | None]]
    ) -> Iterator[tuple[Task, Result | ClipError]]:
        """Yield (task, result) in the order of the tasks, each given as (task, deadline in seconds or None).

        The result is a ClipError `decode_timeout`, `worker_died` or `out_of_memory` where the worker had to be killed,
        died or ran out of memory. Any other exception of the function is raised here: it is a bug.
        """
        waiting: deque[tuple[Task, Future]] = deque()
        for task, deadline in tasks:
            waiting.append((task, self.submit(function, task, deadline)))
            if len(waiting) >= IN_FLIGHT * self.count or waiting[0][1].done():
                first, future = waiting.popleft()
                yield first, outcome(future)
        while waiting:
            first, future = waiting.popleft()
            yield first, outcome(future)

    def close(self) -> None:
        """Wait for the workers to end; kill them when interrupted meanwhile."""
        try:
            self._pool.close()  # type: ignore[no-untyped-call]
            self._pool.join()
        except BaseException:
            self.kill()
            raise

    def kill(self) -> None:
        """End the workers now, whatever they do."""
        self._pool.stop()  # type: ignore[no-untyped-call]
        self._pool.join(timeout=5)


class LazyWorkers:
    """Workers that start with the first task: a run with nothing to do loads no model and no torch."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._workers: Workers | None = None

    def map(
        self, function: Callable[[Task], Result], tasks: Iterable[tuple[Task, float | None]]
    ) -> Iterator[tuple[Task, Result | ClipError]]:
        """As `Workers.map`."""
        ahead = iter(tasks)
        first = next(ahead, None)
        if first is None:
            return
        if self._workers is None:
            self._workers = Workers(self._count)
        yield from self._workers.map(function, chain([first], ahead))

    def __enter__(self) -> LazyWorkers:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if self._workers is not None:
            self._workers.close() if kind is None else self._workers.kill()


@contextmanager
def worker_pool(count: int, *, progress: ProgressPipe | None = None) -> Iterator[Workers]:
    """Workers that are gone when the block ends, killed if it ends by an exception."""
    workers = Workers(count, progress=progress)
    try:
        yield workers
    except BaseException:
        workers.kill()
        raise
    workers.close()


def progress_pipe() -> ProgressPipe:
    """A pipe by which workers tell the parent how far they are; hand it to `worker_pool`."""
    return multiprocessing.get_context("forkserver").SimpleQueue()


def tell_progress(news: Any) -> None:
    """In a worker: send news to the parent, if it wants any."""
    if _progress is not None:
        _progress.put(news)


def outcome(future: Future) -> Any:
    """What became of a task: its result, or a ClipError where the worker was killed, died or ran out of memory."""
    try:
        return future.result()
    except TimeoutError:
        return ClipError("decode_timeout", "not done within its deadline; the worker was killed")
    except ProcessExpired as error:
        return ClipError("worker_died", f"exit code {error.exitcode}")
    except MemoryError:
        return ClipError("out_of_memory", "the worker ran out of memory")
    except BrokenExecutor as error:
        raise _broken() from error


def _broken() -> AcousticADError:
    """Pebble gives up when a worker dies that had nothing to do."""
    return AcousticADError(
        "the worker processes were killed from outside, or ran out of memory; what was finished is kept: run again, "
        "with fewer --workers if memory is short"
    )


def _start_fork_server(context: Any) -> None:
    """Start it and wait until it has loaded its libraries, which takes seconds: it must be possible to interrupt that.

    It is deaf to Ctrl-C, which the terminal sends to the whole group. It is mute, because what is ended while it starts
    would show its traceback, and because a pipe behind the program would wait for the server's end too.
    """
    resource_tracker.ensure_running()
    kept, null = [(number, os.dup(number)) for number in (1, 2)], os.open(os.devnull, os.O_WRONLY)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    for number, _ in kept:
        os.dup2(null, number)
    try:
        forkserver.ensure_running()
    finally:
        for number, copy in kept:
            os.dup2(copy, number)
            os.close(copy)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        os.close(null)
    try:
        first = context.Process(target=_nothing)
        first.start()
        first.join()
    except BaseException:
        pid = getattr(getattr(forkserver, "_forkserver", None), "_forkserver_pid", None)
        if pid is not None:  # the exit of this process would wait for it
            os.kill(pid, signal.SIGKILL)
        raise


def _nothing() -> None:
    pass


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Let signals wait until the block is over.

    Their handlers raise; inside a lock's or queue's bookkeeping, that can leave another thread waiting for ever.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    arrived: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM)
    previous = [(number, signal.signal(number, lambda number, frame: arrived.append(number))) for number in numbers]
    try:
        yield
    finally:
        for number, handler in previous:
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        for late in arrived:
            signal.raise_signal(late)


_progress: ProgressPipe | None = None


def _start_worker(progress: ProgressPipe | None) -> None:
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
    import torch
    from threadpoolctl import threadpool_limits

    # One thread a worker, for torch and for what numpy computes with: more threads than cores wait for one another.
    torch.set_num_threads(1)
    threadpool_limits(1)


def _end_with_the_job() -> None:
    """Where the job is killed, a worker that a clip makes hang must not outlive it."""
    job = multiprocessing.parent_process()
    if job is not None:
        job.join()
        os.kill(os.getpid(), signal.SIGKILL)
