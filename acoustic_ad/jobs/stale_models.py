"""Models that have grown old: trained long ago, or by a recipe that is another now."""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from acoustic_ad.jobs.punctuality import Notice
from acoustic_ad.models.registry import Registry
from acoustic_ad.recipe_files import recipe_files
from acoustic_ad.sound.clip import one_line

# A year of seasons, wear and repairs: what was normal then need not be now.
STALE_AFTER: Final = timedelta(days=365)
# What may differ without another model: the name itself; a seed, which `train --seed` sets; members, which a bundle
# keeps with their own recipes.
NOT_COMPARED: Final = frozenset({"name", "seed", "members"})


def stale_models(
    models: Path, machines: Collection[str], stale_after: timedelta = STALE_AFTER, now: datetime | None = None
) -> list[Notice]:
    """What is to be said of the current models of these machines, by what their bundles say of themselves."""
    now = now or datetime.now(UTC)
    installed: dict[str, Mapping[str, Any]] = {}
    old: dict[str, datetime] = {}
    changed: dict[tuple[str, str], list[str]] = {}  # (recipe, keys) -> machines
    registry = Registry(models)
    for machine in sorted(machines):
        said = registry.as_said(machine) or {}
        trained = _time(said.get("created_at"))
        if trained is not None and now - trained > stale_after:
            old[machine] = trained
        recipe = said.get("recipe")
        if isinstance(recipe, Mapping):
            name = str(recipe.get("name"))
            if name not in installed:
                installed[name] = _installed(name)
            keys = changed_keys(installed[name], recipe)
            if keys:
                changed.setdefault((name, ", ".join(keys)), []).append(machine)
    return _old(models, old, stale_after) + [
        _changed(models, name, keys, found) for (name, keys), found in sorted(changed.items())
    ]


def changed_keys(installed: Mapping[str, Any], used: Mapping[str, Any], path: str = "") -> list[str]:
    """Dotted keys that the installed recipe sets, and that the model's has otherwise."""
    found = []
    for key, value in installed.items():
        if not path and key in NOT_COMPARED:
            continue
        other = used.get(key)
        if isinstance(value, Mapping) and isinstance(other, Mapping):
            found += changed_keys(value, other, f"{path}{key}.")
        elif value != other:
            found.append(f"{path}{key}")
    return found


def _installed(name: str) -> Mapping[str, Any]:
    """The installed recipe of that name as it stands in its file; checking it would load torch."""
    file = recipe_files().get(name)
    return {} if file is None else tomllib.loads(file.read_text(encoding="utf-8"))


def _old(models: Path, old: Mapping[str, datetime], stale_after: timedelta) -> list[Notice]:
    if not old:
        return []
    first = min(old.values())
    text = (
        f"{_models_of(old)} trained more than {stale_after.days} days ago, the earliest on {first:%Y-%m-%d}: train "
        "again on recent recordings of normal operation"
    )
    facts = {"machines": list(old), "trained_at": first.isoformat(), "reason": "age"}
    return [Notice("stale_model", str(models), text, facts)]


def _changed(models: Path, name: str, keys: str, machines: list[str]) -> Notice:
    text = (
        f"{_models_of(machines)} trained by another version of the recipe {name} than is installed ({keys} "
        f"{'is' if ',' not in keys else 'are'} another now): train again to have what it gained"
    )
    return Notice("stale_model", str(models), text, {"machines": machines, "recipe": name, "reason": "recipe"})


def _models_of(machines: Collection[str]) -> str:
    some = ", ".join(one_line(machine) for machine in list(machines)[:3]) + (", ..." if len(machines) > 3 else "")
    return f"the model of {some} was" if len(machines) == 1 else f"the models of {len(machines)} machines ({some}) were"


def _time(text: Any) -> datetime | None:
    try:
        found = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
