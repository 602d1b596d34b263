"""What one clip may cost: seconds and memory, both enforced by the system, which no decoder can talk out of it."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from acoustic_ad.errors import ClipError

# Seconds that are granted for loading a model, which the clip is not to blame for: it may lie on a slow share.
LOADING_S: Final = 120.0
GIB: Final = 1 << 30
# A worker's memory for clips and models, beyond its libraries: many times what a clip of any length needs.
WORKER_MEMORY_GIB: Final = 2.0
LEAST_MEMORY_GIB: Final = 0.25
# What the workers together may take of a small computer's memory.
_SHARE: Final = 0.75
# Limits of a control group, as in a container.
_GROUP_LIMITS: Final = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
# torch's allocator names itself in a plain RuntimeError.
_TORCH_HAS_NONE: Final = "DefaultCPUAllocator"

_ceiling = resource.RLIM_INFINITY  # of this worker while it works at a clip


def memory_share(workers: int) -> float:
    """GiB that each of `workers` may take when nobody says otherwise: 2, and less where the computer is small."""
    available = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for name in _GROUP_LIMITS:
        with suppress(OSError, ValueError):  # not there, or "max"
            available = min(available, int(Path(name).read_text()))
    return max(LEAST_MEMORY_GIB, min(WORKER_MEMORY_GIB, _SHARE * available / GIB / workers))


def begin_worker(memory_gib: float) -> None:
    """In a worker that starts: note what its libraries take, and let the alarm kill, whatever it did in the parent."""
    global _ceiling
    _ceiling = _data_bytes() + int(memory_gib * GIB)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGALRM})


@contextmanager
def limited(deadline_s: float) -> Iterator[None]:
    """In a worker: the block is over within `deadline_s` seconds, and has no more memory than the worker may take.

    At the deadline SIGALRM kills the process, even where no line of Python is ever reached again. Raises MemoryError.
    """
    _limit_data(_ceiling)
    signal.setitimer(signal.ITIMER_REAL, deadline_s)
    try:
        yield
    except RuntimeError as error:
        if _TORCH_HAS_NONE in str(error):
            raise MemoryError(str(error)) from error
        raise
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        _limit_data(resource.RLIM_INFINITY)


@contextmanager
def deadline_paused() -> Iterator[None]:
    """The clip's deadline stands still while a model is loaded, which has one of its own."""
    left_s, _ = signal.getitimer(signal.ITIMER_REAL)
    if left_s:
        signal.setitimer(signal.ITIMER_REAL, LOADING_S)
    try:
        yield
    finally:
        if left_s:
            signal.setitimer(signal.ITIMER_REAL, left_s)


def cause_of_death(exit_code: int | None, deadline_s: float | None) -> ClipError:
    """Why the worker of a clip is no more, by its exit code (negative: a signal)."""
    if exit_code == -signal.SIGALRM:
        return ClipError("decode_timeout", f"not done within its {deadline_s or 0.0:g} s; the worker was killed")
    if exit_code == -signal.SIGKILL:
        return ClipError("worker_died", "killed from outside, as a system does that is short of memory")
    if exit_code is not None and exit_code < 0:
        with suppress(ValueError):
            return ClipError("worker_died", f"ended by {signal.Signals(-exit_code).name}")
    return ClipError("worker_died", f"exit code {exit_code}")


def _limit_data(soft: int) -> None:
    """Limit private writable memory; not the address space, of which libraries reserve far more than they use."""
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if hard != resource.RLIM_INFINITY:
        soft = hard if soft == resource.RLIM_INFINITY else min(soft, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def _data_bytes() -> int:
    """What counts towards that limit now; 0 where the system does not tell, and the libraries count too."""
    with suppress(OSError, StopIteration, ValueError):
        lines = Path("/proc/self/status").read_text().splitlines()
        return 1024 * int(next(line for line in lines if line.startswith("VmData:")).split()[1])
    return 0
