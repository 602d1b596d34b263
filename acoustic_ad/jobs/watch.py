"""The same job again and again in one process, for those without a scheduler."""

from __future__ import annotations

import math
import time
from collections.abc import Callable


def repeat(
    run: Callable[[], int],
    every_s: float,
    runs: int | None = None,
    on_left_out: Callable[[int], None] = lambda count: None,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> int:
    """Call `run` at once and then every `every_s` seconds, `runs` times or for ever; returns what the last one did.

    Starts lie on a grid that begins with the first: they do not drift by the time that a run takes, and runs do not
    overlap. Where a run takes longer than `every_s`, the starts that it lay over are left out, and `on_left_out` is
    told how many. A call of usage (exit code 2) that the first run refuses is refused by all: it ends here.
    """
    began, slot, done = clock(), 0, 0
    while True:
        code = run()
        done += 1
        if done == runs or (done == 1 and code == 2):
            return code
        slot, left_out = next_slot(clock() - began, every_s, slot)
        if left_out:
            on_left_out(left_out)
        # A clock that was asleep with the computer, or a sleep that ends early, are no reason to start early.
        while (missing := began + slot * every_s - clock()) > 0:
            sleep(missing)


def next_slot(now_s: float, every_s: float, slot: int) -> tuple[int, int]:
    """The number of the next start after `slot`, seen `now_s` after the first, and how many were left out."""
    following = max(slot + 1, math.ceil(now_s / every_s))
    return following, following - slot - 1
