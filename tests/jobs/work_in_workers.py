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


def die(_: object = None, *rest: object) -> None:
    """Work, or the start of a worker, that nothing survives."""
    os._exit(9)


def hog(how: str) -> str:
    """Work that takes 1.5 GiB, in one of the ways that a clip's decoder, features or model may."""
    size = 3 << 29
    if how == "numpy":
        import numpy as np

        return f"{np.ones(size, np.uint8)[-1]}"
    if how == "torch":
        import torch

        return f"{torch.ones(size, dtype=torch.uint8)[-1]}"
    if how == "C":
        address = ctypes.CDLL(None, use_errno=True).malloc
        address.restype, address.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
        return "1" if address(size) else "0"
    if how == "pieces":
        return f"{len([bytes([n % 256]) * 100_000 for n in range(size // 100_000)]) and 1}"
    return how


def load_for_long(seconds: float) -> str:
    """Work that takes long only while its model is loaded."""
    from acoustic_ad.jobs.limits import deadline_paused

    with deadline_paused():
        time.sleep(seconds)
    return "loaded"
