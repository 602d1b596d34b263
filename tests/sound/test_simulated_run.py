"""A simulated life goes from healthy to failed, with nights off and a microphone that may die."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from simulated_parts import RATE_HZ, power_spectrum, rows_of

from acoustic_ad.errors import UsageError
from acoustic_ad.sound.simulate import (
    plan_run_to_failure,
    severity_at,
    simulate_run_to_failure,
)
from acoustic_ad.sound.simulated_files import dying_microphone_sound
from acoustic_ad.sound.simulated_run import RunOptions

RUN: RunOptions = {
    "days": 10, "clips_per_day": 12, "seed": 2, "fault": "bearing", "onset_day": 4.0, "failure_day": 9.0,
    "duration_s": 0.5,
}  # fmt: skip


def test_time_goes_forward_and_severity_never_falls() -> None:
    clips = plan_run_to_failure("fan/id_00", **RUN)
    times = [clip.recorded_at for clip in clips]
    assert all(later > earlier for earlier, later in pairwise(times))
    assert len({clip.path for clip in clips}) == len(clips) == 120
    severity = np.array([clip.severity for clip in clips])
    assert (np.diff(severity) >= 0).all()
    assert (severity[:49] == 0).all()
    assert (severity[49:] > 0).all()
    assert (severity[108:] == 1).all()
    wearing = np.diff(severity[48:109])
    assert (np.diff(wearing) > 0).all()  # convex: ever faster


def test_severity_runs_from_nothing_at_the_onset_to_one_at_the_failure() -> None:
    assert severity_at(3.0, 3.0, 8.0) == 0.0
    assert severity_at(8.0, 3.0, 8.0) == severity_at(9.0, 3.0, 8.0) == 1.0
    assert severity_at(5.5, 3.0, 8.0) < 0.25
    assert severity_at(5.0, None, None) == 0.0


def test_run_on_disk_has_times_in_names_and_manifest(tmp_path: Path) -> None:
    start = datetime(2026, 3, 1, 14, 30, tzinfo=UTC)
    options: RunOptions = {**RUN, "clips_per_day": 2, "off_nights": True, "dying_microphone": True, "start": start}
    manifest = simulate_run_to_failure(tmp_path / "run", "motor/id_03", **options)
    rows = rows_of(manifest.read_text())
    assert rows[0]["path"] == "motor/id_03/20260301T143000Z.wav"
    assert rows[0]["recorded_at"] == "2026-03-01T14:30:00Z"
    for row in rows:
        assert (manifest.parent / row["path"]).is_file()
        assert datetime.strptime(Path(row["path"]).stem, "%Y%m%dT%H%M%S%z") == datetime.fromisoformat(
            row["recorded_at"]
        )
    assert {row["truth_state"] for row in rows} == {"running", "off", "sensor_fault"}
    last, _ = soundfile.read(manifest.parent / rows[-1]["path"])
    assert not last.any()


def test_nights_off_are_sessions_of_their_own_and_never_train() -> None:
    clips = plan_run_to_failure("pump/id_00", **{**RUN, "off_nights": True})
    for clip in clips:
        night = clip.recorded_at.hour >= 22 or clip.recorded_at.hour < 6
        assert clip.truth_state == ("off" if night else "running")
        if night:
            assert (clip.split, clip.label, clip.condition) == ("test", "unknown", "off")
    train = {clip.session.name for clip in clips if clip.split == "train"}
    assert train
    assert not train & {clip.session.name for clip in clips if clip.split == "test"}
    by_day = next(clip for clip in clips if clip.truth_state == "running")
    by_night = next(clip for clip in clips if clip.truth_state == "off")
    assert np.mean(by_night.render() ** 2) < 0.5 * np.mean(by_day.render() ** 2)


def test_training_days_hold_normal_clips_only() -> None:
    clips = plan_run_to_failure("fan/id_00", **RUN)
    assert {clip.label for clip in clips if clip.split == "train"} == {"normal"}
    assert sum(clip.split == "train" for clip in clips) == 2 * 12
    assert {clip.label for clip in clips if clip.severity > 0} == {"anomaly"}
    assert all(clip.fault is None for clip in clips if clip.severity == 0)


def test_a_dying_microphone_grows_faint_and_dull_and_then_silent() -> None:
    clips = plan_run_to_failure("fan/id_00", days=20, clips_per_day=12, seed=0, duration_s=0.5, dying_microphone=True)
    health = [clip.microphone for clip in clips]
    assert health[:216] == [1.0] * 216
    assert all(clip.truth_state == "sensor_fault" for clip in clips[216:])
    assert (np.diff(health) <= 0).all()
    assert health[-1] == 0.0
    clip = clips[0].render()
    half = dying_microphone_sound(clip, 0.5, RATE_HZ)
    hz, before = power_spectrum(clip)
    _, after = power_spectrum(half)
    assert after.sum() < 0.011 * before.sum()  # -20 dB at least
    assert after[hz > 4000].sum() / after.sum() < 0.1 * before[hz > 4000].sum() / before.sum()
    np.testing.assert_array_equal(dying_microphone_sound(clip, 1.0, RATE_HZ), clip)
    assert not dying_microphone_sound(clip, 0.0, RATE_HZ).any()


@pytest.mark.parametrize(
    "wrong",
    [
        {"days": 0},
        {"clips_per_day": 0},
        {"clips_per_day": 100_000},
        {"fault": None},
        {"fault": "leak"},
        {"onset_day": None},
        {"onset_day": 9.0},
        {"failure_day": 11.0},
        {"train_days": 5},
        {"train_days": -1},
        {"start": datetime(2026, 1, 5)},
    ],
)
def test_impossible_lives_are_refused(wrong: dict[str, Any]) -> None:
    options: dict[str, Any] = {**RUN, **wrong}
    with pytest.raises(UsageError):
        plan_run_to_failure("fan/id_00", **options)
