"""Manifest CSV files in their many dialects, refusals in words, and the way from a manifest to a file and back."""

from __future__ import annotations

import os
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acoustic_ad.errors import ManifestError
from acoustic_ad.sound.manifest import Clip, Manifest, read_manifest, write_manifest


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def csv(folder: Path, content: str | bytes, *clips: str) -> Path:
    touch(folder, *clips)
    file = folder / "m.csv"
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return file


# --- reading CSV -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_dialects(tmp_path: Path, encoding: str, delimiter: str, newline: str) -> None:
    rows = [["Machine ", "path", "label", "speed"], ["pömp; 1, a", "x.wav", " Normal", "1550"], [], ["", "", "", ""]]
    lines = [delimiter.join(f'"{cell}"' if set(cell) & set(",;") else cell for cell in row) for row in rows]
    [clip] = read_manifest(csv(tmp_path, newline.join(lines).encode(encoding), "x.wav")).clips
    assert (clip.machine, clip.label, clip.extra, clip.row) == ("pömp; 1, a", "normal", (("speed", "1550"),), 2)
    assert clip.problem is None


def test_all_columns(tmp_path: Path) -> None:
    text = (
        "path,machine,split,label,recorded_at,condition,session,who\n"
        "b.wav,m,test,anomaly,2026-01-05T15:30:00+01:00,fast,s1,Ann\na.wav,m,,,2026-01-05 14:30,,,\n"
    )
    a, b = read_manifest(csv(tmp_path, text, "a.wav", "b.wav")).clips
    time = datetime(2026, 1, 5, 14, 30, tzinfo=UTC)
    assert b == Clip("b.wav", "b.wav", "m", "test", "anomaly", time, "fast", "s1", (("who", "Ann"),))
    assert a == Clip("a.wav", "a.wav", "m", recorded_at=time)
    assert (a.row, b.row) == (3, 2) and a.path == tmp_path / "a.wav"


def test_paths_that_cannot_be_used_are_rows_with_a_problem(tmp_path: Path) -> None:
    root = tmp_path / "root"
    touch(tmp_path, "secret.wav", "root/d/x.wav")
    (root / "link.wav").symlink_to("../secret.wav")
    (root / "out").symlink_to("..")
    (root / "alias").symlink_to("d")
    os.mkfifo(root / "pipe.wav")
    cells = ["../secret.wav", "link.wav", "out/secret.wav", "/etc/passwd", "d/../../secret.wav", "out/d/../../no.wav"]
    cells += ["no.wav", "no/no.wav", "d/x.wav/y.wav", "d", "pipe.wav", ".", "n" * 300]
    cells += ["d/x.wav", "./d/../d//x.wav", "alias/x.wav", "link.wav/../d/x.wav", str(root / "d/x.wav")]
    text = "path,machine\n" + "".join(f"{cell},m\n" for cell in cells)
    clips = sorted(read_manifest(csv(root, text)).clips, key=lambda clip: clip.row or 0)
    codes = [clip.problem and clip.problem[0] for clip in clips]
    assert codes[:5] == ["outside_root"] * 5
    assert codes[5:13] == ["unreadable"] * 8
    assert codes[13:] == [None] * 5
    assert [clip.clip_id for clip in clips[13:]] == ["d/x.wav"] * 2 + ["alias/x.wav"] + ["d/x.wav"] * 2


def test_bytes_that_are_not_utf8_find_their_file(tmp_path: Path) -> None:
    name = os.fsdecode(b"\xff.wav")
    touch(tmp_path, name, r"\xfe.wav")
    by_bytes = read_manifest(csv(tmp_path, b"path,machine\n\xff.wav,m\xff\n")).clips[0]
    by_text = read_manifest(csv(tmp_path, b"path,machine\n\\xff.wav,m\\xff\n")).clips[0]
    assert by_bytes.path == by_text.path == tmp_path / name
    assert by_bytes.clip_id == by_text.clip_id == r"\xff.wav"
    assert by_bytes.machine == by_text.machine == r"m\xff"
    by_hand = read_manifest(csv(tmp_path, b"path,machine\n\\xfe.wav,m\n")).clips[0]
    assert by_hand.path == tmp_path / r"\xfe.wav" and by_hand.problem is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "no column path and no column machine; columns seen: none; required: path, machine"),
        ("path,maschine\nx,m\n", "no column machine; columns seen: path, maschine"),
        ("path,machine,a,a\n", "columns twice: a"),
        ('path,machine\n"x.wav,m\ny.wav,m\n', "not a CSV file"),
        (b"\xff\xfep\x00a", "UTF-16"),
        (b"RIFF\x00\x00\x00\x00WAVE", "no column path"),
    ],
)
def test_tables_that_are_no_manifest(tmp_path: Path, content: str | bytes, message: str) -> None:
    with pytest.raises(ManifestError, match=message) as error:
        read_manifest(csv(tmp_path, content))
    assert "\n" not in str(error.value) and "m.csv" in str(error.value)


