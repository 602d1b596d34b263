"""The metrics of a job: read by Prometheus' own parsers, whole at any moment, and true after a failure."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from needed import needs_program
from prometheus_client.parser import text_string_to_metric_families

from acoustic_ad.errors import AcousticADError, LockedError, ManifestError, UsageError
from acoustic_ad.jobs import run
from acoustic_ad.jobs.fleet_report import FleetStatus, MachineStatus
from acoustic_ad.jobs.metrics import JobMetrics
from acoustic_ad.jobs.schema import MachineRow
from acoustic_ad.jobs.score_report import Failure, ScoreReport

NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)
COUNTS = {"found": 9, "scored": 4, "already_scored": 2, "already_failed": 0, "deferred": 1, "failed": 1, "off": 1,
          "sensor_fault": 0}  # fmt: skip
Series = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def report_of(**states: str) -> ScoreReport:
    rows = [
        MachineRow(name, state, NOW, 12.5 if state == "alarm" else None, 7, NOW)  # type: ignore[arg-type]
        for name, state in states.items()
    ]
    fleet = FleetStatus(NOW, NOW, [MachineStatus(row) for row in rows])
    return ScoreReport(1, "plain", dict(COUNTS), [Failure("a.wav", "fan", "empty", "")], fleet)


def series_of(path: Path) -> Series:
    """Every series of the file, by name and labels without the folder's, which all must have."""
    found: Series = {}
    for family in text_string_to_metric_families(path.read_bytes().decode()):
        assert family.type == "gauge"
        assert family.documentation
        for sample in family.samples:
            assert sample.labels["folder"].startswith("/")
            labels = tuple((name, value) for name, value in sorted(sample.labels.items()) if name != "folder")
            assert (sample.name, labels) not in found
            found[sample.name, labels] = sample.value
    return found


def one(series: Series, name: str, **labels: str) -> float:
    return series[f"acoustic_ad_{name}", tuple(sorted(labels.items()))]


def test_a_run_that_did_its_work(tmp_path):
    file = tmp_path / "ad.prom"
    before = datetime.now(UTC).timestamp()
    JobMetrics(file, tmp_path / "sound").write(report_of(fan="alarm", pump="normal"), 2.5)
    found = series_of(file)
    outcomes = {
        dict(labels)["outcome"]: value for (name, labels), value in found.items() if name == "acoustic_ad_clips"
    }
    assert outcomes == {name: count for name, count in COUNTS.items() if name != "found"}
    assert sum(outcomes.values()) == COUNTS["found"]
    for machine, state in (("fan", "alarm"), ("pump", "normal")):
        states = {
            dict(labels)["state"]: value
            for (name, labels), value in found.items()
            if name == "acoustic_ad_machine_state" and dict(labels)["machine"] == machine
        }
        assert len(states) == 7
        assert [name for name, value in states.items() if value] == [state]
    assert one(found, "machine_index", machine="fan") == 12.5
    assert ("acoustic_ad_machine_index", (("machine", "pump"),)) not in found
    assert one(found, "machine_last_clip_timestamp_seconds", machine="pump") == NOW.timestamp()
    assert one(found, "last_run_duration_seconds") == 2.5
    assert (one(found, "last_run_exit_code"), one(found, "last_run_success")) == (3, 1)
    assert before <= one(found, "last_success_timestamp_seconds") == one(found, "last_run_timestamp_seconds")
    assert [path.name for path in tmp_path.iterdir()] == ["ad.prom"]


def test_a_failure_keeps_the_last_success(tmp_path):
    file = tmp_path / "ad.prom"
    metrics = JobMetrics(file, tmp_path)
    metrics.write_failure(1, 0.5)
    first = series_of(file)
    run_only = ("timestamp_seconds", "duration_seconds", "exit_code", "success")
    assert {name for name, _ in first} == {f"acoustic_ad_last_run_{what}" for what in run_only}
    metrics.write(report_of(fan="alarm"), 2.5)
    good = series_of(file)
    for code in (1, 143):
        metrics.write_failure(code, 0.5)
    bad = series_of(file)
    assert (one(bad, "last_run_success"), one(bad, "last_run_exit_code")) == (0, 143)
    assert one(bad, "last_run_timestamp_seconds") > one(bad, "last_success_timestamp_seconds")
    assert bad.keys() == good.keys()
    assert {key: value for key, value in bad.items() if "last_run" not in key[0]} == {
        key: value for key, value in good.items() if "last_run" not in key[0]
    }
    metrics.write(report_of(fan="normal"), 1)
    assert one(series_of(file), "last_run_success") == 1


