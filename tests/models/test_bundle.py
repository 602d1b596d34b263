"""A bundle brings back the very model that was written, or says why not."""

from __future__ import annotations

import copy
import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from small_models import DETAILS, clips, fitted, scores

from acoustic_ad.detectors.base import Progress
from acoustic_ad.errors import BundleError, NotFittedError
from acoustic_ad.models import bundle_info
from acoustic_ad.models.bundle import TrainingDetails, read_bundle, read_info, write_bundle
from acoustic_ad.models.bundle_files import pack_arrays, unpack_arrays
from acoustic_ad.models.machine_model import MachineModel
from acoustic_ad.recipe import parse_recipe
from acoustic_ad.sound.features import FeatureSpec


@pytest.mark.parametrize("kind", ["mahalanobis", "dae"])
def test_a_model_comes_back_with_bit_identical_verdicts(tmp_path: Path, kind: str) -> None:
    model = fitted(kind=kind)
    write_bundle(tmp_path / "m", "m", "v0001", model, DETAILS)
    loaded, _ = read_bundle(tmp_path / "m" / "v0001")
    assert scores(loaded) == scores(model)
    for clip in clips(1, 3):
        ours, theirs = loaded.score(clip), model.score(clip)
        assert np.array_equal(ours.bands, theirs.bands) and np.array_equal(ours.band_z, theirs.band_z)


def test_arrays_come_back_whatever_their_layout_in_memory() -> None:
    square = np.arange(6.0).reshape(2, 3)
    arrays = {"transposed": square.T, "strided": square[:, ::2], "scalar": np.array(7), "none": np.zeros((0, 4), "f4")}
    loaded = unpack_arrays(pack_arrays(arrays))
    for name, value in arrays.items():
        assert loaded[name].dtype == value.dtype and loaded[name].shape == value.shape
        assert np.array_equal(loaded[name], value)


def test_info_says_what_the_model_is(tmp_path: Path) -> None:
    model = fitted(kind="dae")
    details = TrainingDetails(
        n_clips=20, left_out=[{"clip_id": "a\udcff.wav", "code": "empty", "reason": "no samples"}], extra={"note": [1]}
    )
    write_bundle(tmp_path / "m", "m", "v0001", model, details)
    info = read_info(tmp_path / "m" / "v0001")
    assert (info.machine, info.version, info.n_clips, info.seed) == ("m", "v0001", 20, model.recipe.seed)
    assert info.recipe == model.recipe and info.extra == {"note": [1]}
    assert info.features_from == "outside" and info.feature_spec is None
    assert info.calibration.n == 20 and info.calibration.smallest_p == pytest.approx(1 / 21)
    assert info.left_out[0].clip_id == r"a\udcff.wav"
    assert {"acoustic_ad", "torch", "torchaudio", "numpy", "sklearn", "python"} <= info.versions.keys()
    assert model.detector is not None and info.training.steps == model.detector.training.steps
    assert info.training.cross_fitted == model.detector.cross_fitted
    assert len(info.training.curve) == len(model.detector.training.curve)


def test_the_whole_training_curve_is_kept_and_older_ones_are_read(tmp_path: Path) -> None:
    model = fitted(kind="dae")
    assert model.detector is not None
    parts = {"kl": 0.25, "context": float("nan")}
    curve = (Progress(5, 10, 2.0, 1.5, parts, 0.5), Progress(10, 10, 1.0, float("nan")))
    training = dataclasses.replace(model.detector.training, curve=curve)
    drawn = copy.copy(model)
    drawn.judges = [copy.copy(model.judges[0])]
    drawn.judges[0]._fitted = dataclasses.replace(model.detector, training=training)
    write_bundle(tmp_path / "m", "m", "v0001", drawn, DETAILS)
    first, second = read_info(tmp_path / "m" / "v0001").training.curve
    assert (first.step, first.loss, first.held_out_loss, first.held_out_spread) == (5, 2.0, 1.5, 0.5)
    assert first.losses == {"kl": 0.25, "context": None}
    assert (second.held_out_loss, second.held_out_spread, second.losses) == (None, None, {})

    document = json.loads((tmp_path / "m" / "v0001" / "bundle.json").read_text())
    for point in document["training"]["curve"]:
        del point["held_out_spread"], point["losses"]
    document["digest"] = bundle_info._digest(document)
    older = bundle_info.parse(json.dumps(document).encode()).training.curve
    assert [(point.loss, point.held_out_spread, point.losses) for point in older] == [(2.0, None, {}), (1.0, None, {})]


def test_recipe_in_bundle_json_is_a_valid_recipe(tmp_path: Path) -> None:
    write_bundle(tmp_path / "m", "m", "v0001", fitted(), DETAILS)
    document = json.loads((tmp_path / "m" / "v0001" / "bundle.json").read_text())
    assert parse_recipe(document["recipe"], "bundle.json") == fitted().recipe


