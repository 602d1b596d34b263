"""Workers that are started once there is work."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from pathlib import Path

from acoustic_ad.detectors.base import Runtime
from acoustic_ad.errors import ClipError
from acoustic_ad.jobs.workers import Result, Task, Workers


class LazyWorkers:
    """Workers that start with the first task: a run with nothing to do loads no model and no torch."""

    def __init__(self, count: int, memory_gib: float | None = None, runtime: Runtime = "torch") -> None:
        self._count, self._memory_gib, self._runtime = count, memory_gib, runtime
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
            self._workers = Workers(self._count, memory_gib=self._memory_gib, libraries=self._runtime)
        yield from self._workers.map(function, chain([first], ahead), rehearsal)

    def __enter__(self) -> LazyWorkers:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if self._workers is not None:
            self._workers.close() if kind is None else self._workers.kill()
