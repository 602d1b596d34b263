"""Log-mels in one array: the rounding that they are kept with, and clips and patches cut from it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from acoustic_ad.sound.features import PatchSet
from acoustic_ad.sound.log_mels import STEP_DB, ClipRows, in_steps, joined

RNG = np.random.default_rng(0)
CLIPS = [RNG.normal(-50.0, 12.0, (frames, 4)).astype(np.float32) for frames in (7, 12, 5, 30)]


def in_db(log_mel: np.ndarray) -> np.ndarray:
    stored = in_steps(log_mel)
    rows = ClipRows(
        stored.steps,
        np.array([0]),
        np.array([len(log_mel)]),
        np.array([[stored.step_db, stored.middle_db]], np.float32),
    )
    return rows[0]


@given(low=st.floats(-200.0, 100.0), span=st.floats(0.0, 254.0))
def test_rounding_is_half_a_step_at_most(low: float, span: float) -> None:
    log_mel = np.linspace(low, low + span, 60).reshape(20, 3).astype(np.float32)
    assert np.abs(in_db(log_mel) - log_mel).max() <= STEP_DB / 2 + 2e-5


def test_sound_far_beyond_full_scale_is_kept_in_coarser_steps() -> None:
    log_mel = np.array([[-100.0, 300.0]], np.float32)
    assert in_steps(log_mel).step_db == 2 * STEP_DB
    assert np.abs(in_db(log_mel) - log_mel).max() <= STEP_DB


def test_it_is_finer_than_half_precision_where_bands_are_quiet() -> None:
    log_mel = RNG.uniform(-100.0, -40.0, (500, 8)).astype(np.float32)
    halves = np.abs(log_mel.astype(np.float16).astype(np.float32) - log_mel)
    assert np.abs(in_db(log_mel) - log_mel).mean() < 0.1 * halves.mean()


def test_what_is_stored_once_is_stored_again_without_a_change() -> None:
    once = in_db(CLIPS[3])
    assert np.array_equal(in_db(once), once)


def test_clips_and_patches_are_those_of_the_list() -> None:
    rows = ClipRows.of(CLIPS)
    assert len(rows) == 4 and rows.mels == 4
    assert all(np.array_equal(ours, theirs) for ours, theirs in zip(rows, CLIPS, strict=True))
    assert np.array_equal(rows[-1], CLIPS[-1]) and len(rows[1:3]) == 2
    with pytest.raises(IndexError):
        rows[4]


def test_offsets_are_taken_from_the_clips_that_they_belong_to() -> None:
    offsets = np.array([[0.0] * 4, [1.0, 2.0, 3.0, 4.0]], np.float32)
    less = ClipRows.of(CLIPS).taking_away(offsets, np.array([0, 1, 0, 1]))
    for number, clip in enumerate(CLIPS):
        assert np.array_equal(less[number], clip - offsets[number % 2])


@pytest.mark.parametrize("hop", [1, 3])
def test_joined_parts_give_the_patches_of_one_sequence(hop: int) -> None:
    whole = PatchSet(CLIPS, 4, hop)
    parts = PatchSet(joined([ClipRows.of(CLIPS[:1]), ClipRows.of(CLIPS[1:])]), 4, hop)
    index = RNG.permutation(len(whole))
    assert np.array_equal(whole[index], parts[index])


def test_patches_of_chosen_clips_are_prepared_with_their_clips_number() -> None:
    def numbered(patches: np.ndarray, clip: np.ndarray) -> np.ndarray:
        patches[:] = clip[:, None, None]
        return patches

    patches = PatchSet(CLIPS, 5, clips=np.array([3, 1]), prepare=numbered)
    assert len(patches) == 26 + 8
    assert np.array_equal(patches[np.arange(34)][:, 0, 0], np.repeat([3, 1], [26, 8]))
