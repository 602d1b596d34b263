"""One machine's model, from log-mel arrays alone: what it calls unusual, and what it does not depend on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kstest
from small_machine import MELS, FloatArray, fitted, machine, recipe_of

from acoustic_ad.errors import BundleError, ClipError, NotFittedError, TrainingError
from acoustic_ad.models.machine_model import MachineModel

every_kind = pytest.mark.parametrize("kind", ["mahalanobis", "dae"])


@pytest.mark.parametrize(("kind", "models", "distance"), [("mahalanobis", 12, 0.12), ("dae", 2, 0.2)])
def test_p_values_of_fresh_normal_clips_are_roughly_uniform(kind: str, models: int, distance: float) -> None:
    p_values = []
    for seed in range(models):
        model = MachineModel(recipe_of(kind)).fit(machine(60, seed=seed))
        p_values += [model.score(clip).p_value for clip in machine(60, seed=100 + seed)]
    assert kstest(p_values, "uniform").statistic < distance
    assert np.mean(np.array(p_values) <= 0.1) <= 0.15


@every_kind
def test_a_louder_band_and_a_tone_score_higher(kind: str) -> None:
    model = fitted(kind)
    normal = [model.score(clip).score for clip in machine(30, seed=2)]
    louder = [model.score(clip).score for clip in machine(30, seed=3, gain_db=4.0)]
    with_tone = machine(30, seed=4)
    for clip in with_tone:
        clip[:, 12] = np.maximum(clip[:, 12], -50.0)
    tones = [model.score(clip) for clip in with_tone]
    assert min(louder) > max(normal)
    assert np.median([tone.score for tone in tones]) > max(normal)
    assert np.median([tone.p_value for tone in tones]) < 0.05


@every_kind
def test_the_verdict_says_where_and_how_much(kind: str) -> None:
    verdicts = [fitted(kind).score(clip) for clip in machine(20, seed=5, gain_db=6.0)]
    db, z = (np.mean([getattr(verdict, name) for verdict in verdicts], axis=0) for name in ("bands", "band_z"))
    assert db.shape == z.shape == (MELS,)
    np.testing.assert_allclose(db[6:9], 6.0, atol=1.0)
    assert np.abs(np.delete(db, [6, 7, 8])).max() < 1.0
    assert (z[6:9] > 2.0).all()
    quiet = [fitted(kind).score(clip) for clip in machine(20, seed=5, gain_db=-6.0)]
    assert (np.mean([verdict.bands for verdict in quiet], axis=0)[6:9] < -5.0).all()


def test_a_machine_that_got_louder_is_news_unless_the_recipe_is_deaf_to_it() -> None:
    clips, fresh = machine(60, seed=0), machine(20, seed=1)
    deaf = MachineModel(recipe_of(features={"remove_level": True})).fit(clips)
    level = fitted().score(fresh[0]).level_db
    assert fitted().score(fresh[0] + 6.0).level_db == pytest.approx(level + 6.0, abs=1e-3)
    assert fitted().score(fresh[0] + 6.0).score > 2.0 * fitted().score(fresh[0]).score
    for clip in fresh:
        assert deaf.score(clip + 6.0).score == pytest.approx(deaf.score(clip).score, rel=1e-3)
        assert deaf.score(clip + 6.0).level_db == pytest.approx(deaf.score(clip).level_db + 6.0, abs=1e-3)


@every_kind
def test_normal_clips_that_were_not_learnt_score_about_as_the_calibration_says(kind: str) -> None:
    typical, limit = fitted(kind).normal_range()
    scores = [fitted(kind).score(clip).score for clip in machine(200, seed=6)]
    assert np.median(scores) == pytest.approx(typical, rel=0.2)
    assert np.mean(np.array(scores) > limit) <= 0.12


LONG = machine(1, seed=7, frames=9_000)[0]


@settings(deadline=None, max_examples=15)
@given(
    kind=st.sampled_from(["mahalanobis", "dae"]),
    cuts=st.lists(st.integers(0, 9_000), max_size=10),
)
def test_the_score_does_not_depend_on_how_the_stream_is_cut(kind: str, cuts: list[int]) -> None:
    whole = fitted(kind).score(LONG)
    streamed = fitted(kind).score_stream(np.split(LONG, sorted(cuts)))
    assert (streamed.score, streamed.p_value) == (whole.score, whole.p_value)
    assert np.array_equal(streamed.band_z, whole.band_z)
    np.testing.assert_allclose(streamed.bands, whole.bands, atol=1e-9)


def test_the_level_that_is_removed_does_not_depend_on_the_cut_either() -> None:
    model = MachineModel(recipe_of(features={"remove_level": True, "patch_frames": 5})).fit(machine(20, seed=0))
    drifting = LONG + np.linspace(0, 20, len(LONG), dtype=np.float32)[:, None]
    whole = model.score(drifting)
    for cuts in ([10], [4096], [4000, 4200, 8500], list(range(100, 9_000, 100))):
        assert model.score_stream(np.split(drifting, cuts)).score == whole.score


@every_kind
def test_the_score_does_not_depend_on_other_clips(kind: str) -> None:
    clips = machine(5, seed=8)
    first = [fitted(kind).score(clip) for clip in clips]
    fitted(kind).score(machine(1, seed=9, gain_db=60.0)[0])
    with pytest.raises(ClipError):
        fitted(kind).score(np.full((20, MELS), np.nan, np.float32))
    again = [fitted(kind).score(clip) for clip in reversed(clips)][::-1]
    assert [verdict.score for verdict in first] == [verdict.score for verdict in again]


@every_kind
def test_double_precision_is_read_as_well(kind: str) -> None:
    clip = machine(1, seed=10)[0]
    assert fitted(kind).score(clip.astype(np.float64)).score == pytest.approx(fitted(kind).score(clip).score, rel=1e-5)


@every_kind
def test_one_seed_gives_one_model(kind: str) -> None:
    again = MachineModel(recipe_of(kind)).fit(machine(100, seed=0))
    clips = machine(5, seed=11) + machine(5, seed=12, gain_db=3.0)
    assert [again.score(clip).score for clip in clips] == [fitted(kind).score(clip).score for clip in clips]
    assert again.calibration is not None and fitted(kind).calibration is not None
    assert np.array_equal(again.calibration.scores, fitted(kind).calibration.scores)  # type: ignore[union-attr]


def test_another_seed_gives_another_network() -> None:
    other = MachineModel(recipe_of("dae", seed=1)).fit(machine(100, seed=0))
    clip = machine(1, seed=11)[0]
    assert other.score(clip).score != fitted("dae").score(clip).score


def refused(clips: Any, message: str, sessions: list[int] | None = None, kind: str = "dae") -> None:
    with pytest.raises(TrainingError, match=message):
        MachineModel(recipe_of(kind)).fit(clips, sessions)


def test_what_cannot_be_learnt_is_refused_with_both_numbers() -> None:
    clips = machine(12, seed=0)
    refused(clips[:9], "9 usable normal clips.*at least 10")
    refused([], "0 usable normal clips")
    refused([*clips, clips[0][:, :8]], r"clip 12 has shape \(40, 8\).*\(40, 16\)")
    refused([*clips, clips[0][0]], r"clip 12 has shape \(16,\)")
    refused([*clips, clips[0][:4]], "clip 12 has 4 frames; one patch needs 5")
    refused([*clips, np.full((40, MELS), np.inf, np.float32)], "clip 12 contains NaN or Inf")
    refused(clips, "3 sessions for 12 clips", sessions=[1, 2, 3])


def code_of(clip: FloatArray, kind: str = "dae") -> str:
    with pytest.raises(ClipError) as caught:
        fitted(kind).score(clip)
    return caught.value.code


def test_what_cannot_be_scored_is_refused_with_its_code() -> None:
    clip = machine(1, seed=0)[0]
    assert code_of(clip[:4]) == "too_short"
    assert code_of(clip[:0]) == "too_short"
    broken = clip.copy()
    broken[-1, -1] = np.nan
    assert code_of(broken) == "not_finite"
    assert code_of(-np.inf * np.ones_like(clip)) == "not_finite"
    with pytest.raises(ClipError, match=r"\(40, 15\).*16 mels"):
        fitted("dae").score(clip[:, :15])
    with pytest.raises(ClipError):
        fitted("dae").score(clip[:, 0])
    with pytest.raises(ClipError, match="0 frames"):
        fitted("dae").score_stream([])


def test_nothing_is_said_before_learning() -> None:
    model = MachineModel(recipe_of())
    for question in (lambda: model.score(LONG), lambda: model.n_mels, model.state, model.normal_range):
        with pytest.raises(NotFittedError):
            question()


def test_ten_clips_are_enough_and_promise_accordingly() -> None:
    for kind in ("mahalanobis", "dae"):
        model = MachineModel(recipe_of(kind)).fit(machine(10, seed=0))
        assert model.calibration is not None and model.calibration.smallest_p == pytest.approx(1 / 11)
        assert model.score(machine(1, seed=1, gain_db=30.0)[0]).p_value == pytest.approx(1 / 11)
        assert np.isfinite(model.score(machine(1, seed=1)[0]).score)


def test_bands_that_never_move_do_no_harm() -> None:
    clips = machine(20, seed=0)
    for clip in clips:
        clip[:, 3] = -100.0  # digital silence in a band that the microphone does not reach
    model, fresh = MachineModel(recipe_of()).fit(clips), machine(1, seed=1)[0]
    fresh[:, 3] = -100.0
    assert model.score(fresh).p_value > 0.05
    fresh[:, 3] = -90.0
    assert model.score(fresh).p_value == pytest.approx(1 / 21)


@pytest.mark.parametrize("split", [(10, 10), (15, 5), (5, 15), (7, 7, 6), (14, 3, 3)])
def test_few_recordings_give_no_flood_of_false_alarms(split: tuple[int, ...]) -> None:
    sessions = np.repeat(np.arange(len(split)), split).tolist()
    called = []
    for seed in range(3):
        model = MachineModel(recipe_of()).fit(machine(20, seed=seed), sessions)
        called += [model.score(clip).p_value <= 0.1 for clip in machine(60, seed=100 + seed)]
    assert np.mean(called) < 0.2
    assert np.mean([model.score(clip).p_value for clip in machine(20, seed=200, gain_db=20.0)]) < 0.1


def test_calibrating_on_clips_kept_out_replaces_the_cross_fitted_scores() -> None:
    model = MachineModel(recipe_of()).fit(machine(40, seed=0))
    kept_out = machine(30, seed=1)
    model.recalibrate(kept_out)
    assert model.calibration is not None
    assert model.calibration.scores.tolist() == sorted(model.score(clip).score for clip in kept_out)


def test_a_clip_without_the_machine_says_nothing_of_its_health() -> None:
    model = fitted()
    hall = np.full((40, 16), -90.0, np.float32)  # 30 dB below, and smooth
    kind, reason = model.absence(model.score(hall)) or ("", "")
    assert kind in ("off", "faint") and "dB" in reason
    for clip in (*machine(20, seed=5), *machine(20, seed=6, gain_db=12.0)):
        assert model.absence(model.score(clip)) is None


def test_models_older_than_the_question_of_absence_do_not_answer_it() -> None:
    model = fitted()
    assert model.calibration is not None
    new = ("normal.level_deviation_db", "normal.structure_db", "normal.likeness")
    state = {name: value for name, value in model.state().items() if name not in new}
    assert len(state) == len(model.state()) - 3
    older = MachineModel.from_state(model.recipe, state, model.calibration)
    hall = np.full((40, 16), -90.0, np.float32)
    assert older.absence(older.score(hall)) is None
    assert older.score(hall).score == model.score(hall).score
    for name in new:
        wrong = {**model.state(), name: model.state()[name][:-1]}
        with pytest.raises(BundleError):
            MachineModel.from_state(model.recipe, wrong, model.calibration)