@pytest.mark.parametrize(
    "rubbish", [b"\xff\xfe", b'acoustic_ad_clips{outcome="', b"a b c d\n", b"{}{}{}\n1\n", b"\x00" * 99]
)
def test_a_damaged_file_is_made_anew(rubbish, tmp_path):
    file = tmp_path / "ad.prom"
    file.write_bytes(rubbish)
    JobMetrics(file, tmp_path).write_failure(1, 0.5)
    assert one(series_of(file), "last_run_success") == 0


NAMES = st.text(st.sampled_from(list('ab\\\n"\r{}=, ü\x85')) | st.characters(exclude_categories=["Cs"]), min_size=1)


@given(name=NAMES)
def test_names_may_hold_anything(name, tmp_path_factory):
    file = tmp_path_factory.mktemp("metrics") / "ad.prom"
    metrics = JobMetrics(file, file.parent)
    metrics.write(report_of(**{name: "alarm"}), 1)
    assert one(series_of(file), "machine_index", machine=name) == 12.5
    metrics.write_failure(1, 1)
    assert one(series_of(file), "machine_index", machine=name) == 12.5


@needs_program("prometheus", "promtool")
def test_promtool_finds_nothing_wrong(tmp_path):
    file = tmp_path / "ad.prom"
    metrics = JobMetrics(file, tmp_path / 'a "b"\\c')
    metrics.write(report_of(**{"fan/id_00": "alarm", 'odd "name"\\\n\t': "normal", "ünï": "no_data"}), 2.5)
    for _ in range(2):
        with file.open("rb") as stream:
            said = subprocess.run(["promtool", "check", "metrics"], stdin=stream, capture_output=True, check=False)
        assert (said.returncode, said.stderr + said.stdout) == (0, b"")
        metrics.write_failure(1, 1)


def test_what_is_refused_before_anything_is_done(tmp_path):
    for path, word in ((tmp_path / "ad.txt", ".prom"), (tmp_path / "missing" / "ad.prom", "no folder")):
        with pytest.raises(UsageError, match=word):
            JobMetrics(path, tmp_path)


def test_a_file_that_cannot_be_written(tmp_path):
    (tmp_path / "ad.prom").mkdir()
    with pytest.raises(AcousticADError, match="cannot be written"):
        JobMetrics(tmp_path / "ad.prom", tmp_path).write(report_of(), 1)
    assert [path.name for path in tmp_path.iterdir()] == ["ad.prom"]


def test_the_job_writes_them_whatever_happens(tmp_path, monkeypatch):
    """Also where it fails, but not where it left the field to another job."""
    file = tmp_path / "ad.prom"

    def ends(outcome):
        def score(options, on_progress):
            if isinstance(outcome, BaseException):
                raise outcome
            return outcome

        return score

    class Options:
        folder = tmp_path

    monkeypatch.setattr(run, "score", ends(report_of(fan="alarm")))
    assert run.run_score(Options(), file).exit_code == 3  # type: ignore[arg-type]
    good = file.read_bytes()
    for error in (LockedError("held"), ManifestError("no clips"), KeyError("a bug")):
        monkeypatch.setattr(run, "score", ends(error))
        with pytest.raises(type(error)):
            run.run_score(Options(), file)  # type: ignore[arg-type]
        assert (file.read_bytes() == good) == isinstance(error, LockedError)
    assert one(series_of(file), "last_run_exit_code") == 1
    assert one(series_of(file), "machine_index", machine="fan") == 12.5
