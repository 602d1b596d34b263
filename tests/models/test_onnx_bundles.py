"""Bundles read without torch: the same verdicts, and the same refusals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from bundle_victim import Victim
from small_models import clips, fitted
from test_hostile_weights import ARRAYS

from acoustic_ad.errors import BundleError
from acoustic_ad.models.bundle import read_bundle

pytest.importorskip("onnxruntime")
NETWORK = {
    "a layer less": lambda arrays: arrays.pop("detector.0.1.weight"),
    "a layer more": lambda arrays: arrays.update({"detector.2.0.weight": np.ones((2, 2), np.float32)}),
    "a layer of another shape": lambda arrays: arrays.update({"detector.1.0.weight": np.ones((8, 99), np.float32)}),
    "a layer of whole numbers": lambda arrays: arrays.update({"detector.1.0.bias": np.ones(8, np.int64)}),
    "no layers": lambda arrays: [arrays.pop(name) for name in list(arrays) if name.startswith("detector.")],
    "a bias that grows the layer": lambda arrays: arrays.update({"detector.1.0.bias": np.ones((3, 8), np.float32)}),
    "a variance below 0": lambda arrays: arrays["detector.0.2.running_var"].fill(-1.0),
}


@pytest.mark.parametrize("kind", ["mahalanobis", "dae"])
def test_verdicts_are_those_of_torch(kind: str, tmp_path: Path) -> None:
    path = Victim(tmp_path / "models", fitted(kind=kind)).path
    model, info = read_bundle(path)
    other, same = read_bundle(path, runtime="onnx")
    assert info.digest == same.digest
    for clip in clips(0, 3) + clips(1, 3):
        wanted, found = model.score(clip), other.score(clip)
        assert found.score == pytest.approx(wanted.score, rel=1e-5)
        assert found.p_value == wanted.p_value
        assert found.bands == pytest.approx(wanted.bands) and found.band_z == pytest.approx(wanted.band_z, abs=1e-3)


@pytest.mark.parametrize("case", ARRAYS)
def test_what_torch_refuses_is_refused(case: str, tmp_path: Path) -> None:
    victim = Victim(tmp_path / "models")
    victim.put_arrays(ARRAYS[case][0])
    with pytest.raises(BundleError) as caught:
        read_bundle(victim.path, runtime="onnx")
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 1000


@pytest.mark.parametrize("case", NETWORK)
def test_networks_that_do_not_fit_are_refused(case: str, tmp_path: Path) -> None:
    victim = Victim(tmp_path / "models", fitted(kind="dae"))
    read_bundle(victim.path, runtime="onnx")
    victim.put_arrays(NETWORK[case])
    with pytest.raises(BundleError) as caught:
        read_bundle(victim.path, runtime="onnx")
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 1000


def test_a_bundle_of_another_digest_is_refused(tmp_path: Path) -> None:
    path = Victim(tmp_path / "models").path
    with pytest.raises(BundleError, match="run again"):
        read_bundle(path, digest="0" * 64, runtime="onnx")
