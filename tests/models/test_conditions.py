"""Operating conditions: each has its own normal, as far as its clips can tell; an unknown one is said, not guessed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from acoustic_ad.errors import BundleError, TrainingError
from acoustic_ad.models.bundle import TrainingDetails
from acoustic_ad.models.conditions import POOLED_CLIPS, Conditions
from acoustic_ad.models.machine_model import MachineModel
from acoustic_ad.models.registry import Registry
from acoustic_ad.recipe import parse_recipe
from acoustic_ad.scores.metrics import auc

MELS = 24
TABLE = {"name": "by load", "features": {"patch_frames": 1}, "detector": {"kind": "mahalanobis"}}
RECIPE = parse_recipe({**TABLE, "condition": "load"}, "test")
PLAIN = parse_recipe(TABLE, "test")
TILT = np.linspace(-6.0, 6.0, MELS, dtype=np.float32)  # what full load does to the spectrum, dB


def clip(seed: int, load: str, fault_db: float = 0.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    level = {"idle": 0.0, "full": 1.0, "half": 0.5}[load] * TILT + 0.7 * rng.standard_normal(MELS)
    level[5] += fault_db
    return (level - 50.0 + 4.0 * rng.standard_normal((60, MELS))).astype(np.float32)


LOADS = ["idle", "full"] * 20
CLIPS = [clip(seed, load) for seed, load in enumerate(LOADS)]


@pytest.fixture(scope="module")
def model() -> MachineModel:
    return MachineModel(RECIPE).fit(CLIPS, conditions=LOADS)


def test_the_offset_of_a_condition_is_pooled_by_its_number_of_clips() -> None:
    many, few = Conditions.of(CLIPS, LOADS), Conditions.of(CLIPS[:21], [*["idle", "full"] * 10, "rare"])
    assert many.names == ("full", "idle") and many.offsets is not None and few.offsets is not None
    np.testing.assert_allclose(many.offsets[0] - many.offsets[1], TILT * 20 / (20 + POOLED_CLIPS), atol=0.8)
    level = np.stack([one.mean(axis=0) for one in CLIPS[:21]])
    np.testing.assert_allclose(few.offsets[2], (level[20] - level.mean(axis=0)) / (1 + POOLED_CLIPS), atol=1e-4)


def test_a_fault_smaller_than_the_swing_of_the_load_is_found(model: MachineModel) -> None:
    loads = ["idle", "full"] * 40
    clips = [clip(1000 + i, load, fault_db=4.5 * (i >= 40)) for i, load in enumerate(loads)]
    labels = np.arange(80) >= 40
    plain = MachineModel(PLAIN).fit(CLIPS)
    knowing = auc(labels, np.array([model.score(c, load).score for c, load in zip(clips, loads, strict=True)]))
    assert knowing > 0.9
    assert knowing >= auc(labels, np.array([plain.score(c).score for c in clips]))


def test_a_normal_clip_under_the_wrong_condition_is_unusual(model: MachineModel) -> None:
    right = [model.score(clip(2000 + i, "full"), "full").p_value for i in range(20)]
    wrong = [model.score(clip(2000 + i, "full"), "idle").p_value for i in range(20)]
    assert np.median(right) > 0.2 and np.median(wrong) < 0.1


def test_an_unknown_condition_is_said_and_judged_by_all(model: MachineModel) -> None:
    verdict = model.score(clip(1, "half"), "half")
    assert not verdict.condition_known and model.score(clip(1, "full"), "full").condition_known
    assert verdict.score == model.score(clip(1, "half"), None).score


def test_p_values_lean_on_the_clips_of_the_same_condition(model: MachineModel) -> None:
    assert model.calibration is not None
    weights = model.conditions.weights(model.calibration.condition, "full")
    assert weights is not None and sorted(set(weights.tolist())) == [pytest.approx(1 / 3), 1.0]
    assert model.conditions.weights(model.calibration.condition, "half") is None


def test_a_bundle_keeps_the_conditions(model: MachineModel, tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    info = registry.save("fan", model, TrainingDetails(n_clips=40))
    assert info.calibration.conditions == ("full", "idle")
    loaded, _ = registry.load("fan")
    for load in ("idle", "full", "half"):
        assert loaded.score(clip(7, load), load).score == model.score(clip(7, load), load).score
        assert loaded.score(clip(7, load), load).p_value == model.score(clip(7, load), load).p_value


def test_misshapen_conditions_are_refused() -> None:
    with pytest.raises(BundleError, match="offsets"):
        Conditions.from_state({}, ("idle",), MELS)
    with pytest.raises(BundleError, match="offsets"):
        Conditions.from_state({"offsets": np.zeros((2, MELS))}, ("idle",), MELS)
    with pytest.raises(BundleError, match="one name"):
        Conditions.from_state({"offsets": np.zeros((2, MELS))}, ("idle", "idle"), MELS)


def test_a_recipe_by_a_column_that_nobody_has_is_refused() -> None:
    for conditions in (None, [""] * len(CLIPS)):
        with pytest.raises(TrainingError, match="column 'load'"):
            MachineModel(RECIPE).fit(CLIPS, conditions=conditions)
