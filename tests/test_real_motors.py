"""Real machines, stereo and 48 kHz included: through their manifest and through their folders' names."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from cli_process import acoustic_ad

REAL_MOTORS = Path(__file__).resolve().parents[2] / "shared" / "data" / "real_motors"
MACHINES = ["bldc_motor/id_01", "bldc_motor/id_02", "bldc_motor/id_03", "drone_motor/id_01"]


@pytest.fixture(scope="module")
def real_motors() -> Path:
    if not REAL_MOTORS.is_dir():
        pytest.skip("the recordings of real motors are not beside the checkout")
    return REAL_MOTORS


@pytest.mark.parametrize("through", ["manifest", "folders"])
def test_real_motors(real_motors: Path, through: str, tmp_path: Path) -> None:
    data = real_motors
    if through == "folders":
        data = tmp_path / "data"
        for kind in ("bldc_motor", "drone_motor"):
            shutil.copytree(real_motors / kind, data / kind)
    models, db = tmp_path / "models", tmp_path / "scores.db"
    trained = acoustic_ad("train", data, "--recipe", "mahalanobis", "--models", models, "--json")
    assert trained.code == 0, trained.err
    assert [machine["machine"] for machine in trained.json["machines"]] == MACHINES
    assert [machine["clips"] for machine in trained.json["machines"]] == [30, 30, 20, 23]
    scored = acoustic_ad("score", data, "--split", "test", "--models", models, "--db", db, "--json")
    assert scored.code == 0, scored.err
    assert (scored.json["clips"]["found"], scored.json["clips"]["scored"]) == (192, 192)
    evaluated = acoustic_ad("evaluate", data, "--models", models, "--json")
    assert evaluated.code == 0, evaluated.err
    results = {machine["machine"]: machine for machine in evaluated.json["machines"]}
    for machine in ("bldc_motor/id_01", "bldc_motor/id_02", "drone_motor/id_01"):
        assert results[machine]["auc"] > 0.9
        low, high = results[machine]["auc_ci"]
        assert low <= results[machine]["auc"] <= high
    # Only the manifest knows which clips were cut from one recording.
    recordings = 8 if through == "manifest" else 40
    assert results["bldc_motor/id_01"]["recordings"] == recordings
