"""Rows as files: what goes in comes out, whole, and harmless to a spreadsheet."""

from __future__ import annotations

import csv
import io
import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acoustic_ad.errors import StoreError, UsageError
from acoustic_ad.jobs.schema import ClipRow
from acoustic_ad.report import rows as rows_module
from acoustic_ad.report.rows import COLUMNS, FORMULA_STARTS, NUMBERS, check_out_suffix, csv_cell, write_rows

ROW = ClipRow(
    "fan/a,b.wav",
    "fan",
    datetime(2026, 1, 5, 14, 0, 0, 250_000, timezone(timedelta(hours=2))),
    "name",
    "ab" * 32,
    "cd" * 32,
    -0.1 + 1e-17,
    1 / 3,
    "scored",
    bands=({"hz": 3400.0, "db": 9.1},),
    also_known_as=("copy.wav", '"q".wav'),
    level_db=-31.25,
)
FAILED = replace(
    ROW, clip_id="=cmd|' /C calc'!A0", model=None, score=None, p_value=None, status="failed", reason="empty"
)
SUFFIXES = (".csv", ".jsonl", ".parquet")


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, strict=True))


def test_csv_holds_every_column_at_full_precision(tmp_path: Path) -> None:
    assert write_rows(tmp_path / "o.csv", [ROW, FAILED]) == 2
    scored, failed = read_csv(tmp_path / "o.csv")
    assert tuple(scored) == COLUMNS
    expected = "clip_id,machine,recorded_at,sha256,model,score,p_value,status,reason,bands,"
    assert ",".join(COLUMNS).startswith(expected)
    assert float(scored["score"]) == ROW.score and float(scored["p_value"]) == ROW.p_value
    assert scored["score"].startswith("-") and scored["level_db"] == "-31.25"  # numbers stay numbers
    assert scored["recorded_at"] == "2026-01-05T12:00:00.250000Z"
    assert json.loads(scored["bands"]) == list(ROW.bands)
    assert json.loads(scored["also_known_as"]) == list(ROW.also_known_as)
    assert failed["clip_id"] == "'" + FAILED.clip_id
    assert [failed[name] for name in ("model", "score", "p_value", "reason")] == ["", "", "", "empty"]


def test_json_lines_hold_values_not_texts(tmp_path: Path) -> None:
    write_rows(tmp_path / "o.jsonl", [ROW, replace(ROW, score=float("nan"), bands=({"hz": float("inf")},))])
    first, second = [json.loads(line, parse_constant=pytest.fail) for line in (tmp_path / "o.jsonl").open()]
    assert tuple(first) == COLUMNS
    assert first["score"] == ROW.score and first["bands"] == list(ROW.bands)
    assert first["also_known_as"] == list(ROW.also_known_as) and first["reason"] is None
    assert second["score"] is None and second["bands"] == [{"hz": None}]


