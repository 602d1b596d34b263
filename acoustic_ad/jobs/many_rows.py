"""Millions of rows in memory at once, without the price that Python puts on them."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def many_rows() -> Iterator[None]:
    """No search for cyclic garbage meanwhile; also a decorator.

    Each hundred thousand new tuples start another search through all that live, which takes a third of the time that a
    machine of 20,000 clips takes. Rows hold no cycles: they are freed as they are let go, as ever.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
