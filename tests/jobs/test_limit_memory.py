"""Limits that one job has found, the next one need not simulate; and what is damaged is found again."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from plant import Plant, normal

from acoustic_ad.health import limit_text, search
from acoustic_ad.health.search import Found, Kind
from acoustic_ad.jobs import fleet_health, limit_memory
from acoustic_ad.jobs.store import Store


@pytest.fixture
def searched(monkeypatch: pytest.MonkeyPatch) -> list[Kind]:
    """The kinds that are simulated, by a process that knows none before."""
    kinds: list[Kind] = []
    simulate: Callable[[Kind], Found] = search._searched

    def noted(kind: Kind) -> Found:
        kinds.append(kind)
        return simulate(kind)

    monkeypatch.setattr(search, "_known", {})
    monkeypatch.setattr(search, "_searched", noted)
    monkeypatch.setattr(limit_memory, "usual_limits", dict)  # which would be enough here
    return kinds


@pytest.fixture
def plant(tmp_path: Path, searched: list[Kind]) -> Plant:
    """One whose store knows its limits, and a process that does not."""
    plant = Plant(tmp_path)
    plant.add_clips("fan", normal(60))
    plant.tell()
    assert searched
    searched.clear()
    forget()
    return plant


def forget() -> None:
    """As in a new process."""
    search._known.clear()


def refresh(plant: Plant) -> None:
    """What a job does that has new clips."""
    with Store.open(plant.db) as store:
        fleet_health.refresh(store, plant.models, ["fan"])


def test_the_next_job_simulates_nothing_and_says_the_same(plant: Plant, searched: list[Kind]) -> None:
    before = plant.status()["fan"]
    refresh(plant)
    assert searched == []
    assert plant.status()["fan"] == before


def test_another_policy_is_another_kind(plant: Plant, searched: list[Kind]) -> None:
    refresh(plant)
    kind = next(iter(search.known_limits()))
    search.found_limits(*kind._replace(clips=2 * kind.clips))
    assert len(searched) == 1


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE found_limits SET limits = substr(limits, 1, 40)",
        "UPDATE found_limits SET limits = replace(limits, '[', '[0.5, ')",
        "UPDATE found_limits SET limits = 'NaN'",
        "UPDATE found_limits SET limits = '{}'",
        "UPDATE found_limits SET kind = '[]'",
        "DELETE FROM found_limits",
    ],
)
def test_what_is_damaged_is_found_again(plant: Plant, searched: list[Kind], damage: str) -> None:
    before = plant.status()["fan"]
    with sqlite3.connect(plant.db) as store:
        store.execute(damage if "kind" not in damage else f"{damage} WHERE rowid = 1")
    store.close()
    refresh(plant)
    assert searched
    assert plant.status()["fan"] == before
    forget()
    searched.clear()
    refresh(plant)
    assert searched == []


def test_limits_of_another_version_count_for_nothing(
    plant: Plant, searched: list[Kind], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limit_text, "SEARCH_VERSION", 2)
    refresh(plant)
    assert searched
