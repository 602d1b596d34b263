"""--log-format and --log-level: one line per event on stderr, whatever happens, and a summary that adds up."""

from __future__ import annotations

import io
import json
import logging
import os
import signal
import subprocess
import sys
import time
import warnings
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from cli_process import acoustic_ad, clip_name, finish, start, write_clips
from hypothesis import given
from hypothesis import strategies as st

from acoustic_ad.console_log import log_is_open, open_log
from acoustic_ad.errors import UsageError
from acoustic_ad.jobs.events import LOGGER, event, masked, masked_fields, run_context
from acoustic_ad.jobs.lock import hold_lock

SECRET = "hunter2"


def events_of(err: str) -> list[dict[str, Any]]:
    """The events in a JSON log, each line of which must be one."""
    found = [json.loads(line) for line in err.splitlines()]
    for said in found:
        assert list(said)[:2] == ["time", "level"]
        assert datetime.fromisoformat(said["time"]).tzinfo is not None
        assert said["level"] in ("debug", "info", "warning", "error")
        assert said["event"]
    return found


def summary_of(events: list[dict[str, Any]]) -> dict[str, int]:
    """The counts of the one summary, which must add up."""
    (summary,) = [said for said in events if said["event"] == "summary"]
    counts = {name: value for name, value in summary.items() if type(value) is int and name != "run_id"}
    assert counts.pop("found") == sum(counts.values()), summary
    return counts


@pytest.fixture
def mixed(broken, tmp_path) -> Path:
    """Recordings of every outcome: two new, one that still grows, and broken ones."""
    folder = tmp_path / "sound"
    new = write_clips(folder / "fan", "fan", range(100, 103))
    new[2].write_bytes(new[2].read_bytes()[:-4000])  # modified this moment: still written
    for name, content in broken.items():
        file = folder / "fan" / f"{name}.wav"
        file.write_bytes(content())
        os.utime(file, (1e9, 1e9))
    (folder / "fan" / "notes.txt").write_text("no sound")
    (folder / "fan" / 'odd\n"name\t\u00e9=1.wav').write_bytes(b"no sound" * 20)
    return folder


def test_every_file_is_accounted_for(mixed, models, db):
    arguments = ("score", mixed, "--models", models, "--db", db, "--log-format", "json")
    run = acoustic_ad(*arguments, code=3)
    events = events_of(run.err)
    assert run.out.splitlines()[1].split()[0] == "fan"  # the answer is where it always is
    names = [said["event"] for said in events]
    assert names[0] == "run_started"
    assert names[-1] == "run_ended" and names.count("summary") == 1
    assert events[-1]["exit_code"] == 3
    assert events[-1]["duration_s"] > 0
    assert len({said["run"] for said in events}) == 1
    assert {said["run_id"] for said in events} == {2}  # the database knows one run already
    assert events[0]["found"] == 10
    outcomes = {"scored": 2, "deferred": 1, "failed": 5, "sensor_fault": 2}
    counts = summary_of(events)
    assert {name: count for name, count in counts.items() if count} == outcomes
    failed = {said["clip_id"]: said["code"] for said in events if said["event"] == "clip_failed"}
    assert sorted(failed.values()) == ["empty", "not_finite", "truncated", "unsupported", "unsupported"]
    assert any("odd" in name for name in failed)
    assert [said["clip_id"] for said in events if said["event"] == "clip_deferred"] == [f"fan/{clip_name(102)}"]
    assert {said["code"] for said in events if said["event"] == "clip_sensor_fault"} == {"silent", "constant"}
    (summary,) = [said for said in events if said["event"] == "summary"]
    assert summary["ignored"] == {"not audio": 1}

    again = events_of(acoustic_ad(*arguments).err)
    assert again[0]["run"] != events[0]["run"]
    assert {name: count for name, count in summary_of(again).items() if count} == {
        "already_scored": 4, "already_failed": 5, "deferred": 1
    }  # fmt: skip


