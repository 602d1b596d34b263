"""Worker processes that can be killed: each clip has a deadline, and a bad file costs its own row only."""

from __future__ import annotations

import math
import multiprocessing
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import BrokenExecutor, TimeoutError, wait
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

from pebble import ProcessExpired, ProcessPool

from acoustic_ad.errors import ClipError, WorkersError
from acoustic_ad.jobs.fork_server import PRELOADED, start_fork_server, startable, undisturbed
from acoustic_ad.jobs.limits import LOADING_S, cause_of_death, memory_share
from acoustic_ad.jobs.worker_process import ProgressPipe, start_worker, work

Task = TypeVar("Task")
Result = TypeVar("Result")
Future = Any  # pebble's ProcessFuture, which has no typed result

# Assumed when a file's length is not known yet: bytes a second of 16 kHz, 16 bit, one channel, packed to a half.
BYTES_A_SECOND = 16_000
# What a clip's deadline grants on top of a tenth of its length.
DEADLINE_S = 30.0
# Futures in flight per worker: enough that none waits for the parent, few enough that an interrupt drops little.
IN_FLIGHT = 8
# So long after a deadline the worker would have ended itself, were it not lost.
LOST_S = 10.0
LOOK_AGAIN_S = 1.0
# Pools that may break down without a result between them, and the rest that the system gets after each.
REVIVALS = 3
REVIVAL_PAUSE_S = 0.5
# So many clips may cost their worker one after the other before it is asked whether workers live at all.
DEATHS_IN_A_ROW = 10


def deadline_s(duration_s: float, clip_timeout_s: float | None = None) -> float:
    """Seconds that a worker may spend on a clip of this length before it is killed."""
    return DEADLINE_S + duration_s / 10.0 if clip_timeout_s is None else clip_timeout_s


@dataclass(eq=False, slots=True)
class Pending:
    """A task in work. It outlives the pool that was to do it: another one takes it over."""

    function: Callable[[Any], Any]
    task: Any
    deadline: float | None
    workers: Workers
    future: Future = None

    def result(self) -> Any:
        """Wait for it. Raises what the function raises, and what `outcome` translates."""
        return self.workers.wait_for(self)


