"""What every detector promises; a new one is found here by itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from sklearn.metrics import roc_auc_score
from small_detectors import CASES, CLIP_PATCHES, FRAMES, MELS, SHAPE, fitted, make, normal

from acoustic_ad.detectors.base import Detector, Evidence, Progress, Training, detector_class, detectors
from acoustic_ad.errors import BundleError, NotFittedError
from acoustic_ad.scores.clip_score import StatisticalScorer
from acoustic_ad.scores.evidence import ClipEvidence, EvidenceSum
from acoustic_ad.sound.features import PatchSet

every_case = pytest.mark.parametrize("case", sorted(CASES))
# In standard deviations of a band. Papers' scores may miss what a statistical scorer finds in the residual.
FAULT, GROSS_FAULT = 1.5, 6.0
FEW = 8  # steps, where it does not matter how much is learnt


def same(one: Evidence, other: Evidence) -> bool:
    """Whether two evidences are equal bit for bit."""
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in ("score", "residual", "latent"))


def by_clip(evidence: Evidence, patches: np.ndarray[Any, Any]) -> list[ClipEvidence]:
    clips = []
    for start in range(0, len(patches), CLIP_PATCHES):
        part = slice(start, start + CLIP_PATCHES)
        clip = EvidenceSum()
        clip.add(evidence.score[part], evidence.residual[part], evidence.latent[part], patches[part])
        clips.append(clip.clip())
    return clips


def test_detectors_are_found() -> None:
    assert {"mahalanobis", "dae"} <= detectors().keys()
    assert {kind for kind, _ in CASES.values()} == detectors().keys()


@every_case
def test_evidence_has_the_promised_shapes_and_is_finite(case: str) -> None:
    patches = normal(2, seed=1)
    evidence = fitted(case).evidence(patches)
    assert evidence.score.shape == (len(patches),)
    assert evidence.residual.shape == (len(patches), MELS)
    assert evidence.latent.ndim == 2 and len(evidence.latent) == len(patches) and evidence.latent.shape[1] > 0
    for part in (evidence.score, evidence.residual, evidence.latent):
        assert part.dtype == np.float32 and np.isfinite(part).all()


@every_case
def test_reconstruction_has_the_shape_of_the_patches(case: str) -> None:
    patches = normal(2, seed=1)
    restored = fitted(case).reconstruct(patches)
    assert restored.shape == patches.shape and restored.dtype == np.float32 and np.isfinite(restored).all()


@every_case
def test_a_gross_fault_has_a_higher_paper_score(case: str) -> None:
    good, bad = normal(30, seed=2), normal(30, seed=3, gain=GROSS_FAULT)
    scores = [fitted(case).evidence(patches).score.reshape(30, CLIP_PATCHES).mean(axis=1) for patches in (good, bad)]
    assert roc_auc_score([0] * 30 + [1] * 30, np.concatenate(scores)) > 0.5


@every_case
def test_a_fault_is_found_in_the_residual(case: str) -> None:
    detector, scorer = fitted(case), StatisticalScorer([("residual", "mahalanobis")])
    learnt, good, bad = normal(40, seed=4), normal(30, seed=2), normal(30, seed=3, gain=FAULT)
    scorer.fit(by_clip(detector.evidence(learnt), learnt), np.arange(40) % 5)
    scores = [scorer.score(clip) for patches in (good, bad) for clip in by_clip(detector.evidence(patches), patches)]
    assert roc_auc_score([0] * 30 + [1] * 30, scores) > 0.8


@every_case
def test_the_residual_is_signed(case: str) -> None:
    detector = fitted(case)
    louder, quieter = (detector.evidence(normal(10, seed=5, gain=gain)).residual.mean(axis=0) for gain in (3.0, -3.0))
    assert (louder[6:9] > quieter[6:9]).all()


@every_case
@pytest.mark.parametrize("paper", [True, False])
@pytest.mark.parametrize("size", [1, 2, 3, 7, 100, 257])
def test_a_patch_scores_as_in_any_other_batch(case: str, paper: bool, size: int) -> None:
    detector, patches = fitted(case), normal(24, seed=6)
    together = detector.evidence(patches, paper)
    parts = [detector.evidence(patches[start : start + size], paper) for start in range(0, len(patches), size)]
    for name in ("score", "residual", "latent") if paper else ("residual", "latent"):
        found, wanted = np.concatenate([getattr(part, name) for part in parts]), getattr(together, name)
        assert np.abs(found - wanted).max() <= 1e-6 * wanted.std(axis=0).mean(), name


@every_case
@pytest.mark.parametrize("count", [1, 50])
def test_the_module_says_what_the_evidence_says(case: str, count: int) -> None:
    detector, patches = fitted(case), normal(3, seed=12, gain=2.0)[:count]
    module, evidence = detector.module(), detector.evidence(patches)
    assert not module.training and not any(part.training for part in module.modules())
    with torch.no_grad():
        found = module(torch.from_numpy(patches))
    for part, name in zip(found, ("score", "residual", "latent"), strict=True):
        assert part.dtype == torch.float32
        np.testing.assert_allclose(part.numpy(), getattr(evidence, name), rtol=1e-6, atol=1e-6, err_msg=name)


@every_case
def test_the_module_is_of_what_was_loaded(case: str) -> None:
    detector, loaded, patches = fitted(case), make(case, seed=5), torch.from_numpy(normal(1, seed=13))
    loaded.load_state(detector.state())
    with torch.no_grad():
        for part, other in zip(detector.module()(patches), loaded.module()(patches), strict=True):
            assert torch.equal(part, other)


@every_case
def test_without_the_paper_score_the_rest_is_the_same(case: str) -> None:
    detector, patches = fitted(case), normal(4, seed=14, gain=2.0)
    full, quick = detector.evidence(patches), detector.evidence(patches, paper=False)
    assert quick.score.shape == full.score.shape
    for name in ("residual", "latent"):
        found, wanted = getattr(quick, name), getattr(full, name)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=2e-5, err_msg=name)
    other = make(case, seed=5)
    with pytest.raises(NotFittedError):
        other.evidence(patches, paper=False)
    other.load_state(detector.state())
    np.testing.assert_array_equal(other.evidence(patches, paper=False).residual, quick.residual)
    other.fit(normal(20, seed=15, gain=-2.0))
    again = other.evidence(patches).residual  # what is learnt anew counts
    np.testing.assert_allclose(other.evidence(patches, paper=False).residual, again, rtol=1e-4, atol=2e-5)


@every_case
def test_no_patches_give_no_evidence(case: str) -> None:
    evidence = fitted(case).evidence(normal(1, seed=0)[:0])
    assert evidence.score.shape == (0,) and evidence.residual.shape == (0, MELS) and len(evidence.latent) == 0


@every_case
def test_scoring_leaves_no_trace(case: str) -> None:
    detector, patches = fitted(case), normal(2, seed=7)
    before = patches.copy()
    first = detector.evidence(patches)
    torch.manual_seed(99)
    detector.evidence(normal(3, seed=8, gain=5.0))
    detector.reconstruct(patches)
    assert same(first, detector.evidence(patches)) and np.array_equal(patches, before)


@every_case
def test_one_seed_gives_one_detector(case: str) -> None:
    one, again = make(case), make(case)
    one.fit(normal(8, seed=0), steps=FEW)
    torch.manual_seed(1234)  # whatever happened before does not matter
    again.fit(normal(8, seed=0), steps=FEW)
    assert same(one.evidence(normal(2, seed=9)), again.evidence(normal(2, seed=9)))


@every_case
def test_a_network_depends_on_its_seed(case: str) -> None:
    one, other, patches = make(case, seed=0), make(case, seed=1), normal(2, seed=9)
    one.fit(normal(4, seed=0), steps=FEW)
    if not other.fit(normal(4, seed=0), steps=FEW).steps:
        pytest.skip("learns without chance")
    assert not np.array_equal(one.evidence(patches).score, other.evidence(patches).score)


@every_case
def test_fitting_leaves_the_callers_random_numbers_alone(case: str) -> None:
    state, deterministic = torch.get_rng_state(), torch.are_deterministic_algorithms_enabled()
    make(case).fit(normal(4, seed=0), normal(2, seed=1), steps=FEW)
    assert torch.equal(state, torch.get_rng_state())
    assert torch.are_deterministic_algorithms_enabled() == deterministic


@every_case
def test_a_second_fit_forgets_the_first(case: str) -> None:
    once, twice = make(case), make(case)
    twice.fit(normal(8, seed=20, gain=2.0), steps=FEW)
    for detector in (once, twice):
        detector.fit(normal(8, seed=0), steps=FEW)
    assert same(once.evidence(normal(2, seed=9)), twice.evidence(normal(2, seed=9)))


@every_case
def test_state_brings_back_the_very_detector(case: str) -> None:
    detector, loaded, patches = fitted(case), make(case, seed=5), normal(2, seed=10)
    loaded.load_state(detector.state())
    assert same(detector.evidence(patches), loaded.evidence(patches))
    assert np.array_equal(detector.reconstruct(patches), loaded.reconstruct(patches))
    assert {name: value.dtype for name, value in loaded.state().items()} == {
        name: value.dtype for name, value in detector.state().items()
    }


@every_case
def test_state_is_a_copy(case: str) -> None:
    detector, loaded, patches = fitted(case), make(case), normal(1, seed=10)
    before, state = detector.evidence(patches), detector.state()
    loaded.load_state(state)
    for value in state.values():
        value[...] = 0
    assert same(before, detector.evidence(patches)) and same(before, loaded.evidence(patches))


@every_case
@pytest.mark.parametrize("method", ["evidence", "reconstruct", "state", "module"])
def test_nothing_is_said_before_learning(case: str, method: str) -> None:
    arguments = [] if method in ("state", "module") else [normal(1, seed=0)]
    with pytest.raises(NotFittedError, match="fit or load_state"):
        getattr(make(case), method)(*arguments)


def broken_states(state: dict[str, np.ndarray[Any, Any]]) -> dict[str, dict[str, np.ndarray[Any, Any]]]:
    """States that do not fit, by what is wrong with them."""
    name = next(name for name, value in state.items() if value.dtype.kind == "f")
    value, rest = state[name], {key: array for key, array in state.items() if key != name}
    nan, infinite = value.copy(), value.copy()
    nan.flat[-1], infinite.flat[0] = np.nan, -np.inf
    return {
        "missing": rest,
        "empty": {},
        "extra": state | {"intruder": np.zeros(3)},
        "renamed": rest | {name.upper() + "_": value},
        "longer": state | {name: np.concatenate([value, value])},
        "flattened": state | {name: value.reshape(1, -1)},
        "nan": state | {name: nan},
        "inf": state | {name: infinite},
        "text": state | {name: np.full(value.shape, "0")},
        "integers": state | {name: np.zeros(value.shape, np.int64)},
        "objects": state | {name: np.full(value.shape, None, dtype=object)},
    }


@every_case
def test_a_state_that_does_not_fit_is_refused_and_leaves_nothing_behind(case: str) -> None:
    kept, patches = make(case), normal(1, seed=11)
    kept.load_state(fitted(case).state())
    for what, state in broken_states(fitted(case).state()).items():
        empty = make(case)
        for detector in (empty, kept):
            with pytest.raises(BundleError):
                detector.load_state(state)
                pytest.fail(f"took over a state with {what} arrays")
        with pytest.raises(NotFittedError):
            empty.evidence(patches)
    assert same(kept.evidence(patches), fitted(case).evidence(patches))


@every_case
def test_patches_may_be_cut_on_demand(case: str) -> None:
    log_mels = [normal(1, seed=number)[:, 0] for number in range(12)]
    patches, held_out = PatchSet(log_mels[:9], FRAMES), PatchSet(log_mels[9:], FRAMES)
    lazy, plain = make(case), make(case)
    training = lazy.fit(patches, held_out, steps=FEW)
    assert isinstance(training, Training)
    assert plain.fit(patches[np.arange(len(patches))], held_out[np.arange(len(held_out))], steps=FEW) == training
    assert same(lazy.evidence(normal(1, seed=50)), plain.evidence(normal(1, seed=50)))


@every_case
def test_progress_is_reported_as_it_is_kept(case: str) -> None:
    reports: list[Progress] = []
    training = make(case).fit(normal(8, seed=0), normal(2, seed=1), steps=30, progress=reports.append)
    assert tuple(reports) == training.curve
    assert bool(reports) == bool(training.steps)
    for report in reports:
        assert 0 < report.step <= report.steps and np.isfinite([report.loss, report.held_out_loss]).all()


@every_case
def test_unknown_and_endless_options_are_refused(case: str) -> None:
    options = detector_class(CASES[case][0]).Options
    with pytest.raises(ValidationError):
        options(**{"no_such_option": 1})
    for name, field in options.model_fields.items():
        if field.annotation in (int, float):
            for value in (float("nan"), float("inf"), -1):
                with pytest.raises(ValidationError):
                    options(**{name: value})


def test_every_detector_is_a_detector() -> None:
    for cls in detectors().values():
        detector: Detector = cls(cls.Options(), SHAPE)
        assert all(
            callable(getattr(detector, name))
            for name in ("fit", "evidence", "reconstruct", "module", "state", "load_state")
        )
        assert cls.__doc__, f"{cls.__name__} says neither what it does nor when it fails"
