"""Tasks that workers have been given: what becomes of them, and how many are handed over at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, TimeoutError
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from pebble import ProcessExpired

from acoustic_ad.errors import ClipError
from acoustic_ad.jobs.limits import cause_of_death
from acoustic_ad.jobs.worker_process import Raised

if TYPE_CHECKING:
    from acoustic_ad.jobs.workers import Workers

Task = TypeVar("Task")
Future = Any  # pebble's ProcessFuture, which has no typed result

# What a clip's deadline grants on top of a tenth of its length.
DEADLINE_S = 30.0
# Clips that a worker is handed at a time: to hand over takes the parent about as long as a fifth of a clip takes.
# The first ones go singly, so that few clips are spread over all workers.
CLIPS_AT_ONCE = 8
SINGLY = 4  # a worker
LONG_S = 2 * DEADLINE_S  # clips with a longer deadline go singly, too


def deadline_s(duration_s: float, clip_timeout_s: float | None = None) -> float:
    """Seconds that a worker may spend on a clip of this length before it is killed."""
    return DEADLINE_S + duration_s / 10.0 if clip_timeout_s is None else clip_timeout_s


@dataclass(eq=False, slots=True)
class Pending:
    """Tasks in work in one worker. They outlive the pool that was to do them: another one takes them over."""

    function: Callable[[Any], Any]
    tasks: Sequence[Any]
    deadlines: Sequence[float | None]
    workers: Workers
    future: Future = None

    @property
    def deadline(self) -> float | None:
        """Of all of them together; None where one has none."""
        known = [deadline for deadline in self.deadlines if deadline is not None]
        return sum(known) if len(known) == len(self.deadlines) else None

    @property
    def weight(self) -> int:
        """Clips, as far as those in flight are limited: a long one, or one without a deadline, counts as a handful."""
        return CLIPS_AT_ONCE if is_long(self.deadlines[0]) else len(self.tasks)

    def results(self) -> list[Any]:
        """Wait for them; what one raised stands in the place of its result. Raises what a worker's death raises."""
        found: list[Any] = self.workers.wait_for(self)
        return found

    def result(self) -> Any:
        """Wait for the only one. Raises what the function raises, and what `outcome` translates."""
        (found,) = self.results()
        if isinstance(found, Raised):
            raise found.error
        return found


def outcome(pending: Pending) -> Any:
    """What became of a task: its result, or a ClipError where the worker was killed, died or ran out of memory."""
    try:
        return pending.result()
    except TimeoutError:
        return ClipError("decode_timeout", "its worker was lost")
    except ProcessExpired as error:
        return cause_of_death(error.exitcode, pending.deadline)
    except MemoryError:
        return pending.workers.out_of_memory()


def is_long(deadline_s: float | None) -> bool:
    """Whether a clip with this deadline is handed over alone."""
    return deadline_s is None or deadline_s > LONG_S


def handfuls(tasks: Iterable[tuple[Task, float | None]], singly: int) -> Iterator[list[tuple[Task, float | None]]]:
    """The tasks in their order, `singly` at first and then a few at a time."""
    some: list[tuple[Task, float | None]] = []
    for number, (task, deadline) in enumerate(tasks):
        alone = number < singly or is_long(deadline)
        if alone and some:
            yield some
            some = []
        some.append((task, deadline))
        if alone or len(some) == CLIPS_AT_ONCE:
            yield some
            some = []
    if some:
        yield some


def is_over(pending: Pending) -> bool:
    """Whether a task has ended in whatever way, but for the end of its pool."""
    if pending.future is None or not pending.future.done() or pending.future.cancelled():
        return False
    return not isinstance(pending.future.exception(), BrokenExecutor)


def is_death(result: Any) -> bool:
    return getattr(result, "code", None) in ("worker_died", "out_of_memory")
