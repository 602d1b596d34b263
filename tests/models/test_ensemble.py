"""Several judges behind one score: each says what it would say alone, and a broken one is not listened to."""

from __future__ import annotations

import functools
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.metrics import roc_auc_score
from small_machine import FloatArray, ensemble_of, machine, recipe_of
from small_models import DETAILS

from acoustic_ad.detectors import base
from acoustic_ad.detectors.base import Evidence, Options, PatchSource, Training
from acoustic_ad.errors import ClipError, NotFittedError
from acoustic_ad.models.bundle import read_bundle, write_bundle
from acoustic_ad.models.machine_model import ClipScore, MachineModel
from acoustic_ad.models.planted_log_mels import log_mel_faults
from acoustic_ad.recipe import Recipe
from acoustic_ad.scores.clip_score import StatisticalScorer

CLIPS = 60
CLOUD = recipe_of(name="cloud", scorer={"statistics": ["spectrum", "power"]})
NEIGHBOURS = recipe_of(name="neighbours", scorer={"kind": "nearest_neighbour"})
DAE = recipe_of("dae", name="dae", scorer={"statistics": ["residual", "spectrum"]})
SECONDS = recipe_of(name="seconds", features={"patch_frames": 32, "patch_hop_frames": 8})


class DeafOptions(Options):
    """None."""


class Deaf:
    """What it says has nothing to do with what it is given."""

    Options = DeafOptions

    def __init__(self, options: DeafOptions, patch_shape: tuple[int, int], seed: int = 0) -> None:
        """Nothing to set up."""

    def fit(self, patches: PatchSource, held_out: PatchSource | None = None, **_: Any) -> Training:
        return Training(steps=1)

    def evidence(self, patches: FloatArray, paper: bool = True) -> Evidence:
        rng = np.random.default_rng(zlib.crc32(np.ascontiguousarray(patches).tobytes()))
        residual = rng.standard_normal((len(patches), patches.shape[2])).astype(np.float32)
        return Evidence(np.ones(len(patches), np.float32), residual, residual[:, :2])

    def reconstruct(self, patches: FloatArray) -> FloatArray:
        return patches

    def state(self) -> dict[str, npt.NDArray[Any]]:
        return {}

    def load_state(self, state: Any) -> None:
        """Nothing to take over."""


@pytest.fixture
def deaf(monkeypatch: pytest.MonkeyPatch) -> Iterator[Recipe]:
    monkeypatch.setattr(base, "_REGISTER", base.detectors() | {"deaf": Deaf})
    yield recipe_of("deaf", name="deaf")


@functools.cache
def together() -> MachineModel:
    return MachineModel(ensemble_of(CLOUD, DAE, NEIGHBOURS)).fit(machine(CLIPS, seed=0))


def reread(model: MachineModel, folder: Path) -> MachineModel:
    write_bundle(folder / "m", "m", "v0001", model, DETAILS)
    return read_bundle(folder / "m" / "v0001")[0]


def same(one: ClipScore, other: ClipScore) -> bool:
    numbers = ("score", "p_value", "level_db", "paper_score")
    return all(getattr(one, name) == getattr(other, name) for name in numbers) and all(
        np.array_equal(getattr(one, name), getattr(other, name)) for name in ("bands", "band_z")
    )


TESTED = machine(10, seed=1) + machine(10, seed=2, gain_db=2.0)


def test_the_score_is_the_mean_of_what_the_judges_say_alone() -> None:
    model = together()
    alone = [MachineModel(model.recipe.judges[number]).fit(machine(CLIPS, seed=0)) for number in model.kept]
    assert len(alone) > 1 and model.combination is not None
    for clip in TESTED:
        own = [judge.score(clip).score for judge in alone]
        assert model.score(clip).score == pytest.approx(float(model.combination(own)), rel=1e-9)
        assert model.score(clip).paper_score == alone[0].score(clip).paper_score


def test_an_ensemble_finds_faults_and_calls_normal_clips_normal() -> None:
    model = together()
    normal, faulty = ([model.score(clip) for clip in machine(100, 3 + n, gain_db=2.0 * n)] for n in (0, 1))
    scores = [verdict.score for verdict in normal + faulty]
    assert roc_auc_score([0] * 100 + [1] * 100, scores) > 0.95
    assert np.mean([verdict.p_value <= 0.1 for verdict in normal]) <= 0.15
    assert np.median([verdict.p_value for verdict in faulty]) < 0.05


def test_every_planted_fault_has_its_curve() -> None:
    curves = {curve.words: curve for curve in together().detection}
    assert curves.keys() == {words for _, words, _ in log_mel_faults()}
    loud = curves["noise in all bands"]
    assert loud.limit_db is not None and loud.limit_db < 4.0 and loud.found[-1] == 1.0
    assert all(0.0 <= share <= 1.0 for curve in curves.values() for share in curve.found)


