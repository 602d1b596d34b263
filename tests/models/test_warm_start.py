"""A network that starts from that of a sister machine has less to learn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from small_models import MELS

from acoustic_ad.models.machine_model import MachineModel
from acoustic_ad.recipe import parse_recipe

NETWORKS: dict[str, dict[str, Any]] = {
    "dae": {"kind": "dae", "hidden": 32, "layers": 1, "latent": 6, "noise": 0.1},
    "vae": {"kind": "vae", "hidden": 32, "latent": 6},
    "ganomaly": {"kind": "ganomaly", "width": 16, "latent": 6, "d_width": 2},
}


def recipe(kind: str, steps: int, **changed: Any) -> Any:
    detector = {**NETWORKS[kind], "steps": steps, "check_every_steps": 5, "batch_size": 64, **changed}
    frames = 8 if kind == "ganomaly" else 3
    return parse_recipe({"name": kind, "features": {"patch_frames": frames}, "detector": detector}, "test")


def clips(seed: int, count: int) -> list[np.ndarray]:
    """Two sources through one mixing for all sister machines, each with a level of its own."""
    rng = np.random.default_rng(seed)
    mixing = np.random.default_rng(99).standard_normal((3, MELS))
    level = rng.uniform(-60, -40, MELS)
    return [
        (level + 6 * rng.standard_normal((60, 3)) @ mixing + rng.standard_normal((60, MELS))).astype(np.float32)
        for _ in range(count)
    ]


@pytest.mark.parametrize("kind", NETWORKS)
def test_a_warm_start_is_ahead_at_the_first_look(kind: str) -> None:
    sister = MachineModel(recipe(kind, 60)).fit(clips(0, 30))
    few = clips(1, 12)
    cold, warm = (MachineModel(recipe(kind, 60)).fit(few, start=start) for start in (None, sister))
    assert cold.detector is not None and warm.detector is not None
    first_cold, first_warm = (model.training.curve[0].held_out_loss for model in (cold.detector, warm.detector))
    assert first_warm < first_cold
    assert np.isfinite(warm.score(few[0]).score)


def test_a_network_of_another_shape_is_passed_over() -> None:
    sister = MachineModel(recipe("dae", 5, hidden=8)).fit(clips(0, 12))
    few = clips(1, 12)
    assert sister.detector_state_for(recipe("dae", 5), MELS) is None
    cold, warm = MachineModel(recipe("dae", 5)).fit(few), MachineModel(recipe("dae", 5)).fit(few, start=sister)
    assert cold.score(few[0]).score == warm.score(few[0]).score
