"""Detectors are found by themselves: adding one is adding one file."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from small_detectors import normal

import acoustic_ad.detectors
from acoustic_ad.detectors.base import detector_class, detectors, register
from acoustic_ad.errors import UsageError
from acoustic_ad.models.machine_model import MachineModel
from acoustic_ad.recipe import parse_recipe


def test_an_unknown_detector_is_answered_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"no detector 'typo'.*dae.*mahalanobis"):
        detector_class("typo")


def test_two_detectors_cannot_share_a_name() -> None:
    with pytest.raises(ValueError, match="two detectors"):

        @register("mahalanobis")
        class Impostor:
            pass

    assert detector_class("mahalanobis").__name__ == "Mahalanobis"


TOY = '''
"""How far a patch lies from zero."""
import numpy as np
from acoustic_ad.detectors.base import Evidence, Options, Training, check_state, not_fitted, register

class ToyOptions(Options):
    power: float = 2.0

@register("toy")
class Toy:
    Options = ToyOptions

    def __init__(self, options, patch_shape, seed=0):
        self.options, self.centre, self.mels = options, None, patch_shape[1]

    def fit(self, patches, held_out=None, *, steps=None, start=None, progress=None):
        self.centre = patches[np.arange(len(patches))].mean(axis=(0, 1))
        return Training()

    def evidence(self, patches, paper=True):
        if self.centre is None:
            raise not_fitted(self)
        residual = patches.mean(axis=1) - self.centre
        return Evidence((np.abs(residual) ** self.options.power).mean(axis=1), residual, residual)

    def reconstruct(self, patches):
        return np.broadcast_to(self.centre, patches.shape)

    def state(self):
        return {"centre": self.centre.copy()}

    def load_state(self, state):
        check_state(state, {"centre": np.zeros(self.mels, np.float32)})
        self.centre = state["centre"].copy()
'''


def test_adding_a_detector_is_adding_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "toy_detector.py").write_text(TOY)
    monkeypatch.setattr("acoustic_ad.detectors.base._REGISTER", dict(detectors()))
    monkeypatch.setattr(acoustic_ad.detectors, "__path__", [*acoustic_ad.detectors.__path__, str(tmp_path)])
    try:
        assert "toy" in detectors()
        recipe = parse_recipe({"name": "toy", "detector": {"kind": "toy", "power": 1.5}}, "test")
        clips = [normal(1, seed=number)[:, 0] for number in range(20)]
        model = MachineModel(recipe).fit(clips)
        assert model.score(clips[0] + 3.0).score > model.score(clips[0]).score
        loaded = MachineModel.from_state(recipe, model.state(), model.calibration)  # type: ignore[arg-type]
        assert loaded.score(clips[1]).score == model.score(clips[1]).score
    finally:
        sys.modules.pop("acoustic_ad.detectors.toy_detector", None)
        if hasattr(acoustic_ad.detectors, "toy_detector"):
            del acoustic_ad.detectors.toy_detector


def test_the_toy_is_gone() -> None:
    assert "toy" not in detectors()
