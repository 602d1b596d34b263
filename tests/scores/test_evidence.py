"""A clip's statistics are what plain numpy says they are, however the clip is cut."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest
from clip_evidence import STATISTICS
from hypothesis import given, settings
from hypothesis import strategies as st

from acoustic_ad.scores.evidence import ALWAYS, MODULATION_FLOOR, ClipEvidence, EvidenceSum, gwrp

Array = npt.NDArray[np.float64]
HOP_S = 0.032
MELS = 10  # three groups of bands, the last one of two
NAMES = {"mean": "", "spread": "_spread", "high": "_high", "gwrp_90": "_gwrp_90", "gwrp_50": "_gwrp_50"}


def clip_of(residual: Array, frames: Array, latent: Array | None = None, cuts: list[float] = []) -> ClipEvidence:  # noqa: B006
    """The evidence of a clip that is cut at some shares of its length."""
    code = np.zeros((len(residual), 1)) if latent is None else latent
    gathered = EvidenceSum(STATISTICS)
    shares = [0.0, *sorted(cuts), 1.0]
    for low, high in pairwise(shares):
        part, sound = (slice(round(low * n), round(high * n)) for n in (len(residual), len(frames)))
        gathered.add(np.arange(len(residual))[part], residual[part], code[part], frames[sound].astype(np.float32))
    return gathered.clip()


def by_hand(rows: Array) -> dict[str, Array]:
    """Statistics over time [mels] of rows [n, mels], from their definitions."""
    found = {"mean": rows.mean(axis=0), "spread": rows.std(axis=0), "high": np.quantile(rows, 0.95, axis=0)}
    for name, r in (("gwrp_90", 0.9), ("gwrp_50", 0.5)):
        weights = r ** np.arange(len(rows))
        found[name] = np.array([np.average(sorted(band, reverse=True), weights=weights) for band in rows.T])
    return found


def modulation_by_hand(frames: Array) -> Array:
    """[groups * 4]: mean energy of the segments' Fourier sums within each modulation band, one by one."""
    groups = [frames[:, first : first + 4].mean(axis=1) for first in range(0, MELS, 4)]
    time = np.arange(32)
    window = 0.5 - 0.5 * np.cos(2.0 * np.pi * (time + 1) / 33)
    found = []
    for group in groups:
        segments = [group[start : start + 32] for start in range(0, len(group) - 31, 16)]
        for low, high in ((1, 2), (3, 5), (6, 10), (11, 16)):
            energy = [
                abs(np.sum((segment - segment.mean()) * window * np.exp(-2j * np.pi * k * time / 32))) ** 2
                for segment in segments
                for k in range(low, high + 1)
            ]
            found.append(np.log(np.mean(energy) + 1e-3))
    return np.array(found)


def some_sound(seed: int = 0, frames: int = 100) -> tuple[Array, Array, Array]:
    """Residual [n, mels], frames [n + 4, mels] and latent [n, 3], of different loudness in each band."""
    rng = np.random.default_rng(seed)
    units = np.geomspace(0.2, 3.0, MELS)
    sound = units * rng.standard_normal((frames + 4, MELS)) + 0.5
    return units * rng.standard_normal((frames, MELS)), sound, rng.standard_normal((frames, 3))


def test_each_statistic_is_what_it_says() -> None:
    residual, frames, latent = some_sound()
    found = clip_of(residual, frames, latent).statistics
    wanted = {"latent": latent.mean(axis=0), "power": np.log(np.exp(frames).mean(axis=0))}
    wanted["modulation"] = modulation_by_hand(frames)
    for family, rows in (("residual", residual), ("spectrum", frames)):
        wanted |= {family + NAMES[name]: value for name, value in by_hand(rows).items()}
    assert found.keys() == wanted.keys() == set(STATISTICS)
    for name, value in wanted.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-4, atol=1e-5, err_msg=name)


def test_the_error_is_the_mean_squared_residual() -> None:
    residual, frames, _ = some_sound()
    assert clip_of(residual, frames).error == pytest.approx(np.square(residual).mean())