def test_parquet_has_typed_columns(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    write_rows(tmp_path / "o.parquet", [ROW, FAILED])
    table = parquet.read_table(tmp_path / "o.parquet")
    assert tuple(table.column_names) == COLUMNS
    assert table.schema.field("recorded_at").type == pyarrow.timestamp("us", tz="UTC")
    assert {table.schema.field(name).type for name in NUMBERS} == {pyarrow.float64()}
    scored, failed = table.to_pylist()
    assert scored["recorded_at"] == ROW.recorded_at and scored["score"] == ROW.score
    assert json.loads(scored["bands"]) == list(ROW.bands)
    assert scored["also_known_as"] == list(ROW.also_known_as)
    assert failed["score"] is None and failed["clip_id"] == FAILED.clip_id  # no spreadsheet, no apostrophe


def test_no_rows_still_give_header_and_schema(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    for suffix in SUFFIXES:
        assert write_rows(tmp_path / f"o{suffix}", []) == 0
    assert (tmp_path / "o.csv").read_text() == ",".join(COLUMNS) + "\n"
    assert (tmp_path / "o.jsonl").read_text() == ""
    assert tuple(parquet.read_schema(tmp_path / "o.parquet").names) == COLUMNS


TEXT = st.text(st.characters(exclude_characters="\0"), max_size=20) | st.builds(
    str.__add__, st.sampled_from([*FORMULA_STARTS, "'", '"', ",", "\n", "\r\n", "'="]), st.text(max_size=5)
)


@settings(max_examples=150, deadline=None)
@given(clip_id=TEXT, machine=TEXT, detail=TEXT, score=st.floats())
def test_csv_cells_come_back_and_start_no_formula(clip_id: str, machine: str, detail: str, score: float) -> None:
    row = replace(ROW, clip_id=clip_id, machine=machine, detail=detail, score=score)
    buffer = io.BytesIO()
    rows_module._write_csv(buffer, [row, ROW])
    cells, last = csv.DictReader(io.StringIO(buffer.getvalue().decode("utf-8"), newline=""), strict=True)
    for name, text in {"clip_id": clip_id, "machine": machine, "detail": detail}.items():
        shown = rows_module.printable_text(text)
        assert cells[name] == csv_cell(shown) == ("'" + shown if shown[:1] in tuple("=+-@\t\r") else shown)
        assert not cells[name].startswith(FORMULA_STARTS)
    assert last["clip_id"] == ROW.clip_id
    assert cells["score"] == (repr(score) if abs(score) < float("inf") else "")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_names_that_cannot_be_encoded_are_written_printable(tmp_path: Path, suffix: str) -> None:
    odd = os.fsdecode(b"\xff.wav")
    out = tmp_path / os.fsdecode(b"\xfe" + suffix.encode())
    assert write_rows(out, [replace(ROW, clip_id=odd, detail=odd, also_known_as=(odd,), bands=({"n": odd},))]) == 1
    assert rb"\xff.wav" in out.read_bytes()


def test_other_suffixes_and_folders_are_usage_errors_before_any_work(tmp_path: Path) -> None:
    def untouched() -> Iterator[ClipRow]:
        pytest.fail("rows were asked for")
        yield ROW

    (tmp_path / "folder.csv").mkdir()
    for name in ("o.txt", "o", "o.csv.gz", ".csv", "folder.csv"):
        with pytest.raises(UsageError, match=r"--out"):
            write_rows(tmp_path / name, untouched())
    assert [path.name for path in tmp_path.iterdir()] == ["folder.csv"]
    for name in SUFFIXES:
        check_out_suffix("o" + name.upper())


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_old_file_stays_until_the_new_one_is_whole(tmp_path: Path, suffix: str) -> None:
    class Broken(Exception):
        pass

    def failing() -> Iterator[ClipRow]:
        yield ROW
        raise Broken

    out = tmp_path / f"o{suffix}"
    out.write_text("old")
    with pytest.raises(Broken):
        write_rows(out, failing())
    assert out.read_text() == "old" and list(tmp_path.iterdir()) == [out]
    out.chmod(0o640)
    write_rows(out, [ROW])
    assert out.read_bytes() != b"old" and out.stat().st_mode & 0o777 == 0o640 and list(tmp_path.iterdir()) == [out]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_full_disk_leaves_no_half_file(tmp_path: Path, suffix: str) -> None:
    """As the kernel says it, after 64 KiB: a limit on file size fails like a disk without room."""
    code = """
import resource, sys
sys.path.insert(0, sys.argv[2])
from test_rows import ROW, StoreError, replace, write_rows
resource.setrlimit(resource.RLIMIT_FSIZE, (65536, resource.RLIM_INFINITY))
try:
    write_rows(sys.argv[1], (replace(ROW, clip_id=str(i), sha256=str(i) * 9) for i in range(20_000)))
except StoreError as error:
    sys.exit(7 if "cannot be written" in str(error) and "\\n" not in str(error) else 8)
"""
    command = [sys.executable, "-c", code, str(tmp_path / f"o{suffix}"), str(Path(__file__).parent)]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (7, b"")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    for out in (tmp_path / "none" / "o.csv", Path("/proc/o.csv")):
        with pytest.raises(StoreError, match="cannot be written") as caught:
            write_rows(out, [ROW])
        assert "\n" not in str(caught.value)


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "link.csv").symlink_to(tmp_path / "o.csv")
    write_rows(tmp_path / "link.csv", [ROW])
    assert (tmp_path / "link.csv").is_symlink() and len(read_csv(tmp_path / "o.csv")) == 1


def test_the_name_as_given_chooses_the_format(tmp_path: Path) -> None:
    """Whatever the link leads to; what is no file is never replaced by one."""
    (tmp_path / "data.txt").write_text("old")
    (tmp_path / "link.csv").symlink_to("data.txt")
    assert write_rows(tmp_path / "link.csv", [ROW]) == 1
    assert (tmp_path / "link.csv").is_symlink() and len(read_csv(tmp_path / "data.txt")) == 1
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "full.csv").symlink_to("/dev/full")
    (tmp_path / "loop.csv").symlink_to("loop.csv")
    for name, word in (
        ("pipe.csv", "pipe"),
        ("full.csv", "device"),
        ("loop.csv", "links"),
        ("n" * 300 + ".csv", "long"),
    ):
        with pytest.raises(UsageError, match=word) as caught:
            check_out_suffix(tmp_path / name)
        assert "\n" not in str(caught.value)
    assert stat.S_ISCHR(Path("/dev/full").stat().st_mode)
    longest = tmp_path / ("n" * 251 + ".csv")
    assert write_rows(longest, [ROW]) == 1 == len(read_csv(longest))


def test_pyarrow_is_loaded_only_for_parquet() -> None:
    code = "import sys, acoustic_ad.report.rows, acoustic_ad.jobs.store\n"
    code += "assert not {'pyarrow', 'torch'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], check=True)


def test_times_keep_their_instant(tmp_path: Path) -> None:
    write_rows(tmp_path / "o.csv", [replace(ROW, recorded_at=datetime(2026, 1, 5, tzinfo=UTC))])
    assert read_csv(tmp_path / "o.csv")[0]["recorded_at"] == "2026-01-05T00:00:00Z"