def test_bad_values_come_all_at_once_with_their_rows(tmp_path: Path) -> None:
    text = (
        "path,machine,split,label,recorded_at\nx.wav,,train,normal,\n,m,val,abnormal,yesterday\n"
        "x.wav,m,,,0001-01-01T00:00:00+23:00\nx.wav,m,,,,surplus\nx.wav,m\n"
    )
    with pytest.raises(ManifestError) as error:
        read_manifest(csv(tmp_path, text))
    message = str(error.value)
    for part in (
        "row 2: machine is empty",
        "row 3: path is empty",
        "row 3: split 'val' is none of train, calibration, test",
        "row 3: label 'abnormal' is none of normal, anomaly, unknown",
        "row 3: recorded_at 'yesterday' is not ISO 8601",
        "row 4: recorded_at",
        "row 5: has 6 cells under 5 column names",
    ):
        assert part in message
    assert "row 6" not in message


def test_a_flood_of_bad_values_is_cut_short(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"row 21: .*; and 80 more$"):
        read_manifest(csv(tmp_path, "path,machine,split\n" + "x.wav,m,dev\n" * 100))


# --- writing ---------------------------------------------------------------------------------------------------------

HOSTILE = ["=cmd|' /C calc'!A0", "'=x", "''-x", "+1", "@a", "\t=x", 'a"b;c\r', "\n", r"\xff", r"\x5cxff", "<script>"]
TEXT = st.text(max_size=12) | st.sampled_from(HOSTILE)
MACHINE = TEXT.filter(lambda text: text.strip())
TIME = st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))


@st.composite
def clip_fields(draw: st.DrawFn) -> dict[str, object]:
    extra = draw(st.dictionaries(st.just("speed"), TEXT.filter(bool), max_size=1))
    return {
        "machine": draw(MACHINE),
        "split": draw(st.sampled_from(["", "train", "calibration", "test"])),
        "label": draw(st.sampled_from(["normal", "anomaly", "unknown"])),
        "recorded_at": draw(st.none() | TIME),
        "condition": draw(TEXT),
        "session": draw(TEXT),
        "extra": tuple(extra.items()),
    }


@settings(deadline=None, max_examples=150)
@given(st.lists(clip_fields(), max_size=4))
def test_what_is_written_is_read_back(rows: list[dict[str, object]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        clips = [Clip(f"{i}.wav", f"{i}.wav", **fields, folder=str(root)) for i, fields in enumerate(rows)]  # type: ignore[arg-type]
        touch(root, *(clip.clip_id for clip in clips))
        write_manifest(Manifest(root, "plain", tuple(clips)), root / "m.csv")
        assert read_manifest(root / "m.csv").clips == tuple(clips)


def test_hostile_file_names_are_read_back(tmp_path: Path) -> None:
    root = tmp_path / "root"
    names = ["=cmd.wav", "new\nline.wav", "cr\r.wav", "-x.wav", "'=y.wav", ' ".wav', "=m\n/x.wav"]
    touch(root, *names, r"\xff.wav", os.fsdecode(b"\xff.wav"), r"\xe9/x.wav", os.fsdecode(b"\xe9/x.wav"))
    (root / "out.wav").symlink_to("/etc/passwd")
    manifest = read_manifest(root)
    assert len(manifest.clips) == len({clip.clip_id for clip in manifest.clips}) == 12
    assert len(manifest.machines) == 4
    write_manifest(manifest, root / "m.csv")
    assert read_manifest(root / "m.csv").clips == manifest.clips
    assert not [line for line in (root / "m.csv").read_text().split("\n") if line[:1] in "=+-@" and line]
    above = tmp_path / "m.csv"
    write_manifest(manifest, above)
    assert {clip.path for clip in read_manifest(above).clips} == {clip.path for clip in manifest.clips}


def test_writing_is_whole_or_not_at_all(tmp_path: Path) -> None:
    root = touch(tmp_path / "root", "a/x.wav")
    manifest = read_manifest(root)
    (tmp_path / "m.csv").mkdir()
    with pytest.raises(ManifestError, match="cannot be written"):
        write_manifest(manifest, tmp_path / "m.csv")
    with pytest.raises(ManifestError, match="cannot be written"):
        write_manifest(manifest, tmp_path / "no" / ".." / ".." / tmp_path.name / "m.csv")
    with pytest.raises(ManifestError, match="outside the manifest's folder"):
        write_manifest(manifest, root / "a" / "m.csv")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.csv", "root"]
    assert sorted(path.name for path in (root / "a").iterdir()) == ["x.wav"]


def test_written_through_a_link_to_the_root(tmp_path: Path) -> None:
    root = touch(tmp_path / "root", "a/x.wav")
    (tmp_path / "link").symlink_to("root")
    write_manifest(read_manifest(tmp_path / "link"), root / "manifest.csv")
    assert (root / "manifest.csv").read_text().splitlines() == [
        "path,machine,split,label,recorded_at,condition,session",
        "a/x.wav,a,,normal,,,",
    ]
