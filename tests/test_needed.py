"""Tests whose packages are missing are skipped on a developer's computer, and fail where all packages are promised."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from needed import REQUIRE_ALL

TESTS = Path(__file__).parent
# A test for each way in which a package is asked for that PATH can hide: a mark, and within a fixture.
WITHOUT = {
    "prometheus": "jobs/test_job_metrics.py::test_promtool_finds_nothing_wrong",
    "systemd": "jobs/test_schedule.py::test_systemd_reads_every_calendar",
    "chromium": "report/test_browser.py::test_no_network_no_complaints_no_sideways_scroll",
}


def outcomes(path: Path, tests: Iterable[str], **more: str) -> tuple[int, str]:
    """The exit code of a test run that finds no programs, and what it says."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("ACOUSTIC_AD_", "PYTEST_"))}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", *tests]
    env |= {"PATH": str(path), **more}
    done = subprocess.run(command, cwd=TESTS, env=env, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout


def test_a_missing_package_skips_its_tests(tmp_path: Path) -> None:
    code, said = outcomes(tmp_path, [WITHOUT["prometheus"]])
    assert code == 0 and "1 skipped" in said.splitlines()[-1], said
    assert "prometheus is not installed: apt-get install prometheus" in said


def test_a_missing_package_fails_its_tests_where_all_are_promised(tmp_path: Path) -> None:
    code, said = outcomes(tmp_path, WITHOUT.values(), **{REQUIRE_ALL: "1"})
    assert code == 1 and "errors" in said.splitlines()[-1] and "skipped" not in said.splitlines()[-1], said
    for package in WITHOUT:
        assert f"{package} is not installed: apt-get install {package}" in said


def test_the_variable_is_set_by_the_landing_gate_alone() -> None:
    root = TESTS.parent
    assert f"export {REQUIRE_ALL}=1" in (root / ".ci" / "run").read_text()
    assert REQUIRE_ALL not in (root / "Makefile").read_text()
