"""The server that workers are forked from, and how signals and its start-up keep out of each other's way."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import forkserver, resource_tracker
from typing import Any

# Loaded once, before any worker is forked: they bring torch and scikit-learn with them.
PRELOADED = ["acoustic_ad.jobs.clip_work", "acoustic_ad.jobs.train_work", "acoustic_ad.jobs.workers"]


def start_fork_server(context: Any) -> None:
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
