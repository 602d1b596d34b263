"""Every back-end: what a distance means, what it does not depend on, and what it refuses to be made of."""

from __future__ import annotations

import dataclasses
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import pytest
from clip_evidence import MELS, vectors
from sklearn.metrics import roc_auc_score

from acoustic_ad.errors import BundleError
from acoustic_ad.scores.backends import BACKENDS, Backend, BackendName, CrossFit, Mixture, Neighbours, cross_fit

Array = npt.NDArray[np.float64]
FOLD = np.arange(100) // 20
every_backend = pytest.mark.parametrize("name", sorted(BACKENDS))


def fit(name: Any, rows: Array | None = None, fold: npt.NDArray[np.int64] = FOLD) -> CrossFit:
    return cross_fit(name, vectors(100, 0) if rows is None else rows, fold)


def auc(backend: Backend, good: Array, bad: Array) -> float:
    return float(roc_auc_score([0] * len(good) + [1] * len(bad), backend.distances(np.concatenate([good, bad]))))


def test_the_backends_are_those_that_can_be_named() -> None:
    assert set(BACKENDS) == set(get_args(BackendName))
    assert all(kind.name == name for name, kind in BACKENDS.items())


@every_backend
def test_farther_is_more_distant(name: str) -> None:
    rows = vectors(100, 0)
    backend, deviation = fit(name, rows).backend, rows.std(axis=0)
    for direction in np.random.default_rng(0).standard_normal((10, MELS)):
        away = rows.mean(axis=0) + np.array([[3.0], [6.0], [12.0], [24.0], [1e3]]) * deviation * direction
        distances = backend.distances(away)
        assert (np.diff(distances) > 0).all() and distances[0] > 1.0


@every_backend
def test_a_fault_where_normal_operation_never_goes_is_found(name: str) -> None:
    across = np.linalg.svd(vectors(2000, 5))[2][-1]  # the direction that normal clips use least
    fresh = vectors(200, 1)
    assert auc(fit(name).backend, fresh, fresh + 4.0 * across) > 0.9


@every_backend
def test_the_unit_is_the_closest_quarter_of_left_out_clips(name: str) -> None:
    found = fit(name)
    assert np.quantile(found.distances, 0.25) == pytest.approx(1.0)
    fresh = found.backend.distances(vectors(300, 1))
    assert np.median(fresh) == pytest.approx(np.median(found.distances), rel=0.15)
    np.testing.assert_allclose(4.0 * found.backend.in_unit(4.0).distances(vectors(300, 1)), fresh, rtol=1e-12)


@every_backend
def test_units_of_the_bands_do_not_matter(name: str) -> None:
    units, offset = np.geomspace(0.5, 200.0, MELS), np.linspace(-5, 5, MELS)
    plain, scaled = fit(name), fit(name, units * vectors(100, 0) + offset)
    np.testing.assert_allclose(scaled.distances, plain.distances, rtol=1e-6)
    fresh = vectors(40, 1)
    np.testing.assert_allclose(
        scaled.backend.distances(units * fresh + offset), plain.backend.distances(fresh), rtol=1e-6
    )


@every_backend
def test_a_distance_does_not_depend_on_the_batch_and_comes_out_the_same_again(name: str) -> None:
    backend, fresh = fit(name).backend, vectors(20, 1)
    alone = np.concatenate([backend.distances(row[None]) for row in fresh])
    np.testing.assert_allclose(alone, backend.distances(fresh), rtol=1e-9)
    assert np.array_equal(fit(name).backend.distances(fresh), backend.distances(fresh))


@every_backend
def test_no_clip_is_judged_by_what_its_own_fold_taught(name: str) -> None:
    rows = vectors(100, 0)
    # A clip, planted into itself, is as far as it is when left out; in another fold it is among what was learnt.
    own = cross_fit(name, rows, FOLD, rows, FOLD)  # type: ignore[arg-type]
    np.testing.assert_allclose(own.planted, own.distances, rtol=1e-9)
    learnt = cross_fit(name, rows, FOLD, rows, (FOLD + 1) % 5)  # type: ignore[arg-type]
    assert learnt.planted.mean() < 0.95 * own.planted.mean()
    np.testing.assert_array_equal(learnt.distances, fit(name, rows).distances)


@every_backend
def test_one_fold_cannot_be_judged(name: str) -> None:
    with pytest.raises(ValueError, match="one fold"):
        fit(name, fold=np.zeros(100, np.int64))


@every_backend
@pytest.mark.parametrize("count", [4, 6, 10])
def test_a_handful_of_clips_gives_finite_distances(name: str, count: int) -> None:
    for fold in (np.arange(count) % 2, np.arange(count)):
        found = fit(name, vectors(count, 0), fold)
        assert np.isfinite(found.distances).all()
        assert np.isfinite(found.backend.distances(vectors(10, 1))).all()


@every_backend
def test_one_band_is_enough(name: str) -> None:
    backend = fit(name, vectors(100, 0, mels=1)).backend
    assert auc(backend, vectors(50, 1, mels=1), vectors(50, 2, mels=1) + 30.0) == 1.0


@every_backend
def test_clips_that_are_all_equal_give_finite_distances(name: str) -> None:
    rows = np.tile(vectors(1, 0), (100, 1))
    same, other = fit(name, rows).backend.distances(np.concatenate([rows[:1], rows[:1] + 1.0]))
    assert np.isfinite([same, other]).all() and other > same