@pytest.mark.parametrize("wanted", STATISTICS)
def test_only_what_was_asked_for_is_gathered_and_what_people_are_told_by(wanted: str) -> None:
    residual, frames, latent = some_sound()
    gathered = EvidenceSum([wanted, wanted])
    gathered.add(np.ones(len(residual)), residual, latent, frames.astype(np.float32))
    found = gathered.clip().statistics
    assert found.keys() == {*ALWAYS, wanted}
    np.testing.assert_array_equal(found[wanted], clip_of(residual, frames, latent).statistics[wanted])


@settings(deadline=None, max_examples=40)
@given(cuts=st.lists(st.floats(0.0, 1.0), max_size=6))
def test_means_spreads_and_power_do_not_depend_on_the_cut(cuts: list[float]) -> None:
    sound = some_sound()
    whole, parts = clip_of(*sound), clip_of(*sound, cuts=cuts)
    np.testing.assert_array_equal(parts.patch_scores, whole.patch_scores)
    for name in ("residual", "residual_spread", "spectrum", "spectrum_spread", "power", "latent"):
        np.testing.assert_allclose(parts.statistics[name], whole.statistics[name], atol=1e-9, err_msg=name)


@settings(deadline=None, max_examples=20)
@given(cuts=st.sets(st.integers(1, 9), max_size=4))
def test_ranks_and_modulation_hardly_depend_on_the_cut(cuts: set[int]) -> None:
    residual, frames, _ = some_sound(frames=4_000)
    whole = clip_of(residual, frames).statistics
    parts = clip_of(residual, frames, cuts=[cut / 10 for cut in cuts]).statistics
    for family in ("residual", "spectrum"):
        spread = whole[f"{family}_spread"]
        assert (np.abs(parts[f"{family}_high"] - whole[f"{family}_high"]) < 0.1 * spread).all()
        for name, tolerance in (("gwrp_90", 0.8), ("gwrp_50", 1.2)):
            lost = (whole[f"{family}_{name}"] - parts[f"{family}_{name}"]) / spread
            # The loudest of all are the loudest of their stretch, so stretches average to no more than the whole.
            assert (lost >= -1e-6).all() and (lost < tolerance).all()
    np.testing.assert_allclose(parts["modulation"], whole["modulation"], atol=0.1)


@pytest.mark.parametrize(
    ("rate_hz", "band"), [(1.0, 0), (1.9, 0), (3.0, 1), (4.8, 1), (6.0, 2), (9.7, 2), (11.0, 3), (15.0, 3)]
)
@pytest.mark.parametrize("group", [0, 1, 2])
def test_a_swing_lands_in_its_modulation_band_and_its_bands(rate_hz: float, band: int, group: int) -> None:
    rng, frames = np.random.default_rng(0), 0.05 * np.random.default_rng(1).standard_normal((300, MELS))
    steady = clip_of(frames, frames).statistics["modulation"].reshape(3, 4)
    swing = np.sin(2.0 * np.pi * (rate_hz * HOP_S * np.arange(300) + rng.random()))
    frames[:, 4 * group : 4 * group + 4] += swing[:, None]
    rise = clip_of(frames, frames).statistics["modulation"].reshape(3, 4) - steady
    assert np.unravel_index(rise.argmax(), rise.shape) == (group, band) and rise.max() > 3.0
    assert np.abs(np.delete(rise, group, axis=0)).max() < 1e-6


def test_a_click_is_for_the_loudest_frames_and_not_for_the_mean() -> None:
    _, frames, _ = some_sound()
    quiet = clip_of(frames, frames).statistics
    frames[50] += 20.0
    loud = clip_of(frames, frames).statistics
    for name in ("spectrum_gwrp_50", "power", "residual_gwrp_50"):
        assert (loud[name] > quiet[name] + 2.0).all()
    assert (loud["spectrum"] < quiet["spectrum"] + 0.3).all()
    assert (loud["spectrum_high"] < quiet["spectrum_high"] + 1.0).all(), "one frame in a hundred is none of the 5 %"


@pytest.mark.parametrize("count", [1, 2, 3, 15, 31, 32, 33, 47])
def test_short_clips_have_evidence_of_the_same_shape(count: int) -> None:
    _, frames, latent = some_sound()
    found = clip_of(frames[:count], frames[:count], latent[:count]).statistics
    for name in STATISTICS:
        assert found[name].shape == ({"latent": 3, "modulation": 12}.get(name, MELS),), name
        assert np.isfinite(found[name]).all(), name
    if count == 1:
        np.testing.assert_allclose(found["spectrum_spread"], 0.0, atol=1e-6)
        np.testing.assert_allclose(found["spectrum_gwrp_90"], frames[0], rtol=1e-6)
        np.testing.assert_allclose(found["modulation"], np.log(MODULATION_FLOOR))


