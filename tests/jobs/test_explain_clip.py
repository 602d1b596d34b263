"""What is planted into a clip is found by what `acoustic-ad explain` does, with a model that was trained and kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from plant import BEGIN, Plant, normal
from planted_box import SPEC, Box, normal_clips, overlap, planted_clips

from acoustic_ad.errors import UsageError
from acoustic_ad.jobs.explain_clip import ExplainedClip, explain_clip, machine_of
from acoustic_ad.jobs.schema import ClipRow, FileFact
from acoustic_ad.jobs.store import Store
from acoustic_ad.models.bundle import TrainingDetails
from acoustic_ad.models.machine_model import MachineModel
from acoustic_ad.models.registry import Registry
from acoustic_ad.recipe import parse_recipe
from acoustic_ad.sound.features import LogMel
from acoustic_ad.sound.simulate import MACHINE_TYPES

RECIPE = {"name": "plain", "detector": {"kind": "mahalanobis"}, "features": {"patch_frames": 1}}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of each type of simulated machine."""
    root, front_end = tmp_path_factory.mktemp("explained") / "models", LogMel(SPEC)
    for machine in MACHINE_TYPES:
        log_mels = [front_end(clip) for clip in normal_clips(machine)]
        model = MachineModel(parse_recipe(RECIPE, "plain")).fit(log_mels, [n // 4 for n in range(len(log_mels))])
        Registry(root).save(machine, model, TrainingDetails(n_clips=len(log_mels), feature_spec=SPEC))
    return root


def box_of(clip: ExplainedClip) -> Box:
    """The box in frames and bands, from its seconds and Hz."""
    box = clip.found.box
    if box is None:
        return 0, 0, 0, 0
    low, high = (int(np.abs(SPEC.band_edges_hz - hz).argmin()) for hz in (box.low_hz, box.high_hz))
    return box.start_s / SPEC.frame_s, box.end_s / SPEC.frame_s, low, high


@pytest.mark.parametrize("kind", ["tone", "burst"])
def test_the_box_is_where_the_fault_was_planted(kind: str, models: Path, tmp_path: Path) -> None:
    found, named = [], 0
    for machine, clip, truth in planted_clips(kind, each=2):
        file = tmp_path / "clip.wav"
        soundfile.write(file, clip, SPEC.sample_rate_hz, subtype="FLOAT")
        explained = explain_clip(file, models, machine)
        found.append(overlap(box_of(explained), truth))
        low, high = SPEC.band_edges_hz[[int(truth[2]), int(truth[3])]]
        named += any(one.low_hz <= high and low <= one.high_hz and one.db > 0 for one in explained.standouts)
    print(f"{kind}: mean IoU {np.mean(found):.2f} of {len(found)}, named in {named}")
    assert len(found) == 10 and np.mean(found) >= 0.5
    assert kind == "burst" or named >= 9, "a tone throughout is in the sentence, too"


def test_whose_clip_it_is(models: Path, tmp_path: Path) -> None:
    registry = Registry(models)
    assert machine_of(tmp_path / "fan" / "id_00" / "x.wav", registry, None, "") == "fan"
    with pytest.raises(UsageError, match="--machine, one of fan, gearbox"):
        machine_of(tmp_path / "fans" / "x.wav", registry, None, "")
    with pytest.raises(UsageError, match="several machines"):
        machine_of(tmp_path / "fan" / "pump" / "x.wav", registry, None, "")
    with pytest.raises(UsageError, match="no models"):
        machine_of(tmp_path / "x.wav", Registry(tmp_path), None, "")


def test_the_only_model_does_not_judge_another_machines_clip(tmp_path: Path) -> None:
    """The store knows of which machine it is, and that it has no model."""
    plant = Plant(tmp_path)
    plant.add_clips("fan", normal(2))
    registry, stray = Registry(plant.models), tmp_path / "x.wav"
    assert machine_of(stray, registry, None, "") == "fan"
    with Store.open(plant.db) as store:
        row = ClipRow("x.wav", "pump", BEGIN, "name", "ab" * 32, None, None, None, "failed", "no_model")
        fact = FileFact("x.wav", "pump", 10, 1, "ab" * 32, 1, BEGIN)
        store.commit(store.begin_run(tmp_path), tmp_path, [row], [fact])
        with pytest.raises(UsageError, match="is of pump, without a model; add --machine fan"):
            machine_of(stray, registry, store, "ab" * 32)