def test_the_same_as_text(mixed, models, db):
    """Names with line ends stay on their line, and values can be told apart."""
    arguments = ("score", mixed, "--models", models, "--db", db)
    run = acoustic_ad(*arguments, "--log-format", "text", code=3)
    lines = run.err.splitlines()
    assert all(datetime.fromisoformat(line.split()[0]) for line in lines)
    assert lines[-1].split()[1:3] == ["INFO", "run_ended"]
    assert [line.split()[2] for line in lines].count("clip_failed") == 5
    quiet = acoustic_ad(*arguments, "--retry-failed", "--log-level", "warning", code=3)
    assert {line.split()[1] for line in quiet.err.splitlines()} == {"WARNING"}
    loud = acoustic_ad(*arguments, "--rescore", "--log-level", "debug", "--log-format", "json", code=0)
    assert summary_of(events_of(loud.err))["already_failed"] == 5


def test_without_a_log_all_is_as_before(recordings, models, db):
    run = acoustic_ad("score", recordings, "--models", models, "--db", db)
    assert "44 already scored" in run.err
    assert not run.err.startswith("20")


@pytest.mark.parametrize("option", [("--log-format", "xml"), ("--log-level", "loud")])
def test_unknown_words(option, recordings, tmp_path):
    for command in (("score", recordings, "--db", tmp_path / "x.db"), ("train", recordings)):
        refused = acoustic_ad(*command, "--models", tmp_path / "models", *option, code=2)
        assert option[1] in refused.complaint
    assert list(tmp_path.iterdir()) == []


def test_what_fails_as_a_whole(recordings, models, db, tmp_path):
    """Errors are events too, and the end of the run says its exit code."""
    log = ("--log-format", "json")
    run = acoustic_ad("score", tmp_path / "missing", "--models", models, "--db", db, *log, code=1)
    events = events_of(run.err)
    assert [said["event"] for said in events] == ["run_ended", "error"]
    assert events[0]["exit_code"] == 1
    assert "missing" in events[1]["message"]
    with hold_lock(db):
        events = events_of(acoustic_ad("score", recordings, "--models", models, "--db", db, *log, code=5).err)
    assert events[0]["exit_code"] == 5
    assert f"process {os.getpid()}" in events[-1]["message"]