class Workers:
    """A pool of single-threaded processes.

    The processes are forked from a small server that has the heavy libraries loaded already and has run nothing, so a
    worker that had to be killed is replaced within milliseconds, and no thread or open file of the parent is copied.
    """

    def __init__(self, count: int, *, memory_gib: float | None = None, progress: ProgressPipe | None = None) -> None:
        """`memory_gib`: what each worker may take for clips, beyond its libraries; `memory_share` where it is None."""
        self.count = count
        self.memory_gib = memory_share(count) if memory_gib is None else memory_gib
        self._progress = progress
        self._pending: dict[int, Pending] = {}
        self._revivals = 0
        self._pool = self._new_pool()

    def _new_pool(self) -> ProcessPool:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(PRELOADED)
        arguments = (self._progress, self.memory_gib)
        with startable():
            start_fork_server(context)
            return ProcessPool(self.count, initializer=start_worker, initargs=arguments, context=context)

    def submit(self, function: Callable[[Task], Result], task: Task, deadline: float | None = None) -> Pending:
        """Start `function(task)` in a worker.

        With a deadline it is work at a clip: the worker is killed after that many seconds, and limited in memory.
        """
        pending = Pending(function, task, deadline, self)
        self._pending[id(pending)] = pending
        if not self._schedule(pending):
            self._revive()
        return pending

    def _schedule(self, pending: Pending) -> bool:
        """False where the pool has broken down."""
        arguments = [pending.function, pending.task, pending.deadline]
        # The worker keeps the deadline itself; this one is for what no signal reaches.
        timeout = None if pending.deadline is None else pending.deadline + LOADING_S + LOST_S
        try:
            with startable(), undisturbed():  # pebble starts its processes with the first task
                pending.future = self._pool.schedule(work, args=arguments, timeout=timeout)
        except RuntimeError:  # pebble's word for a pool that broke down
            return False
        return True

    def map(
        self,
        function: Callable[[Task], Result],
        tasks: Iterable[tuple[Task, float | None]],
        rehearsal: Callable[[Task, Path], Task] | None = None,
    ) -> Iterator[tuple[Task, Result | ClipError]]:
        """Yield (task, result) in the order of the tasks, each given as (task, deadline in seconds or None).

        The result is a ClipError `decode_timeout`, `worker_died` or `out_of_memory` where the worker had to be killed,
        died or ran out of memory. `rehearsal(task, folder)` makes a task of the same kind that is known to be good:
        with it, results of the two latter kinds are withheld until a worker is seen to live. Raises WorkersError where
        all die. Any other exception of the function is raised here: it is a bug.
        """
        results = self._results(function, tasks)
        return results if rehearsal is None else self._acquitted(results, function, rehearsal)

    def _results(
        self, function: Callable[[Task], Result], tasks: Iterable[tuple[Task, float | None]]
    ) -> Iterator[tuple[Task, Result | ClipError]]:
        waiting: deque[Pending] = deque()
        for task, deadline in tasks:
            waiting.append(self.submit(function, task, deadline))
            if len(waiting) >= IN_FLIGHT * self.count or waiting[0].future.done():
                first = waiting.popleft()
                yield first.task, outcome(first)
        while waiting:
            first = waiting.popleft()
            yield first.task, outcome(first)

    def _acquitted(
        self,
        results: Iterator[tuple[Task, Result | ClipError]],
        function: Callable[[Task], Result],
        rehearsal: Callable[[Task, Path], Task],
    ) -> Iterator[tuple[Task, Result | ClipError]]:
        """The same results; clips are blamed for deaths only when workers live that do the same work."""
        accused: list[tuple[Task, Result | ClipError]] = []
        for task, result in results:
            accused.append((task, result))
            if not _is_death(result):
                yield from accused
                accused.clear()
            elif len(accused) >= DEATHS_IN_A_ROW:
                self._rehearse(function, task, rehearsal)
                yield from accused
                accused.clear()
        if accused:
            self._rehearse(function, accused[0][0], rehearsal)
            yield from accused

    def _rehearse(
        self, function: Callable[[Task], Result], task: Task, rehearsal: Callable[[Task, Path], Task]
    ) -> None:
        with TemporaryDirectory(prefix="acoustic-ad-") as folder:
            result = outcome(self.submit(function, rehearsal(task, Path(folder)), DEADLINE_S))
        if _is_death(result):
            raise WorkersError(
                f"every worker dies, even on a sound that is known to be good ({result.code}: {result.reason}); what "
                "was finished is kept: free memory, or allow more with --worker-memory, and run again"
            )

    def wait_for(self, pending: Pending) -> Any:
        """The result of a task; the pool is made anew where it breaks down meanwhile. See `Pending.result`."""
        begun = time.monotonic()
        while not _is_over(pending):
            wait([pending.future], LOOK_AGAIN_S)
            broken = pending.future.done() or not self._pool.active
            if not _is_over(pending) and (broken or time.monotonic() - begun > self._patience_s()):
                self._revive()
                begun = time.monotonic()
        del self._pending[id(pending)]
        result = pending.future.result()
        self._revivals = 0
        return result

    def _patience_s(self) -> float:
        """Tasks are begun in their order: the first waits for what was begun before it, and has its own deadline."""
        deadlines = [pending.deadline for pending in self._pending.values()]
        return 2 * (max(math.inf if deadline is None else deadline for deadline in deadlines) + LOADING_S + LOST_S)

    def _revive(self) -> None:
        """Make the pool anew, and give it what the old one had not done.

        Pebble gives up when a worker dies that had nothing to do. That may be the system, which is short of memory.
        """
        while True:
            self._revivals += 1
            if self._revivals > REVIVALS:
                raise WorkersError(
                    "the worker processes were killed from outside again and again, as a system does that is short of "
                    "memory; what was finished is kept: free memory, and run again, perhaps with fewer --workers"
                )
            self.kill()
            time.sleep(REVIVAL_PAUSE_S)
            self._pool = self._new_pool()
            if all(self._schedule(pending) for pending in self._pending.values() if not _is_over(pending)):
                return

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

    def __init__(self, count: int, memory_gib: float | None = None) -> None:
        self._count, self._memory_gib = count, memory_gib
        self._workers: Workers | None = None

    def map(
        self,
        function: Callable[[Task], Result],
        tasks: Iterable[tuple[Task, float | None]],
        rehearsal: Callable[[Task, Path], Task] | None = None,
    ) -> Iterator[tuple[Task, Result | ClipError]]:
        """As `Workers.map`."""
        ahead = iter(tasks)
        first = next(ahead, None)
        if first is None:
            return
        if self._workers is None:
            self._workers = Workers(self._count, memory_gib=self._memory_gib)
        yield from self._workers.map(function, chain([first], ahead), rehearsal)

    def __enter__(self) -> LazyWorkers:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if self._workers is not None:
            self._workers.close() if kind is None else self._workers.kill()


@contextmanager
def worker_pool(
    count: int, *, memory_gib: float | None = None, progress: ProgressPipe | None = None
) -> Iterator[Workers]:
    """Workers that are gone when the block ends, killed if it ends by an exception."""
    workers = Workers(count, memory_gib=memory_gib, progress=progress)
    try:
        yield workers
    except BaseException:
        workers.kill()
        raise
    workers.close()


def progress_pipe() -> ProgressPipe:
    """A pipe by which workers tell the parent how far they are; hand it to `worker_pool`."""
    return multiprocessing.get_context("forkserver").SimpleQueue()


def outcome(pending: Pending) -> Any:
    """What became of a task: its result, or a ClipError where the worker was killed, died or ran out of memory."""
    try:
        return pending.result()
    except TimeoutError:
        return ClipError("decode_timeout", "its worker was lost")
    except ProcessExpired as error:
        return cause_of_death(error.exitcode, pending.deadline)
    except MemoryError:
        return ClipError("out_of_memory", f"more than the {pending.workers.memory_gib:.3g} GiB that a worker may take")


def _is_over(pending: Pending) -> bool:
    """Whether a task has ended in whatever way, but for the end of its pool."""
    if pending.future is None or not pending.future.done() or pending.future.cancelled():
        return False
    return not isinstance(pending.future.exception(), BrokenExecutor)


def _is_death(result: Any) -> bool:
    return getattr(result, "code", None) in ("worker_died", "out_of_memory")
