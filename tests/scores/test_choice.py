"""Choosing by planted faults: what finds more is taken, what adds nothing is left, and nothing else is looked at."""

from __future__ import annotations

import inspect

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from acoustic_ad.scores.choice import averaged, choose, detection, fused

Array = npt.NDArray[np.float64]
Candidates = dict[str, tuple[Array, Array]]
NORMALS, FAULTS = 100, 200
whole_numbers = st.lists(st.integers(-5, 5).map(float), min_size=1, max_size=40)


def distances(seed: int, rise: float = 0.0, faults: slice = slice(None)) -> tuple[Array, Array]:
    """Distances of normal clips and of clips with planted faults, some of which it sees."""
    rng = np.random.default_rng(seed)
    planted = 1.0 + 0.2 * rng.standard_normal(FAULTS)
    planted[faults] += rise
    return 1.0 + 0.2 * rng.standard_normal(NORMALS), planted


def noise(count: int, first: int = 50) -> Candidates:
    return {f"noise {seed}": distances(seed) for seed in range(first, first + count)}


def test_detection_by_hand() -> None:
    normal = np.arange(20.0)[::-1]  # the highest tenth is 18 and 19
    for planted, wanted in (([17.9], 0.0), ([18.0], 0.0), ([18.5], 0.5), ([19.0], 0.5), ([19.5], 1.0), ([0, 99], 0.5)):
        assert detection(normal, np.array(planted, float)) == wanted
    assert detection(np.array([3.0]), np.array([2.0, 4.0])) == 0.5, "one clip is its own highest tenth"


@given(normal=whole_numbers, planted=whole_numbers)
def test_detection_is_the_share_found_averaged_over_false_alarm_rates(
    normal: list[float], planted: list[float]
) -> None:
    limits = sorted(normal)[-max(1, -(-len(normal) // 10)) :]
    wanted = np.mean([[score > limit for score in planted] for limit in limits])
    assert detection(np.array(normal), np.array(planted)) == pytest.approx(float(wanted))


@given(normal=whole_numbers, planted=whole_numbers)
def test_only_ranks_count_for_detection(normal: list[float], planted: list[float]) -> None:
    one, other = np.array(normal), np.array(planted)
    assert detection(np.exp(one), np.exp(other)) == detection(one, other) == detection(one[::-1], other[::-1])


def test_fused_and_averaged_by_hand() -> None:
    np.testing.assert_allclose(fused([np.array([3.0, 0.0]), np.array([4.0, 2.0])]), [np.sqrt(12.5), np.sqrt(2.0)])
    np.testing.assert_allclose(fused([np.array([3.0]), np.array([4.0])], [1.0, 0.0]), [3.0])
    np.testing.assert_allclose(averaged([np.array([3.0, 0.0]), np.array([4.0, 2.0])]), [3.5, 1.0])


@pytest.mark.parametrize("place", [0, 5, 10])
def test_the_candidate_that_tells_is_taken_and_noise_is_not(place: int) -> None:
    names = list(noise(10))
    names.insert(place, "telling")
    candidates = noise(10) | {"telling": distances(0, rise=2.0)}
    assert choose({name: candidates[name] for name in names}) == ["telling"]


def test_the_better_of_two_comes_first() -> None:
    assert choose({"fair": distances(0, rise=0.5), "good": distances(1, rise=0.7)})[0] == "good"


def test_candidates_that_find_different_faults_are_taken_together() -> None:
    low, high = distances(0, 3.0, slice(0, 110)), distances(1, 3.0, slice(110, None))
    assert choose(noise(4) | {"low": low, "high": high}) == ["low", "high"]


def test_what_finds_the_same_faults_adds_nothing() -> None:
    found = choose({"one": distances(0, 2.0), "again": distances(0, 2.0), "half": distances(1, 2.0, slice(0, 100))})
    assert found == ["one"], "and the order of candidates decides ties"


def test_no_more_are_taken_than_allowed() -> None:
    parts = {f"part {n}": distances(n, 4.0, slice(25 * n, 25 * n + 25)) for n in range(8)}
    assert len(choose(parts)) == 5
    assert len(choose(parts, most=2)) == 2
    assert choose(parts, most=2) == choose(parts)[:2]


def test_something_is_taken_even_where_nothing_is_found() -> None:
    blind = {name: (normal, np.zeros(5)) for name, (normal, _) in noise(3).items()}
    assert choose(blind) == ["noise 50"]
    assert choose({}) == []


def test_each_step_adds_what_it_must() -> None:
    candidates = noise(3) | {f"part {n}": distances(n, 3.0, slice(60 * n, 60 * n + 60)) for n in range(3)}
    chosen = choose(candidates)
    reached = [
        detection(*(fused([candidates[name][part] for name in chosen[:count]]) for part in (0, 1)))
        for count in range(1, len(chosen) + 1)
    ]
    assert len(chosen) > 1 and (np.diff(reached) >= 0.005).all()


def test_nothing_is_looked_at_but_the_distances() -> None:
    assert list(inspect.signature(choose).parameters) == ["candidates", "most"]
    assert list(inspect.signature(detection).parameters) == ["normal", "planted"]
    candidates = noise(3) | {"low": distances(0, 3.0, slice(0, 110)), "high": distances(1, 3.0, slice(110, None))}
    kept = {name: (normal.copy(), planted.copy()) for name, (normal, planted) in candidates.items()}
    rng = np.random.default_rng(0)
    for _ in range(5):
        # Neither names nor the order of clips, which might give a label away, have a say.
        clips, faults = rng.permutation(NORMALS), rng.permutation(FAULTS)
        shuffled = {f"x{name}": (n[clips], p[faults]) for name, (n, p) in candidates.items()}
        assert choose(shuffled) == [f"x{name}" for name in choose(candidates)]
    for name, parts in candidates.items():
        assert all(np.array_equal(now, before) for now, before in zip(parts, kept[name], strict=True))