def test_an_interrupted_run_says_what_it_did_not_reach(models, db, tmp_path):
    folder = tmp_path / "sound"
    write_clips(folder / "fan", "fan", range(200, 240))
    process = start(
        "score", folder, "--models", models, "--db", db, "--workers", "1", "--log-format", "json",
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    assert process.stderr is not None
    first = json.loads(process.stderr.readline())
    assert first["event"] == "run_started"
    time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    rest = finish(process)
    assert rest.code == 143
    events = events_of(rest.err)
    counts = summary_of([first, *events])
    assert counts["not_reached"] + counts["scored"] == 40
    assert counts["not_reached"] > 0
    assert [said["event"] for said in events][-2:] == ["run_ended", "error"]
    assert events[-2]["exit_code"] == 143


def test_no_secret_is_shown(recordings, models, tmp_path):
    """The password of a database, in an error that names the database."""
    urls = [f"postgresql://plant:{SECRET}@127.0.0.1:1/ad", f"postgresql://127.0.0.1:1/ad?user=x&password={SECRET}"]
    for url in urls:
        for log in ((), ("--log-format", "json"), ("--log-format", "text", "--log-level", "debug")):
            named = {"ACOUSTIC_AD_DB": url}
            run = acoustic_ad("score", recordings, "--models", models, *log, code=None, env=named, cwd=tmp_path)
            assert run.code in (1, 2)
            assert run.err
            assert SECRET not in run.err + run.out


@given(password=st.text(st.characters(exclude_categories=["Z", "C"]), min_size=1, max_size=20))
def test_passwords_are_masked(password):
    marked = f"s3cr3t{password}s3cr3t"
    text = f"cannot open postgresql+psycopg://plant:{marked}@db:5432/ad: refused"
    assert "s3cr3t" not in masked(text)
    assert masked(text).startswith("cannot open postgresql+psycopg://plant:***@db:5432/ad")
    fields = {"url": [f"amqp://a:{marked}@h"], "api_key": marked, "deep": {"Password": marked, "clip": "a.wav"}}
    assert "s3cr3t" not in json.dumps(masked_fields(fields), ensure_ascii=False)
    assert masked_fields(fields)["deep"]["clip"] == "a.wav"


def test_what_is_no_secret_stays():
    for text in ("https://plant:8080/a", "fan/2026-01-05T10:00:00Z.wav", "C:/x@y", "the password is wrong"):
        assert masked(text) == text


@pytest.fixture
def opened_log():
    """As before, afterwards."""
    before = (LOGGER.handlers[:], LOGGER.level, logging.getLogger("py.warnings").handlers[:])
    yield
    LOGGER.handlers[:], _, logging.getLogger("py.warnings").handlers[:] = before
    LOGGER.setLevel(before[1])
    logging.captureWarnings(False)


@pytest.mark.parametrize("form", ["json", "text"])
@given(value=st.text(max_size=40))
def test_a_line_each(form, value):
    """Whatever names hold, an event is one line, and JSON gives back what was told."""
    with pytest.MonkeyPatch.context() as patch:
        stream = io.StringIO()
        patch.setattr(sys, "stderr", stream)
        handlers, level = LOGGER.handlers[:], LOGGER.level
        try:
            open_log(form, None)
            assert log_is_open()
            with run_context():
                event(logging.INFO, "happened", clip_id=value, ignored={value: 1})
        finally:
            LOGGER.handlers[:] = handlers
            LOGGER.setLevel(level)
            logging.captureWarnings(False)
    said = stream.getvalue()
    assert len(said.splitlines()) == 1
    if form == "json":
        assert json.loads(said)["clip_id"] == masked(value)
        assert json.loads(said)["event"] == "happened"


def test_warnings_of_libraries_are_events_too(opened_log, capsys):
    with pytest.raises(UsageError):
        open_log("xml", None)
    assert not open_log(None, None)
    open_log("json", None)
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        logging.captureWarnings(False)
        logging.captureWarnings(True)
        warnings.warn("two\nlines", UserWarning, stacklevel=1)
    (line,) = capsys.readouterr().err.splitlines()
    assert json.loads(line)["event"] == "library_warning"
    assert "two\nlines" in json.loads(line)["message"]


def test_training_tells_of_each_machine(recordings, recipe, tmp_path):
    data = tmp_path / "data"
    write_clips(data / "fan", "fan", range(12))
    (data / "fan" / clip_name(0)).write_bytes(b"")
    write_clips(data / "pump", "pump", range(3))
    models = tmp_path / "models"
    log = ("--log-format", "json")
    run = acoustic_ad("train", data, "--recipe", recipe, "--models", models, *log, "--workers", "1", code=3)
    events = events_of(run.err)
    told = {said["event"]: said for said in events}
    assert events[0]["event"] == "training_started"
    assert told["machine_trained"]["machine"] == "fan"
    assert told["machine_trained"]["clips"] == 11
    assert told["clip_left_out"] | {"clip_id": f"fan/{clip_name(0)}", "code": "empty"} == told["clip_left_out"]
    assert "needs 10" in told["machine_refused"]["reason"]
    assert (told["summary"]["trained"], told["summary"]["refused"], told["summary"]["clips_left_out"]) == (1, 1, 1)
    assert events[-1]["event"] == "training_ended"
    assert events[-1]["exit_code"] == 3


def test_a_log_that_nobody_can_read(mixed, models, db):
    """The job goes on where nobody reads its log: what it has to do is in the database."""
    process = start("score", mixed, "--models", models, "--db", db, "--log-format", "json", "--json")
    assert process.stderr is not None
    process.stderr.close()
    process.stderr = None
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 3
    assert json.loads(out)["clips"]["scored"] == 2