def test_the_score_does_not_depend_on_how_the_stream_is_cut() -> None:
    (clip,) = machine(1, seed=7, frames=5_000)
    whole = together().score(clip)
    for cuts in ([1], [40, 41, 4_096], list(range(100, 5_000, 100))):
        cut = together().score_stream(np.split(clip, cuts))
        assert (cut.score, cut.p_value) == (whole.score, whole.p_value)


def test_a_bundle_brings_back_the_very_ensemble(tmp_path: Path) -> None:
    model = together()
    loaded = reread(model, tmp_path)
    assert loaded.kept == model.kept and loaded.recipe == model.recipe
    assert all(same(loaded.score(clip), model.score(clip)) for clip in TESTED)
    again = reread(loaded, tmp_path / "again")
    assert all(same(again.score(clip), model.score(clip)) for clip in TESTED[::5])


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_broken_member_is_left_out_and_does_no_harm(deaf: Recipe, tmp_path: Path, place: int) -> None:
    members = [CLOUD, NEIGHBOURS]
    members.insert(place, deaf)
    model = MachineModel(ensemble_of(*members)).fit(machine(CLIPS, seed=0))
    without = MachineModel(ensemble_of(CLOUD, NEIGHBOURS)).fit(machine(CLIPS, seed=0))
    assert place not in model.kept
    assert [model.recipe.judges[number].name for number in model.kept] == [
        without.recipe.judges[number].name for number in without.kept
    ]
    assert [model.score(clip).score for clip in TESTED] == [without.score(clip).score for clip in TESTED]
    assert not [name for name in model.state() if name.startswith(f"judge_{place}.")]
    loaded = reread(model, tmp_path)
    assert loaded.kept == model.kept and all(same(loaded.score(clip), model.score(clip)) for clip in TESTED)


@pytest.mark.parametrize("order", [[0, 1], [1, 0]])
def test_best_keeps_one_and_says_what_it_says_alone(deaf: Recipe, tmp_path: Path, order: list[int]) -> None:
    members = [deaf, CLOUD]
    model = MachineModel(ensemble_of(*(members[n] for n in order), combine="best")).fit(machine(CLIPS, seed=0))
    alone = MachineModel(CLOUD).fit(machine(CLIPS, seed=0))
    assert len(model.judges) == 1 and model.judges[0].recipe.name == "cloud"
    loaded = reread(model, tmp_path)
    for clip in TESTED:
        assert model.score(clip).p_value == alone.score(clip).p_value
        assert same(loaded.score(clip), model.score(clip))


@pytest.mark.parametrize("combine", ["mean", "best"])
def test_an_ensemble_of_one_is_kept_and_read_as_any_other(tmp_path: Path, combine: str) -> None:
    model = MachineModel(ensemble_of(CLOUD, combine=combine)).fit(machine(CLIPS, seed=0))
    alone = MachineModel(CLOUD).fit(machine(CLIPS, seed=0))
    loaded = reread(model, tmp_path)
    for clip in TESTED:
        assert same(loaded.score(clip), model.score(clip))
        assert model.score(clip).p_value == alone.score(clip).p_value


def test_members_may_hear_longer_patches_than_the_ensemble_says(tmp_path: Path) -> None:
    model = MachineModel(ensemble_of(SECONDS)).fit(machine(20, seed=0))
    assert model.recipe.features.patch_frames < SECONDS.features.patch_frames
    loaded = reread(model, tmp_path)
    assert all(same(loaded.score(clip), model.score(clip)) for clip in TESTED)
    with pytest.raises(ClipError, match="needs 32") as caught:
        loaded.score(TESTED[0][:31])
    assert caught.value.code == "too_short"


def test_a_scorer_that_chose_for_itself_comes_back_with_its_choice(tmp_path: Path) -> None:
    model = MachineModel(recipe_of(scorer={"kind": "auto"})).fit(machine(40, seed=0))
    loaded = reread(model, tmp_path)
    ours, theirs = model.judges[0].scorer, loaded.judges[0].scorer
    assert isinstance(ours, StatisticalScorer) and isinstance(theirs, StatisticalScorer)
    assert theirs.chosen == ours.chosen and 1 <= len(ours.chosen) <= 5
    assert all(same(loaded.score(clip), model.score(clip)) for clip in TESTED)


def test_one_seed_gives_one_ensemble_and_it_is_the_ensembles_own() -> None:
    one, again, other = (
        MachineModel(ensemble_of(CLOUD, DAE, seed=seed)).fit(machine(20, seed=0)) for seed in (3, 3, 4)
    )
    assert one.kept == again.kept
    assert [one.score(clip).score for clip in TESTED] == [again.score(clip).score for clip in TESTED]
    assert [one.score(clip).score for clip in TESTED] != [other.score(clip).score for clip in TESTED]


def test_nothing_is_said_before_learning() -> None:
    model = MachineModel(ensemble_of(CLOUD, DAE))
    for question in (lambda: model.score(TESTED[0]), lambda: model.n_mels, model.state, model.normal_range):
        with pytest.raises(NotFittedError):
            question()