def test_front_end_comes_back_and_an_older_one_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = FeatureSpec(n_mels=16)
    write_bundle(tmp_path / "m", "m", "v0001", fitted(), TrainingDetails(n_clips=20, feature_spec=spec))
    info = read_info(tmp_path / "m" / "v0001")
    assert info.features_from == "audio" and info.feature_spec == spec and info.spec_digest == spec.digest
    monkeypatch.setattr("acoustic_ad.sound.features.FRONT_END_VERSION", 2)
    with pytest.raises(BundleError, match="another version of the front-end"):
        read_bundle(tmp_path / "m" / "v0001")


def test_front_end_of_other_mels_than_the_model_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="128 mels"):
        write_bundle(tmp_path / "m", "m", "v0001", fitted(), TrainingDetails(n_clips=20, feature_spec=FeatureSpec()))
    assert list((tmp_path / "m").iterdir()) == []


def test_digest_tells_models_apart(tmp_path: Path) -> None:
    digests = {write_bundle(tmp_path / "m", "m", f"v000{n}", fitted(n), DETAILS).digest for n in (1, 2, 3)}
    assert len(digests) == 3


def test_a_version_is_never_overwritten(tmp_path: Path) -> None:
    write_bundle(tmp_path / "m", "m", "v0001", fitted(0), DETAILS)
    with pytest.raises(BundleError, match="exists already"):
        write_bundle(tmp_path / "m", "m", "v0001", fitted(1), DETAILS)
    assert scores(read_bundle(tmp_path / "m" / "v0001")[0]) == scores(fitted(0))


@pytest.mark.parametrize("version", ["v1", "V0001", "latest", "..", "v0001/x"])
def test_what_is_no_version_is_not_written(tmp_path: Path, version: str) -> None:
    with pytest.raises(BundleError):
        write_bundle(tmp_path / "m", "m", version, fitted(), DETAILS)


def test_a_model_that_would_be_refused_later_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = {**fitted().state(), "normaliser.mean": np.full(16, np.nan, np.float32)}
    monkeypatch.setattr(MachineModel, "state", lambda self: state)
    with pytest.raises(BundleError, match="NaN"):
        write_bundle(tmp_path / "m", "m", "v0001", fitted(), DETAILS)
    assert list((tmp_path / "m").iterdir()) == []


def test_an_unfitted_model_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(NotFittedError):
        write_bundle(tmp_path / "m", "m", "v0001", MachineModel(fitted().recipe), DETAILS)


@pytest.mark.parametrize("extra", [{"x": float("nan")}, {"x": {1, 2}}, {"x": "\ud800"}])
def test_extra_must_be_json(tmp_path: Path, extra: dict[str, object]) -> None:
    with pytest.raises(BundleError):
        write_bundle(tmp_path / "m", "m", "v0001", fitted(), TrainingDetails(n_clips=20, extra=extra))


def test_only_the_temporaries_of_dead_writers_are_cleared(tmp_path: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    folder = tmp_path / "m"
    dead, alive, outdated = (
        folder / f".tmp-v0001-{pid}-{n * 8}" for n, pid in zip("abc", (child.pid, 1, 1), strict=True)
    )
    for path in (dead, alive, outdated):
        path.mkdir(parents=True)
        (path / "weights.safetensors").write_bytes(b"half")
    os.utime(outdated, (0, 0))
    (folder / ".tmp-notes").write_text("not ours")
    write_bundle(folder, "m", "v0001", fitted(), DETAILS)
    assert {path.name for path in folder.iterdir()} == {"v0001", alive.name, ".tmp-notes"}


def test_a_leftover_that_is_a_link_costs_nothing_elsewhere(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_text("kept")
    folder = tmp_path / "m"
    folder.mkdir()
    (folder / f".tmp-v0001-{2**22 + 1}-{'a' * 8}").symlink_to(precious)
    write_bundle(folder, "m", "v0001", fitted(), DETAILS)
    assert (precious / "file").read_text() == "kept"
    assert [path.name for path in folder.iterdir()] == ["v0001"]


def test_a_folder_that_cannot_be_written_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "m").write_text("a file where a folder must be")
    with pytest.raises(BundleError, match="cannot be written") as caught:
        write_bundle(tmp_path / "m", "m", "v0001", fitted(), DETAILS)
    assert "\n" not in str(caught.value)


def test_size_is_checked_before_reading(tmp_path: Path) -> None:
    write_bundle(tmp_path / "m", "m", "v0001", fitted(), DETAILS)
    with (tmp_path / "m" / "v0001" / "weights.safetensors").open("r+b") as file:
        file.truncate(2**36)  # a hole: it takes no room on the disk
    with pytest.raises(BundleError, match="at most"):
        read_info(tmp_path / "m" / "v0001")


def test_listing_needs_neither_torch_nor_sklearn(tmp_path: Path) -> None:
    write_bundle(tmp_path / "m", "m", "v0001", fitted(), DETAILS)
    code = (
        "import sys; from pathlib import Path; from acoustic_ad.models.registry import Registry\n"
        "registry = Registry(Path(sys.argv[1])); assert registry.info('m', 'v0001').n_clips == 20\n"
        "assert not {'torch', 'sklearn'} & sys.modules.keys(), 'slow imports'"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, cwd=Path(__file__).parents[2])
