"""DATA -> Manifest: which layout a folder has, and what its machines are."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from acoustic_ad.errors import ManifestError, UsageError
from acoustic_ad.sound.manifest import count_labels, read_manifest

REAL_MOTORS = Path(__file__).resolve().parents[3] / "shared" / "data" / "real_motors"


@pytest.fixture
def real_motors() -> Path:
    if not REAL_MOTORS.is_dir():
        pytest.skip("the shared recordings are not here")
    return REAL_MOTORS


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def machines(data: Path) -> dict[str, str]:
    return {clip.clip_id: clip.machine for clip in read_manifest(data).clips}


def csv(folder: Path, content: str | bytes, *clips: str) -> Path:
    touch(folder, *clips)
    file = folder / "m.csv"
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return file


# --- folders ---------------------------------------------------------------------------------------------------------


def test_real_set_is_the_same_by_manifest_and_by_folder_names(real_motors: Path, tmp_path: Path) -> None:
    for file in real_motors.rglob("*.wav"):
        touch(tmp_path, str(file.relative_to(real_motors)))
    listed, named = read_manifest(real_motors), read_manifest(tmp_path)
    assert (listed.layout, named.layout) == ("csv", "dcase")
    assert len(listed.clips) == 295
    what = [[(c.clip_id, c.machine, c.split, c.label) for c in m.clips] for m in (listed, named)]
    assert what[0] == what[1]
    assert listed.machines == ("bldc_motor/id_01", "bldc_motor/id_02", "bldc_motor/id_03", "drone_motor/id_01")
    assert "manifest.csv" in listed.description
    assert named.description == "DCASE folder names: 4 machines, 295 clips (103 train, 192 test)"
    assert count_labels(named)["bldc_motor/id_02"]["test"] == {"normal": 10, "anomaly": 40, "unknown": 0}


def test_subfolders_give_the_same_machines(tmp_path: Path) -> None:
    touch(tmp_path, "fan/train/normal_id_00_00000000.wav", "fan/test/id_00_00000001.wav")
    for data in (tmp_path, tmp_path / "fan", tmp_path / "fan" / "train", tmp_path / "fan" / "test" / ".." / "train"):
        assert set(machines(data).values()) == {"fan/id_00"}
    assert read_manifest(tmp_path / "fan" / "train").clips[0].split == "train"


def test_mimii(tmp_path: Path) -> None:
    touch(tmp_path, "6_dB_fan/fan/id_00/normal/0.wav", "6_dB_fan/fan/id_00/abnormal/0.wav")
    manifest = read_manifest(tmp_path)
    assert (manifest.layout, manifest.machines) == ("mimii", ("fan/id_00",))
    assert [clip.label for clip in manifest.clips] == ["anomaly", "normal"]
    assert machines(tmp_path / "6_dB_fan/fan/id_00/normal") == {"0.wav": "fan/id_00"}


def test_plain(tmp_path: Path) -> None:
    touch(tmp_path, "press 7/2026/a.wav", "press 7/b.FLAC", "lathe/c.wav", "loose.wav", "lathe/readme.txt")
    manifest = read_manifest(tmp_path)
    assert manifest.layout == "plain" and {clip.label for clip in manifest.clips} == {"normal"}
    assert {clip.machine for clip in manifest.clips} == {"press 7", "lathe", tmp_path.name}
    assert manifest.ignored == {"not audio": 1} and manifest.description.endswith("ignored: 1 not audio")
    assert all(clip.path.is_absolute() and clip.path.is_file() for clip in manifest.clips)


def test_flat_folder_is_one_machine(tmp_path: Path) -> None:
    root = touch(tmp_path / "pump 3", "a.wav", "b.wav")
    assert read_manifest(root).machines == ("pump 3",)
    assert read_manifest(root, machine="=P3\n").machines == ("=P3\n",)
    assert read_manifest(root).layout == "flat"


def test_machine_is_refused_where_the_data_name_machines(tmp_path: Path) -> None:
    touch(tmp_path, "a/x.wav", "b/y.wav")
    with pytest.raises(UsageError, match=r"flat folder.*\(a, b\)"):
        read_manifest(tmp_path, machine="m")
    with pytest.raises(UsageError, match="names its machines itself"):
        read_manifest(csv(tmp_path, "path,machine\na/x.wav,m\n"), machine="m")
    with pytest.raises(UsageError, match="empty"):
        read_manifest(tmp_path / "a", machine=" ")


def test_a_stray_file_does_not_rename_the_machines(tmp_path: Path) -> None:
    touch(tmp_path, *(f"fan/train/normal_id_00_{i:08}.wav" for i in range(9)), "fan/test/hang.wav")
    manifest = read_manifest(tmp_path)
    assert manifest.machines == ("fan", "fan/id_00")
    stray = next(clip for clip in manifest.clips if clip.machine == "fan")
    assert (stray.split, stray.label) == ("", "unknown")
    assert "9 of 10 names look like DCASE" in manifest.description


def test_a_mix_is_plain_and_what_is_named_an_anomaly_is_not_normal(tmp_path: Path) -> None:
    touch(tmp_path, "m/anomaly_id_00_00000000.wav", "m/x.wav", "m/y.wav")
    manifest = read_manifest(tmp_path)
    assert manifest.layout == "plain" and manifest.machines == ("m",)
    assert [clip.label for clip in manifest.clips] == ["anomaly", "normal", "normal"]
    assert "1 of 3 names look like DCASE" in manifest.description


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    touch(tmp_path, os.fsdecode(b"m\xe9/x.wav"))
    [clip] = read_manifest(tmp_path).clips
    assert (clip.clip_id, clip.machine) == (r"m\xe9/x.wav", r"m\xe9")
    with clip.path.open("rb"):
        pass


def test_empty_folder_has_no_clips_and_what_is_missing_is_an_error(tmp_path: Path) -> None:
    assert read_manifest(tmp_path).clips == ()
    for data in (tmp_path / "no", tmp_path / "no" / "x.csv"):
        with pytest.raises(ManifestError, match="no such folder or manifest"):
            read_manifest(data)
    touch(tmp_path, "x.wav")
    with pytest.raises(ManifestError, match="an audio file"):
        read_manifest(tmp_path / "x.wav")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ManifestError, match="neither"):
        read_manifest(tmp_path / "pipe")


def test_manifest_in_the_folder_wins_and_says_what_it_omits(tmp_path: Path) -> None:
    touch(tmp_path, "a/x.wav", "a/y.wav", "a/z.txt")
    (tmp_path / "manifest.csv").write_text("path,machine\na/x.wav,press\n")
    manifest = read_manifest(tmp_path)
    assert manifest.machines == ("press",) and manifest.ignored == {"not audio": 1, "not in the manifest": 1}
    assert "manifest.csv in the folder" in manifest.description and "1 not in the manifest" in manifest.description
    assert read_manifest(tmp_path, use_csv=False).machines == ("a",)


def test_manifest_in_the_folder_may_not_be_a_link_out_of_it(tmp_path: Path) -> None:
    outside = csv(tmp_path, "path,machine\n")
    (tmp_path / "root").mkdir()
    (tmp_path / "root/manifest.csv").symlink_to(outside)
    with pytest.raises(ManifestError, match="leaves the folder"):
        read_manifest(tmp_path / "root")


def test_import_is_light() -> None:
    """The command line imports this at its start."""
    code = (
        "import sys, acoustic_ad.sound.manifest, acoustic_ad.sound.manifest_check;"
        "print([m for m in ('torch', 'numpy', 'librosa', 'soundfile', 'pydantic') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
