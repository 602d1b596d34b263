"""What another health policy would have done with the stored scores, beside what stands. Nothing is written."""

from __future__ import annotations

import tomllib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from acoustic_ad.errors import UsageError
from acoustic_ad.health.policy import Policy
from acoustic_ad.health.timeline import Episode, MachineHealth
from acoustic_ad.jobs.alarm_book import check_known
from acoustic_ad.jobs.baselines import Baselines
from acoustic_ad.jobs.fleet_health import tell
from acoustic_ad.jobs.fleet_report import iso
from acoustic_ad.jobs.history import history_of
from acoustic_ad.jobs.limit_memory import recall_limits
from acoustic_ad.jobs.store import Store
from acoustic_ad.sound.clip import one_line


@dataclass(frozen=True, slots=True)
class Replayed:
    """A machine by its own policy and by the other one."""

    machine: str
    stands: MachineHealth
    replayed: MachineHealth


def read_policy(file: Path) -> Policy:
    """The policy in a .toml file: its table [health], as in a recipe, or else its keys alone.

    Raises UsageError that says what is wrong with the file or its keys.
    """
    name = one_line(str(file))
    try:
        table = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"--policy {name}: {error.strerror or error}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"--policy {name}: not TOML: {error}") from error
    keys = table.get("health", table)
    if not isinstance(keys, dict):
        raise UsageError(f"--policy {name}: [health] must be a table")
    try:
        return Policy.of(keys)
    except UsageError as error:
        raise UsageError(f"--policy {name}: {error}") from error


def replay_all(store: Store, models: Path, policy: Policy, machine: str | None = None) -> list[Replayed]:
    """Every machine, or one, by both policies; raises UsageError for a machine that the store does not know."""
    if machine is not None:
        with store.reading() as connection:
            check_known(connection, machine)
    names = [row.machine for row in store.machines()] if machine is None else [machine]
    recall_limits(store)
    baselines = Baselines(models)
    found = []
    for name in names:
        history = history_of(store, name)
        stands = tell(store, baselines, history).health
        found.append(Replayed(name, stands, tell(store, baselines, history, policy=policy).health))
    return found


def replay_json(found: list[Replayed], policy: Policy) -> dict[str, Any]:
    """The document of `health replay --json`."""
    return {
        "policy": asdict(policy),
        "machines": [
            {"machine": one.machine, "stands": _outcome(one.stands), "replayed": _outcome(one.replayed)}
            for one in found
        ],
    }


def _outcome(health: MachineHealth) -> dict[str, Any]:
    return {
        "state": health.state,
        "since": iso(health.since),
        "rule": health.rule,
        "index": health.index,
        "warnings": count_of_level(health, "warning"),
        "alarms": count_of_level(health, "alarm"),
        "episodes": [_episode(episode) for episode in health.episodes],
        "alarms_per_month": None if health.limits is None else health.limits.alarms_per_month,
        "attainable": None if health.limits is None else health.limits.attainable,
        "statement": health.statement,
    }


def count_of_level(health: MachineHealth, level: str) -> int:
    """How many warnings, or alarms, were raised."""
    return sum(episode.level == level for episode in health.episodes)


def _episode(episode: Episode) -> dict[str, Any]:
    return {
        "level": episode.level,
        "raised_at": iso(episode.raised_at),
        "cleared_at": iso(episode.cleared_at),
        "rule": episode.rule,
        "index": round(episode.peak_index, 1),
    }
