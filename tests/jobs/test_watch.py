"""Runs on the beat, by a clock that the test winds."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from acoustic_ad.jobs.watch import next_slot, repeat


class Clock:
    """A clock; sleeping and working move it on."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.starts: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now += seconds * 0.75 + 1e-6  # an early end of a sleep is no start

    def run_of(self, durations: list[float]):
        work = iter(durations)

        def run() -> int:
            self.starts.append(self.now - 1000.0)
            self.now += next(work)
            return 0

        return run


def test_starts_do_not_drift():
    clock = Clock()
    assert repeat(clock.run_of([0.4] * 1000), 1.0, 1000, sleep=clock.sleep, clock=clock) == 0
    assert len(clock.starts) == 1000
    assert all(0 <= start - number < 1e-5 for number, start in enumerate(clock.starts))


@given(durations=st.lists(st.floats(0, 10), min_size=1, max_size=20))
def test_runs_do_not_overlap_and_stay_on_the_beat(durations):
    clock, left_out = Clock(), []
    repeat(clock.run_of(durations), 2.0, len(durations), left_out.append, clock.sleep, clock)
    for start, duration, following in zip(clock.starts, durations, clock.starts[1:], strict=False):
        assert following >= start + duration
        assert following - start < max(duration, 2.0) + 2.0 + 1e-4
        assert min(following % 2.0, 2.0 - following % 2.0) < 1e-4
    beats = round(clock.starts[-1] / 2.0)
    assert beats == len(durations) - 1 + sum(left_out)


def test_slots():
    assert next_slot(0.4, 1.0, 0) == (1, 0)
    assert next_slot(1.0, 1.0, 0) == (1, 0)  # just over in time
    assert next_slot(1.1, 1.0, 0) == (2, 1)
    assert next_slot(7.5, 1.0, 3) == (8, 4)


def test_how_it_ends():
    codes = iter([1, 5, 2, 3])
    clock = Clock()
    assert repeat(lambda: next(codes), 1.0, 4, sleep=clock.sleep, clock=clock) == 3
    calls: list[int] = []
    assert repeat(lambda: calls.append(1) or 2, 1.0, None, sleep=clock.sleep, clock=clock) == 2
    assert calls == [1]
