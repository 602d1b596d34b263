"""What workers are made to do in the tests. They import it by its name, and it brings nothing heavy."""

from __future__ import annotations

import ctypes
import os
import signal
import time


def double(number: int) -> int:
    """Ordinary work; larger numbers take less long, so that results come out of order."""
    time.sleep(max(0.0, 0.02 - number / 1000))
    return 2 * number


def trouble(what: str) -> str:
    """Work that ends badly in one of the ways that clips can cause."""
    if what == "hang":
        time.sleep(1000)
    if what == "hang in C":
        # As libsndfile on a hostile file: no Python code is ever reached again in this thread.
        ctypes.CDLL(None).sleep(1000)
    if what == "exit":
        os._exit(7)
    if what == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "memory":
        raise MemoryError
    if what == "bug":
        raise KeyError("a bug")
    return what


def process_id(_: int) -> int:
    return os.getpid()
