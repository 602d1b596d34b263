"""A machine's health does not depend on when its clips arrived, nor on clocks and zones of whoever scored (gate 14)."""

from __future__ import annotations

import os
import random
import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from cli_process import acoustic_ad, wav

BEGIN = datetime(2026, 10, 24, 20, tzinfo=UTC)  # the night in which summer time ends in Europe
CLIPS, FAULTY_FROM = 72, 48
ZONES = ("UTC", "Europe/Berlin", "America/St_Johns", "Pacific/Kiritimati")


def named(number: int) -> str:
    """The clip's time in the zone of a recorder that follows the season: the hour from 2 to 3 comes twice."""
    at = BEGIN + timedelta(minutes=10 * number)
    summer = at < datetime(2026, 10, 25, 1, tzinfo=UTC)
    local = at.astimezone(timezone(timedelta(hours=2 if summer else 1)))
    return f"{local:%Y%m%dT%H%M%S%z}.wav"


def arrive(folder: Path, numbers: Sequence[int], rng: random.Random) -> None:
    """Copy clips there, by a computer whose clock jumps: modification times tell nothing."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        file = folder / named(number)
        file.write_bytes(wav("fan", number, fault="imbalance" if number >= FAULTY_FROM else None))
        moment = rng.choice([0.0, 1_000_000_000.0, 4_000_000_000.0]) + number
        os.utime(file, (moment, moment))


def told(root: Path, models: Path, batches: Sequence[Sequence[int]]) -> dict[str, Any]:
    """What is known after the batches have arrived and were scored, each by a job in another zone."""
    rng = random.Random(len(batches))
    db = root / "x.db"
    arguments = ("score", root / "sound", "--models", models, "--db", db, "--workers", "1", "--json")
    for number, batch in enumerate(batches):
        arrive(root / "sound" / "fan", batch, rng)
        acoustic_ad(*arguments, env={"TZ": ZONES[number % len(ZONES)]})
    where = ("--db", db, "--models", models, "--json")
    status = acoustic_ad("status", *where).json
    with sqlite3.connect(db) as store:
        columns = "clip_id, recorded_at, recorded_at_source, sha256, score, p_value"
        rows = store.execute(f"select {columns} from clip_scores order by recorded_at").fetchall()
    store.close()
    # In which order they were raised, and what was known meanwhile, is the history of the store, not of the machine.
    alarms = acoustic_ad("alarms", "list", "--db", db, "--json").json
    alarms = [{key: value for key, value in alarm.items() if key not in ("id", "audit")} for alarm in alarms]
    for machine in status["machines"]:
        machine["alarm"].pop("id")
    return {"machines": status["machines"], "rows": rows, "alarms": alarms}


@pytest.fixture(scope="module")
def in_order(models, tmp_path_factory) -> dict[str, Any]:
    """All clips at once."""
    return told(tmp_path_factory.mktemp("order"), models, [range(CLIPS)])


def test_the_clips_are_those_of_one_night(in_order):
    """Ten minutes apart each, though the clocks on the wall were set back."""
    times = [datetime.fromisoformat(row[1]) for row in in_order["rows"]]
    assert times == [BEGIN + timedelta(minutes=10 * number) for number in range(CLIPS)]
    assert {row[2] for row in in_order["rows"]} == {"name"}
    assert in_order["machines"][0]["state"] != "normal"  # something that an order of arrival could spoil


@pytest.mark.parametrize("order", ["latest first", "shuffled", "the past comes last"])
def test_the_order_of_arrival_changes_nothing(order, in_order, models, tmp_path):
    numbers = list(range(CLIPS))
    if order == "latest first":
        batches = [numbers[40:], numbers[:40]]
    elif order == "shuffled":
        random.Random(14).shuffle(numbers)
        batches = [numbers[:30], numbers[30:50], numbers[50:]]
    else:
        batches = [numbers[10:60], numbers[60:], numbers[:10]]
    assert told(tmp_path, models, batches) == in_order