def two_speeds(count: int, seed: int, between: bool = False) -> Array:
    """A machine of two speeds, seen in two bands; `between` them it never runs."""
    rng = np.random.default_rng(seed)
    speed = np.zeros(count) if between else np.where(np.arange(count) % 2, 1.0, -1.0)
    return np.stack([speed, -0.5 * speed], axis=1) + 0.15 * rng.standard_normal((count, 2))


def test_a_mixture_knows_that_a_machine_of_two_speeds_never_runs_between_them() -> None:
    normal, between = two_speeds(100, 1), two_speeds(100, 2, between=True)
    cloud, mixture = (fit(name, two_speeds(100, 0)).backend for name in ("mahalanobis", "gaussian_mixture"))
    assert auc(mixture, normal, between) > 0.85
    assert auc(cloud, normal, between) < 0.4, "to one cloud, what lies between is the most normal of all"


def test_neighbours_are_as_near_as_those_around_them_are() -> None:
    # One way of running is the same within .05, the other varies by 1: .6 is far from the one and near to the other.
    def machine(count: int, seed: int, dense_offset: float = 0.0) -> Array:
        rng, dense = np.random.default_rng(seed), np.arange(count) % 2 == 0
        rows = rng.standard_normal((count, 4)) * np.where(dense, 0.05, 1.0)[:, None]
        rows[dense] += dense_offset * np.array([1.0, -1.0, 1.0, -1.0]) / 2.0
        return np.asarray(rows + np.where(dense, 0.0, 6.0)[:, None])

    backend = fit("nearest_neighbour", machine(100, 0)).backend
    assert isinstance(backend, Neighbours)
    alike = dataclasses.replace(backend, radius=np.full_like(backend.radius, backend.radius.mean()))
    normal, faulty = machine(100, 1), machine(100, 2, dense_offset=0.6)[::2]
    assert auc(backend, normal, faulty) > 0.95
    assert auc(alike, normal, faulty) < 0.6, "without rescaling, it is the sparse way of running that is unusual"


@every_backend
def test_state_brings_back_the_very_backend(name: str) -> None:
    backend, fresh = fit(name).backend, vectors(30, 1)
    state = backend.state()
    assert all(value.dtype == np.float64 for value in state.values())
    loaded = BACKENDS[name].from_state({key: value.copy() for key, value in state.items()})
    assert np.array_equal(loaded.distances(fresh), backend.distances(fresh))
    assert state.keys() == loaded.state().keys()
    assert all(np.array_equal(value, state[key]) for key, value in loaded.state().items())


def refused(name: str, state: dict[str, Any]) -> None:
    with pytest.raises(BundleError):
        BACKENDS[name].from_state(state)


@every_backend
def test_a_state_that_does_not_fit_is_refused(name: str) -> None:
    state = fit(name).backend.state()
    refused(name, {})
    refused(name, state | {"more": np.ones(1)})
    for key, value in state.items():
        refused(name, {other: array for other, array in state.items() if other != key})
        for wrong in (np.nan, np.inf):
            broken = value.copy()
            broken.flat[0] = wrong
            refused(name, state | {key: broken})
        for shape in (value[:-1], value[None], np.concatenate([value, value[:1]]), np.zeros(0), np.array(1.0)):
            refused(name, state | {key: shape})
        if value.ndim == 2:
            refused(name, state | {key: value[:, :-1]})


POSITIVE = {"gaussian_mixture": ("weights", "variances", "unit"), "nearest_neighbour": ("radius", "unit")}


@pytest.mark.parametrize(("name", "key"), [(name, key) for name, keys in POSITIVE.items() for key in keys])
@pytest.mark.parametrize("wrong", [0.0, -1.0])
def test_what_must_be_positive_is(name: str, key: str, wrong: float) -> None:
    state = fit(name).backend.state()
    broken = state[key].copy()
    broken[-1] = wrong
    with pytest.raises(BundleError, match="positive"):
        BACKENDS[name].from_state(state | {key: broken})


def test_a_mixture_has_as_many_clouds_as_its_clips_allow() -> None:
    for count, components in ((10, 1), (45, 1), (50, 2), (75, 3), (100, 4), (200, 4)):
        backend = fit("gaussian_mixture", vectors(count, 0), np.arange(count) % 5).backend
        assert isinstance(backend, Mixture) and len(backend.weights) == components
        assert backend.weights.sum() == pytest.approx(1.0)


@pytest.mark.parametrize(("clips", "folds"), [(60, 10), (40, 5), (80, 2)])
def test_all_mixtures_of_a_cross_fit_are_of_one_size(clips: int, folds: int, monkeypatch: pytest.MonkeyPatch) -> None:
    # Two clouds when a fold is left out and three in the end would call fresh normal clips unusual twice too often.
    sizes, whole = [], Mixture.fit

    def fit_and_count(rows: Array, shrinkage: float, fewest: int) -> Mixture:
        found = whole(rows, shrinkage, fewest)
        sizes.append(len(found.weights))
        return found

    monkeypatch.setattr(Mixture, "fit", fit_and_count)
    fit("gaussian_mixture", vectors(clips, 0), np.arange(clips) % folds)
    assert len(sizes) == folds + 1 and len(set(sizes)) == 1
