"""Worker processes that can be killed: each clip has a deadline, and a bad file costs its own row only."""

from __future__ import annotations

import math
import multiprocessing
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import TimeoutError, wait
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

from pebble import ProcessExpired, ProcessPool

from acoustic_ad.errors import ClipError, WorkersError
from acoustic_ad.jobs.fork_server import Libraries, start_fork_server, startable, undisturbed, worker_context
from acoustic_ad.jobs.limits import LOADING_S, memory_share
from acoustic_ad.jobs.pending import (
    CLIPS_AT_ONCE,
    DEADLINE_S,
    SINGLY,
    Pending,
    handfuls,
    is_death,
    is_over,
    outcome,
)
from acoustic_ad.jobs.worker_process import ProgressPipe, Raised, start_worker, work_all

Task = TypeVar("Task")
Result = TypeVar("Result")
Future = Any  # pebble's ProcessFuture, which has no typed result

# Assumed when a file's length is not known yet: bytes a second of 16 kHz, 16 bit, one channel, packed to a half.
BYTES_A_SECOND = 16_000
# Clips in flight per worker: enough that none waits for the parent, few enough that an interrupt drops little.
IN_FLIGHT = 4 * CLIPS_AT_ONCE
# With fewer than these to do, a worker gets more before results are looked at: storing a batch takes a while.
IN_RESERVE = 2 * CLIPS_AT_ONCE
# So long after a deadline the worker would have ended itself, were it not lost.
LOST_S = 10.0
LOOK_AGAIN_S = 1.0
# Pools that may break down without a result between them, and the rest that the system gets after each.
REVIVALS = 3
REVIVAL_PAUSE_S = 0.5
# So many clips may cost their worker one after the other before it is asked whether workers live at all.
DEATHS_IN_A_ROW = 10


class Workers:
    """A pool of single-threaded processes.

    The processes are forked from a small server that has the heavy libraries loaded already and has run nothing, so a
    worker that had to be killed is replaced within milliseconds, and no thread or open file of the parent is copied.
    """

    def __init__(
        self,
        count: int,
        *,
        memory_gib: float | None = None,
        progress: ProgressPipe | None = None,
        libraries: Libraries = "torch",
    ) -> None:
        """`memory_gib`: what each worker may take for clips, beyond its libraries; `memory_share` where it is None.

        `libraries` are loaded beforehand. They stay those of the first workers that a process starts.
        """
        self.count = count
        self.memory_gib = memory_share(count) if memory_gib is None else memory_gib
        self._progress, self._libraries = progress, libraries
        self._pending: dict[int, Pending] = {}
        self._revivals = 0
        self._pool = self._new_pool()

    def _new_pool(self) -> ProcessPool:
        context = worker_context(self._libraries)
        arguments = (self._progress, self.memory_gib)
        with startable():
            start_fork_server(context)
            return ProcessPool(self.count, initializer=start_worker, initargs=arguments, context=context)

    def submit(self, function: Callable[[Task], Result], task: Task, deadline: float | None = None) -> Pending:
        """Start `function(task)` in a worker.

        With a deadline it is work at a clip: the worker is killed after that many seconds, and limited in memory.
        """
        return self._submit(function, [task], [deadline])

    def _submit(
        self, function: Callable[[Task], Result], tasks: Sequence[Task], deadlines: Sequence[float | None]
    ) -> Pending:
        pending = Pending(function, tasks, deadlines, self)
        self._pending[id(pending)] = pending
        if not self._schedule(pending):
            self._revive()
        return pending

    def _schedule(self, pending: Pending) -> bool:
        """False where the pool has broken down."""
        arguments = [pending.function, pending.tasks, pending.deadlines]
        # The worker keeps the deadline itself; this one is for what no signal reaches.
        timeout = None if pending.deadline is None else pending.deadline + LOADING_S + LOST_S
        try:
            with startable(), undisturbed():  # pebble starts its processes with the first task
                pending.future = self._pool.schedule(work_all, args=arguments, timeout=timeout)
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
        for some in handfuls(tasks, SINGLY * self.count):
            waiting.append(self._submit(function, [task for task, _ in some], [deadline for _, deadline in some]))
            while waiting and self._is_well_supplied(waiting):
                yield from self._outcomes(waiting.popleft())
        while waiting:
            yield from self._outcomes(waiting.popleft())

    def _is_well_supplied(self, waiting: Iterable[Pending]) -> bool:
        """Whether there is time for the first result: workers have enough to do meanwhile, or as much as allowed."""
        first, *_ = waiting
        to_do = sum(pending.weight for pending in waiting if not pending.future.done())
        in_flight = sum(pending.weight for pending in waiting)
        ready = first.future.done() and to_do >= IN_RESERVE * self.count
        return ready or in_flight >= IN_FLIGHT * self.count

    def _outcomes(self, pending: Pending) -> Iterator[tuple[Any, Any]]:
        """(task, result) of each. Where one of several took the worker along, each shows alone whether it did."""
        try:
            found = pending.results() if len(pending.tasks) > 1 else [outcome(pending)]
        except (TimeoutError, ProcessExpired):
            for task, deadline in zip(pending.tasks, pending.deadlines, strict=True):
                yield task, outcome(self.submit(pending.function, task, deadline))
            return
        for task, result in zip(pending.tasks, found, strict=True):
            if isinstance(result, Raised):
                if not isinstance(result.error, MemoryError):
                    raise result.error
                result = self.out_of_memory()
            yield task, result

    def out_of_memory(self) -> ClipError:
        """What is said of a clip that takes more than a worker may take."""
        return ClipError("out_of_memory", f"more than the {self.memory_gib:.3g} GiB that a worker may take")

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
            if not is_death(result):
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
        if is_death(result):
            raise WorkersError(
                f"every worker dies, even on a sound that is known to be good ({result.code}: {result.reason}); what "
                "was finished is kept: free memory, or allow more with --worker-memory, and run again"
            )

    def wait_for(self, pending: Pending) -> Any:
        """The result of a task; the pool is made anew where it breaks down meanwhile. See `Pending.result`."""
        begun = time.monotonic()
        while not is_over(pending):
            wait([pending.future], LOOK_AGAIN_S)
            broken = pending.future.done() or not self._pool.active
            if not is_over(pending) and (broken or time.monotonic() - begun > self._patience_s()):
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
            if all(self._schedule(pending) for pending in self._pending.values() if not is_over(pending)):
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


@contextmanager
def worker_pool(
    count: int,
    *,
    memory_gib: float | None = None,
    progress: ProgressPipe | None = None,
    libraries: Libraries = "torch",
) -> Iterator[Workers]:
    """Workers that are gone when the block ends, killed if it ends by an exception."""
    workers = Workers(count, memory_gib=memory_gib, progress=progress, libraries=libraries)
    try:
        yield workers
    except BaseException:
        workers.kill()
        raise
    workers.close()


def progress_pipe() -> ProgressPipe:
    """A pipe by which workers tell the parent how far they are; hand it to `worker_pool`."""
    return multiprocessing.get_context("forkserver").SimpleQueue()
