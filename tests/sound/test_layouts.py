"""File names and folders of public data sets."""

from __future__ import annotations

import pytest

from acoustic_ad.sound.layouts import FolderNames, Named


def read(path: str) -> Named | None:
    *folders, name = path.split("/")
    return FolderNames(tuple(folders)).read(name.rpartition(".")[0])


SOURCE, TARGET = (("domain", "source"),), (("domain", "target"),)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("dev/fan/train/normal_id_00_00000000.wav", Named("dcase", "fan/id_00", "train", "normal")),
        ("fan/test/anomaly_id_06_00000123.flac", Named("dcase", "fan/id_06", "test", "anomaly")),
        ("ToyConveyor/test/id_01_00000000.wav", Named("dcase", "ToyConveyor/id_01", "test")),
        ("inbox/normal_id_00_00000000.wav", Named("dcase", "inbox/id_00", "", "normal")),
        ("train/normal_id_00_00000000.wav", Named("dcase", "id_00", "train", "normal")),
        (
            "fan/train/section_00_source_train_normal_0000_strength_1_ambient.wav",
            Named("dcase", "fan/section_00", "train", "normal", "strength_1_ambient", SOURCE),
        ),
        (
            "bearing/test/section_00_target_test_anomaly_0001_noAttribute.wav",
            Named("dcase", "bearing/section_00", "test", "anomaly", "", TARGET),
        ),
        (
            "valve/train/section_01_source_train_normal_0007_vel_0.5.wav",
            Named("dcase", "valve/section_01", "train", "normal", "vel_0.5", SOURCE),
        ),
        ("fan/source_test/section_03_source_test_0000.wav", Named("dcase", "fan/section_03", "test", extra=SOURCE)),
        ("fan/target_test/section_03_0000.wav", Named("dcase", "fan/section_03", "test", extra=TARGET)),
        ("HairDryer/test/section_00_0199.wav", Named("dcase", "HairDryer/section_00", "test")),
        (
            "fan/train/section_00/section_00_source_train_normal_0000.wav",
            Named("dcase", "fan/section_00", "train", "normal", "", SOURCE),
        ),
        (
            "fan/supplemental/section_00_source_supplemental_clean_0000_x.wav",
            Named("dcase", "fan/section_00", "", "unknown", "x", (*SOURCE, ("supplemental", "clean"))),
        ),
        ("fan/id_00/normal/00000000.wav", Named("mimii", "fan/id_00", "", "normal")),
        ("6_dB_fan/fan/id_02/abnormal/00000000.wav", Named("mimii", "fan/id_02", "", "anomaly", "6_dB")),
        ("-6_dB_pump/id_02/abnormal/00000000.wav", Named("mimii", "pump/id_02", "", "anomaly", "-6_dB")),
        ("fan/0dB/id_02/normal/00000000.wav", Named("mimii", "fan/id_02", "", "normal", "0dB")),
    ],
)
def test_known_names(path: str, expected: Named) -> None:
    assert read(path) == expected


@pytest.mark.parametrize(
    "path",
    [
        "pump/2026-01-05.wav",
        "fan/train/normal_00000000.wav",
        "fan/train/abnormal_id_00_00000000.wav",
        "fan/train/section_00_source_train_normal.wav",
        "fan/train/my_normal_id_00_00000000.wav",
        "fan/train/normal_id_00_00000000\n.wav",
        "fan/normal/00000000.wav",
        "fan/id_00/broken/00000000.wav",
    ],
)
def test_other_names(path: str) -> None:
    assert read(path) is None
