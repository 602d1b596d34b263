"""Simulated fleets obey seeds and the manifest's rules, and never write outside their folder."""

from __future__ import annotations

import hashlib
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from simulated_parts import rows_of

from acoustic_ad.errors import AcousticADError, UsageError
from acoustic_ad.sound.machine_sounds import draw_machine
from acoustic_ad.sound.manifest import read_manifest
from acoustic_ad.sound.simulate import (
    DEMO_FLEET,
    faults_of,
    manifest_text,
    plan_fleet,
    simulate_fleet,
    simulate_run_to_failure,
    write_clips,
)
from acoustic_ad.sound.simulated_files import COLUMNS

SMALL_FLEET: dict[str, Any] = {"train_clips": 6, "test_normal": 3, "test_anomaly": 3, "duration_s": 0.5, "seed": 1}


def digest(root: Path) -> dict[str, str]:
    files = (path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_same_seed_same_bytes(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        simulate_fleet(tmp_path / name, **(SMALL_FLEET | {"seed": seed, "types": ("fan", "valve")}))
    first, again, other = (digest(tmp_path / name) for name in "abc")
    assert len(first) == 25
    assert first == again
    assert first.keys() == other.keys()
    assert not set(first.values()) & set(other.values())


def test_fleet_on_disk_is_what_was_planned(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    manifest = simulate_fleet(
        tmp_path / "fleet", on_progress=lambda done, total: seen.append((done, total)), **SMALL_FLEET
    )
    assert manifest == tmp_path / "fleet" / "manifest.csv"
    assert manifest.read_text() == manifest_text(plan_fleet(**SMALL_FLEET))
    assert seen == [(done, 60) for done in range(1, 61)]
    rows = rows_of(manifest.read_text())
    assert {str(p.relative_to(manifest.parent)) for p in manifest.parent.rglob("*.wav")} == {r["path"] for r in rows}
    info = soundfile.info(manifest.parent / rows[0]["path"])
    assert (info.samplerate, info.channels, info.frames, info.subtype) == (16000, 1, 8000, "PCM_16")


def test_fleet_is_read_as_a_manifest(tmp_path: Path) -> None:
    simulate_fleet(tmp_path / "fleet", **(SMALL_FLEET | {"types": ("pump",)}))
    manifest = read_manifest(tmp_path / "fleet")
    assert manifest.machines == ("pump/id_00",)
    assert len(manifest.clips) == 12
    assert all(clip.recorded_at is not None for clip in manifest.clips)


def test_sessions_never_cross_splits_and_give_no_label_away() -> None:
    rows = rows_of(manifest_text(plan_fleet(**DEMO_FLEET)))
    assert len(rows) == 300
    assert tuple(rows[0]) == COLUMNS
    for machine in {row["machine"] for row in rows}:
        own = [row for row in rows if row["machine"] == machine]
        train = {row["session"] for row in own if row["split"] == "train"}
        test = {row["session"] for row in own if row["split"] == "test"}
        assert len(train) >= 5
        assert len(test) >= 2
        assert not train & test
        for session in test:
            assert {row["label"] for row in own if row["session"] == session} == {"normal", "anomaly"}
        faulty = [row for row in own if row["label"] == "anomaly"]
        assert {row["fault"] for row in faulty} == set(faults_of(machine.split("/")[0]))
        assert len({row["severity"] for row in faulty}) == 3
        assert all(row["label"] == "normal" for row in own if row["split"] == "train")
        times = [row["recorded_at"] for row in own]
        assert times == sorted(set(times))


def test_anomalies_have_no_times_of_their_own() -> None:
    clips = plan_fleet(**(SMALL_FLEET | {"test_normal": 60, "test_anomaly": 60, "types": ("fan",)}))
    test = [clip for clip in clips if clip.split == "test"]
    hour = {label: np.mean([c.recorded_at.hour for c in test if c.label == label]) for label in ("normal", "anomaly")}
    assert hour["normal"] == pytest.approx(hour["anomaly"], abs=1.0)


def test_few_clips_make_fewer_sessions() -> None:
    clips = plan_fleet(train_clips=2, test_normal=1, test_anomaly=4, duration_s=1.0, seed=0, types=("motor",))
    assert len({clip.session.name for clip in clips if clip.split == "train"}) == 2
    assert len({clip.session.name for clip in clips if clip.split == "test"}) == 1
    assert len(plan_fleet(train_clips=3, test_normal=0, test_anomaly=0, duration_s=1.0, seed=0, types=("fan",))) == 3


def test_the_kept_manifest_is_the_one_of_the_demo_fleet() -> None:
    kept = Path(__file__).parents[2] / "data_manifests" / "simulated_fleet.csv"
    assert kept.read_text() == manifest_text(plan_fleet(**DEMO_FLEET))


@pytest.mark.parametrize(
    "wrong",
    [
        {"types": ("toaster",)},
        {"types": ("fan", "fan")},
        {"machines_per_type": 0},
        {"train_clips": -1},
        {"train_sessions": 0},
        {"severities": (0.0, 0.5)},
        {"severities": ()},
        {"duration_s": 0.1},
        {"train_clips": 86_401 * 6, "types": ("fan",)},
        {"start": datetime(2026, 1, 5)},
    ],
)
def test_impossible_fleets_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        plan_fleet(**(SMALL_FLEET | wrong))


def test_nothing_that_exists_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "manifest.csv").write_text("mine")
    with pytest.raises(UsageError, match="not empty"):
        simulate_fleet(tmp_path, **SMALL_FLEET)
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.csv"]
    assert (tmp_path / "manifest.csv").read_text() == "mine"


def test_a_root_that_is_a_file_is_an_error_in_words(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(AcousticADError, match="cannot write simulated sound"):
        simulate_fleet(tmp_path / "file", **SMALL_FLEET)


@pytest.mark.parametrize("name", ["../fan", "fan/../../x", "/tmp/fan", "fan//x", "fan/.", "", "fan\\x", "a\nb", "=fan"])
def test_machine_names_never_lead_out_of_the_root(tmp_path: Path, name: str) -> None:
    root = tmp_path / "root"
    spec = draw_machine(name, 0, type="fan")
    with pytest.raises(UsageError, match="machine name"):
        simulate_run_to_failure(root, spec, days=1, clips_per_day=1, seed=0, duration_s=0.5)
    fleet = plan_fleet(**(SMALL_FLEET | {"types": ("fan",)}))
    object.__setattr__(fleet[0], "spec", spec)
    with pytest.raises(UsageError, match="machine name"):
        write_clips(root, fleet)
    assert list(tmp_path.iterdir()) == []
