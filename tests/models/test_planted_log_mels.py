"""Faults planted into log-mels raise or lower what they say, by what they say."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from acoustic_ad.models.planted_log_mels import Change, changed_log_mel, log_mel_faults
from acoustic_ad.models.planting import PLANTED_CLIPS, chosen_for_planting, plant_in_log_mels
from acoustic_ad.sound.planted import LEVELS_DB

FloatArray = npt.NDArray[np.float32]
Array = npt.NDArray[np.float64]
FAULTS = {words: (kind, change) for kind, words, change in log_mel_faults()}
FRAMES, MELS = 4000, 64
every_fault = pytest.mark.parametrize("words", FAULTS)
every_level = pytest.mark.parametrize("level_db", [0.5, 3.0, 8.0])


def of_kind(*kinds: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("words", [words for words, (kind, _) in FAULTS.items() if kind in kinds])


def normal(frames: int = FRAMES, seed: int = 0, mels: int = MELS) -> FloatArray:
    """A sound whose bands differ by 40 dB, with strokes."""
    rng = np.random.default_rng(seed)
    strokes = 6.0 * (np.arange(frames) % 40 < 4)
    return np.asarray(np.linspace(-30, -70, mels) + strokes[:, None] + rng.standard_normal((frames, mels)), np.float32)


def planted(words: str, level_db: float, clip: FloatArray | None = None, seed: int = 0) -> FloatArray:
    return changed_log_mel(normal() if clip is None else clip, FAULTS[words][1], level_db, np.random.default_rng(seed))


def power(log_mel: FloatArray) -> Array:
    return np.power(10.0, log_mel.astype(np.float64) / 10.0)


def rise_db(words: str, level_db: float) -> Array:
    """[mels], of the clip-mean power."""
    return np.asarray(10.0 * np.log10(power(planted(words, level_db)).mean(axis=0) / power(normal()).mean(axis=0)))


def place(words: str) -> float:
    """Where the fault is, as a share of the bands: '25% up the bands'."""
    return float(words.split("%")[0].split()[-1]) / 100.0


def test_every_kind_is_there_once_under_its_words() -> None:
    assert len(FAULTS) == len(log_mel_faults()) > 20
    kinds = {"tone", "narrow_noise", "broad_noise", "band_gain", "impulses", "modulation", "missing_strokes"}
    assert {kind for kind, _ in FAULTS.values()} == kinds


@every_fault
def test_at_level_0_nothing_is_changed(words: str) -> None:
    np.testing.assert_allclose(planted(words, 0.0), normal(), atol=1e-4)


@every_fault
@every_level
def test_the_clip_keeps_its_shape_and_itself(words: str, level_db: float) -> None:
    clip = normal(frames=90)
    before = clip.copy()
    changed = planted(words, level_db, clip)
    assert changed.shape == clip.shape and changed.dtype == np.float32 and np.isfinite(changed).all()
    np.testing.assert_array_equal(clip, before)
    assert np.abs(changed - clip).max() > 0.9 * level_db
    np.testing.assert_array_equal(planted(words, level_db, clip), changed)


@of_kind("tone", "narrow_noise", "broad_noise", "impulses")
@every_level
def test_what_is_added_raises_its_bands_by_the_level_and_leaves_the_others(words: str, level_db: float) -> None:
    rise = rise_db(words, level_db)
    inside = np.abs(rise) > 0.1 * level_db
    assert np.mean(rise[inside]) == pytest.approx(level_db, abs=0.1 + 0.02 * level_db)
    np.testing.assert_allclose(rise[inside], level_db, atol=0.15 + 0.05 * level_db)  # noise is random
    np.testing.assert_allclose(rise[~inside], 0.0, atol=1e-3)
    assert (planted(words, level_db) >= normal() - 1e-3).all(), "nothing gets quieter"
    share = {"tone": 1 / MELS, "narrow_noise": 0.04, "broad_noise": 1.0, "impulses": 0.15}[FAULTS[words][0]]
    assert inside.sum() == pytest.approx(share * MELS, abs=1.0)
    if share < 1.0:
        assert np.flatnonzero(inside).mean() == pytest.approx(place(words) * MELS, abs=1.5)


@of_kind("band_gain")
@every_level
def test_a_gain_moves_every_frame_of_its_bands_alike(words: str, level_db: float) -> None:
    moved = planted(words, level_db) - normal()
    sign = 1.0 if words.startswith("louder") else -1.0
    inside = np.abs(moved).max(axis=0) > 0.1 * level_db
    np.testing.assert_allclose(moved[:, inside], sign * level_db, atol=1e-3)
    np.testing.assert_allclose(moved[:, ~inside], 0.0, atol=1e-3)
    assert inside.sum() == pytest.approx(0.08 * MELS, abs=1.0)
    assert np.flatnonzero(inside).mean() == pytest.approx(place(words) * MELS, abs=1.5)


def test_there_are_louder_and_quieter_bands() -> None:
    starts = [words.split()[0] for words, (kind, _) in FAULTS.items() if kind == "band_gain"]
    assert starts.count("louder") == starts.count("quieter") > 2


@of_kind("impulses")
def test_hits_come_at_regular_times_and_all_else_stays(words: str) -> None:
    moved = np.abs(planted(words, 4.0) - normal()).max(axis=1) > 0.5
    apart = np.diff(np.flatnonzero(moved))
    assert len(set(apart.tolist())) == 1 and apart[0] in (3, 7)
    assert np.flatnonzero(moved)[0] < apart[0]


@of_kind("modulation")
@every_level
def test_a_swing_goes_up_and_down_by_the_level_in_all_bands(words: str, level_db: float) -> None:
    moved = planted(words, level_db) - normal()
    np.testing.assert_allclose(moved, np.broadcast_to(moved[:, :1], moved.shape), atol=1e-3)
    swing = moved[:, 0] - moved[:, 0].mean()
    assert swing.std() * np.sqrt(2.0) == pytest.approx(level_db, rel=0.01), "a sine of that height"
    assert np.abs(swing).max() < 1.01 * level_db
    frames = int(words.split()[-2])
    spectrum = np.abs(np.fft.rfft(swing))
    assert spectrum.argmax() == pytest.approx(FRAMES / frames, abs=1)
    assert np.abs(rise_db(words, level_db)).max() < 0.3, "the mean power stays"


@of_kind("missing_strokes")
@every_level
def test_some_of_the_loudest_frames_lose_three_times_the_level(words: str, level_db: float) -> None:
    moved = planted(words, level_db) - normal()
    gone = np.abs(moved).max(axis=1) > 0.1 * level_db
    assert gone.mean() == pytest.approx(0.1 / 3, abs=0.002)
    np.testing.assert_allclose(moved[gone], -3.0 * level_db, atol=1e-2)
    np.testing.assert_allclose(moved[~gone], 0.0, atol=1e-3)
    energy = power(normal()).sum(axis=1)
    assert energy[gone].min() >= np.quantile(energy, 0.9)


@every_fault
@pytest.mark.parametrize(("frames", "mels"), [(1, 2), (3, 4), (10, 16), (50, 128)])
def test_short_clips_and_few_bands_are_no_trouble(words: str, frames: int, mels: int) -> None:
    clip = normal(frames, mels=mels)
    changed = planted(words, 8.0, clip)
    assert changed.shape == clip.shape and np.isfinite(changed).all()


def test_digital_silence_stays_finite() -> None:
    clip = np.full((50, MELS), -200.0, np.float32)
    for words in FAULTS:
        assert np.isfinite(planted(words, 8.0, clip)).all()


def test_every_fault_is_planted_at_every_level_into_clips_spread_over_the_recordings() -> None:
    clips = [normal(frames=20, seed=seed) for seed in range(30)]
    found = plant_in_log_mels(clips, seed=1)
    assert {one.clip for one in found} == set(chosen_for_planting(30)) and len(chosen_for_planting(30)) == PLANTED_CLIPS
    assert len(found) == PLANTED_CLIPS * len(FAULTS) * len(LEVELS_DB) == len({(one.clip, one.fault) for one in found})
    assert chosen_for_planting(30)[0] == 0 and chosen_for_planting(30)[-1] == 29
    assert chosen_for_planting(3) == [0, 1, 2]
    one = found[len(found) // 2]
    np.testing.assert_array_equal(one.log_mel(), one.log_mel())
    again = plant_in_log_mels(clips, seed=1)[len(found) // 2]
    np.testing.assert_array_equal(again.log_mel(), one.log_mel())
    assert np.abs(one.log_mel() - clips[one.clip]).max() > 0.1


def test_a_change_may_be_of_ones_own() -> None:
    def louder(found: Array, level_db: float, rng: np.random.Generator) -> Array:
        return found * 10.0 ** (level_db / 10.0)

    own: Change = louder
    changed = changed_log_mel(normal(), own, 6.0, np.random.default_rng(0))
    np.testing.assert_allclose(changed, normal() + 6.0, atol=1e-4)