@pytest.mark.parametrize("level", [0.0, 1 / 3, -1000.0 / 3])
def test_sound_that_never_moves_has_no_spread_rather_than_nan(level: float) -> None:
    still = np.full((80, MELS), level)
    found = clip_of(still, still).statistics
    assert all(np.isfinite(value).all() for value in found.values())
    for name in ("residual_spread", "spectrum_spread"):
        np.testing.assert_allclose(found[name], 0.0, atol=1e-5 * max(abs(level), 1.0))
    for name in ("residual", "spectrum", "residual_high", "spectrum_high", "spectrum_gwrp_90"):
        np.testing.assert_allclose(found[name], level, rtol=1e-5, atol=1e-12)
    np.testing.assert_allclose(found["power"], np.clip(level, -50.0, 50.0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found["modulation"], np.log(MODULATION_FLOOR), atol=0.01)


@pytest.mark.parametrize("silence", [-40.0, -120.0, -1e6])
def test_a_rigid_band_that_falls_silent_has_a_finite_power(silence: float) -> None:
    # A band that moves by .1 dB in normal operation and falls by 12 dB is 120 deviations away: exp underflows.
    _, frames, latent = some_sound()
    frames[:, 3] = silence
    assert clip_of(frames, frames, latent).statistics["power"][3] == pytest.approx(max(silence, -50.0), rel=1e-5)


@pytest.mark.parametrize("size", [1e3, 1e10, 1e30])
def test_huge_values_are_far_and_no_nan(size: float) -> None:
    _, frames, latent = some_sound()
    with np.errstate(over="raise", invalid="raise"):
        found = clip_of(size * frames, size * (frames + 10.0), latent).statistics
    assert all(np.isfinite(value).all() for value in found.values())
    assert (found["spectrum"] > 5.0 * size).all() and np.allclose(found["power"], 50.0)


def test_no_patches_are_no_evidence() -> None:
    gathered = EvidenceSum(STATISTICS)
    with pytest.raises(ValueError, match="without patches"):
        gathered.clip()
    gathered.add([], [], [], np.ones((3, MELS), np.float32))
    with pytest.raises(ValueError, match="without patches"):
        gathered.clip()


def test_frames_after_the_last_patch_are_heard() -> None:
    residual, frames, latent = some_sound()
    gathered = EvidenceSum(STATISTICS)
    gathered.add(np.ones(100), residual, latent, frames[:100].astype(np.float32))
    gathered.add([], [], [], frames[100:].astype(np.float32))
    np.testing.assert_allclose(gathered.clip().statistics["spectrum"], frames.mean(axis=0), rtol=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_gwrp_runs_from_the_largest_to_the_mean(seed: int) -> None:
    values = np.random.default_rng(seed).standard_normal(50)
    assert gwrp(values, 1.0) == pytest.approx(values.mean())
    assert gwrp(values, 1e-9) == pytest.approx(values.max())
    pooled = [float(gwrp(values, r)) for r in (1e-9, 0.3, 0.6, 0.9, 0.99, 1.0)]
    assert pooled == sorted(pooled, reverse=True)


def test_gwrp_by_hand() -> None:
    assert gwrp(np.array([1.0, 4.0, 2.0]), 0.5) == pytest.approx((4 + 2 / 2 + 1 / 4) / (1 + 1 / 2 + 1 / 4))
    assert gwrp(np.array([3.0]), 0.5) == 3.0
    columns = np.array([[1.0, 5.0], [3.0, 4.0]])
    np.testing.assert_allclose(gwrp(columns, 0.5), [(3 + 1 / 2) / 1.5, (5 + 4 / 2) / 1.5])


def test_a_short_hit_is_for_gwrp_and_not_for_the_mean() -> None:
    normal, hit = np.ones(300), np.ones(300)
    hit[10] = 4.0
    assert gwrp(hit, 0.5) > 2.0 * gwrp(normal, 0.5)
    assert gwrp(hit, 1.0) < 1.02 * gwrp(normal, 1.0)
