"""Detectors that judge without torch say what they say with it, and take nothing that does not fit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from small_detectors import CASES, SHAPE, fitted, normal

from acoustic_ad.detectors.base import detector_class
from acoustic_ad.detectors.onnx_detector import detector_without_torch
from acoustic_ad.detectors.onnx_networks import NETWORKS, network_model
from acoustic_ad.errors import BundleError

onnxruntime = pytest.importorskip("onnxruntime")
every_case = pytest.mark.parametrize("case", sorted(CASES))
SHAPES = {"halved to nothing": (33, 31), "short": (3, 8), "two bands": (6, 2), "one frame": (1, 12)}
CONVOLUTIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "ganomaly over time": ("ganomaly", {"width": 4, "latent": 3}),
    "ganomaly over both axes": ("ganomaly", {"width": 4, "latent": 3, "over": "both", "stages": 3}),
    "vae over time": ("vae", {"net": "conv", "width": 4, "latent": 3, "learn_variance": True}),
    "vae over both axes": ("vae", {"net": "conv", "width": 4, "latent": 3, "over": "both"}),
}


def assert_alike(one: Any, other: Any, patches: np.ndarray[Any, Any]) -> None:
    """Two detectors' evidence differs by rounding alone."""
    for paper in (True, False):
        found, wanted = one.evidence(patches, paper), other.evidence(patches, paper)
        for name in ("score", "residual", "latent"):
            mine, theirs = getattr(found, name), getattr(wanted, name)
            assert mine.dtype == np.float32 and mine.shape == theirs.shape
            if name == "score" and not paper:
                assert np.isnan(mine).all()
                continue
            np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-5 * max(float(np.abs(theirs).max()), 1.0))


@every_case
def test_the_evidence_is_that_of_torch(case: str) -> None:
    kind, options = CASES[case]
    detector = fitted(case)
    without = detector_without_torch(kind, options.model_dump(), SHAPE, detector.state())
    assert_alike(without, detector, normal(3, seed=2, gain=0.5))
    assert {name: value.tolist() for name, value in without.state().items()} == {
        name: value.tolist() for name, value in detector.state().items()
    }


@every_case
@pytest.mark.parametrize("size", [1, 3, 257])
def test_a_patch_scores_as_in_any_other_batch(case: str, size: int) -> None:
    kind, options = CASES[case]
    detector = detector_without_torch(kind, options.model_dump(), SHAPE, fitted(case).state())
    patches = normal(24, seed=6)
    for paper in (True, False):
        together = detector.evidence(patches, paper)
        parts = [detector.evidence(patches[start : start + size], paper) for start in range(0, len(patches), size)]
        for name in ("score", "residual", "latent") if paper else ("residual", "latent"):
            found, wanted = np.concatenate([getattr(part, name) for part in parts]), getattr(together, name)
            assert np.abs(found - wanted).max() <= 1e-6 * wanted.std(axis=0).mean(), name


@pytest.mark.parametrize("network", CONVOLUTIONS)
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
def test_convolutions_of_any_patch(network: str, shape: tuple[int, int]) -> None:
    """Axes that halve to an odd length, or are too short to halve."""
    kind, options = CONVOLUTIONS[network]
    patches = np.random.default_rng(0).standard_normal((300, *shape)).astype(np.float32)
    detector = detector_class(kind)(detector_class(kind).Options(**options, steps=2, batch_size=16), shape, 0)
    detector.fit(patches[:64])
    assert_alike(detector_without_torch(kind, options, shape, detector.state()), detector, patches)


def test_no_patches_give_no_evidence() -> None:
    for case in ("dae, defaults", "mahalanobis, defaults"):
        kind, options = CASES[case]
        without = detector_without_torch(kind, options.model_dump(), SHAPE, fitted(case).state())
        found = without.evidence(normal(0, seed=0))
        assert [len(found.score), len(found.residual), len(found.latent)] == [0, 0, 0]


@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize("paper", [True, False])
def test_what_is_written_is_onnx(kind: str, paper: bool) -> None:
    onnx = pytest.importorskip("onnx")
    case = f"{kind}, defaults"
    options = CASES[case][1].model_dump()
    proto = onnx.load_from_string(network_model(kind, fitted(case).state(), SHAPE, options, paper))
    onnx.checker.check_model(proto, full_check=True)
    assert {opset.domain for opset in proto.opset_import} == {""}
    assert len(proto.graph.output) == (3 if paper else 2)


def test_a_kind_that_only_torch_can_judge_says_so() -> None:
    with pytest.raises(BundleError, match="--runtime torch"):
        detector_without_torch("diffusion", {}, SHAPE, {})


@pytest.mark.parametrize("case", ["dae, defaults", "vae, defaults", "ganomaly, defaults", "mahalanobis, defaults"])
@pytest.mark.parametrize("damage", ["nothing", "one missing", "one more", "cut", "another shape", "whole numbers"])
def test_arrays_that_do_not_fit_are_refused(case: str, damage: str) -> None:
    kind, options = CASES[case]
    state = fitted(case).state()
    name = next(name for name, value in state.items() if value.ndim >= 1)
    if damage == "nothing":
        state = {}
    elif damage == "one missing":
        del state[name]
    elif damage == "one more":
        state["third_encoder.0.weight"] = state[name]
    elif damage == "cut":
        state[name] = state[name][:-1]
    elif damage == "another shape":
        state[name] = state[name][None, None]
    else:
        state = {key: np.zeros(3, np.int64) for key in state}
    with pytest.raises(BundleError):
        detector_without_torch(kind, options.model_dump(), SHAPE, state).evidence(normal(1, seed=0))
