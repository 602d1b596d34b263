"""Who learns what: sessions stay whole, and nothing that was learnt by heart is believed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from small_machine import FloatArray, fitted, machine, recipe_of

from acoustic_ad.detectors import base
from acoustic_ad.detectors.base import Evidence, Options, PatchSource, Training
from acoustic_ad.models.machine_model import MachineModel


class SpyOptions(Options):
    """None."""


class Spy:
    """Remembers what it was given to learn and to stop on; its error is `optimism` times higher on what it has not."""

    Options = SpyOptions
    optimism = 1.0
    fits: list[tuple[set[float], set[float]]] = []  # noqa: RUF012 (the machine model makes the instances)

    def __init__(self, options: SpyOptions, patch_shape: tuple[int, int], seed: int = 0) -> None:
        self._learnt: set[float] = set()

    def fit(
        self,
        patches: PatchSource,
        held_out: PatchSource | None = None,
        *,
        steps: int | None = None,
        start: Any = None,
        progress: Any = None,
    ) -> Training:
        self._learnt = marks(patches)
        self.fits.append((self._learnt, set() if held_out is None else marks(held_out)))
        return Training(steps=steps or 7)

    def evidence(self, patches: FloatArray, paper: bool = True) -> Evidence:
        seen = np.array([float(np.round(mark, 3)) in self._learnt for mark in patches[:, 0, 0]])
        score = np.where(seen, 1.0, self.optimism).astype(np.float32)
        residual = np.sqrt(score)[:, None] * np.ones((1, patches.shape[2]), np.float32)
        return Evidence(score, residual, patches.mean(axis=1))

    def reconstruct(self, patches: FloatArray) -> FloatArray:
        return patches

    def state(self) -> dict[str, npt.NDArray[Any]]:
        return {}

    def load_state(self, state: Any) -> None:
        """Nothing to take over."""


def marks(patches: PatchSource) -> set[float]:
    return {float(mark) for mark in np.round(patches[np.arange(len(patches))][:, 0, 0], 3)}


@pytest.fixture
def spy(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Spy]]:
    monkeypatch.setattr(base, "_REGISTER", base.detectors() | {"spy": Spy})
    monkeypatch.setattr(Spy, "fits", [])
    monkeypatch.setattr(Spy, "optimism", 1.0)
    yield Spy


def marked(sessions: list[int]) -> list[FloatArray]:
    """Clips whose first band is their session's number, so that a detector can tell what it was given."""
    clips = machine(len(sessions), seed=0)
    for clip, session in zip(clips, sessions, strict=True):
        clip[:, 0] = 10.0 * session
    return clips


SESSIONS = [0, 1, 2, 3, 4, 5, 6] * 4 + [7] * 9 + [8]  # interleaved, one long, one short


@pytest.mark.parametrize("folds", [2, 3, 5])
def test_sessions_are_never_split(spy: type[Spy], folds: int) -> None:
    spy.optimism = 2.0
    MachineModel(recipe_of("spy", training={"folds": folds})).fit(marked(SESSIONS), SESSIONS)
    everything = spy.fits[-1][0]
    assert len(everything) == len(set(SESSIONS)), "the last network learns from all clips"
    assert len(spy.fits) == folds + 1
    learnt_first, held_out = spy.fits[0]
    assert held_out and not learnt_first & held_out and learnt_first | held_out == everything
    # A session is left out once as a whole: it is in no set in part, since a set holds its mark or does not.
    left_out = [everything - learnt for learnt, _ in spy.fits[:-1]]
    assert sum(map(len, left_out)) == len(everything) and set.union(*left_out) == everything


def test_a_network_that_has_not_learnt_by_heart_is_kept(spy: type[Spy]) -> None:
    spy.optimism = 1.005
    model = MachineModel(recipe_of("spy")).fit(marked(SESSIONS), SESSIONS)
    assert model.detector is not None and not model.detector.cross_fitted
    assert model.detector.optimism == pytest.approx(1.005, abs=1e-4)
    assert len(spy.fits) == 2, "the second network learns what the first did not"
    assert spy.fits[1][0] >= spy.fits[0][1]


def test_a_network_that_has_learnt_by_heart_is_not_believed(spy: type[Spy]) -> None:
    spy.optimism = 1.5
    model = MachineModel(recipe_of("spy", scorer={"kind": "paper"})).fit(marked(SESSIONS), SESSIONS)
    assert model.detector is not None and model.detector.cross_fitted
    assert model.detector.training.steps == 7
    # Each clip was judged by a network that had not learnt it: no score is the flattering 1.
    assert model.calibration is not None
    np.testing.assert_allclose(model.calibration.scores / model.calibration.scores.max(), 1.0)
    assert [clip.patch_scores.mean() for clip in model.detector.evidence] == pytest.approx([1.5] * len(SESSIONS))


def test_few_clips_and_many_steps_are_learnt_by_heart() -> None:
    by_heart = {"steps": 400, "hidden": 64, "latent": 32, "noise": 0.0, "mask_frames": 0.0, "mask_bands": 0.0}
    options = by_heart | {"check_every_steps": 200}
    model = MachineModel(recipe_of("dae", detector=options)).fit(machine(10, seed=0, frames=12))
    assert model.detector is not None and model.detector.cross_fitted
    many = fitted("dae").detector
    assert many is not None and 1.0 < many.optimism < 1.05 < model.detector.optimism


@pytest.mark.parametrize("sessions", [None, [0] * 20, [0] * 19 + [1], [0, 1] + [2] * 18])
def test_one_recording_is_judged_by_its_parts(sessions: list[int] | None) -> None:
    clips = machine(20, seed=0)
    model, without = MachineModel(recipe_of()).fit(clips, sessions), MachineModel(recipe_of()).fit(clips)
    assert model.calibration is not None and without.calibration is not None
    assert np.array_equal(model.calibration.scores, without.calibration.scores)
    assert np.mean([model.score(clip).p_value <= 0.1 for clip in machine(50, seed=1)]) < 0.3
