"""`acoustic-ad schedule`: what is printed is what a scheduler needs, and its command is one that runs."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from cli_process import acoustic_ad, environment
from scheduler_readers import kubernetes_word, systemd_words, what_cron_hands_on


@pytest.fixture
def arguments(recordings, db, models, tmp_path):
    """Recordings, models and database at paths that are hard to quote."""
    root = tmp_path / "100% so und $HOME"
    root.mkdir()
    (root / "sound").symlink_to(recordings)
    (root / "models").symlink_to(models)
    shutil.copy(db, root / "all.db")
    paths = ("--folder", root / "sound", "--models", root / "models", "--db", root / "all.db")
    return (
        "--every",
        "1h",
        *paths,
        "--exit-on",
        "alarm",
        "--",
        "--out",
        root / "rows.csv",
        "--metrics",
        root / "ad.prom",
    )


def command_of(kind: str, printed: str) -> str | list[str]:
    """What the scheduler starts: a text for the shell, or words."""
    if kind == "cron":
        _, line = printed.splitlines()
        return what_cron_hands_on(line.split(" ", 5)[5], False)
    if kind == "systemd":
        (line,) = [line for line in printed.splitlines() if line.startswith("ExecStart=")]
        return systemd_words(line.removeprefix("ExecStart="))
    spec = yaml.safe_load(printed)["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    return [kubernetes_word(word) for word in container["command"] + container["args"]]


@pytest.mark.parametrize("kind", ["systemd", "cron", "kubernetes"])
def test_the_printed_command_runs(kind, arguments, tmp_path):
    program = tmp_path / "acoustic ad"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m acoustic_ad "$@"\n')
    program.chmod(0o755)
    printed = acoustic_ad("schedule", kind, "--program", program, *arguments)
    assert len(printed.err.splitlines()) == 1  # the next step
    command = command_of(kind, printed.out)
    run = subprocess.run(
        command, shell=isinstance(command, str), env=environment(), cwd="/", capture_output=True, text=True, check=False
    )
    assert run.returncode in (0, 4), run.stderr  # 4: --exit-on
    rows = Path(arguments[arguments.index("--out") + 1])
    assert rows.read_text().count("\n") == 45
    metrics = Path(arguments[arguments.index("--metrics") + 1]).read_text()
    assert 'outcome="already_scored"} 44.0' in metrics
    assert 'acoustic_ad_machine_state{folder="' in metrics
    assert {"cron": run.stdout == "", "systemd": "summary" in run.stderr, "kubernetes": "{" in run.stderr}[kind]


def test_the_program_that_runs_now(arguments):
    """Without --program, the words start this very acoustic-ad."""
    printed = acoustic_ad("schedule", "systemd", *arguments).out
    words = command_of("systemd", printed)
    program = words[: words.index("score")]
    said = subprocess.run([*program, "--version"], env=environment(), capture_output=True, text=True, check=True).stdout
    assert said == acoustic_ad("--version").out


def test_files_and_documents(arguments, tmp_path):
    out = tmp_path / "units"
    written = acoustic_ad("schedule", "systemd", "--name", "hall 1", "--out", out, *arguments).out.split("\n")
    assert {Path(line).name for line in written if line} == {"hall\\x201.service", "hall\\x201.timer"}
    assert {file.name for file in out.iterdir()} == {"hall\\x201.service", "hall\\x201.timer"}
    document = acoustic_ad("schedule", "systemd", "--name", "hall 1", "--json", *arguments).json
    assert {file["name"]: file["content"] for file in document["files"]} == {
        f.name: f.read_text() for f in out.iterdir()
    }
    (tmp_path / "file").write_text("")
    refused = acoustic_ad("schedule", "cron", "--out", tmp_path / "file", *arguments, code=1)
    assert str(tmp_path / "file") in refused.complaint


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (("--every", "45s"), "watch"),
        (("--every", "often"), "--every"),
        (("--name", "a\nb"), "rename"),
        (("--exit-on", "smoke"), "--exit-on"),
        (("--db", "postgresql://u:hunter2@h/d"), "password"),
        (("--program", "bin/acoustic-ad"), "--program"),
        (("--folder", "/a\nb"), "rename"),
    ],
)
def test_refused_in_one_line(change, word):
    known = {"--every": "1h", "--folder": "/srv/sound", "--db": "/srv/a.db"} | {change[0]: change[1]}
    refused = acoustic_ad("schedule", "systemd", *[word for pair in known.items() for word in pair], code=2)
    assert word in refused.complaint
    assert "hunter2" not in refused.err


def test_options_that_score_would_refuse():
    """They are found when the schedule is made, not at night."""
    base = ("schedule", "cron", "--every", "1h", "--folder", "/srv/sound", "--db", "/srv/a.db", "--")
    assert "--nonsense" in acoustic_ad(*base, "--nonsense", code=2).err
    assert "whole path" in acoustic_ad(*base, "--out", "rows.csv", code=2).complaint
    assert "pass --db" in acoustic_ad("schedule", "cron", "--every", "1h", "--folder", "/srv/sound", code=2).complaint


def test_a_password_belongs_into_the_environment(tmp_path):
    run = acoustic_ad(
        "schedule", "systemd", "--every", "1h", "--folder", tmp_path, "--environment", "/etc/acoustic ad.env"
    )
    assert "EnvironmentFile=/etc/acoustic ad.env" in run.out
    assert "--db" not in run.out
