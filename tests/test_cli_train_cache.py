"""`acoustic-ad train --cache`: features outlive the run, and nothing else does, however the run ends."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from cli_process import DAE_RECIPE, acoustic_ad, finish, processes_of, start, wait_until


@pytest.fixture(scope="module")
def slow_recipe(tmp_path_factory):
    file = tmp_path_factory.mktemp("recipe") / "slow.toml"
    file.write_text(DAE_RECIPE.format(steps=1_000_000).replace('group = "machine_type"\n', ""))
    return file


def learning(cache: Path) -> list[Path]:
    """The folders of runs in a cache that have features of both machines."""
    return [run for run in cache.glob(".run-*[!k]") if len(list(run.glob("*.clips"))) == 2]


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_another_recipe_finds_the_features_and_killed_runs_leave_none(recordings, recipe, slow_recipe, tmp_path):
    """One run is killed as by the system; the next one removes what it left, though not what a third is using."""
    cache, models = tmp_path / "cache", tmp_path / "models"
    arguments = ("train", recordings, "--cache", cache, "--workers", "2", "--models")
    slow = ("--recipe", slow_recipe)
    killed = start(*arguments, tmp_path / "killed", *slow)
    assert wait_until(lambda: learning(cache), 120)
    (left,) = learning(cache)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.communicate()
    assert wait_until(lambda: not processes_of(killed.pid), 20) and left.exists()
    kept = {name: (cache / name).stat().st_ino for name in names(cache) if name.endswith(".clips")}
    assert len(kept) == 2

    alive = start(*arguments, tmp_path / "alive", *slow)
    try:
        assert wait_until(lambda: [run for run in learning(cache) if run != left], 120)
        assert not left.exists()
        (used,) = learning(cache)
        found = acoustic_ad(*arguments, models, "--recipe", recipe, "--json").json
        assert [machine["clips"] for machine in found["machines"]] == [14, 14]
        assert learning(cache) == [used]
    finally:
        os.kill(alive.pid, signal.SIGINT)
        ended = finish(alive, 30)
    assert ended.code == 130
    assert all(name.endswith((".clips", ".planted")) for name in names(cache)), names(cache)
    assert {name: (cache / name).stat().st_ino for name in kept} == kept, "no feature was computed again"
    uncached = tmp_path / "uncached"
    acoustic_ad("train", recordings, "--models", uncached, "--recipe", recipe)
    weights = [
        {file.relative_to(folder): file.read_bytes() for file in folder.rglob("*.safetensors")}
        for folder in (models, uncached)
    ]
    assert weights[0] == weights[1] and len(weights[0]) == 2
    assert ".features" not in names(uncached)


def test_a_cache_that_cannot_be_written(recordings, recipe, tmp_path):
    refused = acoustic_ad(
        "train", recordings, "--recipe", recipe, "--models", tmp_path / "models", "--cache", "/dev/null/cache", code=1
    )
    assert "/dev/null/cache" in refused.complaint and "--cache" in refused.complaint
