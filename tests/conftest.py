"""What the tests of the command line share: recordings, and models and scores of them, made once."""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cli_process import RECIPE, Finished, acoustic_ad, clip_name, encoded, samples, wav, write_clips, write_manifest
from hypothesis import settings
from needed import require
from postgres_server import PostgresServer, running_server

settings.register_profile("any speed", deadline=None)  # no test depends on how busy the computer is
settings.load_profile("any speed")

if TYPE_CHECKING:
    from plant import Plant


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The large counts run by `make soak`."""
    if os.environ.get("ACOUSTIC_AD_SOAK") == "1":
        return
    for item in items:
        if "soak" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="a large count: set ACOUSTIC_AD_SOAK=1"))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Tests marked by `needed.needs`."""
    for mark in item.iter_markers("needs"):
        require(*mark.args)


@pytest.fixture(scope="session")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe that is learnt in a blink."""
    file = tmp_path_factory.mktemp("recipe") / "tiny.toml"
    file.write_text(RECIPE)
    return file


@pytest.fixture(scope="session")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two machines with a manifest: 14 clips each to learn from, 4 normal and 4 faulty ones to test with."""
    root = tmp_path_factory.mktemp("recordings")
    rows = []
    for machine, fault in (("fan", "imbalance"), ("pump", "cavitation")):
        write_clips(root / machine, machine, range(22))
        for number in range(22):
            split, label = ("train", "normal") if number < 14 else ("test", "normal" if number < 18 else "anomaly")
            rows.append((f"{machine}/{clip_name(number)}", machine, split, label, f"{split}-{number // 4}"))
            if label == "anomaly":
                (root / machine / clip_name(number)).write_bytes(wav(machine, number, fault=fault))
    write_manifest(root, rows)
    return root


@dataclass(frozen=True)
class Made:
    """A folder or file that a run made, and how the run ended."""

    path: Path
    run: Finished


@pytest.fixture(scope="session")
def training(recordings: Path, recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """The models of both machines. What is in split test while they learn is not even sound."""
    root = tmp_path_factory.mktemp("training")
    data = root / "data"
    shutil.copytree(recordings, data)
    for machine in ("fan", "pump"):
        for number in range(14, 22):
            (data / machine / clip_name(number)).write_bytes(b"nobody may read this" * number)
    models = root / "models"
    run = acoustic_ad("train", data, "--recipe", recipe, "--models", models, "--workers", "2", "--seed", "7", "--json")
    return Made(models, run)


@pytest.fixture(scope="session")
def models(training: Made) -> Path:
    """The models of fan and pump; copy before you change them."""
    return training.path


@pytest.fixture(scope="session")
def scoring(recordings: Path, models: Path, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """The database with the scores of all recordings; --out is beside it as all.csv."""
    root = tmp_path_factory.mktemp("scores")
    db, out = root / "all.db", root / "all.csv"
    run = acoustic_ad(
        "score", recordings, "--models", models, "--db", db, "--out", out, "--workers", "2", "--json", cwd=root
    )
    return Made(db, run)


@pytest.fixture(scope="session")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Plant:
    """Fan and pump, beside machines with names and notes that are markup; nobody changes it."""
    from written_page import hostile_plant

    return hostile_plant(tmp_path_factory.mktemp("hostile"))


@pytest.fixture
def db(scoring: Made, tmp_path: Path) -> Path:
    """A database of one's own that knows all recordings."""
    return Path(shutil.copy(scoring.path, tmp_path / "known.db"))


@pytest.fixture
def own_models(models: Path, tmp_path: Path) -> Path:
    """Models of one's own."""
    return Path(shutil.copytree(models, tmp_path / "models"))


@pytest.fixture(scope="session")
def broken() -> dict[str, Callable[[], bytes]]:
    """Files that cannot be used, by their reason."""
    import numpy as np

    good = wav("fan", 0)
    return {
        "empty": lambda: b"",
        "truncated": lambda: good[:-2000],
        "unsupported": lambda: b"This is not sound.\n" * 50,
        "not_finite": lambda: encoded(np.where(np.arange(16_000) == 99, np.nan, samples("fan", 0)), subtype="FLOAT"),
        "silent": lambda: encoded(np.zeros(16_000)),
        "constant": lambda: encoded(np.full(16_000, 0.25)),
    }


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server; skips where there is none to start."""
    with running_server() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def new_database(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], str]:
    """Makes places for a store, as paths or URLs: what is tested with it holds for both kinds."""
    if request.param == "sqlite":
        numbers = itertools.count()
        return lambda: str(tmp_path / f"store-{next(numbers)}.db")
    server: PostgresServer = request.getfixturevalue("postgres")
    return server.new_database


@pytest.fixture
def database(new_database: Callable[[], str]) -> str:
    """Where a store can be made."""
    return new_database()
