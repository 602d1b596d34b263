"""`check_manifest`: one planted fault, one finding, at its row."""

from __future__ import annotations

from pathlib import Path

import pytest

from acoustic_ad.sound.manifest import read_manifest
from acoustic_ad.sound.manifest_check import FINDING_CODES, REFUSED_BY_TRAIN, Finding, check_manifest

REAL_MOTORS = Path(__file__).resolve().parents[3] / "shared" / "data" / "real_motors"


def check(folder: Path, *rows: str, contents: bool = True) -> list[Finding]:
    """Rows "path,machine,split,label,session"; each file holds its own name unless it exists already."""
    for row in rows:
        file = folder / row.partition(",")[0]
        if "missing" not in row and folder in file.resolve().parents and not file.exists():
            file.write_text(file.name)
    (folder / "m.csv").write_text("\n".join(["path,machine,split,label,session", *rows]))
    return check_manifest(read_manifest(folder / "m.csv"), contents=contents)


def found(findings: list[Finding]) -> list[tuple[str, int | None]]:
    assert {finding.code for finding in findings} <= FINDING_CODES
    return [(finding.code, finding.row) for finding in findings]


def test_clean(tmp_path: Path) -> None:
    rows = ["a.wav,m,train,normal,s1", "b.wav,m,train,normal,s1", "c.wav,m,test,anomaly,s2", "d.wav,n,test,normal,s1"]
    assert check(tmp_path, *rows) == []


def test_real_set_is_clean() -> None:
    if not REAL_MOTORS.is_dir():
        pytest.skip("the shared recordings are not here")
    steps: list[tuple[int, int]] = []
    assert check_manifest(read_manifest(REAL_MOTORS), on_progress=lambda *step: steps.append(step)) == []
    assert steps and steps[-1][0] == steps[-1][1] == len(steps)


def test_missing_and_outside(tmp_path: Path) -> None:
    findings = check(tmp_path, "a.wav,m,,,", "missing.wav,m,,,", "../x.wav,m,,,", ".,m,,,")
    assert found(findings) == [("missing_file", 3), ("outside_root", 4), ("unreadable", 5)]
    assert str(findings[0]).startswith("row 3, missing.wav: missing: no such file")


def test_duplicates(tmp_path: Path) -> None:
    (tmp_path / "b.wav").write_text("a.wav")
    findings = check(tmp_path, "a.wav,m,train,,", "b.wav,m,train,,", "./a.wav,m,train,,")
    assert found(findings) == [("duplicate_content", 3), ("duplicate_path", 4)]
    assert "row 2, a.wav" in findings[0].message
    assert found(check(tmp_path, "a.wav,m,train,,", "b.wav,m,train,,", contents=False)) == []


def test_contents_in_two_splits(tmp_path: Path) -> None:
    (tmp_path / "b.wav").write_text("a.wav")
    (tmp_path / "c.wav").write_text("a.wav")
    findings = check(tmp_path, "a.wav,m,,,", "b.wav,m,train,,", "c.wav,m,test,,")
    assert found(findings) == [("duplicate_content", 3), ("content_in_two_splits", 4)]
    assert found(check(tmp_path, "a.wav,m,train,,", "a.wav,m,calibration,,")) == [
        ("content_in_two_splits", 3),
        ("duplicate_path", 3),
    ]


def test_sessions_in_two_splits(tmp_path: Path) -> None:
    findings = check(tmp_path, "a.wav,m,train,,s", "b.wav,m,,,s", "c.wav,m,test,,s", "d.wav,m,calibration,,s")
    assert found(findings) == [("session_in_two_splits", 4)]
    assert "calibration and test" in findings[0].message and "row 5, d.wav" in findings[0].message


def test_anomalies_where_normality_is_learnt(tmp_path: Path) -> None:
    findings = check(tmp_path, "a.wav,m,train,anomaly,", "b.wav,m,calibration,anomaly,", "c.wav,m,,anomaly,")
    assert found(findings) == [("anomaly_in_train", 2), ("anomaly_in_calibration", 3)]
    assert {finding.code for finding in findings} <= REFUSED_BY_TRAIN


def test_machines_that_differ_by_white_space(tmp_path: Path) -> None:
    assert found(check(tmp_path, "a.wav,m 1,,,", "b.wav, m  1,,,", "c.wav,M 1,,,")) == [("similar_machines", 3)]


def test_folders_are_checked_too(tmp_path: Path) -> None:
    for split in ("train", "test"):
        (tmp_path / "fan" / split).mkdir(parents=True)
        (tmp_path / "fan" / split / "normal_id_00_00000000.wav").write_text("same")
    (tmp_path / "fan/train/anomaly_id_00_00000001.wav").write_text("other")
    (tmp_path / "fan/train/normal_id_00_00000002.wav").symlink_to("/etc/passwd")
    findings = check_manifest(read_manifest(tmp_path))
    assert {(f.code, f.clip_id, f.row) for f in findings} == {
        ("anomaly_in_train", "fan/train/anomaly_id_00_00000001.wav", None),
        ("outside_root", "fan/train/normal_id_00_00000002.wav", None),
        ("content_in_two_splits", "fan/train/normal_id_00_00000000.wav", None),
    }


def test_findings_are_one_line_each(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text('path,machine\n"a\nb\x1b.wav",m\n')
    [finding] = check_manifest(read_manifest(tmp_path / "m.csv"))
    assert str(finding).isprintable()
