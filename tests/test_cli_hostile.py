"""`acoustic-ad score` over a folder of everything that can go wrong, and ended in the middle of it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import sqlite3
import time
from pathlib import Path

import numpy as np
import pytest
from cli_process import (
    HANG,
    acoustic_ad,
    clip_name,
    cpu_seconds_of,
    encoded,
    finish,
    processes_of,
    rows_of,
    start,
    verdicts,
    wait_until,
    wav,
    write_clips,
)

LONG_AGO = 1_700_000_000.0
GOOD = range(10)


def hostile_files(broken) -> dict[str, tuple[bytes, str]]:
    """Name -> (content, what must become of it)."""
    good = wav("fan", 50)
    slow = good[:24] + (500).to_bytes(4, "little") + (1000).to_bytes(4, "little") + good[32:]
    files = {f"{code}.wav": (content(), code) for code, content in broken.items()}
    files |= {
        "empty too.wav": (b"", "empty"),
        "empty as well.flac": (b"", "empty"),
        "header only.wav": (encoded(np.zeros(0)), "empty"),
        "header and a promise.wav": (good[:44], "truncated"),
        "slow.wav": (slow, "bad_rate"),
        "clipped.wav": (encoded(np.sign(np.sin(np.arange(16_000) / 9.0))), "clipped"),
        "loud [bold] :warning: \n.wav": (wav("fan", 51), ""),
        os.fsdecode(b"l\xfcfter.WAV"): (wav("fan", 52), ""),
        "=1+1.wav": (wav("fan", 53), ""),
    }
    if HANG.exists():
        files["hang.wav"] = (HANG.read_bytes(), "bad_header")
    return files


def socket_named(path: Path) -> None:
    """A socket; by way of its folder, for the names of sockets must be short."""
    here = Path.cwd()
    os.chdir(path.parent)
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
    finally:
        os.chdir(here)


@pytest.fixture(scope="module")
def battlefield(broken, models, tmp_path_factory):
    """The folder of hostile files, scored once with one worker; and what is expected of each."""
    root = tmp_path_factory.mktemp("battlefield")
    fan = root / "sound" / "fan"
    write_clips(fan, "fan", GOOD)
    expected = {f"fan/{clip_name(number)}": "" for number in GOOD}
    for name, (content, code) in hostile_files(broken).items():
        (fan / name).write_bytes(content)
        expected["fan/" + name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")] = code
    (root / "elsewhere.wav").write_bytes(wav("fan", 54))
    (fan / "outside.wav").symlink_to(root / "elsewhere.wav")
    (fan / "nowhere.wav").symlink_to(root / "nothing.wav")
    expected |= {"fan/outside.wav": "outside_root", "fan/nowhere.wav": "outside_root"}
    write_clips(root / "sound" / "pump", "pump", range(14))
    expected |= {f"pump/{clip_name(number)}": "" for number in range(14)}
    for number in range(18, 22):
        (root / "sound" / "pump" / clip_name(number)).write_bytes(wav("pump", number, fault="cavitation"))
        expected[f"pump/{clip_name(number)}"] = ""
    for file in fan.iterdir():
        if not file.is_symlink():
            os.utime(file, (LONG_AGO, LONG_AGO))
    (fan / "growing.wav").write_bytes(wav("fan", 55)[:-4000])
    os.mkfifo(fan / "pipe.wav")
    socket_named(fan / "socket.wav")
    (fan / ".hidden.wav").write_bytes(b"")
    (fan / "folder.wav").mkdir()
    (fan / "folder.wav" / "loop").symlink_to(fan)
    out = root / "rows.csv"
    arguments = ("score", root / "sound", "--models", models, "--db", root / "x.db", "--json", "--out", out)
    run = acoustic_ad(*arguments, "--workers", "1", code=3)
    first = shutil.copy(out, root / "first.csv")
    return root, arguments, expected, run, Path(first)


def test_every_file_has_one_outcome(battlefield):
    """One row each, with the reason; what is no clip is counted; what is unfinished waits."""
    _, _, expected, run, out = battlefield
    rows = rows_of(out)
    found = {row["clip_id"].removeprefix("'"): row for row in rows}
    assert len(found) == len(rows)
    assert {clip_id: row["reason"] for clip_id, row in found.items()} == expected
    faults = {"silent", "constant", "clipped"}
    for row in rows:
        status = "sensor_fault" if row["reason"] in faults else "failed" if row["reason"] else "scored"
        assert row["status"] == status
        assert (row["score"] != "") == (status == "scored")
    counts = run.json["clips"]
    assert counts["deferred"] == 1
    assert counts["sensor_fault"] == len(faults)
    assert counts["found"] == len(expected) + 1 == sum(counts.values()) - counts["found"]
    ignored = {"hidden": 1, "not a regular file": 2, "link to something listed already": 1}
    assert run.json["ignored"] == ignored


def test_failures_are_listed(battlefield):
    """In the document with their codes and reasons, and on stderr a line each, whatever their names hold."""
    _, _, expected, run, _ = battlefield
    failed = {clip_id: code for clip_id, code in expected.items() if code not in ("", "silent", "constant", "clipped")}
    listed = run.json["failures"]
    assert {failure["clip_id"]: failure["code"] for failure in listed} == failed
    assert all(failure["reason"] and failure.keys() == {"clip_id", "code", "reason"} for failure in listed)
    assert len(run.err.splitlines()) == len(failed)


def test_other_clips_do_not_notice(battlefield, models, tmp_path):
    """Bit-identical scores without the bad files, in another order, and by two workers."""
    root, _, _, _, out = battlefield
    peace = tmp_path / "fan"
    peace.mkdir()
    good = [root / "sound" / "fan" / clip_name(number) for number in GOOD]
    for number, file in enumerate(reversed(good)):
        shutil.copy(file, peace / f"{number}.wav")
    arguments = ("--models", models, "--db", tmp_path / "y.db", "--out", tmp_path / "rows.csv", "--workers", "2")
    acoustic_ad("score", tmp_path, *arguments)
    alone = verdicts(tmp_path / "rows.csv")
    assert len(alone) == len(GOOD)
    assert alone.items() <= verdicts(out).items()


def test_what_the_next_runs_do(battlefield, tmp_path):
    """Failed clips are known; --retry-failed tries them again; what was unfinished is scored once, when it is whole."""
    root, arguments, _, run, _ = battlefield
    before = run.json["clips"]
    growing = root / "sound" / "fan" / "growing.wav"
    growing.write_bytes(wav("fan", 55))
    done = acoustic_ad(*arguments, "--workers", "2", "--retry-failed", "--exit-on", "warning", code=4).json
    assert done["clips"]["failed"] == before["failed"]
    assert done["clips"]["scored"] == 1
    assert done["clips"]["already_failed"] == 0
    fan, pump = done["machines"]
    assert (fan["state"], fan["failed"]) == ("normal", before["failed"])
    # The fan was heard this moment: its recorders are at work, and the pump's have been silent for long.
    assert (pump["state"], pump["heard"] in ("warning", "alarm")) == ("no_data", True)

    known = acoustic_ad(*arguments)
    assert known.err == ""
    assert known.json["failures"] == []
    assert known.json["clips"]["already_failed"] == before["failed"]
    settled = before["scored"] + before["sensor_fault"] + 1
    assert known.json["clips"]["already_scored"] == settled
    with sqlite3.connect(root / "x.db") as store:
        assert store.execute("select count(*) from clip_scores").fetchone() == (before["failed"] + settled,)
        assert store.execute("select exit_code from runs order by id").fetchall() == [(3,), (4,), (0,)]


def test_a_file_that_stays_unfinished_is_broken(models, tmp_path):
    """`settle_s` after its last change, or at once with --settle 0; one of open length is whole."""
    (tmp_path / "fan").mkdir()
    piped = wav("fan", 61)
    piped = piped[:4] + b"\xff" * 4 + piped[8:40] + b"\xff" * 4 + piped[44:]
    (tmp_path / "fan" / "piped.wav").write_bytes(piped)
    (tmp_path / "fan" / "cut.wav").write_bytes(wav("fan", 60)[:-4000])
    arguments = ("score", tmp_path, "--models", models, "--db", tmp_path / "z.db", "--workers", "1", "--json")
    waiting = acoustic_ad(*arguments).json
    assert (waiting["clips"]["deferred"], waiting["clips"]["found"]) == (2, 2)
    assert waiting["machines"][0]["state"] == "no_data"
    broken = acoustic_ad(*arguments, "--settle", "0", code=3).json
    assert [failure["code"] for failure in broken["failures"]] == ["truncated"]
    assert broken["clips"]["scored"] == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ended_in_the_middle(number, models, tmp_path):
    """One line, the documented code, no process left, and a store with which the next run goes on.

    SIGINT goes to the whole group, as from a terminal; SIGTERM comes twice, as from the impatient.
    """
    write_clips(tmp_path / "sound" / "fan", "fan", range(100, 140))
    db = tmp_path / "x.db"
    # Long enough to be found at work: a second of sound costs milliseconds, a minute some more.
    for file in write_clips(tmp_path / "sound" / "fan", "fan", range(140, 146), duration_s=60.0):
        for copy in range(40):
            content = bytearray(file.read_bytes())
            content[-2:] = copy.to_bytes(2, "little")
            file.with_name(f"{file.stem}-{copy}.wav").write_bytes(content)
    arguments = ("score", tmp_path / "sound", "--models", models, "--db", db, "--workers", "2")
    process = start(*arguments)
    try:
        assert wait_until(lambda: len(processes_of(process.pid)) >= 5, 60)
        at_work = cpu_seconds_of(process.pid) + 1.5  # the first clips are short: some are done by then
        assert wait_until(lambda: cpu_seconds_of(process.pid) > at_work, 60)
        assert process.poll() is None
        if number == signal.SIGINT:
            os.killpg(process.pid, number)
        else:
            os.kill(process.pid, number)
            os.kill(process.pid, number)
        sent = time.monotonic()
    finally:
        ended = finish(process, 30)
    assert time.monotonic() - sent < 5
    assert ended.code == 128 + number
    assert len(ended.err.splitlines()) == 1
    assert ended.out == ""
    assert wait_until(lambda: not processes_of(process.pid), 5)
    with sqlite3.connect(db) as store:
        assert store.execute("pragma integrity_check").fetchone() == ("ok",)
        (kept,) = store.execute("select count(*) from clip_scores").fetchone()
    shown = json.loads(acoustic_ad("status", "--db", db, "--json").out)
    assert kept > 0
    assert [(machine["machine"], machine["clips"]) for machine in shown["machines"]] == [("fan", kept)]
    assert shown["cut_short"] == [str(tmp_path / "sound")]
    assert "cut short" in acoustic_ad("status", "--db", db).err
    for file in (tmp_path / "sound" / "fan").glob("*-*.wav"):
        file.unlink()
    done = acoustic_ad(*arguments, "--json").json
    assert done["clips"]["found"] == 46 == done["clips"]["scored"] + done["clips"]["already_scored"]
    assert done["machines"][0]["clips"] >= max(kept, 46)
    assert acoustic_ad("status", "--db", db, "--json").json["cut_short"] == []
