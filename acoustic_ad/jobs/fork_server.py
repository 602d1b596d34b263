"""The server that workers are forked from, and how signals and its start-up keep out of each other's way."""

from __future__ import annotations

import atexit
import errno
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from multiprocessing import forkserver, resource_tracker
from typing import Any, Final, Literal

from acoustic_ad.errors import WorkersError

Libraries = Literal["torch", "onnx", "train"]  # what the work needs: a runtime that judges, or all to learn by

_NEXT_STEPS: Final = {
    errno.EMFILE: "allow this job more open files (ulimit -n)",
    errno.ENFILE: "the system has no more open files to give: end other programs",
    errno.EAGAIN: "allow this user more processes (ulimit -u), or end some",
    errno.ENOMEM: "free memory, or use fewer --workers",
    errno.ENOSPC: "make room in /dev/shm and in the folder of temporary files (TMPDIR)",
    errno.EROFS: "/dev/shm and the folder of temporary files (TMPDIR) must be writable",
    errno.EACCES: "/dev/shm and the folder of temporary files (TMPDIR) must be writable",
    errno.ENOENT: "/dev/shm and the folder of temporary files (TMPDIR) must exist",
    errno.ENOSYS: "this system has no semaphores: mount /dev/shm",
}
_unused: bool | None = None  # whether a server was begun that no worker came from; None: not begun
# Loaded once, before any worker is forked.
PRELOADED: Final[Mapping[Libraries, list[str]]] = {
    "torch": [
        *("torch", "acoustic_ad.jobs.clip_work", "acoustic_ad.jobs.workers"),
        *(f"acoustic_ad.detectors.{kind}" for kind in ("dae", "vae", "ganomaly", "mahalanobis")),
        *("acoustic_ad.scores.calibration", "safetensors.numpy", "threadpoolctl"),
        "acoustic_ad.jobs.frozen",
    ],
    "train": ["torch", "acoustic_ad.jobs.train_work", "acoustic_ad.jobs.workers", "acoustic_ad.jobs.frozen"],
    # What the work loads besides, each worker would load again.
    "onnx": [
        *("onnxruntime", "acoustic_ad.jobs.clip_work", "acoustic_ad.jobs.workers"),
        *("acoustic_ad.scores.calibration", "numpy.fft", "safetensors.numpy", "threadpoolctl"),
        "acoustic_ad.jobs.frozen",
    ],
}


def worker_context(libraries: Libraries) -> Any:
    """The context of processes that are forked from the server, which has these libraries loaded."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED[libraries])
    return context


def begin_fork_server(libraries: Libraries) -> None:
    """Start it without waiting: it loads its libraries while this process loads its own.

    What goes wrong is left to `start_fork_server` to say, if there is any work at all. If there is none, it ends with
    this process: by itself it would only look for that once its libraries are loaded.
    """
    global _unused
    worker_context(libraries)
    with suppress(OSError, EOFError):
        _start_mute()
        if _unused is None:
            _unused = True
            atexit.register(_end_unused)


def _end_unused() -> None:
    if _unused:
        _kill_server()


def _kill_server() -> None:
    pid = getattr(getattr(forkserver, "_forkserver", None), "_forkserver_pid", None)
    if pid is not None:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def start_fork_server(context: Any) -> None:
    """Start it and wait until its libraries are loaded, which takes seconds: it must be possible to interrupt that."""
    global _unused
    _start_mute()
    try:
        first = context.Process(target=_nothing)
        first.start()
        first.join()
        _unused = False
    except BaseException:
        _kill_server()  # the exit of this process would wait for it
        raise


def _start_mute() -> None:
    """Start the server, unless it runs.

    It is deaf to Ctrl-C, which the terminal sends to the whole group. It is mute, because what is ended while it starts
    would show its traceback, and because a pipe behind the program would wait for the server's end too. And it looks
    for nothing in the folder that the job was started in: Python would load a torch.py that lies among recordings.
    """
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    kept, null = [(number, os.dup(number)) for number in (1, 2)], os.open(os.devnull, os.O_WRONLY)
    safe_path = os.environ.get("PYTHONSAFEPATH")
    os.environ["PYTHONSAFEPATH"] = "1"
    try:
        resource_tracker.ensure_running()
        for number, _ in kept:
            os.dup2(null, number)
        signal.pthread_sigmask(signal.SIG_SETMASK, {*mask, signal.SIGINT})  # the server inherits what is blocked
        forkserver.ensure_running()
    finally:
        for number, copy in kept:
            os.dup2(copy, number)
            os.close(copy)
        if safe_path is None:
            del os.environ["PYTHONSAFEPATH"]
        else:
            os.environ["PYTHONSAFEPATH"] = safe_path
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        os.close(null)


def _nothing() -> None:
    pass


@contextmanager
def startable() -> Iterator[None]:
    """What the system refuses to a job that starts processes, as a WorkersError that says what to change."""
    try:
        yield
    except (OSError, EOFError) as error:
        number = getattr(error, "errno", None)
        why = "the server that starts them died" if isinstance(error, EOFError) else getattr(error, "strerror", None)
        next_step = _NEXT_STEPS.get(number or 0, "see what this user and this system may still start and open")
        if "AF_UNIX" in str(error):
            next_step = "set TMPDIR to a folder with a short name"
        raise WorkersError(f"the worker processes cannot be started: {why or error}: {next_step}") from error


@contextmanager
def undisturbed() -> Iterator[None]:
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
